//! A message in plain words and facts, once, for all receivers that are read by people.
//!
//! One alert is told in full; several are told by rule, with totals, the worst of them with a line each. Texts hold
//! cleaned names and are not escaped: that is each receiver's own.

use jiff::Timestamp;

use crate::domain::notification::{Fact, Reason};
use crate::domain::plural::counted;
use crate::domain::rule::Severity;
use crate::domain::subject::SubjectKind;
use crate::notify::advice::{Advice, advise};
use crate::notify::envelope::Envelope;
use crate::notify::grouping::{RuleFacts, by_rule, by_rule_with_lines, together};
use crate::notify::wording::{self, Figure};
use crate::notify::formatting;

/// So many alerts of one message have a line of their own.
pub const MAX_LINES: usize = 20;
/// So many rules have a group of their own.
const MAX_GROUPS: usize = 10;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same for all messages about one alert: no figure, no severity.
    pub subject: String,
    /// Short: `Critical: workspace Search`.
    pub title: String,
    /// A sentence with the figures.
    pub summary: String,
    /// The worst that still fires; `None` when everything told is over.
    pub severity: Option<Severity>,
    /// About the message itself: delayed, or no longer fresh.
    pub notes: Vec<String>,
    pub body: Body,
    /// The daemon's own page: of the alert where it is about one.
    pub page: Option<String>,
}

/// One alert in full, or several in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    One(Detail),
    Many(Roundup),
}

/// One alert in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// At most 10.
    pub figures: Vec<Figure>,
    /// The top contributors, one line each.
    pub top: Vec<String>,
    pub advice: Vec<Advice>,
}

/// Several alerts in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roundup {
    /// By rule, that of the worst alert first.
    pub groups: Vec<Group>,
    /// What is in no group.
    pub more: Option<String>,
    /// What to do about the worst.
    pub advice: Vec<Advice>,
}

/// The alerts of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The rule, how many, and their totals.
    pub title: String,
    /// One alert each; may be empty.
    pub lines: Vec<String>,
    /// `and 280 more, together …`.
    pub more: Option<String>,
}

/// Puts an envelope's facts into words; at most `max_lines` alerts of several have a line of their own.
pub fn render(envelope: &Envelope<'_>, max_lines: usize) -> Message {
    let facts = envelope.facts;
    let firing = || facts.iter().filter(|fact| fact.reason != Reason::Resolved);
    let (subject, title, summary, body) = match facts {
        [fact] => (
            subject_of_one(fact),
            wording::title(fact),
            wording::summary(fact),
            Body::One(detail(fact, envelope)),
        ),
        several => (
            subject_of_many(several),
            format!("{}: {}", counted(several.len(), "alert"), counts(several)),
            totals_by_rule(several),
            Body::Many(roundup(several, envelope, max_lines)),
        ),
    };
    Message {
        subject,
        title,
        summary,
        severity: firing().map(|fact| fact.line.severity).max(),
        notes: notes(envelope),
        body,
        page: match facts {
            [fact] => envelope.links.page_of(&fact.identity),
            _ => envelope.links.page_of_all(),
        },
    }
}

