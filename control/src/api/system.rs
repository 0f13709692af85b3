//! The daemon as a whole: counters, events, declared state.

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::input::{Body, Query};
use super::types::{Applied, Document, ErrorBody, Event, Info, Stats};
use super::{Answer, Shared, work};
use crate::error::Error;
use crate::manager::Followed;

/// How events are answered.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Following {
    /// Answer with one JSON object a line, and go on with those to come until the client leaves.
    #[serde(default)]
    follow: bool,
}

/// Shows all counters.
#[utoipa::path(get, path = "/stats", tag = "daemon", responses((status = 200, body = Stats)))]
pub(super) async fn stats(State(manager): Shared) -> Answer<Json<Stats>> {
    Ok(Json(work(manager, |manager| Ok(manager.stats())).await?))
}

/// Lists the last events, oldest first.
#[utoipa::path(get, path = "/events", tag = "daemon", params(Following),
    responses((status = 200, body = Vec<Event>), (status = "4XX", body = ErrorBody)))]
pub(super) async fn events(State(manager): Shared, Query(query): Query<Following>) -> Answer<Response> {
    if !query.follow {
        return Ok(Json(manager.events()).into_response());
    }
    let Followed { past, coming } = manager.follow_events();
    let coming = stream::unfold(coming, |mut coming| async {
        loop {
            match coming.recv().await {
                Ok(event) => return Some((event, coming)),
                // Missed some: goes on with the oldest that is left.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let lines = stream::iter(past).chain(coming).map(|event| {
        serde_json::to_vec(&event).map(|mut line| {
            line.push(b'\n');
            line
        })
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], HttpBody::from_stream(lines)).into_response())
}

/// Shows the daemon's paths and version.
#[utoipa::path(get, path = "/info", tag = "daemon", responses((status = 200, body = Info)))]
pub(super) async fn info(State(manager): Shared) -> Json<Info> {
    Json(manager.info())
}

/// Makes what is declared so; a second time changes nothing.
#[utoipa::path(put, path = "/apply", tag = "daemon", request_body = Document,
    responses((status = 200, body = Applied), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn up(State(manager): Shared, Body(document): Body<Document>) -> Answer<Json<Applied>> {
    Ok(Json(work(manager, move |manager| manager.up(&document)).await?))
}

/// Removes what is declared.
#[utoipa::path(delete, path = "/apply", tag = "daemon", request_body = Document,
    responses((status = 200, body = Applied), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)))]
pub(super) async fn down(State(manager): Shared, Body(document): Body<Document>) -> Answer<Json<Applied>> {
    Ok(Json(work(manager, move |manager| manager.down(&document)).await?))
}

/// Describes the API.
pub(super) async fn openapi() -> Answer<Response> {
    let text = super::document().to_json().map_err(|error| Error::Internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
