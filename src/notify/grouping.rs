//! The alerts of a message by rule, and what they come to together.

use crate::domain::event::Event;
use crate::domain::ids::{OrganizationName, RuleName};
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::{Gap, Quantity, Watch};
use crate::notify::formatting;

/// The alerts of one rule in one organization: disjoint subjects in one unit, so that their sum means something.
#[derive(Debug)]
pub struct RuleFacts<'a> {
    pub rule: &'a RuleName,
    pub organization: &'a OrganizationName,
    pub facts: Vec<&'a Fact>,
    /// So many of them, the first, have a line of their own.
    pub n_shown: usize,
}

/// By rule and organization, that of the worst alert first; none has a line.
pub fn by_rule(facts: &[Fact]) -> Vec<RuleFacts<'_>> {
    by_rule_with_lines(facts, 0)
}

/// The first `max_lines` facts, which are the worst, are to be shown.
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

/// `together $12,345.00 against limits of $10,000.00`; for the age of data the oldest, for gaps in percent the largest. What is over counts only where
/// nothing fires.
pub fn together(facts: &[&Fact]) -> String {
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
        return counts(facts);
    }
    let values = || facts.iter().map(|fact| fact.value);
    let most = || formatting::quantity(watch, values().max().unwrap_or_default());
    match watch {
        Watch::DataAge => return format!("the oldest {}", most()),
        Watch::BurnRate => return format!("the fastest at a pace of {}", most()),
        Watch::Reconciliation(Gap::Percent) => return format!("the largest gap {}", most()),
        Watch::Spend
        | Watch::Tokens
        | Watch::Requests
        | Watch::Reconciliation(Gap::Usd)
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
            format!("together {at_least}{sum} against limits of {limits}")
        }
        None => format!("together {at_least}{sum}"),
    }
}

/// `12 idle API keys, 1 expiring API key`.
fn counts(facts: &[&Fact]) -> String {
    let n_of = |event| {
        let is_of = |fact: &&&Fact| fact.identity.slot.event == Some(event);
        facts.iter().filter(is_of).count()
    };
    let counted: Vec<String> = Event::ALL
        .into_iter()
        .map(|event| (event, n_of(event)))
        .filter(|(_, n)| *n > 0)
        .map(|(event, n)| formatting::count_of(event, n))
        .collect();
    counted.join(", ")
}
