//! What comes with a request: path, query and body, each refused with a sentence.

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
        // The error names line and column.
        let parsed = serde_json::from_slice(&bytes).map_err(|error| Failure {
            status: StatusCode::BAD_REQUEST,
            sentence: format!("the request's body is not what is expected here: {error}"),
        })?;
        Ok(Body(parsed))
    }
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
            Err(rejection) => Err(Failure {
                status: StatusCode::BAD_REQUEST,
                sentence: format!("the query is not right: {}", rejection.body_text()),
            }),
        }
    }
}
