//! What keeps messages quiet and never an alert: silences, which match labels for a time, and acknowledgements of one alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexBuilder};

use crate::domain::alert::{Alert, Line};
use crate::domain::event::Event;
use crate::domain::ids::NotifierName;
use crate::domain::lines::Lines;
use crate::domain::matcher::Glob;
use crate::domain::span::Span;

/// Bytes of one compiled regular expression.
const MAX_REGEX: usize = 1 << 18;

/// Mutes what all of its matchers match, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Unique.
    pub id: String,
    /// Half-open, UTC.
    pub span: Span,
    /// At least one.
    pub matchers: Vec<LabelMatcher>,
    /// Who asked for it.
    pub author: String,
    /// Why.
    pub comment: String,
}

/// Where a silence stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// It mutes.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

impl SilenceState {
    /// The word in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
        }
    }
}

impl Silence {
    /// Whether it mutes an alert now.
    pub fn mutes(&self, labels: &Labels<'_>, at: Timestamp) -> bool {
        self.span.contains(at) && self.matches(labels)
    }

    /// Whether it is about an alert, at whatever time.
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Where it stands.
    pub fn state(&self, at: Timestamp) -> SilenceState {
        if at < self.span.start {
            SilenceState::Pending
        } else if at < self.span.end {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }
}

/// When a silence is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Then.
    At(Timestamp),
    /// So long after its start.
    After(SignedDuration),
}

/// Why a silence would keep nothing quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the silence would end at {end}, which is not after its start and after now ({now})")]
pub struct EndsTooSoon {
    /// Its end.
    pub end: Timestamp,
    /// When it was asked for.
    pub now: Timestamp,
}

/// The span of a new silence; without a start it begins now.
pub fn span(start: Option<Timestamp>, end: End, now: Timestamp) -> Result<Span, EndsTooSoon> {
    let start = start.unwrap_or(now);
    let end = match end {
        End::At(end) => end,
        End::After(length) => start.checked_add(length).unwrap_or(Timestamp::MAX),
    };
    if end <= start || end <= now {
        return Err(EndsTooSoon { end, now });
    }
    Ok(Span { start, end })
}

/// A label and what it must be.
#[derive(Debug, Clone)]
pub struct LabelMatcher {
    /// As the webhook has it.
    pub label: String,
    /// A label that an alert does not have is empty.
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Glob(Glob),
    NotGlob(Glob),
    Regex(Regex),
    NotRegex(Regex),
}

/// Why a text is not a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// Neither of the four.
    #[error("has none of `=`, `!=`, `=~`, `!~`; like `rule=workspace-month`")]
    NoOperator,
    /// Not a label's name.
    #[error("`{0}` is not the name of a label")]
    Label(String),
    /// The pattern cannot be read.
    #[error("the pattern cannot be read: {0}")]
    Pattern(String),
}

impl LabelMatcher {
    /// Reads `label=glob`, `label!=glob`, `label=~regex` or `label!~regex`. A regular expression must match the whole value.
    pub fn parse(text: &str) -> Result<LabelMatcher, MatcherError> {
        let at = text.find(['=', '!']).ok_or(MatcherError::NoOperator)?;
        let (label, rest) = text.split_at(at);
        let label = label.trim();
        let is_name = |label: &str| {
            let mut letters = label.bytes();
            letters
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
        };
        if !is_name(label) {
            return Err(MatcherError::Label(label.to_owned()));
        }
        let glob = |pattern: &str| Glob::new(pattern.trim()).map_err(MatcherError::Pattern);
        let test = if let Some(pattern) = rest.strip_prefix("=~") {
            Test::Regex(whole(pattern.trim())?)
        } else if let Some(pattern) = rest.strip_prefix("!~") {
            Test::NotRegex(whole(pattern.trim())?)
        } else if let Some(pattern) = rest.strip_prefix("!=") {
            Test::NotGlob(glob(pattern)?)
        } else if let Some(pattern) = rest.strip_prefix('=') {
            Test::Glob(glob(pattern)?)
        } else {
            return Err(MatcherError::NoOperator);
        };
        Ok(LabelMatcher {
            label: label.to_owned(),
            test,
        })
    }

    /// Whether a value is as it must be.
    pub fn is_met_by(&self, value: &str) -> bool {
        self.is_met_by_any(std::iter::once(value))
    }

    /// Whether an alert's label is as it must be. A subject has two values, its name and its id: either may be meant.
    pub fn matches(&self, labels: &Labels<'_>) -> bool {
        self.is_met_by_any(labels.of(&self.label))
    }

