//! What comes with a request: path, query and body, each refused with a sentence.

use std::error::Error as _;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Failure;

/// A JSON body. Its Content-Type is not asked for: `curl -d` sends another.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let sentence = if status == StatusCode::PAYLOAD_TOO_LARGE {
                format!("the request's body is larger than {} bytes", super::MAX_BODY)
            } else {
                format!("cannot read the request's body: {}", rejection.body_text())
            };
            Failure { status, sentence }
        })?;
        let refuse = |sentence| Failure { status: StatusCode::BAD_REQUEST, sentence };
        parse(&bytes).map(Body).map_err(refuse)
    }
}

/// Reads a JSON object; what is wrong with it, and where, if it cannot be read.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err("the body must be a JSON object".into());
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // These errors name line and column.
    let no_json = |error: &serde_json::Error| format!("the request's body is not JSON: {error}");
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match error.inner() {
            inner if !inner.is_data() => no_json(inner),
            inner if path == "." => format!("the request's body is not right: {inner}"),
            inner => format!("the request's body is not right at {path}: {inner}"),
        }
    })?;
    json.end().map_err(|error| no_json(&error))?;
    Ok(parsed)
}

/// Variables of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(variables)) => Ok(Path(variables)),
            Err(rejection) => Err(Failure {
                status: StatusCode::BAD_REQUEST,
                sentence: format!("the path {} is not right: {}", parts.uri.path(), rejection.body_text()),
            }),
        }
    }
}

/// Parameters after the question mark.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(parameters)) => Ok(Query(parameters)),
            Err(rejection) => {
                // What serde says, in the words of a query.
                let reason = rejection.source().map_or_else(|| rejection.body_text(), ToString::to_string);
                let reason = reason
                    .replace("unknown field", "unknown parameter")
                    .replace("provided string was", "it is");
                let query = parts.uri.query().unwrap_or_default();
                let sentence = format!("the query ?{query} is not right: {reason}");
                Err(Failure { status: StatusCode::BAD_REQUEST, sentence })
            }
        }
    }
}
