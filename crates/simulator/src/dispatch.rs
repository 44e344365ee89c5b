//! Passes a request to its endpoint, or to a fault. A request that needs a feature which is not compiled in has an unknown path.

use std::sync::Arc;

use axum::http::Method;
use axum::response::Response;

use crate::api::SimulatedApi;
use crate::api_error::ApiError;
#[cfg(feature = "changes")]
use crate::changes;
#[cfg(feature = "faults")]
use crate::faults::{ServerFault, next_fault, responses::respond_with_fault};
use crate::guide::{self, GuideEndpoint};
#[cfg(feature = "platform")]
use crate::platform::{self, PlatformEndpoint, headers::RequestHeaders};
#[cfg(feature = "faults")]
use crate::request::Pagination;
use crate::request::{self, Query, SimulatorRequest};
use crate::response::BufferedResponse;
use crate::state::SimulatorState;
use spendwatch_base::lock;

/// Route of a request in either API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Guide(GuideEndpoint),
    #[cfg(feature = "platform")]
    Platform(PlatformEndpoint),
    /// Any method other than GET.
    #[cfg(feature = "changes")]
    Change,
}

impl Route {
    /// Parses a path without query; returns `None` if it is unknown in both APIs.
    pub fn parse(method: &Method, path: &str) -> Option<Route> {
        if *method != Method::GET {
            #[cfg(feature = "changes")]
            return path.starts_with("/v1/").then_some(Route::Change);
            #[cfg(not(feature = "changes"))]
            return None;
        }
        #[cfg(feature = "platform")]
        if let Some(endpoint) = PlatformEndpoint::parse(path) {
            return Some(Route::Platform(endpoint));
        }
        GuideEndpoint::parse(path).map(Route::Guide)
    }
}

/// Responds, with at most one fault.
pub async fn respond(
    state: &Arc<SimulatorState>,
    route: Route,
    request: &SimulatorRequest,
) -> Response {
    let query = request::query(request.uri());
    let respond = |query: &Query| {
        let now = state.clock.now();
        let world = &mut *lock(&state.world);
        let result = match route {
            Route::Guide(_) if world.api != SimulatedApi::Guide => {
                Err(ApiError::not_found("no such path"))
            }
            Route::Guide(endpoint) => guide::respond(world, endpoint, query, now),
            #[cfg(feature = "platform")]
            Route::Platform(endpoint) => {
                let headers = RequestHeaders::parse(request);
                platform::respond(world, endpoint, query, &headers, now)
            }
            #[cfg(feature = "changes")]
            Route::Change => changes::apply(world, request, now),
        };
        match result {
            Ok(body) => BufferedResponse::json(200, body),
            Err(error) => BufferedResponse::error(&error),
        }
    };
    #[cfg(feature = "faults")]
    if let Some((fault, pagination)) = fault(state, route, request, &query) {
        let gate_and_clock = (&state.hooks.gate, &state.clock);
        return respond_with_fault(gate_and_clock, pagination, &query, fault, respond).await;
    }
    respond(&query).into_response()
}

/// Returns the fault that affects a request, and the request's kind of pagination.
#[cfg(feature = "faults")]
fn fault(
    state: &SimulatorState,
    route: Route,
    request: &SimulatorRequest,
    query: &Query,
) -> Option<(ServerFault, Pagination)> {
    let mut faults = lock(&state.hooks.faults);
    if faults.is_empty() {
        return None;
    }
    let properties = match route {
        Route::Guide(endpoint) => endpoint.properties(&lock(&state.world), request, query),
        #[cfg(feature = "platform")]
        Route::Platform(endpoint) => endpoint.properties(request, query),
        #[cfg(feature = "changes")]
        Route::Change => changes::properties(request),
    };
    let fault = next_fault(&mut faults, properties)?;
    Some((fault, properties.pagination))
}
