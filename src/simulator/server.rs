//! HTTP: every request is noted, refused where the service would refuse it, and struck by at most one fault.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::routing::any;

use crate::simulator::answers::{self, Route};
use crate::simulator::faults::{self, Aim, Fault};
use crate::simulator::faulty::faulty;
use crate::simulator::journal::Seen;
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::reply::Reply;
use crate::simulator::service::{self, Service};
use crate::simulator::shared::{Shared, lock};
use crate::simulator::speech::{Head, Speaks};

/// Everything is answered in one place, so that also what has no route is noted.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new().fallback(any(serve)).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    note(&shared, &parts);
    let mut response = match admitted(&shared, &parts) {
        Ok(route) => respond(&shared, route, &query(&parts.uri), &head(&parts)).await,
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
    let speaks = lock(&shared.world).speaks;
    let key = parts.headers.get("x-api-key").map(HeaderValue::as_bytes);
    let key = key.or_else(|| bearer(parts).filter(|_| speaks != Speaks::Guide));
    if !key.is_some_and(|key| lock(&shared.key).equals(key)) {
        return Err(refused(Refusal {
            status: 401,
            kind: "authentication_error",
            message: "invalid x-api-key".to_owned(),
            is_final: false,
        }));
    }
    // The real service wants the type of a body where there is one.
    let is_typed = parts.headers.contains_key(header::CONTENT_TYPE) || speaks != Speaks::Guide;
    if !parts.headers.contains_key("anthropic-version") || !is_typed {
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
            is_final: false,
        };
        Box::new(Reply::refusal(&refusal).with_header(header::RETRY_AFTER, seconds.to_string()))
    })?;
    Ok(route)
}

/// The key in `authorization`.
fn bearer(parts: &Parts) -> Option<&[u8]> {
    let value = parts.headers.get(header::AUTHORIZATION)?.as_bytes();
    value.strip_prefix(b"Bearer ")
}

async fn respond(shared: &Arc<Shared>, route: Route, query: &Query, head: &Head) -> Response {
    let usual = |query: &Query| {
        let now = shared.clock.now();
        let mut world = lock(&shared.world);
        let answer = match (world.speaks, route) {
            (Speaks::Real(_), Route::Me) => {
                service::answer(&mut world, Service::Me, query, head, now)
            }
            (Speaks::Real(_), Route::Service(service)) => {
                service::answer(&mut world, service, query, head, now)
            }
            (Speaks::Real(_), _) => Err(Refusal::not_found("no such path")),
            (Speaks::Guide, _) => answers::answer(&mut world, route, query, now),
        };
        match answer {
            Ok(body) => Reply::json(200, body),
            Err(refusal) => Reply::refusal(&refusal),
        }
    };
    match strike(shared, route, query) {
        None => usual(query).into_response(),
        Some(fault) => faulty(shared, route, query, fault, usual).await,
    }
}

/// What a request says beside its query.
fn head(parts: &Parts) -> Head {
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
    Head {
        version: text("anthropic-version"),
        betas: betas.map(str::to_owned).collect(),
        workspace: match path.as_slice() {
            [_, _, _, "workspaces", id, _] => Some((*id).to_owned()),
            _ => None,
        },
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
