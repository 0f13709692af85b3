//! Docker's side: the network driver and the IPAM driver that the Engine calls for networks made with `-d pontoon`.
//!
//! ```text
//! docker ──▶ Engine ──HTTP over a unix socket──▶ protocol: a call, read and checked ──▶ answer ──▶ manager
//! ```
//!
//! 1. [`socket`]: where the Engine finds the driver.
//! 2. [`protocol`], [`network`], [`ports`], [`ipam`]: what the Engine says, as plain data.
//! 3. [`answer`]: each call carried out by the [manager](crate::manager), and answered. The Engine repeats a call when the answer was lost, so each one
//!    may come twice. Pontoon never calls the Engine: it holds locks while it waits for us.
//!    What takes something back is kept until it is answered ([`unanswered`]).
//! 4. [`resolver`]: the Engine's name server, brought to port 53 in its sandboxes.

mod answer;
pub mod ipam;
pub mod network;
pub mod ports;
pub mod protocol;
pub mod resolver;
pub mod socket;
mod unanswered;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::Error;
use crate::manager::Manager;
use protocol::{Call, Driver, Refusal};
use unanswered::Unanswered;

/// What the Engine says that it accepts since its version 1.10; older ones take it as well.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The drivers over a manager.
///
/// What an earlier daemon could not answer is carried out first.
pub fn router(manager: Arc<Manager>) -> Router {
    let unanswered = Unanswered::recover(&manager, &manager.info().state_dir);
    let drivers = Arc::new(Drivers { manager, unanswered });
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(protocol::MAX_BODY)).with_state(drivers)
}

/// What every call is answered with.
struct Drivers {
    manager: Arc<Manager>,
    unanswered: Unanswered,
}

async fn serve(State(drivers): State<Arc<Drivers>>, uri: Uri, body: Bytes) -> Response {
    let driver = Driver::of(uri.path());
    let done = match Call::read(uri.path(), &body) {
        Ok(call) => carry_out(&drivers, call, uri.path(), &body).await.map_err(|error| error.to_string()),
        Err(_) if body.is_empty() && drivers.unanswered.is_repetition(uri.path()) => Ok(json!({})),
        Err(Refusal::NoSuchMethod(method)) => {
            // The one status besides 200 that means something to the Engine: the method is not there, do without.
            let sentence = Refusal::NoSuchMethod(method).to_string();
            return reply(StatusCode::NOT_FOUND, &json!({ driver.error_field(): sentence }));
        }
        Err(refusal) => Err(refusal.to_string()),
    };
    let said = String::from_utf8_lossy(&body);
    let answer = done.unwrap_or_else(|sentence| {
        tracing::warn!(call = uri.path(), said = said.trim_end(), "refused to Docker: {sentence}");
        // Also an error is a success of HTTP: the Engine repeats calls with any other status.
        json!({ driver.error_field(): sentence })
    });
    tracing::trace!(target: "pontoon::plugin::record", call = uri.path(), said = said.trim_end(), %answer);
    reply(StatusCode::OK, &answer)
}

/// Carries a call out on a thread that may block.
async fn carry_out(drivers: &Drivers, call: Call, method: &str, body: &[u8]) -> Result<Value, Error> {
    let manager = Arc::clone(&drivers.manager);
    let _kept = call.takes_back().then(|| drivers.unanswered.keep(method, body));
    let done = tokio::task::spawn_blocking(move || answer::to(&manager, &call)).await;
    done.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body.to_string()).into_response()
}

#[cfg(test)]
mod tests;
