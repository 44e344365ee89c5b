//! Suppression of messages, never of alerts: silences, which match labels for a limited time, and acknowledgements of one
//! alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexBuilder};

use crate::alerts::alert::{AbsoluteThreshold, Alert};
use crate::alerts::thresholds::ThresholdLadder;
use crate::org::events::Event;
use crate::units::ids::NotifierName;
use crate::units::matcher::{Glob, MAX_CACHE, MAX_NESTING, compile};
use crate::units::span::Span;

/// Maximum number of silences that have not ended, because each decision compares each of them with each alert.
pub const MAX_SILENCES: usize = 500;
/// Maximum size of the compiled matchers of all silences that have not ended, in bytes.
pub const MAX_COMPILED: usize = 16 * 1024 * 1024;
/// Maximum number of matchers of a silence.
pub const MAX_MATCHERS: usize = 50;
/// Maximum length of a matcher, in bytes.
pub const MAX_MATCHER: usize = 1024;
/// Maximum length of an author, in bytes.
pub const MAX_AUTHOR: usize = 200;
/// Maximum length of a comment, in bytes.
pub const MAX_COMMENT: usize = 2000;
/// Maximum number of days that a silence lasts, and that it may begin ahead of now.
pub const MAX_DAYS: i64 = 366;

/// Suppresses messages about alerts that all of its matchers match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub id: String,
    /// Half-open, UTC.
    pub span: Span,
    pub matchers: Vec<LabelMatcher>,
    pub author: String,
    pub comment: String,
}

/// State of a silence at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    Active,
    Pending,
    Expired,
    /// Not expired, but without effect because a stored matcher cannot be used.
    Unusable,
}

impl SilenceState {
    /// Returns the word used in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            SilenceState::Active => "active",
            SilenceState::Pending => "pending",
            SilenceState::Expired => "expired",
            SilenceState::Unusable => "unusable",
        }
    }
}

impl Silence {
    /// Returns whether it suppresses messages about an alert at `at`.
    pub fn mutes(&self, labels: &AlertLabels<'_>, at: Timestamp) -> bool {
        self.span.contains(at) && self.matches(labels)
    }

    /// Returns whether it matches an alert, regardless of the time.
    pub fn matches(&self, labels: &AlertLabels<'_>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }

    /// Returns its state at `at`.
    pub fn state(&self, at: Timestamp) -> SilenceState {
        if at >= self.span.end {
            SilenceState::Expired
        } else if self.problem().is_some() {
            SilenceState::Unusable
        } else if at < self.span.start {
            SilenceState::Pending
        } else {
            SilenceState::Active
        }
    }

    /// Returns why a stored silence cannot be used.
    pub fn problem(&self) -> Option<&str> {
        let mut matchers = self.matchers.iter();
        matchers.find_map(|matcher| match &matcher.condition {
            Condition::Inert { problem, .. } => problem.as_deref(),
            Condition::Glob(_)
            | Condition::NotGlob(_)
            | Condition::Regex(_)
            | Condition::NotRegex(_) => None,
        })
    }

    /// Returns an upper bound of the size of its compiled matchers, in bytes.
    pub fn size(&self) -> usize {
        self.matchers.iter().map(LabelMatcher::size).sum()
    }

    /// Checks a new silence against the limits of a single silence.
    pub fn check(&self, now: Timestamp) -> Result<(), OutOfBounds> {
        if self.matchers.is_empty() || self.matchers.len() > MAX_MATCHERS {
            return Err(OutOfBounds::Matchers(self.matchers.len()));
        }
        check_author_and_comment(&self.author, &self.comment)?;
        let longest = SignedDuration::from_hours(24 * MAX_DAYS);
        if self.span.start.duration_since(now) > longest {
            return Err(OutOfBounds::Start);
        }
        if self.span.end.duration_since(self.span.start) > longest {
            return Err(OutOfBounds::Length);
        }
        Ok(())
    }
}

/// Checks the lengths of author and comment of a silence or acknowledgement.
pub fn check_author_and_comment(author: &str, comment: &str) -> Result<(), OutOfBounds> {
    if author.len() > MAX_AUTHOR {
        return Err(OutOfBounds::Author(author.len()));
    }
    if comment.len() > MAX_COMMENT {
        return Err(OutOfBounds::Comment(comment.len()));
    }
    Ok(())
}

/// A new silence or acknowledgement exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    #[error("a silence has 1 to {MAX_MATCHERS} matchers, not {0}")]
    Matchers(usize),
    #[error("the author has {0} bytes, at most {MAX_AUTHOR} are allowed")]
    Author(usize),
    #[error("the comment has {0} bytes, at most {MAX_COMMENT} are allowed")]
    Comment(usize),
    #[error("a silence begins at most {MAX_DAYS} days from now")]
    Start,
    #[error("a silence lasts at most {MAX_DAYS} days")]
    Length,
}

