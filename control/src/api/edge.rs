//! Published ports, rules and links.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{Body, Path, Query};
use super::types::{ErrorBody, Link, LinkBody, Protocol, Publication, PublicationRequest, Rule, RuleRequest};
use super::{Answer, Shared, work};
use crate::state::RulesOf;

/// Lists what is published on all networks.
#[utoipa::path(get, path = "/publications", tag = "publications",
    responses((status = 200, body = Vec<Publication>)))]
pub(super) async fn publications(State(manager): Shared) -> Answer<Json<Vec<Publication>>> {
    Ok(Json(manager.publications()))
}

/// Publishes ports of an endpoint. The same ports again take the new rules, and end old sessions.
#[utoipa::path(post, path = "/networks/{network}/publications", tag = "publications",
    params(("network" = String, Path)), request_body = PublicationRequest,
    responses((status = 201, body = Publication), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn publish(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(request): Body<PublicationRequest>,
) -> Answer<(StatusCode, Json<Publication>)> {
    let made = work(manager, move |manager| manager.publish(&network, &request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes a publication back and ends its sessions.
#[utoipa::path(delete, path = "/networks/{network}/publications/{id}", tag = "publications",
    params(("network" = String, Path), ("id" = u32, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn unpublish(
    State(manager): Shared,
    Path((network, id)): Path<(String, u32)>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.unpublish(&network, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which of a network's lists of rules.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichRules {
    /// That of the publication with this number; the network's own when left out.
    publication: Option<u32>,
}

impl WhichRules {
    fn of(self, network: String) -> RulesOf {
        RulesOf { network, publication: self.publication }
    }
}

/// Lists a network's rules, or a publication's, in order, with their hits.
#[utoipa::path(get, path = "/networks/{network}/rules", tag = "rules",
    params(("network" = String, Path), WhichRules),
    responses((status = 200, body = Vec<Rule>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn rules(
    State(manager): Shared,
    Path(network): Path<String>,
    Query(which): Query<WhichRules>,
) -> Answer<Json<Vec<Rule>>> {
    Ok(Json(manager.rules(&which.of(network))?))
}

/// Adds a rule.
#[utoipa::path(post, path = "/networks/{network}/rules", tag = "rules",
    params(("network" = String, Path), WhichRules), request_body = RuleRequest,
    responses((status = 201, body = Rule), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add_rule(
    State(manager): Shared,
    Path(network): Path<String>,
    Query(which): Query<WhichRules>,
    Body(request): Body<RuleRequest>,
) -> Answer<(StatusCode, Json<Rule>)> {
    let made = work(manager, move |manager| manager.add_rule(&which.of(network), &request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes a rule.
#[utoipa::path(delete, path = "/networks/{network}/rules/{number}", tag = "rules",
    params(("network" = String, Path), ("number" = u32, Path), WhichRules),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove_rule(
    State(manager): Shared,
    Path((network, number)): Path<(String, u32)>,
    Query(which): Query<WhichRules>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.remove_rule(&which.of(network), number)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes all rules of a network, or of a publication.
#[utoipa::path(delete, path = "/networks/{network}/rules", tag = "rules",
    params(("network" = String, Path), WhichRules),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn flush_rules(
    State(manager): Shared,
    Path(network): Path<String>,
    Query(which): Query<WhichRules>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.flush_rules(&which.of(network))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the links of all networks.
#[utoipa::path(get, path = "/links", tag = "links", responses((status = 200, body = Vec<Link>)))]
pub(super) async fn links(State(manager): Shared) -> Answer<Json<Vec<Link>>> {
    Ok(Json(manager.links()))
}

/// Lets an endpoint of a network with `icc` off speak to another. Doing it twice changes nothing.
#[utoipa::path(post, path = "/networks/{network}/links", tag = "links", params(("network" = String, Path)),
    request_body = LinkBody, responses((status = 201, body = Link), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add_link(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(request): Body<LinkBody>,
) -> Answer<(StatusCode, Json<Link>)> {
    let made = work(manager, move |manager| manager.add_link(&network, &request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Which link.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichLink {
    /// The endpoint that may begin.
    from: String,
    /// The endpoint that may be spoken to.
    to: String,
    /// The port, if the link is to one.
    port: Option<u16>,
    /// The port's protocol; `tcp` when left out.
    protocol: Option<Protocol>,
}

/// Removes a link.
#[utoipa::path(delete, path = "/networks/{network}/links", tag = "links",
    params(("network" = String, Path), WhichLink),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove_link(
    State(manager): Shared,
    Path(network): Path<String>,
    Query(WhichLink { from, to, port, protocol }): Query<WhichLink>,
) -> Answer<StatusCode> {
    let link = LinkBody { from, to, port, protocol };
    work(manager, move |manager| manager.remove_link(&network, &link)).await?;
    Ok(StatusCode::NO_CONTENT)
}