    fn is_met_by_any<'a>(&self, mut values: impl Iterator<Item = &'a str>) -> bool {
        match &self.test {
            Test::Glob(glob) => values.any(|value| glob.matches(value)),
            Test::NotGlob(glob) => !values.any(|value| glob.matches(value)),
            Test::Regex(regex) => values.any(|value| regex.is_match(value)),
            Test::NotRegex(regex) => !values.any(|value| regex.is_match(value)),
        }
    }
}

/// The whole value, whatever alternatives the pattern has.
fn whole(pattern: &str) -> Result<Regex, MatcherError> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(MAX_REGEX)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            MatcherError::Pattern(last.trim_start_matches("error: ").to_owned())
        })
}

impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = &self.label;
        match &self.test {
            Test::Glob(glob) => write!(f, "{label}={}", glob.pattern()),
            Test::NotGlob(glob) => write!(f, "{label}!={}", glob.pattern()),
            Test::Regex(regex) => write!(f, "{label}=~{}", pattern_of(regex)),
            Test::NotRegex(regex) => write!(f, "{label}!~{}", pattern_of(regex)),
        }
    }
}

fn pattern_of(regex: &Regex) -> &str {
    let whole = regex.as_str();
    let inner = whole.strip_prefix("^(?:");
    inner
        .and_then(|inner| inner.strip_suffix(")$"))
        .unwrap_or(whole)
}

impl PartialEq for LabelMatcher {
    fn eq(&self, other: &LabelMatcher) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for LabelMatcher {}

/// The labels of every alert. A subject's kind and that kind with `_id` are two more, and the rule's own are others.
pub const LABELS: [&str; 9] = [
    "alertname",
    "rule",
    "organization",
    "subject_kind",
    "subject",
    "subject_id",
    "period",
    "event",
    "severity",
];

/// What a silence can match of one alert: the webhook's labels.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// The alert.
    pub alert: &'a Alert,
    /// The subject's name.
    pub subject: &'a str,
    /// The rule's own labels.
    pub of_rule: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Labels<'a> {
    /// The values of a label: one, and for the subject its name and its id. Empty where the alert has none.
    pub fn of(&self, label: &str) -> impl Iterator<Item = &'a str> {
        let identity = &self.alert.identity;
        let (slot, subject) = (&identity.slot, &identity.slot.subject);
        let kind = subject.kind.as_str();
        let of_rule = || {
            let labels = self.of_rule?;
            labels.get(label).map(String::as_str)
        };
        let (first, second) = match label {
            "alertname" | "rule" => (slot.rule.as_str(), None),
            "organization" => (identity.organization.as_str(), None),
            "subject_kind" => (kind, None),
            "subject" => (self.subject, Some(&*subject.id)),
            "subject_id" => (&*subject.id, None),
            "period" => (slot.period.as_deref().unwrap_or_default(), None),
            "event" => (slot.event.map_or("", Event::as_str), None),
            "severity" => (self.alert.line().severity.as_str(), None),
            label if label == kind => (self.subject, Some(&*subject.id)),
            label if label.strip_suffix("_id") == Some(kind) => (&*subject.id, None),
            _ => (of_rule().unwrap_or_default(), None),
        };
        std::iter::once(first).chain(second)
    }
}

/// Somebody has taken up an alert: it is not repeated as long as it gets no worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// What they said.
    pub comment: String,
    /// The line that the alert held.
    pub line: Line,
}

impl Acknowledgement {
    /// Whether it still is about an alert: the same firing, at the same line or a milder one.
    pub fn covers(&self, alert: &Alert, line: &Line, lines: &Lines) -> bool {
        let is_of_this_firing = alert.firing_since.is_some_and(|since| since <= self.at);
        is_of_this_firing && (*line == self.line || lines.compare(line, &self.line).is_le())
    }
}

/// All that keeps quiet, by intent or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quiet {
    /// For a time.
    pub silences: Vec<Silence>,
    /// By fingerprint.
    pub acknowledged: BTreeMap<String, Acknowledgement>,
    /// Notifiers that cannot be reached: their messages wait.
    pub parked: BTreeSet<NotifierName>,
}

impl Quiet {
    /// An alert's acknowledgement, of this firing or of one before.
    pub fn acknowledgement(&self, alert: &Alert) -> Option<&Acknowledgement> {
        if self.acknowledged.is_empty() {
            return None;
        }
        self.acknowledged.get(&alert.identity.fingerprint())
    }
}
