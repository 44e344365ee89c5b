//! Groups the alerts of a message by rule and sums them.

use crate::wording::watches::{self, Total};
use crate::wording::{events, formatting};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::watch::Quantity;
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

/// Groups by rule and organization, the group of the worst alert first. The first `max_lines` facts, which are the worst, have
/// a line each.
pub fn by_rule(facts: &[Fact], max_lines: usize) -> Vec<RuleFacts<'_>> {
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
    let is_firing = |fact: &&Fact| fact.reason != Reason::Resolved;
    let firing: Vec<&Fact> = facts.iter().copied().filter(is_firing).collect();
    let facts = if firing.is_empty() { facts } else { &firing };
    let Some(watch) = facts.first().map(|fact| fact.watch) else {
        return String::new();
    };
    let values = || facts.iter().map(|fact| fact.value);
    let quantity = |quantity| formatting::quantity(watch.unit(), quantity);
    match &watches::wording(watch).total {
        Total::EventCounts => return events::counts(facts),
        Total::Largest(name) => {
            return format!("{name} {}", quantity(values().max().unwrap_or_default()));
        }
        Total::Sum => {}
    }
    let at_least = if facts.iter().any(|fact| fact.is_lower_bound) {
        "at least "
    } else {
        ""
    };
    let sum = quantity(values().sum());
    let limits: Option<Quantity> = facts.iter().map(|fact| fact.limit).sum();
    match limits {
        Some(limits) => {
            let limits = quantity(limits);
            format!("{at_least}{sum} of {limits} in total")
        }
        None => format!("{at_least}{sum} in total"),
    }
}
