//! Read endpoints of the guide's API, and the routes of both APIs. Strict about parameters; without HTTP.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use crate::api_error::ApiError;
use crate::directory::SimulatedKey;
use crate::paging;
use crate::query::Query;
use crate::real_api::{Pagination, RealEndpoint};
use crate::wire::{self, UsageLine};
use crate::world::World;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

/// Route of either API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/v1/organizations`.
    Organization,
    /// `/v1/organizations/me`, which only the real API has.
    Me,
    /// `/v1/workspaces`.
    Workspaces,
    /// `/v1/users`.
    Users,
    /// `/v1/api_keys`.
    Keys,
    /// `/v1/usage`.
    Usage,
    /// Other route of the real API.
    Real(RealEndpoint),
    /// `/v1/users/invite`, `/v1/users/{id}`, `/v1/api_keys/{id}`: not readable.
    WriteOnly,
}

/// Known parameters, each at most once.
type Parameters<'a> = BTreeMap<&'a str, &'a str>;

/// Rows per page by default.
const DEFAULT_LIMIT: usize = 20;
/// Maximum rows per page.
const MAX_LIMIT: usize = 100;
/// Maximum range of a usage query: ten years.
const MAX_DAYS: i32 = 3660;

impl Route {
    /// Parses a path without query.
    pub fn parse(path: &str) -> Option<Route> {
        let service = RealEndpoint::parse(path).filter(|service| *service != RealEndpoint::Me);
        if let Some(service) = service {
            return Some(Route::Real(service));
        }
        let mut parts = path.strip_prefix("/v1/")?.split('/');
        match (parts.next()?, parts.next(), parts.next()) {
            ("organizations", None, None) => Some(Route::Organization),
            ("organizations", Some("me"), None) => Some(Route::Me),
            ("workspaces", None, None) => Some(Route::Workspaces),
            ("users", None, None) => Some(Route::Users),
            ("api_keys", None, None) => Some(Route::Keys),
            ("usage", None, None) => Some(Route::Usage),
            ("users" | "api_keys", Some(id), None) if !id.is_empty() => Some(Route::WriteOnly),
            _ => None,
        }
    }

    /// Returns the endpoint name that faults use.
    pub fn name(self) -> &'static str {
        match self {
            Route::Organization => "organizations",
            Route::Me => "me",
            Route::Workspaces => "workspaces",
            Route::Users => "users",
            Route::Keys => "api_keys",
            Route::Usage => "usage",
            Route::Real(service) => service.name(),
            Route::WriteOnly => "write_only",
        }
    }

    /// Returns the kind of pagination.
    pub fn pagination(self) -> Pagination {
        match self {
            Route::Workspaces | Route::Users | Route::Keys => Pagination::ById,
            Route::Real(service) => service.pagination(),
            Route::Organization | Route::Me | Route::Usage | Route::WriteOnly => Pagination::None,
        }
    }
}

/// Returns the response body of a GET request.
pub fn respond(
    world: &mut World,
    route: Route,
    query: &Query,
    now: Timestamp,
) -> Result<String, ApiError> {
    match route {
        Route::Organization => {
            parse_parameters(query, &[])?;
            Ok(organization(world, now))
        }
        Route::Workspaces | Route::Users => list(
            world,
            route,
            &parse_parameters(query, &["limit", "after_id"])?,
        ),
        Route::Keys => {
            let known = ["limit", "after_id", "workspace_id"];
            list(world, route, &parse_parameters(query, &known)?)
        }
        Route::Usage => {
            let known = ["start_date", "end_date", "granularity", "workspace_id"];
            usage(world, &parse_parameters(query, &known)?, now)
        }
        Route::Me | Route::Real(_) => Err(ApiError::not_found("no such path")),
        Route::WriteOnly => Err(ApiError::not_allowed("method not allowed")),
    }
}

