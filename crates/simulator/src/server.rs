//! HTTP server: logs every request, rejects what the API rejects, and applies at most one fault.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::routing::any;

use crate::api::{RequestHeaders, SimulatedApi};
use crate::api_error::ApiError;
use crate::change_request::ChangeRequest;
use crate::changes;
use crate::fault_responses::respond_with_fault;
use crate::faults::{self, FaultProbe, ServerFault};
use crate::guide_api::{self, Route};
use crate::query::Query;
use crate::real_api::{self, RealEndpoint};
use crate::request_log::LoggedRequest;
use crate::response::BufferedResponse;
use crate::state::{SimulatorState, lock};

/// Maximum bytes of a request body.
const MAX_BODY: usize = 64 * 1024;

/// Returns the router; one handler serves all paths, so that unknown ones are logged too.
pub fn routes(state: Arc<SimulatorState>) -> Router {
    Router::new().fallback(any(serve)).with_state(state)
}

async fn serve(State(state): State<Arc<SimulatorState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // An incomplete or too long body counts as empty.
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let number = record(&state, &parts, &body);
    let mut response = match admit(&state, &parts) {
        Ok(AdmittedRequest::Read(route)) => {
            respond_to_read(&state, route, &query(&parts.uri), &request_headers(&parts)).await
        }
        Ok(AdmittedRequest::Write) => respond_to_write(&state, &parts, &body).await,
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

enum AdmittedRequest {
    Read(Route),
    Write,
}

/// Logs a request; returns its number.
fn record(state: &SimulatorState, parts: &Parts, body: &[u8]) -> u64 {
    let path = parts.uri.path_and_query();
    state.log.record(LoggedRequest {
        method: parts.method.to_string(),
        path: path.map_or_else(String::new, ToString::to_string),
        at: state.clock.now(),
        body: String::from_utf8_lossy(body).into_owned(),
    });
    state.log.n_requests()
}

/// Authenticates and validates a request, and applies the rate limit.
fn admit(state: &SimulatorState, parts: &Parts) -> Result<AdmittedRequest, Box<BufferedResponse>> {
    let rejected = |error: ApiError| Box::new(BufferedResponse::error(&error));
    let api = lock(&state.world).api;
    let key = parts.headers.get("x-api-key").map(HeaderValue::as_bytes);
    let key = key.or_else(|| bearer(parts).filter(|_| api != SimulatedApi::Guide));
    if !key.is_some_and(|key| lock(&state.key).equals(key)) {
        return Err(rejected(ApiError {
            status: 401,
            kind: "authentication_error",
            message: "invalid x-api-key".to_owned(),
            is_final: false,
            code: None,
        }));
    }
    // The real API requires a content type only with a body.
    let is_typed = parts.headers.contains_key(header::CONTENT_TYPE) || api != SimulatedApi::Guide;
    if !parts.headers.contains_key("anthropic-version") || !is_typed {
        let message = "anthropic-version and content-type are required";
        return Err(rejected(ApiError::bad_request(message)));
    }
    let request = if parts.method == Method::GET {
        let route = Route::parse(parts.uri.path());
        AdmittedRequest::Read(route.ok_or_else(|| rejected(ApiError::not_found("no such path")))?)
    } else {
        AdmittedRequest::Write
    };
    let limit = lock(&state.world).rate_limit;
    state.check_rate_limit(limit).map_err(|seconds| {
        let error = ApiError {
            status: 429,
            kind: "rate_limit_error",
            message: "too many requests".to_owned(),
            is_final: false,
            code: None,
        };
        Box::new(
            BufferedResponse::error(&error).with_header(header::RETRY_AFTER, seconds.to_string()),
        )
    })?;
    Ok(request)
}

/// Applies a change, or a fault.
async fn respond_to_write(state: &Arc<SimulatorState>, parts: &Parts, body: &[u8]) -> Response {
    let Some(request) = ChangeRequest::parse(parts.method.as_str(), parts.uri.path(), body) else {
        return BufferedResponse::error(&ApiError::not_found("no such path")).into_response();
    };
    let headers = request_headers(parts);
    let respond = |_: &Query| {
        let now = state.clock.now();
        let mut world = lock(&state.world);
        world.clear_cached_reports();
        match changes::apply(&mut world, &request, &headers, now) {
            Ok(body) => BufferedResponse::json(200, body),
            Err(error) => BufferedResponse::error(&error),
        }
    };
    let probe = FaultProbe {
        endpoint: request.name(),
        workspace: None,
        page: None,
        method: &request.method,
    };
    let fault = faults::next_fault(&mut lock(&state.faults), probe);
    let query = Query::new();
    match fault {
        None => respond(&query).into_response(),
        Some(fault) => respond_with_fault(state, Route::WriteOnly, &query, fault, respond).await,
    }
}

/// Returns the key in `authorization`.
fn bearer(parts: &Parts) -> Option<&[u8]> {
    let value = parts.headers.get(header::AUTHORIZATION)?.as_bytes();
    value.strip_prefix(b"Bearer ")
}

async fn respond_to_read(
    state: &Arc<SimulatorState>,
    route: Route,
    query: &Query,
    headers: &RequestHeaders,
) -> Response {
    let respond = |query: &Query| {
        let now = state.clock.now();
        let mut world = lock(&state.world);
        let result = match (world.api, route) {
            (SimulatedApi::Real(_), Route::Me) => {
                real_api::respond(&mut world, RealEndpoint::Me, query, headers, now)
            }
            (SimulatedApi::Real(_), Route::Real(service)) => {
                real_api::respond(&mut world, service, query, headers, now)
            }
            (SimulatedApi::Real(_), _) => Err(ApiError::not_found("no such path")),
            (SimulatedApi::Guide, _) => guide_api::respond(&mut world, route, query, now),
        };
        match result {
            Ok(body) => BufferedResponse::json(200, body),
            Err(error) => BufferedResponse::error(&error),
        }
    };
    match next_fault(state, route, query) {
        None => respond(query).into_response(),
        Some(fault) => respond_with_fault(state, route, query, fault, respond).await,
    }
}

/// Parses the headers that the real API reads.
fn request_headers(parts: &Parts) -> RequestHeaders {
    let text = |name: &str| {
        let value = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let betas = text("anthropic-beta");
    let betas = betas
        .split(',')
        .map(str::trim)
        .filter(|beta| !beta.is_empty());
    let path: Vec<&str> = parts.uri.path().split('/').collect();
    RequestHeaders {
        version: text("anthropic-version"),
        betas: betas.map(str::to_owned).collect(),
        workspace: match path.as_slice() {
            [_, _, _, "workspaces", id, _] => Some((*id).to_owned()),
            _ => None,
        },
    }
}

fn next_fault(state: &SimulatorState, route: Route, query: &Query) -> Option<ServerFault> {
    let mut faults = lock(&state.faults);
    if faults.is_empty() {
        return None;
    }
    let parameter = query.iter().find(|(name, _)| name == "workspace_id");
    let workspace = parameter.map_or("", |(_, id)| id.as_str());
    let probe = FaultProbe {
        endpoint: route.name(),
        workspace: (route == Route::Usage).then_some(workspace),
        page: guide_api::page_number(&mut lock(&state.world), route, query),
        method: "GET",
    };
    faults::next_fault(&mut faults, probe)
}

fn query(uri: &Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| Query::new(), |query| query.0)
}
