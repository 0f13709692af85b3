//! Networks and their endpoints.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{Body, Path, Query};
use super::types::{
    ConnectRequest, DisconnectRequest, Endpoint, EndpointRequest, ErrorBody, Inspected, Network,
    NetworkPatch, NetworkRequest,
};
use super::{Answer, Shared, work};

/// How to remove a network.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Removal {
    /// Remove what is on it first.
    #[serde(default)]
    force: bool,
}

/// Lists networks.
#[utoipa::path(get, path = "/networks", tag = "networks", responses((status = 200, body = Vec<Network>)))]
pub(super) async fn list(State(manager): Shared) -> Answer<Json<Vec<Network>>> {
    Ok(Json(manager.networks()))
}

/// Creates a network.
#[utoipa::path(post, path = "/networks", tag = "networks", request_body = NetworkRequest,
    responses((status = 201, body = Network), (status = "4XX", body = ErrorBody)))]
pub(super) async fn create(
    State(manager): Shared,
    Body(request): Body<NetworkRequest>,
) -> Answer<(StatusCode, Json<Network>)> {
    let made = work(manager, move |manager| manager.create_network(&request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Shows a network.
#[utoipa::path(get, path = "/networks/{network}", tag = "networks", params(("network" = String, Path)),
    responses((status = 200, body = Network), (status = "4XX", body = ErrorBody)))]
pub(super) async fn get(State(manager): Shared, Path(network): Path<String>) -> Answer<Json<Network>> {
    Ok(Json(manager.network(&network)?))
}

/// Shows a network as `docker network inspect` does, by its name or its id.
#[utoipa::path(get, path = "/networks/{network}/inspect", tag = "networks", params(("network" = String, Path)),
    responses((status = 200, body = Inspected), (status = "4XX", body = ErrorBody)))]
pub(super) async fn inspect(State(manager): Shared, Path(network): Path<String>) -> Answer<Json<Inspected>> {
    Ok(Json(manager.inspect(&network)?))
}

/// Changes a network.
#[utoipa::path(patch, path = "/networks/{network}", tag = "networks", params(("network" = String, Path)),
    request_body = NetworkPatch, responses((status = 200, body = Network), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(patch): Body<NetworkPatch>,
) -> Answer<Json<Network>> {
    Ok(Json(work(manager, move |manager| manager.set_network(&network, &patch)).await?))
}

/// Removes a network.
#[utoipa::path(delete, path = "/networks/{network}", tag = "networks", params(("network" = String, Path), Removal),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(
    State(manager): Shared,
    Path(network): Path<String>,
    Query(removal): Query<Removal>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.remove_network(&network, removal.force)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a network's endpoints.
#[utoipa::path(get, path = "/networks/{network}/endpoints", tag = "endpoints", params(("network" = String, Path)),
    responses((status = 200, body = Vec<Endpoint>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn endpoints(
    State(manager): Shared,
    Path(network): Path<String>,
) -> Answer<Json<Vec<Endpoint>>> {
    Ok(Json(manager.network(&network)?.endpoints))
}

/// Attaches an endpoint.
#[utoipa::path(post, path = "/networks/{network}/endpoints", tag = "endpoints", params(("network" = String, Path)),
    request_body = EndpointRequest,
    responses((status = 201, body = Endpoint), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn attach(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(request): Body<EndpointRequest>,
) -> Answer<(StatusCode, Json<Endpoint>)> {
    let made = work(manager, move |manager| manager.attach(&network, &request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Shows an endpoint.
#[utoipa::path(get, path = "/networks/{network}/endpoints/{endpoint}", tag = "endpoints",
    params(("network" = String, Path), ("endpoint" = String, Path)),
    responses((status = 200, body = Endpoint), (status = "4XX", body = ErrorBody)))]
pub(super) async fn endpoint(
    State(manager): Shared,
    Path((network, endpoint)): Path<(String, String)>,
) -> Answer<Json<Endpoint>> {
    Ok(Json(manager.endpoint(&network, &endpoint)?))
}

/// Detaches an endpoint.
#[utoipa::path(delete, path = "/networks/{network}/endpoints/{endpoint}", tag = "endpoints",
    params(("network" = String, Path), ("endpoint" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn detach(
    State(manager): Shared,
    Path((network, endpoint)): Path<(String, String)>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.detach(&network, &endpoint)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a sandbox on a network while it runs.
#[utoipa::path(post, path = "/networks/{network}/connect", tag = "endpoints", params(("network" = String, Path)),
    request_body = ConnectRequest,
    responses((status = 201, body = Endpoint), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn connect(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(request): Body<ConnectRequest>,
) -> Answer<(StatusCode, Json<Endpoint>)> {
    let made = work(manager, move |manager| manager.connect(&network, &request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes a sandbox off a network while it runs.
#[utoipa::path(post, path = "/networks/{network}/disconnect", tag = "endpoints", params(("network" = String, Path)),
    request_body = DisconnectRequest,
    responses((status = 204), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn disconnect(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(request): Body<DisconnectRequest>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.disconnect(&network, &request)).await?;
    Ok(StatusCode::NO_CONTENT)
}