/// Everything as lines of plain text.
pub fn plain_text(message: &Message) -> String {
    let mut lines = vec![message.title.clone(), message.summary.clone()];
    lines.extend(message.notes.iter().cloned());
    match &message.body {
        Body::One(detail) => {
            lines.push(String::new());
            lines.extend(
                detail
                    .figures
                    .iter()
                    .map(|figure| format!("{}: {}", figure.name, figure.value)),
            );
            push_list(&mut lines, "Top contributors", &detail.top);
            push_list(&mut lines, "What to do", &advice_lines(&detail.advice));
        }
        Body::Many(roundup) => {
            for group in &roundup.groups {
                lines.extend([String::new(), group.title.clone()]);
                lines.extend(group.lines.iter().map(|line| format!("- {line}")));
                lines.extend(group.more.iter().map(|more| format!("  {more}")));
            }
            if let Some(more) = &roundup.more {
                lines.extend([String::new(), more.clone()]);
            }
            push_list(
                &mut lines,
                "What to do about the first",
                &advice_lines(&roundup.advice),
            );
        }
    }
    if let Some(page) = &message.page {
        lines.extend([String::new(), format!("spendwatch: {page}")]);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn push_list(lines: &mut Vec<String>, title: &str, items: &[String]) {
    if !items.is_empty() {
        lines.extend([String::new(), format!("{title}:")]);
        lines.extend(items.iter().map(|item| format!("- {item}")));
    }
}

fn advice_lines(advice: &[Advice]) -> Vec<String> {
    advice
        .iter()
        .map(|advice| match &advice.link {
            Some(link) => format!("{}: {link}", advice.text),
            None => advice.text.clone(),
        })
        .collect()
}

fn subject_of_one(fact: &Fact) -> String {
    let subject = formatting::topic(fact);
    let rule = formatting::clean(fact.identity.slot.rule.as_str());
    let place = match fact.identity.slot.subject.kind {
        SubjectKind::Organization => subject,
        SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => {
            format!(
                "{}, {subject}",
                formatting::clean(fact.identity.organization.as_str())
            )
        }
    };
    match formatting::period(fact) {
        Some(period) => format!("[spendwatch] {rule}: {place}, {period}"),
        None => format!("[spendwatch] {rule}: {place}"),
    }
}

fn subject_of_many(facts: &[Fact]) -> String {
    let groups = by_rule(facts);
    let rules: Vec<String> = groups
        .iter()
        .take(3)
        .map(|group| formatting::clean(group.rule.as_str()))
        .collect();
    let others = if groups.len() > 3 { ", …" } else { "" };
    format!(
        "[spendwatch] {}: {}{others}",
        counted(facts.len(), "alert"),
        rules.join(", ")
    )
}

/// `3 critical, 9 warning, 2 resolved`.
fn counts(facts: &[Fact]) -> String {
    let mut parts = Vec::new();
    for severity in Severity::ALL.into_iter().rev() {
        let n = facts
            .iter()
            .filter(|fact| fact.reason != Reason::Resolved && fact.line.severity == severity)
            .count();
        if n > 0 {
            parts.push(format!("{n} {severity}"));
        }
    }
    for (reason, word) in [(Reason::Lowered, "lowered"), (Reason::Resolved, "resolved")] {
        let is_over = |fact: &&Fact| fact.reason == Reason::Resolved;
        let ended = facts.iter().filter(is_over);
        let n = ended.filter(|fact| fact.public_reason() == reason).count();
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    parts.join(", ")
}

fn totals_by_rule(facts: &[Fact]) -> String {
    let groups = by_rule(facts);
    let shown: Vec<String> = groups
        .iter()
        .take(3)
        .map(|group| {
            format!(
                "{}: {}",
                formatting::clean(group.rule.as_str()),
                together(&group.facts)
            )
        })
        .collect();
    let others = if groups.len() > 3 { "; …" } else { "" };
    format!("{}{others}", shown.join("; "))
}

fn detail(fact: &Fact, envelope: &Envelope<'_>) -> Detail {
    Detail {
        figures: wording::figures(fact),
        top: match fact.reason {
            Reason::Resolved => Vec::new(),
            Reason::First
            | Reason::Escalated
            | Reason::Lowered
            | Reason::Repeated
            | Reason::Unsilenced => wording::contributors(fact),
        },
        advice: advise(fact, envelope.links),
    }
}

fn roundup(facts: &[Fact], envelope: &Envelope<'_>, max_lines: usize) -> Roundup {
    let groups = by_rule_with_lines(facts, max_lines);
    let (shown, rest) = groups.split_at(groups.len().min(MAX_GROUPS));
    let n_rest: usize = rest.iter().map(|group| group.facts.len()).sum();
    Roundup {
        groups: shown
            .iter()
            .map(|group| rule_group(group, groups.len() > 1))
            .collect(),
        more: (n_rest > 0)
            .then(|| format!("and {n_rest} more of {}", counted(rest.len(), "other rule"))),
        advice: facts
            .first()
            .map(|worst| advise(worst, envelope.links))
            .unwrap_or_default(),
    }
}

/// The totals of an only rule are in the summary already.
fn rule_group(group: &RuleFacts<'_>, has_totals: bool) -> Group {
    let rule = formatting::clean(group.rule.as_str());
    let organization = formatting::clean(group.organization.as_str());
    let (shown, rest) = group.facts.split_at(group.n_shown);
    let n = group.facts.len();
    let mut title = format!("{rule} ({organization}): {}", counted(n, "alert"));
    if has_totals {
        title = format!("{title}, {}", together(&group.facts));
    }
    let more = match rest.len() {
        0 => None,
        n_rest if shown.is_empty() => Some(format!("{n_rest} not listed")),
        n_rest => Some(format!("and {n_rest} more, {}", together(rest))),
    };
    Group {
        title,
        lines: shown.iter().map(|fact| line(fact)).collect(),
        more,
    }
}

fn line(fact: &Fact) -> String {
    let since = match fact.reason {
        Reason::Resolved => String::new(),
        // An event has a moment of its own.
        _ if fact.event().is_some() => String::new(),
        Reason::First
        | Reason::Escalated
        | Reason::Lowered
        | Reason::Repeated
        | Reason::Unsilenced => format!(
            ", since {}",
            formatting::time(fact.firing_since, &fact.zone_name)
        ),
    };
    let cause = match fact.top.first().filter(|_| fact.reason != Reason::Resolved) {
        Some(contributor) => format!(", most by {}", wording::contributor_name(fact, contributor)),
        None => String::new(),
    };
    format!(
        "{}: {}{since}{cause}",
        wording::title(fact),
        lower_first(&wording::summary(fact))
    )
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Notes on time stand outside the frozen facts: they change from attempt to attempt.
fn notes(envelope: &Envelope<'_>) -> Vec<String> {
    let decided_at = newest_decision(envelope);
    let zone_name = envelope
        .facts
        .first()
        .map_or("UTC", |fact| fact.zone_name.as_str());
    let when = formatting::time(decided_at, zone_name);
    let age = formatting::duration(envelope.age());
    if envelope.is_replay {
        vec![format!("Delayed by {age}: this was true on {when}")]
    } else if envelope.is_old() {
        vec![format!("This was true on {when}, {age} ago")]
    } else {
        Vec::new()
    }
}

fn newest_decision(envelope: &Envelope<'_>) -> Timestamp {
    envelope
        .facts
        .iter()
        .map(|fact| fact.decided_at)
        .max()
        .unwrap_or(envelope.created_at)
}
