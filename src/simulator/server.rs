//! HTTP: every request is noted, refused where the service would refuse it, and struck by at most one fault.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::routing::any;

use crate::simulator::answers::{self, Query, Refusal, Route};
use crate::simulator::faults::{self, Aim, Fault};
use crate::simulator::faulty::faulty;
use crate::simulator::journal::Seen;
use crate::simulator::reply::Reply;
use crate::simulator::shared::{Shared, lock};

/// Everything is answered in one place, so that also what has no route is noted.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new().fallback(any(serve)).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    note(&shared, &parts);
    let mut response = match admitted(&shared, &parts) {
        Ok(route) => respond(&shared, route, &query(&parts.uri)).await,
        Err(reply) => reply.into_response(),
    };
    if let Ok(date) = HeaderValue::try_from(shared.date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

fn note(shared: &Shared, parts: &Parts) {
    let path = parts.uri.path_and_query();
    shared.journal.note(Seen {
        method: parts.method.to_string(),
        path: path.map_or_else(String::new, ToString::to_string),
        at: shared.clock.now(),
    });
}

/// The route of a request that may be answered.
fn admitted(shared: &Shared, parts: &Parts) -> Result<Route, Box<Reply>> {
    let refused = |refusal: Refusal| Box::new(Reply::refusal(&refusal));
    let key = parts.headers.get("x-api-key").map(HeaderValue::as_bytes);
    if !key.is_some_and(|key| lock(&shared.key).equals(key)) {
        return Err(refused(Refusal {
            status: 401,
            kind: "authentication_error",
            message: "invalid x-api-key".to_owned(),
        }));
    }
    if !parts.headers.contains_key("anthropic-version")
        || !parts.headers.contains_key(header::CONTENT_TYPE)
    {
        let message = "anthropic-version and content-type are required";
        return Err(refused(Refusal::bad(message)));
    }
    let route =
        Route::of(parts.uri.path()).ok_or_else(|| refused(Refusal::not_found("no such path")))?;
    if parts.method != Method::GET {
        return Err(refused(Refusal::not_allowed("only GET is simulated")));
    }
    let limit = lock(&shared.world).rate_limit;
    shared.admit(limit).map_err(|seconds| {
        let refusal = Refusal {
            status: 429,
            kind: "rate_limit_error",
            message: "too many requests".to_owned(),
        };
        Box::new(Reply::refusal(&refusal).with_header(header::RETRY_AFTER, seconds.to_string()))
    })?;
    Ok(route)
}

async fn respond(shared: &Arc<Shared>, route: Route, query: &Query) -> Response {
    let usual = |query: &Query| {
        let now = shared.clock.now();
        match answers::answer(&mut lock(&shared.world), route, query, now) {
            Ok(body) => Reply::json(200, body),
            Err(refusal) => Reply::refusal(&refusal),
        }
    };
    match strike(shared, route, query) {
        None => usual(query).into_response(),
        Some(fault) => faulty(shared, route, query, fault, usual).await,
    }
}

fn strike(shared: &Shared, route: Route, query: &Query) -> Option<Fault> {
    let mut faults = lock(&shared.faults);
    if faults.is_empty() {
        return None;
    }
    let asked = query.iter().find(|(name, _)| name == "workspace_id");
    let workspace = asked.map_or("", |(_, id)| id.as_str());
    let aim = Aim {
        endpoint: route.name(),
        workspace: (route == Route::Usage).then_some(workspace),
        page: answers::page_number(&mut lock(&shared.world), route, query),
    };
    faults::strike(&mut faults, aim)
}

fn query(uri: &Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| Query::new(), |query| query.0)
}
