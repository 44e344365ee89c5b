//! From a question to the body of its answer: strict about every parameter, and without HTTP.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::paging;
use crate::simulator::people::Key;
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::service::{Pages, Service};
use crate::simulator::wire::{self, Row};
use crate::simulator::world::World;

/// A path that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/v1/organizations`.
    Organization,
    /// `/v1/organizations/me`: of another dialect, answered 404.
    Me,
    /// `/v1/workspaces`.
    Workspaces,
    /// `/v1/users`.
    Users,
    /// `/v1/api_keys`.
    Keys,
    /// `/v1/usage`.
    Usage,
    /// A path of the real service.
    Service(Service),
    /// `/v1/users/invite`, `/v1/users/{id}`, `/v1/api_keys/{id}`: nothing to read there.
    WriteOnly,
}

/// Each at most once, and all of them known.
type Parameters<'a> = BTreeMap<&'a str, &'a str>;

/// Rows of a page when none are asked for.
const DEFAULT_LIMIT: usize = 20;
/// Most rows of a page.
const MAX_LIMIT: usize = 100;
/// Longest span of a usage question: ten years.
const MAX_DAYS: i32 = 3660;

impl Route {
    /// Of a path without its query.
    pub fn of(path: &str) -> Option<Route> {
        let service = Service::of(path).filter(|service| *service != Service::Me);
        if let Some(service) = service {
            return Some(Route::Service(service));
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

    /// As faults name it.
    pub fn name(self) -> &'static str {
        match self {
            Route::Organization => "organizations",
            Route::Me => "me",
            Route::Workspaces => "workspaces",
            Route::Users => "users",
            Route::Keys => "api_keys",
            Route::Usage => "usage",
            Route::Service(service) => service.name(),
            Route::WriteOnly => "write_only",
        }
    }

    /// How its answer comes in pages.
    pub fn pages(self) -> Pages {
        match self {
            Route::Workspaces | Route::Users | Route::Keys => Pages::ById,
            Route::Service(service) => service.pages(),
            Route::Organization | Route::Me | Route::Usage | Route::WriteOnly => Pages::None,
        }
    }
}

/// The answer to a GET at a moment.
pub fn answer(
    world: &mut World,
    route: Route,
    query: &Query,
    now: Timestamp,
) -> Result<String, Refusal> {
    match route {
        Route::Organization => {
            parameters(query, &[])?;
            Ok(organization(world, now))
        }
        Route::Workspaces | Route::Users => {
            list(world, route, &parameters(query, &["limit", "after_id"])?)
        }
        Route::Keys => {
            let known = ["limit", "after_id", "workspace_id"];
            list(world, route, &parameters(query, &known)?)
        }
        Route::Usage => {
            let known = ["start_date", "end_date", "granularity", "workspace_id"];
            usage(world, &parameters(query, &known)?, now)
        }
        Route::Me | Route::Service(_) => Err(Refusal::not_found("no such path")),
        Route::WriteOnly => Err(Refusal::not_allowed("there is nothing to read here")),
    }
}

/// Which page is asked for; the first is 1. Of the real service's lists only the first one is known.
pub fn page_number(world: &mut World, route: Route, query: &Query) -> Option<usize> {
    if let Route::Service(service) = route {
        let is_first = query.iter().all(|(name, _)| name != "after_id");
        return match service.pages() {
            Pages::None => None,
            Pages::ById => is_first.then_some(1),
            Pages::ByCursor => Some(paging::number(query)),
        };
    }
    let asked = parameters(query, &["limit", "after_id", "workspace_id"]).ok()?;
    let limit = limit(&asked)
        .ok()
        .filter(|_| route.pages() == Pages::ById)?;
    let start = start(world, route, &asked).ok()?;
    Some(start / limit + 1)
}

fn parameters<'a>(query: &'a Query, known: &[&str]) -> Result<Parameters<'a>, Refusal> {
    let mut parameters = Parameters::new();
    for (name, value) in query {
        if !known.contains(&name.as_str()) {
            return Err(Refusal::bad(format!("unknown parameter {name}")));
        }
        if parameters.insert(name, value).is_some() {
            return Err(Refusal::bad(format!("{name} is given twice")));
        }
    }
    Ok(parameters)
}

fn organization(world: &mut World, now: Timestamp) -> String {
    let first = TimeZone::UTC.to_datetime(now).date().first_of_month();
    let hours = HourSpan {
        start: Day::from_date(first).first_hour(),
        end: Hour::of(now).plus(1),
    };
    let micros = world.spent(None, hours, now).pico() / 1_000_000;
    wire::organization(world, i64::try_from(micros).unwrap_or(i64::MAX))
}

fn list(world: &mut World, route: Route, asked: &Parameters<'_>) -> Result<String, Refusal> {
    let limit = limit(asked)?;
    let start = start(world, route, asked)?;
    let rows: Vec<(&str, String)> = match route {
        Route::Users => {
            let rows = world.users.iter().skip(start).take(limit + 1);
            rows.map(|user| (user.id.as_str(), wire::user(user)))
                .collect()
        }
        Route::Keys => {
            let rows = keys(world, asked).skip(start).take(limit + 1);
            rows.map(|key| (key.id.as_str(), wire::key(key, &world.users)))
                .collect()
        }
        Route::Workspaces
        | Route::Organization
        | Route::Me
        | Route::Usage
        | Route::Service(_)
        | Route::WriteOnly => {
            let rows = world.workspaces.iter().skip(start).take(limit + 1);
            rows.map(|of| (of.id.as_str(), wire::workspace(of)))
                .collect()
        }
    };
    // One more row than the page holds tells whether there is another page.
    let has_more = rows.len() > limit;
    Ok(wire::page(&rows[..rows.len().min(limit)], has_more))
}

