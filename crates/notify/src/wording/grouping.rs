//! Groups the alerts of a message by rule and sums them.

use crate::wording::formatting;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::{OrganizationName, RuleName};

/// Alerts of one rule in one organization. Their subjects are disjoint and have one unit, so they can be summed.
#[derive(Debug)]
pub struct RuleFacts<'a> {
    pub rule: &'a RuleName,
    pub organization: &'a OrganizationName,
    pub facts: Vec<&'a Fact>,
    /// How many of the first facts have a line of their own.
    pub n_shown: usize,
}

/// Groups by rule and organization, the group of the worst alert first, without lines.
pub fn by_rule(facts: &[Fact]) -> Vec<RuleFacts<'_>> {
    by_rule_with_lines(facts, 0)
}

/// Groups as [`by_rule`], with a line for each of the first `max_lines` facts, which are the worst.
pub fn by_rule_with_lines(facts: &[Fact], max_lines: usize) -> Vec<RuleFacts<'_>> {
    let mut groups: Vec<RuleFacts<'_>> = Vec::new();
    for (index, fact) in facts.iter().enumerate() {
        let (rule, organization) = (&fact.identity.slot.rule, &fact.identity.organization);
        let at = groups
            .iter()
            .position(|group| group.rule == rule && group.organization == organization)
            .unwrap_or_else(|| {
                groups.push(RuleFacts {
                    rule,
                    organization,
                    facts: Vec::new(),
                    n_shown: 0,
                });
                groups.len() - 1
            });
        groups[at].n_shown += usize::from(index < max_lines);
        groups[at].facts.push(fact);
    }
    groups
}

/// Returns `$12,345.00 of $10,000.00 in total`, or the maximum for values that cannot be summed. Resolved alerts only count
/// if no other fires.
pub fn totals(facts: &[&Fact]) -> String {
    let firing: Vec<&Fact> = facts
        .iter()
        .copied()
        .filter(|fact| fact.reason != Reason::Resolved)
        .collect();
    let facts = if firing.is_empty() { facts } else { &firing };
    let Some(watch) = facts.first().map(|fact| fact.watch) else {
        return String::new();
    };
    if watch == Watch::Lifecycle {
        return event_counts(facts);
    }
    let values = || facts.iter().map(|fact| fact.value);
    let most = || formatting::quantity(watch, values().max().unwrap_or_default());
    match watch {
        Watch::DataAge => return format!("oldest {}", most()),
        Watch::BurnRate => return format!("highest on track for {}", most()),
        Watch::ReconciliationPercent => return format!("largest gap {}", most()),
        Watch::Spend
        | Watch::Tokens
        | Watch::Requests
        | Watch::ReconciliationUsd
        | Watch::Lifecycle => {}
    }
    let at_least = if facts.iter().any(|fact| fact.is_lower_bound) {
        "at least "
    } else {
        ""
    };
    let sum = formatting::quantity(watch, values().sum());
    let limits: Option<Quantity> = facts.iter().map(|fact| fact.limit).sum();
    match limits {
        Some(limits) => {
            let limits = formatting::quantity(watch, limits);
            format!("{at_least}{sum} of {limits} in total")
        }
        None => format!("{at_least}{sum} in total"),
    }
}

/// `12 idle API keys, 1 expiring API key`.
fn event_counts(facts: &[&Fact]) -> String {
    let n_of = |event| {
        let is_of = |fact: &&&Fact| fact.identity.slot.event == Some(event);
        facts.iter().filter(is_of).count()
    };
    let counted: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| (event, n_of(event)))
        .filter(|(_, n)| *n > 0)
        .map(|(event, n)| formatting::event_count(event, n))
        .collect();
    counted.join(", ")
}
