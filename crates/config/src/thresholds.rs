//! `thresholds` of a rule.

use std::sync::Arc;

use crate::amounts::read_usd;
use crate::effective::{self, quoted};
use crate::reader::SectionReader;
use spendwatch_domain::rules::rule::{
    GapUnit, Limit, Quantity, Severity, Threshold, ThresholdValue, Watch,
};
use spendwatch_domain::units::money::{Percent, Usd};

/// Reads the thresholds in the order of the file. The default is one critical threshold.
pub fn read(rule: &SectionReader<'_>, watch: Watch, limit: Option<&Limit>) -> Vec<Threshold> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    let mut shown: Vec<String> = Vec::new();
    let sections = rule.sections("thresholds");
    if sections.is_empty() && rule.has("thresholds") {
        rule.problem(
            "thresholds",
            "is empty; remove it for `100%` critical, or set it, for example to `[{ at = \"80%\", severity = \"warning\" }]`",
        );
    }
    for section in sections {
        let severities = Severity::ALL.map(|severity| (severity.as_str(), severity));
        let line = read_line(&section, watch);
        let severity = section.choice("severity", &severities, &[], Severity::Critical);
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
        // A burn rate that uses up the limit exactly is normal; three times as much is not.
        let whole = match watch {
            Watch::BurnRate => Percent::from_whole(300),
            Watch::Spend
            | Watch::Tokens
            | Watch::Requests
            | Watch::DataAge
            | Watch::Reconciliation(_)
            | Watch::Lifecycle => Percent::HUNDRED,
        };
        thresholds.push(Threshold {
            at: ThresholdValue::Share(whole),
            severity: Severity::Critical,
            text: whole.to_string().into(),
        });
        let at = [
            ("at", quoted(whole)),
            ("severity", quoted(Severity::Critical)),
        ];
        shown.push(effective::table(at));
    }
    rule.record("thresholds", effective::list(shown));
    thresholds
}

fn read_line(
    section: &SectionReader<'_>,
    watch: Watch,
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
        (false, true) if !is_in_usd(watch) => {
            let message = match watch {
                Watch::Reconciliation(GapUnit::Usd | GapUnit::Percent) => {
                    "does not apply to `limit_percent`; use `at`, for example `at = \"80%\"`"
                }
                Watch::Spend
                | Watch::BurnRate
                | Watch::Tokens
                | Watch::Requests
                | Watch::DataAge
                | Watch::Lifecycle => {
                    "applies only to `watch = \"spend\"`; use `at`, for example `at = \"80%\"`"
                }
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

fn is_in_usd(watch: Watch) -> bool {
    match watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(GapUnit::Usd) => true,
        Watch::Tokens
        | Watch::Requests
        | Watch::DataAge
        | Watch::Reconciliation(GapUnit::Percent)
        | Watch::Lifecycle => false,
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
    match (one, other) {
        (ThresholdValue::Share(one), ThresholdValue::Share(other)) => {
            Some((one.millionths().into(), other.millionths().into()))
        }
        (ThresholdValue::Quantity(one), ThresholdValue::Quantity(other)) => Some((one, other)),
        (ThresholdValue::Share(share), ThresholdValue::Quantity(quantity)) => {
            fixed(limit).map(|limit| (share.of(limit), quantity))
        }
        (ThresholdValue::Quantity(quantity), ThresholdValue::Share(share)) => {
            fixed(limit).map(|limit| (quantity, share.of(limit)))
        }
    }
}

/// Returns a fixed limit above zero; a percentage of zero is meaningless.
fn fixed(limit: Option<&Limit>) -> Option<Quantity> {
    match limit {
        Some(Limit::Fixed(limit)) if *limit > 0 => Some(*limit),
        Some(Limit::Fixed(_) | Limit::Budget(_) | Limit::Workspace | Limit::Organization)
        | None => None,
    }
}
