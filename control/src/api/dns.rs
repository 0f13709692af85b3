//! Names.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::Query;
use super::types::{DnsAnswer, DnsName, DnsStats, ErrorBody};
use super::{Answer, Shared, work};

/// Lists the names that can be asked for.
#[utoipa::path(get, path = "/dns/names", tag = "names", responses((status = 200, body = Vec<DnsName>)))]
pub(super) async fn names(State(manager): Shared) -> Answer<Json<Vec<DnsName>>> {
    Ok(Json(work(manager, |manager| Ok(manager.dns_names())).await?))
}

/// Shows where names can be asked for, and what became of questions.
#[utoipa::path(get, path = "/dns", tag = "names", responses((status = 200, body = DnsStats)))]
pub(super) async fn stats(State(manager): Shared) -> Answer<Json<DnsStats>> {
    Ok(Json(work(manager, |manager| Ok(manager.dns_stats())).await?))
}

/// What is asked, and as whom.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// The network: asked as somebody who is on this one alone.
    network: String,
    /// The name.
    name: String,
    /// The type of records; `A` when left out, `PTR` when the name is an address.
    r#type: Option<String>,
}

/// Asks for a name as an endpoint of a network does.
#[utoipa::path(get, path = "/dns/query", tag = "names", params(Question),
    responses((status = 200, body = DnsAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn query(State(manager): Shared, Query(asked): Query<Question>) -> Answer<Json<DnsAnswer>> {
    let ask = move |manager: &crate::manager::Manager| {
        manager.dns_query(&asked.network, &asked.name, asked.r#type.as_deref())
    };
    Ok(Json(work(manager, ask).await?))
}
