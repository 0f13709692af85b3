//! The forwarding databases.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{Body, Path, Query};
use super::types::{ErrorBody, FdbEntry, FdbRequest, Mac};
use super::{Answer, Failure, Shared, work};

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfNetwork {
    /// Those of this network alone.
    network: Option<String>,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfPort {
    /// Those of this network alone.
    network: Option<String>,
    /// Those behind this port of the network alone.
    port: Option<String>,
}

/// Lists entries.
#[utoipa::path(get, path = "/fdb", tag = "fdb", params(OfNetwork),
    responses((status = 200, body = Vec<FdbEntry>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(
    State(manager): Shared,
    Query(query): Query<OfNetwork>,
) -> Answer<Json<Vec<FdbEntry>>> {
    Ok(Json(work(manager, move |manager| manager.fdb(query.network.as_deref())).await?))
}

/// Adds a static entry.
#[utoipa::path(post, path = "/fdb", tag = "fdb", request_body = FdbRequest,
    responses((status = 201, body = FdbEntry), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add(
    State(manager): Shared,
    Body(request): Body<FdbRequest>,
) -> Answer<(StatusCode, Json<FdbEntry>)> {
    let made = work(manager, move |manager| manager.add_fdb(&request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes an entry, static or learned.
#[utoipa::path(delete, path = "/fdb/{network}/{mac}", tag = "fdb",
    params(("network" = String, Path), ("mac" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(
    State(manager): Shared,
    Path((network, mac)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let mac: Mac = mac.parse().map_err(|error: pontoon_dataplane::addr::MacParseError| Failure {
        status: StatusCode::BAD_REQUEST,
        sentence: error.to_string(),
    })?;
    work(manager, move |manager| manager.remove_fdb(&network, mac)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets learned entries.
#[utoipa::path(post, path = "/fdb/flush", tag = "fdb", params(OfPort),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn flush(State(manager): Shared, Query(query): Query<OfPort>) -> Answer<StatusCode> {
    work(manager, move |manager| manager.flush_fdb(query.network.as_deref(), query.port.as_deref())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BehindPort {
    /// Those behind this port alone.
    port: Option<String>,
}

/// Forgets learned entries of a network.
#[utoipa::path(delete, path = "/fdb/{network}", tag = "fdb", params(("network" = String, Path), BehindPort),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn flush_network(
    state: Shared,
    Path(network): Path<String>,
    Query(BehindPort { port }): Query<BehindPort>,
) -> Answer<StatusCode> {
    flush(state, Query(OfPort { network: Some(network), port })).await
}
