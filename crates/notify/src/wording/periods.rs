//! Names of periods, as in `November 2026` or `the last 24 h`.

use jiff::civil::Date;

use crate::wording::formatting::clean;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::rules::watch::Unit;

/// Returns `its November limit`, `its token limit for the last 24 h`.
pub fn limit_name(fact: &Fact) -> String {
    let noun = match fact.watch.unit() {
        Unit::Tokens => "token limit",
        Unit::Requests => "request limit",
        Unit::Usd | Unit::Seconds | Unit::Percent | Unit::Severity => "limit",
    };
    let month = fact.identity.slot.period.as_ref().and_then(|label| {
        let first: Date = format!("{label}-01").parse().ok()?;
        Some(first.strftime("%B").to_string())
    });
    match (month, period(fact)) {
        (Some(month), _) => format!("its {month} {noun}"),
        (None, Some(period)) => format!("its {noun} for {period}"),
        (None, None) => format!("its {noun}"),
    }
}

/// Returns `in November 2026`, `on 24 November 2026` or `in the last 24 h`; empty for a watch without a period.
pub fn in_period(fact: &Fact) -> String {
    let Some(name) = period(fact) else {
        return String::new();
    };
    match &fact.identity.slot.period {
        Some(label) if label.parse::<Date>().is_ok() && label.len() == 10 => format!("on {name}"),
        Some(_) | None => format!("in {name}"),
    }
}

/// Returns `November 2026`, `week 48 of 2026` or `the last 24 h`; `None` for the age of data and for events.
pub fn period(fact: &Fact) -> Option<String> {
    if !fact.watch.info().has_period {
        return None;
    }
    Some(match &fact.identity.slot.period {
        Some(label) => period_name(label),
        None => format!("the last {}", rolling(fact)),
    })
}

/// Returns where a figure is compared with the previous period: `at the same point last month`, `in the 24 h before`.
pub fn comparison_point(fact: &Fact) -> String {
    let Some(label) = &fact.identity.slot.period else {
        return format!("in the {} before", rolling(fact));
    };
    let period = unit(label);
    if matches!(period, "week" | "month" | "quarter") && !fact.is_late {
        format!("at the same point last {period}")
    } else {
        format!("at the same point of the {period} before")
    }
}

/// Returns the unit of a calendar period by its label: `month`, `week`.
pub fn unit(label: &str) -> &'static str {
    match label.len() {
        _ if label.contains('T') => "hour",
        _ if label.contains("-W") => "week",
        _ if label.contains("-Q") => "quarter",
        10 => "day",
        7 => "month",
        _ => "period",
    }
}

fn rolling(fact: &Fact) -> String {
    let hours = fact.span.duration().as_hours();
    if hours > 24 && hours % 24 == 0 {
        format!("{} days", hours / 24)
    } else {
        format!("{hours} h")
    }
}

/// Returns a calendar period by its label: `November 2026`, `24 November 2026`, `week 48 of 2026`, `Q4 2026`.
pub fn period_name(label: &str) -> String {
    calendar(label).unwrap_or_else(|| clean(label))
}

fn calendar(label: &str) -> Option<String> {
    let long = |date: Date| date.strftime("%-d %B %Y").to_string();
    if let Some((date, hour)) = label.split_once('T') {
        let (hour, offset) = hour.split_at_checked(2)?;
        let date: Date = date.parse().ok()?;
        return Some(format!(
            "the hour from {hour}:00 (UTC{offset}) of {}",
            long(date)
        ));
    }
    if let Some((year, week)) = label.split_once("-W") {
        return Some(format!("week {week} of {year}"));
    }
    if let Some((year, quarter)) = label.split_once("-Q") {
        return Some(format!("Q{quarter} {year}"));
    }
    if label.len() == 7 {
        let first: Date = format!("{label}-01").parse().ok()?;
        return Some(first.strftime("%B %Y").to_string());
    }
    Some(long(label.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        for (label, expected) in [
            ("2026-11", "November 2026"),
            ("2026-11-04", "4 November 2026"),
            ("2026-W48", "week 48 of 2026"),
            ("2026-Q4", "Q4 2026"),
            (
                "2026-11-24T14+01:00",
                "the hour from 14:00 (UTC+01:00) of 24 November 2026",
            ),
        ] {
            assert_eq!(calendar(label).as_deref(), Some(expected));
        }
    }
}
