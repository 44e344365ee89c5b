//! HTTP server: rejects requests without a key, with missing headers, or above the rate limit.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::any;

use crate::api::SimulatedApi;
use crate::api_error::ApiError;
use crate::dispatch::{self, Route};
use crate::request::SimulatorRequest;
use crate::response::BufferedResponse;
use crate::state::SimulatorState;
use spendwatch_base::lock;

/// Maximum bytes of a request body.
const MAX_BODY: usize = 64 * 1024;

/// Returns the router; one handler serves all paths, so that unknown ones need a key too.
pub fn routes(state: Arc<SimulatorState>) -> Router {
    Router::new().fallback(any(serve)).with_state(state)
}

async fn serve(State(state): State<Arc<SimulatorState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // An incomplete or too long body counts as empty.
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let request = SimulatorRequest::from_parts(parts, body);
    let number = state.next_number();
    #[cfg(feature = "faults")]
    state.hooks.log.record(&request, state.clock.now());
    let mut response = match admit(&state, &request) {
        Ok(route) => dispatch::respond(&state, route, &request).await,
        Err(response) => response.into_response(),
    };
    if let Ok(id) = HeaderValue::try_from(format!("req_{number:08}")) {
        response.headers_mut().insert("request-id", id);
    }
    if let Ok(date) = HeaderValue::try_from(state.date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Authenticates and validates a request, and applies the rate limit.
fn admit(
    state: &SimulatorState,
    request: &SimulatorRequest,
) -> Result<Route, Box<BufferedResponse>> {
    let rejected = |error: ApiError| Box::new(BufferedResponse::error(&error));
    let api = lock(&state.world).api;
    let key = request
        .headers()
        .get("x-api-key")
        .map(HeaderValue::as_bytes);
    let key = key.or_else(|| bearer(request).filter(|_| api != SimulatedApi::Guide));
    if !key.is_some_and(|key| lock(&state.key).equals(key)) {
        let kind = "authentication_error";
        return Err(rejected(ApiError::new(401, kind, "invalid x-api-key")));
    }
    // The real API requires a content type only with a body.
    let is_typed =
        request.headers().contains_key(header::CONTENT_TYPE) || api != SimulatedApi::Guide;
    if !request.headers().contains_key("anthropic-version") || !is_typed {
        let message = "anthropic-version and content-type are required";
        return Err(rejected(ApiError::bad_request(message)));
    }
    let route = Route::parse(request.method(), request.uri().path())
        .ok_or_else(|| rejected(ApiError::not_found("no such path")))?;
    let limit = lock(&state.world).rate_limit;
    state.check_rate_limit(limit).map_err(|seconds| {
        let error = ApiError::new(429, "rate_limit_error", "too many requests");
        Box::new(
            BufferedResponse::error(&error).with_header(header::RETRY_AFTER, seconds.to_string()),
        )
    })?;
    Ok(route)
}

/// Returns the key in `authorization`.
fn bearer(request: &SimulatorRequest) -> Option<&[u8]> {
    let value = request.headers().get(header::AUTHORIZATION)?.as_bytes();
    value.strip_prefix(b"Bearer ")
}
