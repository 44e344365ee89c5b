//! `GET /v1/usage`: rows by hour, day or month.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::api_error::ApiError;
use crate::guide::wire::{self, UsageLine};
use crate::parameters::{parameter, required};
use crate::request::Query;
use crate::world::World;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

/// Maximum range of a query: ten years.
const MAX_DAYS: i32 = 3660;

/// Returns the rows of a range.
pub fn usage(world: &mut World, query: &Query, now: Timestamp) -> Result<String, ApiError> {
    let (first, last) = (date(query, "start_date")?, date(query, "end_date")?);
    if first > last {
        return Err(ApiError::bad_request("start_date is after end_date"));
    }
    if last.count() - first.count() >= MAX_DAYS {
        return Err(ApiError::bad_request("the range exceeds ten years"));
    }
    let workspace = parameter(query, "workspace_id");
    if workspace.is_some_and(|id| world.position_of(id).is_none()) {
        return Err(ApiError::not_found("workspace_id is unknown"));
    }
    let days = (first, last);
    let rows: Vec<UsageLine> = match parameter(query, "granularity") {
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

fn date(query: &Query, name: &str) -> Result<Day, ApiError> {
    let text = required(query, name)?;
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
    for (day, micros) in world.day_corrections(workspace) {
        if (first..=reported_until).contains(&day) {
            rows.entry(day).or_default().correction_micros += micros;
        }
    }
    for (start, models) in world.used_by_day(workspace, hours_of(first, last), now) {
        rows.entry(start.day()).or_default().models = models;
    }
    for (day, row) in &mut rows {
        row.date = day.date().to_string();
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