/// Too many silences have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CapacityError {
    #[error(
        "there are already {MAX_SILENCES} silences that have not ended, which is the maximum; remove one first"
    )]
    Silences,
    #[error(
        "the matchers of all silences that have not ended would exceed {} MiB once compiled; simplify them or remove one first",
        MAX_COMPILED / (1024 * 1024)
    )]
    Compiled,
}

/// End of a new silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilenceEnd {
    At(Timestamp),
    After(SignedDuration),
}

/// A new silence would have no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the silence would end at {end}, which is not after its start and after now ({now})")]
pub struct EndsTooSoon {
    pub end: Timestamp,
    pub now: Timestamp,
}

/// Returns the span of a new silence, which starts now if `start` is `None`.
pub fn span(
    start: Option<Timestamp>,
    end: SilenceEnd,
    now: Timestamp,
) -> Result<Span, EndsTooSoon> {
    let start = start.unwrap_or(now);
    let end = match end {
        SilenceEnd::At(end) => end,
        SilenceEnd::After(length) => start.checked_add(length).unwrap_or(Timestamp::MAX),
    };
    if end <= start || end <= now {
        return Err(EndsTooSoon { end, now });
    }
    Ok(Span { start, end })
}

/// A compiled condition on a label; clones share the compiled pattern.
#[derive(Debug, Clone)]
pub struct LabelMatcher {
    /// Label name as in the webhook.
    pub label: String,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    Glob(Glob),
    NotGlob(Glob),
    Regex(Arc<WholeRegex>),
    NotRegex(Arc<WholeRegex>),
    /// Matches nothing, because the silence has ended or is unusable.
    Inert {
        text: String,
        problem: Option<String>,
    },
}

/// A text is not a valid matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    #[error("has none of `=`, `!=`, `=~`, `!~`; write for example `rule=workspace-month`")]
    NoOperator,
    #[error("`{0}` is not a label name")]
    Label(String),
    #[error("has an invalid pattern: {0}")]
    Pattern(String),
    #[error("has {0} bytes, at most {MAX_MATCHER} are allowed")]
    TooLong(usize),
}

