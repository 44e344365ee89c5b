//! The server: routes, strictness, faults and the record of what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Router, http};
use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use crate::clock::Clock;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::secret::Secret;
use crate::simulator::faults::{Fault, FaultOn};
use crate::simulator::wire::{self, Row};
use crate::simulator::world::World;

/// One request that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
}

/// What all requests share.
pub struct Shared {
    /// The organization.
    pub world: Mutex<World>,
    /// What goes wrong.
    pub faults: Mutex<Vec<(FaultOn, Fault)>>,
    /// What was asked.
    pub seen: Mutex<Vec<Seen>>,
    clock: Clock,
    key: Secret,
}

impl Shared {
    /// Nothing asked, nothing wrong.
    pub fn new(world: World, clock: Clock, key: Secret) -> Shared {
        Shared {
            world: Mutex::new(world),
            faults: Mutex::default(),
            seen: Mutex::default(),
            clock,
            key,
        }
    }
}

/// Everything that is served.
pub fn routes(shared: Arc<Shared>) -> Router {
    Router::new().fallback(any(answer)).with_state(shared)
}

type Query = BTreeMap<String, String>;

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let uri = request.uri().clone();
    let path = uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let method = request.method().clone();
    lock(&shared.seen).push(Seen {
        method: method.to_string(),
        path,
    });
    if let Some(refusal) = refuse(&shared, &method, request.headers()) {
        return refusal;
    }
    let query = parse_query(uri.query().unwrap_or(""));
    let endpoint = match uri.path() {
        "/v1/organizations" => "organizations",
        "/v1/workspaces" => "workspaces",
        "/v1/usage" => "usage",
        _ => return error(404, "not_found_error", "no such path"),
    };
    let workspace =
        (endpoint == "usage").then(|| query.get("workspace_id").cloned().unwrap_or_default());
    let fault = strike(&shared, endpoint, workspace.as_deref());
    if let Some(response) = fault.as_ref().and_then(fail_at_once) {
        return response;
    }
    let body = match endpoint {
        "organizations" => Ok(organization(&shared)),
        "workspaces" => workspaces(&shared, &query, fault.as_ref()),
        _ => usage(&shared, &query),
    };
    match (body, fault) {
        (Ok(body), Some(Fault::CutOff)) => cut_off(&body),
        (Ok(body), _) => json(200, body),
        (Err(message), _) => error(400, "invalid_request_error", &message),
    }
}

fn refuse(shared: &Shared, method: &http::Method, headers: &HeaderMap) -> Option<Response> {
    let is_key = headers
        .get("x-api-key")
        .is_some_and(|key| shared.key.equals(key.as_bytes()));
    if !is_key {
        return Some(error(401, "authentication_error", "invalid x-api-key"));
    }
    if !headers.contains_key("anthropic-version") || !headers.contains_key(header::CONTENT_TYPE) {
        return Some(error(
            400,
            "invalid_request_error",
            "anthropic-version and content-type are required",
        ));
    }
    (method != http::Method::GET)
        .then(|| error(405, "invalid_request_error", "only GET is simulated"))
}

/// The fault that strikes this request, if any; counts it.
fn strike(shared: &Shared, endpoint: &str, workspace: Option<&str>) -> Option<Fault> {
    let mut faults = lock(&shared.faults);
    let place = faults.iter().position(|(on, _)| {
        on.endpoint.is_none_or(|wanted| wanted == endpoint)
            && on
                .workspace
                .as_deref()
                .is_none_or(|wanted| workspace == Some(wanted))
            && on.times != Some(0)
    })?;
    let (on, fault) = &mut faults[place];
    on.times = on.times.map(|times| times - 1);
    Some(fault.clone())
}

