//! A message as text for people, shared by all receivers.
//!
//! One alert is shown in full. Several are grouped by rule with totals, and the worst have a line each. Names are already
//! cleaned; each receiver escapes the texts for its own format.

use serde::Serialize;

use crate::envelope::Envelope;
use crate::wording::advice::Advice;
use crate::wording::details::{self, MessageField};
use crate::wording::grouping::{RuleFacts, by_rule, totals};
use crate::wording::tables::{self, ChartBar, DigestRow, DigestSection};
use crate::wording::watches::advise;
use crate::wording::{contributors, formatting, headline, periods, resolution};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::plural::counted;

/// Maximum alerts with a line of their own.
pub const MAX_LINES: usize = 20;
/// Maximum rules with a group of their own.
const MAX_GROUPS: usize = 10;

/// The texts of a message. Parts that it does not have are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Mail subject, the same for each attempt: reason, amount and limit.
    pub subject: String,
    /// The first line.
    pub title: String,
    /// The second line.
    pub summary: String,
    /// About the message itself, such as a delay or missing data; one sentence each.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub highlight: Highlight,
    /// Details of a single alert, at most 10.
    pub fields: Vec<MessageField>,
    /// The top contributors of a single alert, one line each.
    pub top: Vec<String>,
    /// Several alerts, grouped by rule; the rule of the worst alert first.
    pub groups: Vec<RuleGroup>,
    /// How many alerts are in no group.
    pub more: Option<String>,
    /// Spend over time, in a digest.
    pub chart: Vec<ChartBar>,
    /// The tables of a digest.
    pub sections: Vec<DigestSection>,
    /// For the first alert.
    pub advice: Vec<Advice>,
    /// URL of the alert's page, or of the overview.
    pub page: Option<String>,
}

/// What the color of a message shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Highlight {
    /// The highest severity that still fires.
    Firing(Severity),
    /// All alerts are resolved.
    Resolved,
    Digest,
}

/// The alerts of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleGroup {
    /// Rule, number of alerts and totals.
    pub title: String,
    /// One line per alert; may be empty.
    pub lines: Vec<String>,
    /// `and 280 more, …`.
    pub more: Option<String>,
}

impl Message {
    /// Returns the heading of the advice.
    pub fn advice_title(&self) -> &'static str {
        if self.groups.is_empty() {
            "Next steps"
        } else {
            "Next steps for the first alert"
        }
    }
}

/// Renders the facts of an envelope; at most `max_lines` of several alerts have a line of their own.
pub fn render(envelope: &Envelope<'_>, max_lines: usize) -> Message {
    let facts = envelope.facts;
    let is_firing = |fact: &&Fact| fact.reason != Reason::Resolved;
    let firing = facts.iter().filter(is_firing);
    let severity = firing.map(|fact| fact.threshold.severity).max();
    let links = envelope.links;
    let message = Message {
        subject: String::new(),
        title: String::new(),
        summary: String::new(),
        notes: notes(envelope),
        highlight: severity.map_or(Highlight::Resolved, Highlight::Firing),
        fields: Vec::new(),
        top: Vec::new(),
        groups: Vec::new(),
        more: None,
        chart: Vec::new(),
        sections: Vec::new(),
        advice: facts
            .first()
            .map_or(Vec::new(), |worst| advise(worst, links)),
        page: links.overview_page(),
    };
    match facts {
        [fact] => Message {
            subject: subject_of_one(fact),
            title: headline::title(fact),
            summary: headline::summary(fact),
            fields: details::fields(fact),
            top: severity.map_or(Vec::new(), |_| contributors::lines(fact)),
            page: links.alert_page(&fact.identity),
            ..message
        },
        several => {
            let groups = by_rule(several, max_lines);
            Message {
                subject: subject_of_many(several),
                title: format!("{}: {}", counted(several.len(), "alert"), counts(several)),
                summary: totals_by_rule(several),
                more: more_rules(&groups),
                groups: rule_groups(&groups),
                ..message
            }
        }
    }
}