impl LabelMatcher {
    /// Parses `label=glob`, `label!=glob`, `label=~regex` or `label!~regex`. A regular expression must match the whole value.
    pub fn parse(text: &str) -> Result<LabelMatcher, MatcherError> {
        if text.len() > MAX_MATCHER {
            return Err(MatcherError::TooLong(text.len()));
        }
        let at = text.find(['=', '!']).ok_or(MatcherError::NoOperator)?;
        let (label, rest) = text.split_at(at);
        let label = label.trim();
        let is_name = |label: &str| {
            let mut bytes = label.bytes();
            bytes
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !is_name(label) {
            return Err(MatcherError::Label(label.to_owned()));
        }
        let glob = |pattern: &str| Glob::new(pattern.trim()).map_err(MatcherError::Pattern);
        let regex = |pattern: &str| WholeRegex::new(pattern.trim()).map_err(MatcherError::Pattern);
        let condition = if let Some(pattern) = rest.strip_prefix("=~") {
            Condition::Regex(regex(pattern)?)
        } else if let Some(pattern) = rest.strip_prefix("!~") {
            Condition::NotRegex(regex(pattern)?)
        } else if let Some(pattern) = rest.strip_prefix("!=") {
            Condition::NotGlob(glob(pattern)?)
        } else if let Some(pattern) = rest.strip_prefix('=') {
            Condition::Glob(glob(pattern)?)
        } else {
            return Err(MatcherError::NoOperator);
        };
        Ok(LabelMatcher {
            label: label.to_owned(),
            condition,
        })
    }

    /// Returns a matcher that shows a stored text but matches nothing; `problem` says why, unless that is normal.
    pub fn inert(text: String, problem: Option<String>) -> LabelMatcher {
        LabelMatcher {
            label: String::new(),
            condition: Condition::Inert { text, problem },
        }
    }

    /// Returns whether a value meets the condition.
    pub fn matches_value(&self, value: &str) -> bool {
        self.matches_any(std::iter::once(value))
    }

    /// Returns whether an alert meets the condition. A subject has two values, its name and its id, and either may match.
    pub fn matches(&self, labels: &AlertLabels<'_>) -> bool {
        self.matches_any(labels.values_of(&self.label))
    }

    fn matches_any<'a>(&self, mut values: impl Iterator<Item = &'a str>) -> bool {
        match &self.condition {
            Condition::Glob(glob) => values.any(|value| glob.matches(value)),
            Condition::NotGlob(glob) => !values.any(|value| glob.matches(value)),
            Condition::Regex(regex) => values.any(|value| regex.regex.is_match(value)),
            Condition::NotRegex(regex) => !values.any(|value| regex.regex.is_match(value)),
            Condition::Inert { .. } => false,
        }
    }

    fn size(&self) -> usize {
        match &self.condition {
            Condition::Glob(glob) | Condition::NotGlob(glob) => glob.size(),
            Condition::Regex(regex) | Condition::NotRegex(regex) => regex.size,
            Condition::Inert { .. } => 0,
        }
    }
}

/// A regular expression anchored to the whole value.
#[derive(Debug)]
struct WholeRegex {
    pattern: String,
    regex: Regex,
    size: usize,
}

impl WholeRegex {
    fn new(pattern: &str) -> Result<Arc<WholeRegex>, String> {
        let compile = |text: &str| {
            compile(|size| {
                RegexBuilder::new(text)
                    .nest_limit(MAX_NESTING)
                    .size_limit(size)
                    .dfa_size_limit(MAX_CACHE)
                    .build()
            })
        };
        // A pattern such as `a)|(?:b` would break out of the group, so it must also compile on its own.
        compile(pattern)?;
        // In a verbose pattern, `(?x)`, a trailing comment would swallow the end of the group; there a line break ends the
        // comment and matches nothing.
        let (regex, size) = compile(&format!("^(?:{pattern})$"))
            .or_else(|error| compile(&format!("^(?:{pattern}\n)$")).map_err(|_| error))?;
        Ok(Arc::new(WholeRegex {
            pattern: pattern.to_owned(),
            regex,
            size,
        }))
    }
}

impl fmt::Display for LabelMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = &self.label;
        match &self.condition {
            Condition::Glob(glob) => write!(f, "{label}={}", glob.pattern()),
            Condition::NotGlob(glob) => write!(f, "{label}!={}", glob.pattern()),
            Condition::Regex(regex) => write!(f, "{label}=~{}", regex.pattern),
            Condition::NotRegex(regex) => write!(f, "{label}!~{}", regex.pattern),
            Condition::Inert { text, .. } => f.write_str(text),
        }
    }
}

impl PartialEq for LabelMatcher {
    fn eq(&self, other: &LabelMatcher) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for LabelMatcher {}

/// Labels of every alert. Each alert also has its subject kind, that kind with `_id`, and the labels of its rule.
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

/// Labels of one alert, as in the webhook, that a silence can match.
#[derive(Debug, Clone, Copy)]
pub struct AlertLabels<'a> {
    pub alert: &'a Alert,
    pub subject: &'a str,
    pub rule_labels: Option<&'a BTreeMap<String, String>>,
}

