//! Existing interfaces on networks, and the ports of everything.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::input::{Body, Path};
use super::types::{ErrorBody, Interface, InterfaceRequest, Port, PortPatch};
use super::{Answer, Shared, work};

/// Lists a network's existing interfaces.
#[utoipa::path(get, path = "/networks/{network}/interfaces", tag = "interfaces", params(("network" = String, Path)),
    responses((status = 200, body = Vec<Interface>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn interfaces(
    State(manager): Shared,
    Path(network): Path<String>,
) -> Answer<Json<Vec<Interface>>> {
    Ok(Json(manager.network(&network)?.interfaces))
}

/// Puts an existing interface on a network.
#[utoipa::path(post, path = "/networks/{network}/interfaces", tag = "interfaces", params(("network" = String, Path)),
    request_body = InterfaceRequest,
    responses((status = 201, body = Interface), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn add_interface(
    State(manager): Shared,
    Path(network): Path<String>,
    Body(request): Body<InterfaceRequest>,
) -> Answer<(StatusCode, Json<Interface>)> {
    let made = work(manager, move |manager| manager.add_interface(&network, &request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes an existing interface from a network.
#[utoipa::path(delete, path = "/networks/{network}/interfaces/{interface}", tag = "interfaces",
    params(("network" = String, Path), ("interface" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn remove_interface(
    State(manager): Shared,
    Path((network, interface)): Path<(String, String)>,
) -> Answer<StatusCode> {
    work(manager, move |manager| manager.remove_interface(&network, &interface)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the ports of all networks.
#[utoipa::path(get, path = "/ports", tag = "ports", responses((status = 200, body = Vec<Port>)))]
pub(super) async fn list(State(manager): Shared) -> Answer<Json<Vec<Port>>> {
    Ok(Json(work(manager, |manager| Ok(manager.ports())).await?))
}

/// Shows a port.
#[utoipa::path(get, path = "/ports/{network}/{port}", tag = "ports",
    params(("network" = String, Path), ("port" = String, Path)),
    responses((status = 200, body = Port), (status = "4XX", body = ErrorBody)))]
pub(super) async fn get(
    State(manager): Shared,
    Path((network, port)): Path<(String, String)>,
) -> Answer<Json<Port>> {
    Ok(Json(work(manager, move |manager| manager.port(&network, &port)).await?))
}

/// Changes what a port may do.
#[utoipa::path(patch, path = "/ports/{network}/{port}", tag = "ports",
    params(("network" = String, Path), ("port" = String, Path)), request_body = PortPatch,
    responses((status = 200, body = Port), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set(
    State(manager): Shared,
    Path((network, port)): Path<(String, String)>,
    Body(patch): Body<PortPatch>,
) -> Answer<Json<Port>> {
    Ok(Json(work(manager, move |manager| manager.set_port(&network, &port, &patch)).await?))
}