/// Renders the message as plain text.
pub fn plain_text(message: &Message) -> String {
    let mut lines = vec![message.title.clone(), message.summary.clone()];
    lines.extend(message.notes.iter().cloned());
    if !message.fields.is_empty() {
        lines.push(String::new());
        lines.extend(message.fields.iter().map(MessageField::line));
    }
    push_section(&mut lines, "Top contributors", message.top.iter().cloned());
    for group in &message.groups {
        lines.extend([String::new(), group.title.clone()]);
        lines.extend(group.lines.iter().map(|line| format!("- {line}")));
        lines.extend(group.more.iter().map(|more| format!("  {more}")));
    }
    if let Some(more) = &message.more {
        lines.extend([String::new(), more.clone()]);
    }
    if !message.chart.is_empty() {
        lines.push(String::new());
        lines.extend(tables::bars(&message.chart));
    }
    for section in &message.sections {
        let rows = section.rows.iter().map(DigestRow::line);
        push_section(&mut lines, section.title, rows);
    }
    let advice = message.advice.iter().map(Advice::line);
    push_section(&mut lines, message.advice_title(), advice);
    if let Some(page) = &message.page {
        lines.extend([String::new(), format!("spendwatch: {page}")]);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn push_section(lines: &mut Vec<String>, title: &str, items: impl Iterator<Item = String>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        lines.extend([String::new(), format!("{title}:")]);
        lines.extend(items.map(|item| format!("- {item}")));
    }
}

/// `[critical] Search $5,630 of $5,000 (113%), November 2026`.
fn subject_of_one(fact: &Fact) -> String {
    let severity = fact.threshold.severity;
    let tag = match fact.reason {
        Reason::Resolved if fact.is_below_minimum() => format!("no longer {severity}"),
        Reason::Resolved if fact.is_fired_and_resolved => "fired and resolved".to_owned(),
        Reason::Resolved => "resolved".to_owned(),
        Reason::First => severity.to_string(),
        Reason::Escalated => format!("{severity}, escalated"),
        Reason::Lowered => format!("{severity}, lowered"),
        Reason::Repeated => format!("still {severity}"),
        Reason::Unsilenced => format!("{severity}, silence ended"),
    };
    let what = headline::subject_line(fact);
    if fact.reason == Reason::Resolved {
        format!("[{tag}] {what}: {}", resolution::end_reason(fact))
    } else {
        format!("[{tag}] {what}")
    }
}

/// `[3 critical, 9 warning] 12 alerts: acme, November 2026`.
fn subject_of_many(facts: &[Fact]) -> String {
    let name = |fact: &Fact| formatting::clean(fact.identity.organization.as_str());
    let mut organizations: Vec<String> = facts.iter().map(name).collect();
    organizations.sort_unstable();
    organizations.dedup();
    let others = if organizations.len() > 3 { ", …" } else { "" };
    organizations.truncate(3);
    let period = facts.first().and_then(periods::period);
    let is_common = facts.iter().all(|fact| periods::period(fact) == period);
    let period = period.filter(|_| is_common);
    format!(
        "[{}] {}: {}{others}{}",
        counts(facts),
        counted(facts.len(), "alert"),
        organizations.join(", "),
        period.map_or(String::new(), |period| format!(", {period}"))
    )
}

/// `3 critical, 9 warning, 2 resolved`.
fn counts(facts: &[Fact]) -> String {
    let word = |fact: &Fact| {
        if fact.reason == Reason::Resolved {
            fact.public_reason().as_str()
        } else {
            fact.threshold.severity.as_str()
        }
    };
    let count = |shown: &str| {
        let n = facts.iter().filter(|fact| word(fact) == shown).count();
        (n > 0).then(|| format!("{n} {shown}"))
    };
    let words = ["critical", "warning", "info", "lowered", "resolved"];
    let counts: Vec<String> = words.into_iter().filter_map(count).collect();
    counts.join(", ")
}

fn totals_by_rule(facts: &[Fact]) -> String {
    let groups = by_rule(facts, 0);
    let total = |group: &RuleFacts<'_>| {
        let rule = formatting::clean(group.rule.as_str());
        format!("{rule}: {}", totals(&group.facts))
    };
    let shown: Vec<String> = groups.iter().take(3).map(total).collect();
    let others = if groups.len() > 3 { "; …" } else { "" };
    format!("{}{others}", shown.join("; "))
}

fn rule_groups(groups: &[RuleFacts<'_>]) -> Vec<RuleGroup> {
    let has_totals = groups.len() > 1;
    let shown = groups.iter().take(MAX_GROUPS);
    shown.map(|group| rule_group(group, has_totals)).collect()
}

fn more_rules(groups: &[RuleFacts<'_>]) -> Option<String> {
    let rest = groups.get(MAX_GROUPS..).filter(|rest| !rest.is_empty())?;
    let n_rest: usize = rest.iter().map(|group| group.facts.len()).sum();
    let rules = counted(rest.len(), "other rule");
    Some(format!("and {n_rest} more from {rules}"))
}

/// With a single rule, its totals are already in the summary.
fn rule_group(group: &RuleFacts<'_>, has_totals: bool) -> RuleGroup {
    let rule = formatting::clean(group.rule.as_str());
    let organization = formatting::clean(group.organization.as_str());
    let (shown, rest) = group.facts.split_at(group.n_shown);
    let n = group.facts.len();
    let mut title = format!("{rule} ({organization}): {}", counted(n, "alert"));
    if has_totals {
        title = format!("{title}, {}", totals(&group.facts));
    }
    let more = match rest.len() {
        0 => None,
        n_rest if shown.is_empty() => Some(format!("{n_rest} not listed")),
        n_rest => Some(format!("and {n_rest} more, {}", totals(rest))),
    };
    RuleGroup {
        title,
        lines: shown.iter().map(|fact| line(fact)).collect(),
        more,
    }
}

fn line(fact: &Fact) -> String {
    let mut causes = String::new();
    if fact.reason != Reason::Resolved {
        // The summary contains the time of an event.
        if fact.event().is_none() {
            let since = formatting::time(fact.firing_since, &fact.zone_name);
            causes = format!(", since {since}");
        }
        if let Some(top) = fact.top.first() {
            let name = contributors::name(fact, top);
            causes.push_str(&format!(", top contributor {name}"));
        }
    }
    let summary = lower_first(&headline::summary(fact));
    format!("{}: {summary}{causes}", headline::title(fact))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Notes depend on the time of the attempt, so they are not part of the frozen facts.
fn notes(envelope: &Envelope<'_>) -> Vec<String> {
    if !envelope.is_replay && !envelope.is_old() {
        return Vec::new();
    }
    let zone_name = envelope.facts.first().map_or("UTC", |fact| &fact.zone_name);
    let newest = envelope.facts.iter().map(|fact| fact.decided_at).max();
    let when = formatting::time(newest.unwrap_or(envelope.created_at), zone_name);
    let age = formatting::duration(envelope.age());
    vec![format!("Delayed by {age}. State as of {when}.")]
}