impl<'a> AlertLabels<'a> {
    /// Returns the values of a label: name and id for the subject, otherwise one, which is empty if the alert lacks the label.
    pub fn values_of(&self, label: &str) -> impl Iterator<Item = &'a str> {
        let identity = &self.alert.identity;
        let (slot, subject) = (&identity.slot, &identity.slot.subject);
        let kind = subject.kind.as_str();
        let rule_label = || {
            let labels = self.rule_labels?;
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
            "severity" => (self.alert.threshold().severity.as_str(), None),
            label if label == kind => (self.subject, Some(&*subject.id)),
            label if label.strip_suffix("_id") == Some(kind) => (&*subject.id, None),
            _ => (rule_label().unwrap_or_default(), None),
        };
        std::iter::once(first).chain(second)
    }
}

/// A person has seen an alert; it is not repeated until it gets worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    pub at: Timestamp,
    pub author: String,
    pub comment: String,
    /// Threshold of the alert at that time.
    pub threshold: AbsoluteThreshold,
}

impl Acknowledgement {
    /// Returns whether it applies: the alert has not fired anew and `threshold` is not higher than the acknowledged one.
    pub fn covers(
        &self,
        alert: &Alert,
        threshold: &AbsoluteThreshold,
        ladder: &ThresholdLadder,
    ) -> bool {
        let is_same_firing = alert.firing_since.is_some_and(|since| since <= self.at);
        is_same_firing
            && (*threshold == self.threshold || ladder.compare(threshold, &self.threshold).is_le())
    }
}

/// Silences, acknowledgements and parked notifiers of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suppressions {
    pub silences: Vec<Silence>,
    pub acknowledgements: BTreeMap<String, Acknowledgement>,
    /// Notifiers whose messages wait after an authentication or configuration error.
    pub parked: BTreeSet<NotifierName>,
    /// Decision time of the newest dead letter that was copied to a fallback, by alert fingerprint and fallback.
    pub forwarded: BTreeMap<(String, NotifierName), Timestamp>,
}

impl Suppressions {
    /// Returns the fallbacks that received a copy of a dead letter since the alert started firing.
    pub fn forwarded_to(&self, alert: &Alert) -> BTreeSet<NotifierName> {
        if self.forwarded.is_empty() {
            return BTreeSet::new();
        }
        let fingerprint = alert.identity.fingerprint();
        let is_current = |at: &Timestamp| alert.firing_since.is_some_and(|since| *at >= since);
        self.forwarded
            .iter()
            .filter(|((alert, _), at)| *alert == fingerprint && is_current(at))
            .map(|((_, fallback), _)| fallback.clone())
            .collect()
    }