fn fail_at_once(fault: &Fault) -> Option<Response> {
    match fault {
        Fault::Status(status, body, retry_after) => {
            let mut response = json(*status, body.clone());
            if let Some(value) = retry_after.as_ref().and_then(|value| value.parse().ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            Some(response)
        }
        Fault::Body(body) => Some(json(200, body.clone())),
        Fault::Endless => {
            let chunk = Bytes::from(vec![b' '; 64 * 1024]);
            let endless =
                futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            Some(Response::new(Body::from_stream(endless)))
        }
        Fault::Stall => {
            let nothing = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            Some(Response::new(Body::from_stream(nothing)))
        }
        Fault::Redirect => Some(
            (
                StatusCode::FOUND,
                [(header::LOCATION, "http://127.0.0.1:9/elsewhere")],
            )
                .into_response(),
        ),
        Fault::CutOff | Fault::EndlessPages | Fault::EmptyPage | Fault::SamePage => None,
    }
}

/// Half of the body under the length of the whole.
fn cut_off(body: &str) -> Response {
    let half = Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut off");
    let chunks = futures_util::stream::iter([Ok(half), Err(broken)]);
    Response::new(Body::from_stream(chunks))
}

fn organization(shared: &Shared) -> String {
    let now = shared.clock.now();
    let mut world = lock(&shared.world);
    let first = TimeZone::UTC.to_datetime(now).date().first_of_month();
    let hours = HourSpan {
        start: Day::from_date(first).first_hour(),
        end: Hour::of(now).plus(1),
    };
    let micros = world.spent(None, hours, now).pico() / 1_000_000;
    wire::organization(&world, i64::try_from(micros).unwrap_or(i64::MAX))
}

fn workspaces(shared: &Shared, query: &Query, fault: Option<&Fault>) -> Result<String, String> {
    known(query, &["limit", "after_id"])?;
    let limit: usize = query
        .get("limit")
        .map_or(Ok(20), |text| text.parse())
        .map_err(|_| "limit is no number")?;
    if !(1..=100).contains(&limit) {
        return Err("limit must be within 1 and 100".to_owned());
    }
    let world = lock(&shared.world);
    let start = match query.get("after_id") {
        Some(_) if fault == Some(&Fault::SamePage) => 0,
        Some(_) if fault == Some(&Fault::EndlessPages) => return Ok(endless_page(query)),
        Some(id) => {
            let place = world
                .workspaces
                .iter()
                .position(|workspace| workspace.id == *id);
            place.ok_or("after_id is unknown")? + 1
        }
        None => 0,
    };
    let rows: Vec<_> = world.workspaces.iter().skip(start).take(limit).collect();
    let has_more = start + rows.len() < world.workspaces.len();
    Ok(match fault {
        Some(Fault::EmptyPage) => wire::workspaces(&[], true),
        Some(Fault::EndlessPages | Fault::SamePage) => wire::workspaces(&rows, true),
        Some(_) | None => wire::workspaces(&rows, has_more),
    })
}

/// A page with one new row, after any id.
fn endless_page(query: &Query) -> String {
    let after = query.get("after_id").map_or("", String::as_str);
    let number = after
        .strip_prefix("workspace_endless_")
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0);
    let mut world = World::empty();
    world.add_workspace(&format!("workspace_endless_{}", number + 1), "Endless");
    wire::workspaces(&world.workspaces.iter().collect::<Vec<_>>(), true)
}

fn usage(shared: &Shared, query: &Query) -> Result<String, String> {
    known(
        query,
        &["start_date", "end_date", "granularity", "workspace_id"],
    )?;
    let date = |name: &str| {
        let text = query
            .get(name)
            .ok_or_else(|| format!("{name} is required"))?;
        text.parse::<Date>()
            .map_err(|_| format!("{name} is not a date"))
    };
    let (first, last) = (
        Day::from_date(date("start_date")?),
        Day::from_date(date("end_date")?),
    );
    if first > last {
        return Err("start_date is after end_date".to_owned());
    }
    let now = shared.clock.now();
    let mut world = lock(&shared.world);
    let workspace = query.get("workspace_id").map(String::as_str);
    if workspace.is_some_and(|id| !world.workspaces.iter().any(|workspace| workspace.id == id)) {
        return Err("workspace_id is unknown".to_owned());
    }
    let rows = match query.get("granularity").map(String::as_str) {
        Some("hour") => hourly(&mut world, workspace, first, last, now),
        Some("day") => daily(&mut world, workspace, first, last, now),
        Some("month") => monthly(&daily(&mut world, workspace, first, last, now)),
        _ => return Err("granularity must be hour, day or month".to_owned()),
    };
    Ok(wire::usage(&rows, !world.without_breakdown))
}

fn hourly(
    world: &mut World,
    workspace: Option<&str>,
    first: Day,
    last: Day,
    now: Timestamp,
) -> Vec<Row> {
    let hours = HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    };
    let used = world.used(workspace, hours, now);
    used.into_iter()
        .map(|(hour, models)| Row {
            date: wire::hour_text(hour),
            models,
            extra_micros: 0,
        })
        .collect()
}

fn daily(
    world: &mut World,
    workspace: Option<&str>,
    first: Day,
    last: Day,
    now: Timestamp,
) -> Vec<Row> {
    let hours = HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    };
    let mut days: BTreeMap<Day, Row> = BTreeMap::new();
    for (hour, models) in world.used(workspace, hours, now) {
        let day = hour.day();
        let row = days.entry(day).or_insert_with(|| Row {
            date: day.date().to_string(),
            models: BTreeMap::new(),
            extra_micros: world.day_extra(workspace, day),
        });
        for (model, used) in models {
            *row.models.entry(model).or_default() += used;
        }
    }
    days.into_values().collect()
}

fn monthly(days: &[Row]) -> Vec<Row> {
    let mut months: BTreeMap<String, Row> = BTreeMap::new();
    for day in days {
        let date: Date = day.date.parse().expect("written by `daily`");
        let name = wire::month_text(date);
        let empty = Row {
            date: name.clone(),
            models: BTreeMap::new(),
            extra_micros: 0,
        };
        let month = months.entry(name).or_insert(empty);
        month.extra_micros += day.extra_micros;
        for (model, used) in &day.models {
            *month.models.entry(model.clone()).or_default() += *used;
        }
    }
    months.into_values().collect()
}

fn known(query: &Query, names: &[&str]) -> Result<(), String> {
    match query.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown parameter {name}")),
        None => Ok(()),
    }
}

fn parse_query(text: &str) -> Query {
    let uri = format!("http://simulated/?{text}");
    let Ok(uri) = uri.parse::<http::Uri>() else {
        return Query::new();
    };
    axum::extract::Query::<Query>::try_from_uri(&uri).map_or_else(|_| Query::new(), |query| query.0)
}

fn error(status: u16, kind: &str, message: &str) -> Response {
    json(status, wire::error(kind, message))
}

fn json(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
