//! HTTP: every request is noted, refused where the service would refuse it, and struck by at most one fault.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use axum::routing::any;

use crate::simulator::answers::{self, Route};
use crate::simulator::changes;
use crate::simulator::faults::{self, Aim, Fault};
use crate::simulator::faulty::faulty;
use crate::simulator::journal::Seen;
use crate::simulator::orders::Order;
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::reply::Reply;
use crate::simulator::service::{self, Service};
use crate::simulator::shared::{Shared, lock};
use crate::simulator::speech::{Head, Speaks};

/// No change is longer.
const MAX_BODY: usize = 64 * 1024;

/// Everything is answered in one place, so that also what has no route is noted.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new().fallback(any(serve)).with_state(shared)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // A body that breaks off, or is too long, is none.
    let body = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let number = note(&shared, &parts, &body);
    let mut response = match admitted(&shared, &parts) {
        Ok(Admitted::Question(route)) => {
            respond(&shared, route, &query(&parts.uri), &head(&parts)).await
        }
        Ok(Admitted::Order) => carry_out(&shared, &parts, &body).await,
        Err(reply) => reply.into_response(),
    };
    if let Ok(id) = HeaderValue::try_from(format!("req_{number:08}")) {
        response.headers_mut().insert("request-id", id);
    }
    if let Ok(date) = HeaderValue::try_from(shared.date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// What may be answered.
enum Admitted {
    Question(Route),
    Order,
}

/// Notes a request; its number.
fn note(shared: &Shared, parts: &Parts, body: &[u8]) -> u64 {
    let path = parts.uri.path_and_query();
    shared.journal.note(Seen {
        method: parts.method.to_string(),
        path: path.map_or_else(String::new, ToString::to_string),
        at: shared.clock.now(),
        body: String::from_utf8_lossy(body).into_owned(),
    });
    shared.journal.n_seen()
}

/// What is asked for, where it may be answered.
fn admitted(shared: &Shared, parts: &Parts) -> Result<Admitted, Box<Reply>> {
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
            code: None,
        }));
    }
    // The real service wants the type of a body where there is one.
    let is_typed = parts.headers.contains_key(header::CONTENT_TYPE) || speaks != Speaks::Guide;
    if !parts.headers.contains_key("anthropic-version") || !is_typed {
        let message = "anthropic-version and content-type are required";
        return Err(refused(Refusal::bad(message)));
    }
    let admitted = if parts.method == Method::GET {
        let route = Route::of(parts.uri.path());
        Admitted::Question(route.ok_or_else(|| refused(Refusal::not_found("no such path")))?)
    } else {
        Admitted::Order
    };
    let limit = lock(&shared.world).rate_limit;
    shared.admit(limit).map_err(|seconds| {
        let refusal = Refusal {
            status: 429,
            kind: "rate_limit_error",
            message: "too many requests".to_owned(),
            is_final: false,
            code: None,
        };
        Box::new(Reply::refusal(&refusal).with_header(header::RETRY_AFTER, seconds.to_string()))
    })?;
    Ok(admitted)
}

/// Carries out a change, or fails as it is told to.
async fn carry_out(shared: &Arc<Shared>, parts: &Parts, body: &[u8]) -> Response {
    let Some(order) = Order::of(parts.method.as_str(), parts.uri.path(), body) else {
        return Reply::refusal(&Refusal::not_found("no such path")).into_response();
    };
    let head = head(parts);
    let usual = |_: &Query| {
        let now = shared.clock.now();
        let mut world = lock(&shared.world);
        world.forget_answers();
        match changes::answer(&mut world, &order, &head, now) {
            Ok(body) => Reply::json(200, body),
            Err(refusal) => Reply::refusal(&refusal),
        }
    };
    let aim = Aim {
        endpoint: order.name(),
        workspace: None,
        page: None,
        method: &order.method,
    };
    let fault = faults::strike(&mut lock(&shared.faults), aim);
    let query = Query::new();
    match fault {
        None => usual(&query).into_response(),
        Some(fault) => faulty(shared, Route::WriteOnly, &query, fault, usual).await,
    }
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
        method: "GET",
    };
    faults::strike(&mut faults, aim)
}

fn query(uri: &Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| Query::new(), |query| query.0)
}