/// Returns the requested page, starting at 1. For lists of the real API only the first page is known.
pub fn page_number(world: &mut World, route: Route, query: &Query) -> Option<usize> {
    if let Route::Real(service) = route {
        let is_first = query.iter().all(|(name, _)| name != "after_id");
        return match service.pagination() {
            Pagination::None => None,
            Pagination::ById => is_first.then_some(1),
            Pagination::ByCursor => Some(paging::page_number(query)),
        };
    }
    let parameters = parse_parameters(query, &["limit", "after_id", "workspace_id"]).ok()?;
    let limit = limit(&parameters)
        .ok()
        .filter(|_| route.pagination() == Pagination::ById)?;
    let start = start(world, route, &parameters).ok()?;
    Some(start / limit + 1)
}

fn parse_parameters<'a>(query: &'a Query, known: &[&str]) -> Result<Parameters<'a>, ApiError> {
    let mut parameters = Parameters::new();
    for (name, value) in query {
        if !known.contains(&name.as_str()) {
            return Err(ApiError::bad_request(format!("unknown parameter {name}")));
        }
        if parameters.insert(name, value).is_some() {
            return Err(ApiError::bad_request(format!("{name} is given twice")));
        }
    }
    Ok(parameters)
}

fn organization(world: &mut World, now: Timestamp) -> String {
    let first = TimeZone::UTC.to_datetime(now).date().first_of_month();
    let hours = HourSpan {
        start: Day::from_date(first).first_hour(),
        end: Hour::containing(now).plus(1),
    };
    let micros = world.spent(None, hours, now).pico() / 1_000_000;
    wire::organization(world, i64::try_from(micros).unwrap_or(i64::MAX))
}

fn list(world: &mut World, route: Route, parameters: &Parameters<'_>) -> Result<String, ApiError> {
    let limit = limit(parameters)?;
    let start = start(world, route, parameters)?;
    let rows: Vec<(&str, String)> = match route {
        Route::Users => {
            let rows = world.users.iter().skip(start).take(limit + 1);
            rows.map(|user| (user.id.as_str(), wire::user(user)))
                .collect()
        }
        Route::Keys => {
            let rows = keys(world, parameters).skip(start).take(limit + 1);
            rows.map(|key| (key.id.as_str(), wire::key(key, &world.users)))
                .collect()
        }
        Route::Workspaces
        | Route::Organization
        | Route::Me
        | Route::Usage
        | Route::Real(_)
        | Route::WriteOnly => {
            let rows = world.workspaces.iter().skip(start).take(limit + 1);
            rows.map(|workspace| (workspace.id.as_str(), wire::workspace(workspace)))
                .collect()
        }
    };
    // One more row than the page holds shows whether there is another page.
    let has_more = rows.len() > limit;
    Ok(wire::page(&rows[..rows.len().min(limit)], has_more))
}

fn keys<'a>(
    world: &'a World,
    parameters: &Parameters<'a>,
) -> impl Iterator<Item = &'a SimulatedKey> {
    let workspace = parameters.get("workspace_id").copied();
    let keys = world.keys.iter();
    keys.filter(move |key| workspace.is_none_or(|id| key.workspace.as_deref() == Some(id)))
}

fn limit(parameters: &Parameters<'_>) -> Result<usize, ApiError> {
    match parameters.get("limit").map(|text| text.parse()) {
        None => Ok(DEFAULT_LIMIT),
        Some(Ok(limit @ 1..=MAX_LIMIT)) => Ok(limit),
        Some(Ok(_)) => Err(ApiError::bad_request("limit must be between 1 and 100")),
        Some(Err(_)) => Err(ApiError::bad_request("limit is not a number")),
    }
}

/// Returns the index of the first row of the page.
fn start(world: &mut World, route: Route, parameters: &Parameters<'_>) -> Result<usize, ApiError> {
    let Some(after) = parameters.get("after_id").copied() else {
        return Ok(0);
    };
    let index = match route {
        Route::Users => world.users.iter().position(|user| user.id == after),
        Route::Keys => keys(world, parameters).position(|key| key.id == after),
        Route::Workspaces
        | Route::Organization
        | Route::Me
        | Route::Usage
        | Route::Real(_)
        | Route::WriteOnly => world.position_of(after),
    };
    index
        .map(|index| index + 1)
        .ok_or_else(|| ApiError::bad_request("after_id is unknown"))
}

