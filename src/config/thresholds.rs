//! The thresholds of a rule.

use std::sync::Arc;

use crate::config::amounts::read_usd;
use crate::config::reader::Section;
use crate::domain::money::{Percent, Usd};
use crate::domain::rule::{At, Gap, Limit, Quantity, Severity, Threshold, Watch};

/// In the order of the file; all of the limit, critical, where none is given.
pub fn read(rule: &Section<'_>, watch: Watch, limit: Option<&Limit>) -> Vec<Threshold> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    let sections = rule.sections("thresholds");
    if sections.is_empty() && rule.has("thresholds") {
        rule.problem(
            "thresholds",
            "is empty; leave it out for 100 % critical, or write `[{ at = \"80%\", severity = \"warning\" }]`",
        );
    }
    for section in sections {
        let severities = Severity::ALL.map(|severity| (severity.as_str(), severity));
        let severity = section.word("severity", &severities, &[], Severity::Critical);
        let line = read_line(&section, watch);
        section.finish();
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
        // A budget is meant to be used: a pace is told from three times of it on.
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
            at: At::Share(whole),
            severity: Severity::Critical,
            text: whole.to_string().into(),
        });
    }
    thresholds
}

fn read_line(section: &Section<'_>, watch: Watch) -> Option<(&'static str, At, String)> {
    let share = section.text("at");
    let usd = read_usd(section, "at_usd");
    match (section.has("at"), section.has("at_usd")) {
        (true, true) => {
            section.problem(
                "at",
                "and `at_usd` are two lines in one threshold; keep one",
            );
            None
        }
        (true, false) => {
            let share = share?.value;
            let percent = Percent::parse(&share);
            if percent.is_none() {
                let message = format!("is `{share}`, it must be a share above 0, like `80%`");
                section.problem("at", message);
            }
            percent.map(|percent| ("at", At::Share(percent), percent.to_string()))
        }
        (false, true) if !is_in_usd(watch) => {
            let message = match watch {
                Watch::Reconciliation(Gap::Usd | Gap::Percent) => {
                    "does not fit `limit_percent`; use `at = \"80%\"`"
                }
                Watch::Spend
                | Watch::BurnRate
                | Watch::Tokens
                | Watch::Requests
                | Watch::DataAge
                | Watch::Lifecycle => "belongs to `watch = \"spend\"`; use `at = \"80%\"`",
            };
            section.problem("at_usd", message);
            None
        }
        (false, true) => {
            let pico = usd?;
            if pico == 0 {
                section.problem(
                    "at_usd",
                    "is 0, it must be above: nothing spent crosses nothing",
                );
                return None;
            }
            let text = format!("${}", Usd::from_pico(pico).grouped());
            Some(("at_usd", At::Quantity(pico), text))
        }
        (false, false) => {
            section.problem(
                "at",
                "is missing: a threshold is either `at = \"80%\"` or `at_usd = 4000`",
            );
            None
        }
    }
}

fn is_in_usd(watch: Watch) -> bool {
    match watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(Gap::Usd) => true,
        Watch::Tokens
        | Watch::Requests
        | Watch::DataAge
        | Watch::Reconciliation(Gap::Percent)
        | Watch::Lifecycle => false,
    }
}

/// Two thresholds on one line are a mistake; a higher one that is milder is most likely one.
fn compare(
    section: &Section<'_>,
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
            let message = format!("is where the threshold `{}` is; keep one", other.text);
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
                "makes `{}` {} though the lower `{}` is {}: more spend would be told as less urgent",
                high.text, high.severity, low.text, low.severity
            );
            section.warn(key, message);
        }
    }
}

/// Two lines in one unit, where they can be compared before the limit is known.
fn heights(one: At, other: At, limit: Option<&Limit>) -> Option<(Quantity, Quantity)> {
    match (one, other) {
        (At::Share(one), At::Share(other)) => {
            Some((one.millionths().into(), other.millionths().into()))
        }
        (At::Quantity(one), At::Quantity(other)) => Some((one, other)),
        (At::Share(share), At::Quantity(quantity)) => {
            fixed(limit).map(|limit| (share.of(limit), quantity))
        }
        (At::Quantity(quantity), At::Share(share)) => {
            fixed(limit).map(|limit| (quantity, share.of(limit)))
        }
    }
}

/// A limit of 0 has no shares.
fn fixed(limit: Option<&Limit>) -> Option<Quantity> {
    match limit {
        Some(Limit::Fixed(limit)) if *limit > 0 => Some(*limit),
        Some(Limit::Fixed(_) | Limit::Budget(_) | Limit::Workspace | Limit::Organization)
        | None => None,
    }
}
