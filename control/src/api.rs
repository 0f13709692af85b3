//! The HTTP+JSON API: resources ([`types`]) and how they are served.
//!
//! Every answer is JSON, errors included ([`types::ErrorBody`]). What changes something runs on a blocking thread,
//! one change at a time; what only reads does not wait for it.

mod dns;
mod edge;
mod fdb;
mod input;
mod nat;
mod networks;
mod openapi;
mod ports;
mod sandboxes;
mod system;
pub mod types;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};

use crate::error::Error;
use crate::manager::Manager;
use types::ErrorBody;

pub use openapi::document;

/// Largest request body in bytes: a declaration of a few thousand endpoints.
const MAX_BODY: usize = 4 << 20;

/// What handlers share.
type Shared = axum::extract::State<Arc<Manager>>;
/// What handlers answer.
type Answer<T> = Result<T, Failure>;

/// The API over a manager.
pub fn router(manager: Arc<Manager>) -> Router {
    Router::new()
        .route("/networks", get(networks::list).post(networks::create))
        .route("/networks/{network}", get(networks::get).patch(networks::set).delete(networks::remove))
        .route("/networks/{network}/inspect", get(networks::inspect))
        .route("/networks/{network}/endpoints", get(networks::endpoints).post(networks::attach))
        .route("/networks/{network}/endpoints/{endpoint}", get(networks::endpoint).delete(networks::detach))
        .route("/networks/{network}/connect", post(networks::connect))
        .route("/networks/{network}/disconnect", post(networks::disconnect))
        .route("/networks/{network}/interfaces", get(ports::interfaces).post(ports::add_interface))
        .route("/networks/{network}/interfaces/{interface}", delete(ports::remove_interface))
        .route("/sandboxes", post(sandboxes::add))
        .route("/sandboxes/{id}", delete(sandboxes::remove))
        .route("/ports", get(ports::list))
        .route("/ports/{network}/{port}", patch(ports::set).get(ports::get))
        .route("/fdb", get(fdb::list).post(fdb::add))
        .route("/fdb/flush", post(fdb::flush))
        .route("/fdb/{network}", delete(fdb::flush_network))
        .route("/fdb/{network}/{mac}", delete(fdb::remove))
        .route("/publications", get(edge::publications))
        .route("/networks/{network}/publications", post(edge::publish))
        .route("/networks/{network}/publications/{id}", delete(edge::unpublish))
        .route("/networks/{network}/rules", get(edge::rules).post(edge::add_rule).delete(edge::flush_rules))
        .route("/networks/{network}/rules/{number}", delete(edge::remove_rule))
        .route("/links", get(edge::links))
        .route("/networks/{network}/links", post(edge::add_link).delete(edge::remove_link))
        .route("/nat/sessions", get(nat::sessions).delete(nat::flush))
        .route("/nat/stats", get(nat::stats))
        .route("/uplinks", get(nat::uplinks))
        .route("/trace", post(nat::trace))
        .route("/dns", get(dns::stats))
        .route("/dns/names", get(dns::names))
        .route("/dns/query", get(dns::query))
        .route("/stats", get(system::stats))
        .route("/events", get(system::events))
        .route("/info", get(system::info))
        .route("/apply", put(system::up).delete(system::down))
        .route("/openapi.json", get(system::openapi))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(manager)
}

/// An error as an answer.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    sentence: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.sentence })).into_response()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(%error, "a request failed");
        }
        Failure { status, sentence: error.to_string() }
    }
}

/// Does blocking work for a request.
async fn work<T: Send + 'static>(
    manager: Arc<Manager>,
    work: impl FnOnce(&Manager) -> Result<T, Error> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(move || work(&manager)).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Error::Internal(error.to_string()).into()),
    }
}

async fn no_such_path(uri: Uri) -> Failure {
    let sentence = format!("there is nothing at {}; /openapi.json describes what there is", uri.path());
    Failure { status: StatusCode::NOT_FOUND, sentence }
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let sentence = format!("{} does not take {method}; /openapi.json says what it takes", uri.path());
    Failure { status: StatusCode::METHOD_NOT_ALLOWED, sentence }
}

#[cfg(test)]
mod tests;
