//! `thresholds` of a rule.

use std::sync::Arc;

use crate::amounts::read_usd;
use crate::effective::{self, quoted};
use crate::reader::SectionReader;
use crate::terms::read_severity;
use spendwatch_domain::rules::rule::{Limit, Rule, Severity, Threshold, ThresholdValue};
use spendwatch_domain::rules::watch::{Quantity, Unit};
use spendwatch_domain::units::money::{Percent, Usd};

/// Reads the thresholds in the order of the file. Without any, the rule keeps those that it has.
pub fn read(section: &SectionReader<'_>, rule: &Rule) -> Vec<Threshold> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    let mut shown: Vec<String> = Vec::new();
    let sections = section.sections("thresholds");
    if sections.is_empty() && section.has("thresholds") {
        section.problem(
            "thresholds",
            "is empty; remove it for `100%` critical, or set it, for example to `[{ at = \"80%\", severity = \"warning\" }]`",
        );
    }
    let limit = rule.period_limit().map(|limit| &limit.limit);
    for section in sections {
        let line = read_line(&section, rule.watch().unit());
        let severity = read_severity(&section, "severity", Severity::Critical);
        section.finish();
        shown.push(section.recorded());
        let Some((key, at, text)) = line else {
            continue;
        };
        let threshold = Threshold {
            at,
            severity,
            text: Arc::from(text),
        };
        compare(&section, key, &threshold, &thresholds, limit);
        thresholds.push(threshold);
    }
    if thresholds.is_empty() {
        thresholds.clone_from(&rule.thresholds);
        shown.extend(thresholds.iter().map(|threshold| {
            let at = [
                ("at", quoted(&threshold.text)),
                ("severity", quoted(threshold.severity)),
            ];
            effective::table(at)
        }));
    }
    section.record("thresholds", effective::list(shown));
    thresholds
}

fn read_line(
    section: &SectionReader<'_>,
    unit: Unit,
) -> Option<(&'static str, ThresholdValue, String)> {
    let share = section.text("at");
    let usd = read_usd(section, "at_usd");
    match (section.has("at"), section.has("at_usd")) {
        (true, true) => {
            section.problem("at", "and `at_usd` are both set; keep one");
            None
        }
        (true, false) => {
            let share = share?.value;
            let percent = Percent::parse(&share);
            if percent.is_none() {
                let message =
                    format!("is `{share}`, expected a percentage above 0, for example `80%`");
                section.problem("at", message);
            }
            percent.map(|percent| ("at", ThresholdValue::Share(percent), percent.to_string()))
        }
        (false, true) if unit != Unit::Usd => {
            let message = if unit == Unit::Percent {
                "does not apply to `limit_percent`; use `at`, for example `at = \"80%\"`"
            } else {
                "applies only to `watch = \"spend\"`; use `at`, for example `at = \"80%\"`"
            };
            section.problem("at_usd", message);
            None
        }
        (false, true) => {
            let pico = usd?;
            if pico == 0 {
                section.problem("at_usd", "must be above zero, for example 4000");
                return None;
            }
            let text = format!("${}", Usd::from_pico(pico).grouped());
            Some(("at_usd", ThresholdValue::Quantity(pico), text))
        }
        (false, false) => {
            section.problem(
                "at",
                "is missing; set `at`, for example `\"80%\"`, or `at_usd`, for example 4000",
            );
            None
        }
    }
}

/// Rejects two equal thresholds, and warns if a higher threshold has a lower severity.
fn compare(
    section: &SectionReader<'_>,
    key: &'static str,
    new: &Threshold,
    others: &[Threshold],
    limit: Option<&Limit>,
) {
    for other in others {
        let Some((ours, theirs)) = heights(new.at, other.at, limit) else {
            continue;
        };
        if ours == theirs {
            let message = format!("equals the threshold `{}`; keep one", other.text);
            section.problem(key, message);
        } else if (ours > theirs && new.severity < other.severity)
            || (ours < theirs && new.severity > other.severity)
        {
            let (high, low) = if ours > theirs {
                (new, other)
            } else {
                (other, new)
            };
            let message = format!(
                "has `{}` as {}, but the lower `{}` is {}, so higher spend would be less urgent",
                high.text, high.severity, low.text, low.severity
            );
            section.warn(key, message);
        }
    }
}

/// Returns two thresholds in one unit, if they can be compared without knowing the limit.
fn heights(
    one: ThresholdValue,
    other: ThresholdValue,
    limit: Option<&Limit>,
) -> Option<(Quantity, Quantity)> {
    if let (ThresholdValue::Share(one), ThresholdValue::Share(other)) = (one, other) {
        return Some((one.millionths().into(), other.millionths().into()));
    }
    let quantity = |at| match at {
        ThresholdValue::Quantity(quantity) => Some(quantity),
        // A percentage of zero is meaningless.
        ThresholdValue::Share(share) => limit?
            .fixed()
            .filter(|limit| *limit > 0)
            .map(|limit| share.of(limit)),
    };
    quantity(one).zip(quantity(other))
}