fn keys<'a>(world: &'a World, asked: &Parameters<'a>) -> impl Iterator<Item = &'a Key> {
    let workspace = asked.get("workspace_id").copied();
    let keys = world.keys.iter();
    keys.filter(move |key| workspace.is_none_or(|id| key.workspace.as_deref() == Some(id)))
}

fn limit(asked: &Parameters<'_>) -> Result<usize, Refusal> {
    match asked.get("limit").map(|text| text.parse()) {
        None => Ok(DEFAULT_LIMIT),
        Some(Ok(limit @ 1..=MAX_LIMIT)) => Ok(limit),
        Some(Ok(_)) => Err(Refusal::bad("limit must be within 1 and 100")),
        Some(Err(_)) => Err(Refusal::bad("limit is no number")),
    }
}

/// How many rows stand before the page.
fn start(world: &mut World, route: Route, asked: &Parameters<'_>) -> Result<usize, Refusal> {
    let Some(after) = asked.get("after_id").copied() else {
        return Ok(0);
    };
    let place = match route {
        Route::Users => world.users.iter().position(|user| user.id == after),
        Route::Keys => keys(world, asked).position(|key| key.id == after),
        Route::Workspaces
        | Route::Organization
        | Route::Me
        | Route::Usage
        | Route::Service(_)
        | Route::WriteOnly => world.place_of(after),
    };
    place
        .map(|place| place + 1)
        .ok_or_else(|| Refusal::bad("after_id is unknown"))
}

fn usage(world: &mut World, asked: &Parameters<'_>, now: Timestamp) -> Result<String, Refusal> {
    let (first, last) = (date(asked, "start_date")?, date(asked, "end_date")?);
    if first > last {
        return Err(Refusal::bad("start_date is after end_date"));
    }
    if last.count() - first.count() >= MAX_DAYS {
        return Err(Refusal::bad("end_date is ten years after start_date"));
    }
    let workspace = asked.get("workspace_id").copied();
    if workspace.is_some_and(|id| world.place_of(id).is_none()) {
        return Err(Refusal::not_found("workspace_id is unknown"));
    }
    let days = (first, last);
    let rows: Vec<Row> = match asked.get("granularity").copied() {
        Some("hour") => hourly(world, workspace, days, now).into_values().collect(),
        Some("day") => daily(world, workspace, days, now).into_values().collect(),
        Some("month") => monthly(daily(world, workspace, days, now)),
        Some(_) | None => return Err(Refusal::bad("granularity must be hour, day or month")),
    };
    let breakdown = (!world.without_breakdown).then_some(&world.breakdown);
    Ok(wire::usage(&rows, breakdown))
}

fn date(asked: &Parameters<'_>, name: &str) -> Result<Day, Refusal> {
    let text = asked
        .get(name)
        .ok_or_else(|| Refusal::bad(format!("{name} is required")))?;
    // Only YYYY-MM-DD: the parser would take times and shorter forms too.
    let is_shaped = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    match text.parse::<Date>() {
        Ok(date) if is_shaped => Ok(Day::from_date(date)),
        Ok(_) | Err(_) => Err(Refusal::bad(format!("{name} is not a date"))),
    }
}

fn hourly(
    world: &mut World,
    workspace: Option<&str>,
    (first, last): (Day, Day),
    now: Timestamp,
) -> BTreeMap<Hour, Row> {
    let hours = hours_of(first, last);
    let mut rows: BTreeMap<Hour, Row> = BTreeMap::new();
    if world.has_zero_rows {
        let end = hours.end.min(Hour::of(world.as_of(now)).plus(1));
        let begun = (hours.start.count()..end.count()).map(Hour::from_count);
        rows.extend(begun.map(|hour| (hour, Row::default())));
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
) -> BTreeMap<Day, Row> {
    let told_until = last.min(Day::of(world.as_of(now)));
    let mut rows: BTreeMap<Day, Row> = BTreeMap::new();
    if world.has_zero_rows {
        let begun = (first.count()..=told_until.count()).map(Day::from_count);
        rows.extend(begun.map(|day| (day, Row::default())));
    }
    for day in world.days_with_extra(workspace, first, told_until) {
        rows.entry(day).or_default();
    }
    for (start, models) in world.used_by_day(workspace, hours_of(first, last), now) {
        rows.entry(start.day()).or_default().models = models;
    }
    for (day, row) in &mut rows {
        row.date = day.date().to_string();
        row.extra_micros = world.day_extra(workspace, *day);
    }
    rows
}

fn hours_of(first: Day, last: Day) -> HourSpan {
    HourSpan {
        start: first.first_hour(),
        end: last.plus(1).first_hour(),
    }
}

fn monthly(days: BTreeMap<Day, Row>) -> Vec<Row> {
    let mut months: BTreeMap<Day, Row> = BTreeMap::new();
    for (day, row) in days {
        let first = day.date().first_of_month();
        let month = months.entry(Day::from_date(first)).or_default();
        month.date = wire::month_text(first);
        month.extra_micros += row.extra_micros;
        for (model, used) in row.models {
            *month.models.entry(model).or_default() += used;
        }
    }
    months.into_values().collect()
}
