//! Sandboxes as wholes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::input::{Body, Path};
use super::types::{ErrorBody, Sandbox, SandboxRequest};
use super::{Answer, Shared, work};
use crate::id::Id;

/// Puts a new sandbox on its networks, with what it publishes and its links: all of it or nothing.
#[utoipa::path(post, path = "/sandboxes", tag = "endpoints", request_body = SandboxRequest,
    responses((status = 201, body = Sandbox), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn add(
    State(manager): Shared,
    Body(request): Body<SandboxRequest>,
) -> Answer<(StatusCode, Json<Sandbox>)> {
    let made = work(manager, move |manager| manager.add_sandbox(&request)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes a sandbox off all of its networks.
#[utoipa::path(delete, path = "/sandboxes/{id}", tag = "endpoints", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn remove(State(manager): Shared, Path(id): Path<Id>) -> Answer<StatusCode> {
    work(manager, move |manager| manager.remove_sandbox(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
