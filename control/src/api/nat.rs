//! Sessions of NAT, the host's uplinks, and what would become of a frame.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{Body, Query};
use super::types::{ErrorBody, NatFlushed, NatSessions, NatStats, Trace, TraceRequest, UplinkState};
use super::{Answer, Shared, work};
use crate::manager::{MAX_PAGE, Whose};

/// Whose sessions, and where the page begins.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Those of endpoints of this network.
    network: Option<String>,
    /// Those of this endpoint: `NETWORK/ENDPOINT`, or its name beside `network`.
    endpoint: Option<String>,
    /// The `next` of the page before; 0 when left out.
    #[serde(default)]
    from: u32,
    /// The most that are looked at for this page, 1 to 1000; 1000 when left out.
    limit: Option<usize>,
}

/// Lists sessions, a page at a time. A page may be short, or empty, and not the last.
#[utoipa::path(get, path = "/nat/sessions", tag = "nat", params(Page),
    responses((status = 200, body = NatSessions), (status = "4XX", body = ErrorBody)))]
pub(super) async fn sessions(State(manager): Shared, Query(page): Query<Page>) -> Answer<Json<NatSessions>> {
    let whose = Whose { network: page.network, endpoint: page.endpoint };
    let limit = page.limit.unwrap_or(MAX_PAGE);
    Ok(Json(work(manager, move |manager| manager.nat_sessions(&whose, page.from, limit)).await?))
}

/// Whose sessions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfWhom {
    /// Those of endpoints of this network.
    network: Option<String>,
    /// Those of this endpoint: `NETWORK/ENDPOINT`, or its name beside `network`.
    endpoint: Option<String>,
}

/// Ends sessions.
#[utoipa::path(delete, path = "/nat/sessions", tag = "nat", params(OfWhom),
    responses((status = 200, body = NatFlushed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn flush(State(manager): Shared, Query(query): Query<OfWhom>) -> Answer<Json<NatFlushed>> {
    let whose = Whose { network: query.network, endpoint: query.endpoint };
    Ok(Json(work(manager, move |manager| manager.nat_flush(&whose)).await?))
}

/// Shows how much of NAT is used.
#[utoipa::path(get, path = "/nat/stats", tag = "nat", responses((status = 200, body = NatStats)))]
pub(super) async fn stats(State(manager): Shared) -> Answer<Json<NatStats>> {
    Ok(Json(work(manager, |manager| manager.nat_stats()).await?))
}

/// Lists the interfaces that networks leave by.
#[utoipa::path(get, path = "/uplinks", tag = "nat", responses((status = 200, body = Vec<UplinkState>)))]
pub(super) async fn uplinks(State(manager): Shared) -> Answer<Json<Vec<UplinkState>>> {
    Ok(Json(work(manager, |manager| Ok(manager.uplinks())).await?))
}

/// Follows a frame through the decisions without sending it; nothing is left of it.
#[utoipa::path(post, path = "/trace", tag = "nat", request_body = TraceRequest,
    responses((status = 200, body = Trace), (status = "4XX", body = ErrorBody)))]
pub(super) async fn trace(State(manager): Shared, Body(request): Body<TraceRequest>) -> Answer<Json<Trace>> {
    Ok(Json(work(manager, move |manager| manager.trace(&request)).await?))
}