    /// Returns the acknowledgement of an alert, which may date from before it fired anew.
    pub fn acknowledgement(&self, alert: &Alert) -> Option<&Acknowledgement> {
        if self.acknowledgements.is_empty() {
            return None;
        }
        self.acknowledgements.get(&alert.identity.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_match_the_whole_value_and_cannot_escape_the_anchors() {
        for (matcher, value, expected) in [
            ("rule=~a|b", "b", true),
            ("rule=~a|ab", "ab", true),
            ("rule=~a|b", "xb", false),
            ("rule=~a|b", "ax", false),
            ("rule=~(?x) a | b # either", "b", true),
            ("rule=~(?x) a | b # either", "xb", false),
            ("rule=~(?m)a$", "a\nb", false),
            ("rule=~^a$", "a", true),
            ("rule=~(?i)A", "a", true),
            ("rule=~(?U)a*", "aaa", true),
            ("rule=~", "", true),
            ("rule!~a|b", "b", false),
            ("rule!~a|b", "xb", true),
        ] {
            let parsed = LabelMatcher::parse(matcher).unwrap();
            assert_eq!(parsed.matches_value(value), expected, "{matcher}: {value}");
            assert_eq!(parsed.to_string(), matcher);
        }
        for escape in [
            "a)|(?:b",
            "a)|(b",
            "a)|b|(?:",
            "a|b)",
            "a)$|^(?:b",
            "a\\",
            "(?x)a)#",
            "(?x",
            "(?:a",
            ")",
            "[a",
            "*",
        ] {
            for operator in ["=~", "!~"] {
                let error = LabelMatcher::parse(&format!("rule{operator}{escape}")).unwrap_err();
                assert!(
                    matches!(error, MatcherError::Pattern(_)),
                    "{escape}: {error}"
                );
            }
        }
    }

    #[test]
    fn matchers_beyond_a_limit_are_rejected() {
        let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
        assert!(LabelMatcher::parse(&format!("rule=~{}", nested(20))).is_ok());
        for (pattern, expected) in [
            (nested(300), "nest"),
            (nested(30_000), "at most 1024 are allowed"),
            ("(a{1000}){1000}".to_owned(), "larger than 256 KiB"),
            ("\\w{500}".to_owned(), "larger than 256 KiB"),
            ("((a{0,50}){0,50}){0,50}".to_owned(), "larger than 256 KiB"),
        ] {
            let error = LabelMatcher::parse(&format!("rule=~{pattern}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
        let braces = format!("rule={}a{}", "{".repeat(260), "}".repeat(260));
        let error = LabelMatcher::parse(&braces).unwrap_err().to_string();
        assert!(error.contains("nested more than 16 deep"), "{error}");
    }

    #[test]
    fn silences_are_checked_against_limits() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let day = SignedDuration::from_hours(24);
        let silence = |change: &dyn Fn(&mut Silence)| {
            let mut silence = Silence {
                id: "one".to_owned(),
                span: Span {
                    start: now,
                    end: now + day * 366,
                },
                matchers: vec![LabelMatcher::parse("rule=month").unwrap(); 50],
                author: "a".repeat(200),
                comment: "c".repeat(2000),
            };
            change(&mut silence);
            silence.check(now).map_err(|error| error.to_string())
        };
        assert_eq!(silence(&|_| {}), Ok(()));
        type Change<'a> = &'a dyn Fn(&mut Silence);
        let changes: [(Change<'_>, &str); 6] = [
            (
                &|one| one.matchers.push(one.matchers[0].clone()),
                "a silence has 1 to 50 matchers, not 51",
            ),
            (
                &|one| one.matchers.clear(),
                "a silence has 1 to 50 matchers, not 0",
            ),
            (
                &|one| one.author.push('a'),
                "the author has 201 bytes, at most 200 are allowed",
            ),
            (
                &|one| one.comment.push('c'),
                "the comment has 2001 bytes, at most 2000 are allowed",
            ),
            (
                &|one| one.span.end += SignedDuration::from_secs(1),
                "a silence lasts at most 366 days",
            ),
            (
                &|one| {
                    one.span = Span {
                        start: now + day * 367,
                        end: Timestamp::MAX,
                    }
                },
                "a silence begins at most 366 days from now",
            ),
        ];
        for (change, expected) in changes {
            assert_eq!(silence(change), Err(expected.to_owned()));
        }
    }

    #[test]
    fn unusable_silences_match_nothing_and_state_the_problem() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let matcher = LabelMatcher::inert("rule!=[".to_owned(), Some("too long".to_owned()));
        assert!(!matcher.matches_value("month"));
        assert_eq!(matcher.to_string(), "rule!=[");
        let silence = Silence {
            id: "one".to_owned(),
            span: Span {
                start: now,
                end: Timestamp::MAX,
            },
            matchers: vec![matcher],
            author: String::new(),
            comment: String::new(),
        };
        assert_eq!(silence.problem(), Some("too long"));
        assert_eq!(silence.state(now), SilenceState::Unusable);
        assert_eq!(silence.state(Timestamp::MAX), SilenceState::Expired);
    }
}
