//! The limit of a rule, and the amounts and windows that qualify it.

use std::sync::Arc;

use crate::amounts::{read_count, read_usd};
use crate::effective::{self, quoted};
use crate::reader::SectionReader;
use crate::{budgets, durations};
use spendwatch_domain::rules::rule::{Limit, Windows};
use spendwatch_domain::rules::watch::{Quantity, Unit, Watch};
use spendwatch_domain::units::money::{Percent, Usd};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::subject::SubjectKind;

/// Longest window of a burn rate, in hours.
const MAX_WINDOW: u32 = 31 * 24;

type ReadLimit = (
    Unit,
    &'static str,
    fn(&SectionReader<'_>, &'static str) -> Option<Quantity>,
);

/// The keys of fixed limits. Every unit but that of events needs one.
const LIMITS: [ReadLimit; 5] = [
    (Unit::Usd, "limit_usd", read_usd),
    (Unit::Tokens, "limit_tokens", read_count),
    (Unit::Requests, "limit_requests", read_count),
    (Unit::Seconds, "limit_age", read_age),
    (Unit::Percent, "limit_percent", read_percent),
];

/// Reads the limit. There must be exactly one, and it must fit the watch.
pub fn read(section: &SectionReader<'_>, watch: Watch, for_each: SubjectKind) -> Option<Limit> {
    let read_one = |(unit, key, read): ReadLimit| (unit, key, read(section, key));
    let given = LIMITS.map(read_one);
    let (_, fitting, limit) = given.into_iter().find(|(unit, ..)| *unit == watch.unit())?;
    for (unit, key, _) in given {
        if unit == watch.unit() || !section.has(key) {
            continue;
        }
        let message = if watch == Watch::ReconciliationPercent && unit == Unit::Usd {
            format!("and `{fitting}` are both set; keep one")
        } else {
            let word = watch.as_str();
            format!("does not apply to `watch = \"{word}\"`; use `{fitting}`")
        };
        section.problem(key, message);
    }
    if section.has("limits_usd") || section.has("limits_file") {
        return read_budget(section, watch);
    }
    if section.has("limit") {
        if section.has(fitting) {
            section.problem("limit", format!("and `{fitting}` are both set; keep one"));
        }
        return read_server_limit(section, watch, for_each, fitting);
    }
    if !section.has(fitting) {
        let message = if is_gap(watch) {
            "is missing; set it or `limit_percent`"
        } else {
            "is missing; every rule needs a limit"
        };
        section.problem(fitting, message);
    }
    if watch == Watch::BurnRate && limit == Some(0) {
        section.problem(
            "limit_usd",
            "must be above zero for `watch = \"burn_rate\"`",
        );
    }
    limit.map(Limit::Fixed)
}

/// Reads `windows`, such as `["24h", "3h"]`: the long one, then the short one.
pub fn read_windows(section: &SectionReader<'_>, watch: Watch) -> Windows {
    if watch != Watch::BurnRate {
        if section.has("windows") {
            section.problem("windows", "applies only to `watch = \"burn_rate\"`");
        }
        return Windows::default();
    }
    let Some(given) = section.texts("windows") else {
        let Windows { long, short } = Windows::default();
        let shown = [long, short].map(|hours| quoted(Period::Rolling(hours)));
        section.record("windows", effective::list(shown));
        return Windows::default();
    };
    let periods: Vec<Option<Period>> = given
        .iter()
        .map(|text| Period::parse(&text.value))
        .collect();
    match *periods {
        [Some(Period::Rolling(long)), Some(Period::Rolling(short))]
            if short < long && long <= MAX_WINDOW =>
        {
            Windows { long, short }
        }
        _ => {
            let message = "must be a long and a short period of whole hours up to 31 days, for example `[\"24h\", \"3h\"]`";
            section.problem("windows", message);
            Windows::default()
        }
    }
}

/// Reads limits by subject.
fn read_budget(section: &SectionReader<'_>, watch: Watch) -> Option<Limit> {
    let key = if section.has("limits_file") {
        "limits_file"
    } else {
        "limits_usd"
    };
    let budget = budgets::read(section);
    if !watch.info().is_spend {
        section.problem(key, "applies only to `watch = \"spend\"`");
        return None;
    }
    for other in ["limit_usd", "limit"] {
        if section.has(other) {
            section.problem(other, format!("and `{key}` are both set; keep one"));
        }
    }
    budget.map(|budget| Limit::Budget(Arc::new(budget)))
}

fn read_age(section: &SectionReader<'_>, key: &'static str) -> Option<Quantity> {
    let age = durations::read(section, key)?;
    if age.is_zero() {
        section.problem(key, "must be above zero, for example `2h`");
        return None;
    }
    Some(Quantity::from(age.as_secs()))
}

/// Reads a percentage of the estimate. 0 is rejected, because every rounding would alert.
fn read_percent(section: &SectionReader<'_>, key: &'static str) -> Option<Quantity> {
    let digits = section.digits(key)?.value;
    let percent = Percent::parse(&format!("{digits}%"));
    if percent.is_none() {
        let message = format!("is {digits}, expected a percentage above 0, for example 5 or 2.5");
        section.problem(key, message);
    }
    percent.map(|percent| Quantity::from(percent.millionths()))
}

fn read_server_limit(
    section: &SectionReader<'_>,
    watch: Watch,
    for_each: SubjectKind,
    fitting: &str,
) -> Option<Limit> {
    let choices = [
        ("workspace", Some(Limit::Workspace)),
        ("organization", Some(Limit::Organization)),
    ];
    let limit = section.choice("limit", &choices, &[], None)?;
    if !watch.info().is_spend {
        let message =
            format!("applies only to spend, because Anthropic has no other limit; use `{fitting}`");
        section.problem("limit", message);
        return None;
    }
    let needed = match limit {
        Limit::Workspace => SubjectKind::Workspace,
        Limit::Organization | Limit::Fixed(_) | Limit::Budget(_) => SubjectKind::Organization,
    };
    if for_each != needed {
        section.problem("limit", format!("requires `for_each = \"{needed}\"`"));
        return None;
    }
    Some(limit)
}

/// Reads `min_usd`; 0 if it is not set.
pub fn read_min_usd(section: &SectionReader<'_>) -> Usd {
    if !section.has("min_usd") {
        section.record("min_usd", Usd::ZERO.to_string());
    }
    Usd::from_pico(read_usd(section, "min_usd").unwrap_or_default())
}

/// Returns whether a watch measures the gap between bill and estimate.
pub fn is_gap(watch: Watch) -> bool {
    matches!(
        watch,
        Watch::ReconciliationUsd | Watch::ReconciliationPercent
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_watch_with_a_limit_has_a_key_for_it() {
        for watch in Watch::ALL {
            let has_key = LIMITS.iter().any(|(unit, ..)| *unit == watch.unit());
            let is_of_events = watch == Watch::Lifecycle;
            assert_ne!(has_key, is_of_events, "add {:?} to `LIMITS`", watch.unit());
        }
    }
}