fn usage(
    world: &mut World,
    parameters: &Parameters<'_>,
    now: Timestamp,
) -> Result<String, ApiError> {
    let (first, last) = (
        date(parameters, "start_date")?,
        date(parameters, "end_date")?,
    );
    if first > last {
        return Err(ApiError::bad_request("start_date is after end_date"));
    }
    if last.count() - first.count() >= MAX_DAYS {
        return Err(ApiError::bad_request("the range exceeds ten years"));
    }
    let workspace = parameters.get("workspace_id").copied();
    if workspace.is_some_and(|id| world.position_of(id).is_none()) {
        return Err(ApiError::not_found("workspace_id is unknown"));
    }
    let days = (first, last);
    let rows: Vec<UsageLine> = match parameters.get("granularity").copied() {
        Some("hour") => hourly(world, workspace, days, now).into_values().collect(),
        Some("day") => daily(world, workspace, days, now).into_values().collect(),
        Some("month") => monthly(daily(world, workspace, days, now)),
        Some(_) | None => {
            return Err(ApiError::bad_request(
                "granularity must be hour, day or month",
            ));
        }
    };
    let breakdown = (!world.without_breakdown).then_some(&world.breakdown);
    Ok(wire::usage(&rows, breakdown))
}

fn date(parameters: &Parameters<'_>, name: &str) -> Result<Day, ApiError> {
    let text = parameters
        .get(name)
        .ok_or_else(|| ApiError::bad_request(format!("{name} is required")))?;
    // Only YYYY-MM-DD, because the parser also accepts times and shorter forms.
    let is_date = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    match text.parse::<Date>() {
        Ok(date) if is_date => Ok(Day::from_date(date)),
        Ok(_) | Err(_) => Err(ApiError::bad_request(format!("{name} is not a date"))),
    }
}

fn hourly(
    world: &mut World,
    workspace: Option<&str>,
    (first, last): (Day, Day),
    now: Timestamp,
) -> BTreeMap<Hour, UsageLine> {
    let hours = hours_of(first, last);
    let mut rows: BTreeMap<Hour, UsageLine> = BTreeMap::new();
    if world.has_zero_rows {
        let end = hours.end.min(Hour::containing(world.as_of(now)).plus(1));
        let started = (hours.start.count()..end.count()).map(Hour::from_count);
        rows.extend(started.map(|hour| (hour, UsageLine::default())));
    }
    for (hour, models) in world.used(workspace, hours, now) {
        rows.entry(hour).or_default().models = models;
    }
    for (hour, row) in &mut rows {
        row.date = wire::hour_text(*hour);
    }
    rows
}

fn daily(
    world: &mut World,
    workspace: Option<&str>,
    (first, last): (Day, Day),
    now: Timestamp,
) -> BTreeMap<Day, UsageLine> {
    let reported_until = last.min(Day::containing(world.as_of(now)));
    let mut rows: BTreeMap<Day, UsageLine> = BTreeMap::new();
    if world.has_zero_rows {
        let started = (first.count()..=reported_until.count()).map(Day::from_count);
        rows.extend(started.map(|day| (day, UsageLine::default())));
    }
    for day in world.corrected_days(workspace, first, reported_until) {
        rows.entry(day).or_default();
    }
    for (start, models) in world.used_by_day(workspace, hours_of(first, last), now) {
        rows.entry(start.day()).or_default().models = models;
    }
    for (day, row) in &mut rows {
        row.date = day.date().to_string();
        row.correction_micros = world.day_correction(workspace, *day);
    }
    rows
}

fn hours_of(first: Day, last: Day) -> HourSpan {
    HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    }
}

fn monthly(days: BTreeMap<Day, UsageLine>) -> Vec<UsageLine> {
    let mut months: BTreeMap<Day, UsageLine> = BTreeMap::new();
    for (day, row) in days {
        let first = day.date().first_of_month();
        let month = months.entry(Day::from_date(first)).or_default();
        month.date = wire::month_text(first);
        month.correction_micros += row.correction_micros;
        for (model, used) in row.models {
            *month.models.entry(model).or_default() += used;
        }
    }
    months.into_values().collect()
}
