//! What keeps messages quiet and never an alert: silences, which match labels for a time, and acknowledgements of one alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use regex::{Regex, RegexBuilder};

use crate::domain::alert::{Alert, Line};
use crate::domain::event::Event;
use crate::domain::ids::NotifierName;
use crate::domain::lines::Lines;
use crate::domain::matcher::{Glob, MAX_CACHE, MAX_NESTING, compile};
use crate::domain::span::Span;

/// Maximum number of silences that have not ended. Each is compared with each alert in each decision.
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

/// Mutes what all of its matchers match, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub id: String,
    /// Half-open, UTC.
    pub span: Span,
    pub matchers: Vec<LabelMatcher>,
    pub author: String,
    pub comment: String,
}

/// Where a silence stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    Active,
    Pending,
    Expired,
    /// It has not ended, but mutes nothing, because a matcher cannot be used.
    Unusable,
}

impl SilenceState {
    /// The word in lists.
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

    /// Why a stored silence cannot be used, if it cannot.
    pub fn problem(&self) -> Option<&str> {
        let mut matchers = self.matchers.iter();
        matchers.find_map(|matcher| match &matcher.test {
            Test::Inert { problem, .. } => problem.as_deref(),
            Test::Glob(_) | Test::NotGlob(_) | Test::Regex(_) | Test::NotRegex(_) => None,
        })
    }

    /// Upper bound for the bytes that its compiled matchers take.
    pub fn size(&self) -> usize {
        self.matchers.iter().map(LabelMatcher::size).sum()
    }

    /// Checks a new silence against the bounds that a single one has.
    pub fn check(&self, now: Timestamp) -> Result<(), OutOfBounds> {
        if self.matchers.is_empty() || self.matchers.len() > MAX_MATCHERS {
            return Err(OutOfBounds::Matchers(self.matchers.len()));
        }
        check_signature(&self.author, &self.comment)?;
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

/// Checks who silences or acknowledges something, and why.
pub fn check_signature(author: &str, comment: &str) -> Result<(), OutOfBounds> {
    if author.len() > MAX_AUTHOR {
        return Err(OutOfBounds::Author(author.len()));
    }
    if comment.len() > MAX_COMMENT {
        return Err(OutOfBounds::Comment(comment.len()));
    }
    Ok(())
}

/// Which bound a new silence or acknowledgement exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfBounds {
    #[error("a silence has 1 to {MAX_MATCHERS} matchers, not {0}")]
    Matchers(usize),
    /// Its length, in bytes.
    #[error("the author has {0} bytes, at most {MAX_AUTHOR} are allowed")]
    Author(usize),
    /// Its length, in bytes.
    #[error("the comment has {0} bytes, at most {MAX_COMMENT} are allowed")]
    Comment(usize),
    /// More than [`MAX_DAYS`] ahead of now.
    #[error("a silence begins at most {MAX_DAYS} days from now")]
    Start,
    /// Longer than [`MAX_DAYS`].
    #[error("a silence lasts at most {MAX_DAYS} days")]
    Length,
}

/// Why no further silence can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// [`MAX_SILENCES`] have not ended.
    #[error(
        "there are already {MAX_SILENCES} silences that have not ended, which is the maximum; remove one first"
    )]
    Silences,
    /// [`MAX_COMPILED`] would be exceeded.
    #[error(
        "the matchers of all silences that have not ended would exceed {} MiB once compiled; simplify them or remove one first",
        MAX_COMPILED / (1024 * 1024)
    )]
    Compiled,
}

/// When a silence is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    At(Timestamp),
    /// So long after its start.
    After(SignedDuration),
}

/// Why a silence would keep nothing quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the silence would end at {end}, which is not after its start and after now ({now})")]
pub struct EndsTooSoon {
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

/// A label and what it must be. It is compiled once, and clones share the result.
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
    Regex(Arc<WholeRegex>),
    NotRegex(Arc<WholeRegex>),
    /// Matches nothing: the silence has ended, or it is unusable.
    Inert {
        text: String,
        problem: Option<String>,
    },
}

/// Why a text is not a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    #[error("has none of `=`, `!=`, `=~`, `!~`; like `rule=workspace-month`")]
    NoOperator,
    #[error("`{0}` is not the name of a label")]
    Label(String),
    /// The pattern cannot be read.
    #[error("the pattern cannot be read: {0}")]
    Pattern(String),
    /// Its length, in bytes.
    #[error("has {0} bytes, at most {MAX_MATCHER} are allowed")]
    TooLong(usize),
}

impl LabelMatcher {
    /// Reads `label=glob`, `label!=glob`, `label=~regex` or `label!~regex`. A regular expression must match the whole value.
    pub fn parse(text: &str) -> Result<LabelMatcher, MatcherError> {
        if text.len() > MAX_MATCHER {
            return Err(MatcherError::TooLong(text.len()));
        }
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
        let regex = |pattern: &str| WholeRegex::new(pattern.trim()).map_err(MatcherError::Pattern);
        let test = if let Some(pattern) = rest.strip_prefix("=~") {
            Test::Regex(regex(pattern)?)
        } else if let Some(pattern) = rest.strip_prefix("!~") {
            Test::NotRegex(regex(pattern)?)
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

    /// A stored text that is shown but matches nothing, with the reason if that is a problem.
    pub fn inert(text: String, problem: Option<String>) -> LabelMatcher {
        LabelMatcher {
            label: String::new(),
            test: Test::Inert { text, problem },
        }
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
            Test::Regex(whole) => values.any(|value| whole.regex.is_match(value)),
            Test::NotRegex(whole) => !values.any(|value| whole.regex.is_match(value)),
            Test::Inert { .. } => false,
        }
    }

    fn size(&self) -> usize {
        match &self.test {
            Test::Glob(glob) | Test::NotGlob(glob) => glob.size(),
            Test::Regex(whole) | Test::NotRegex(whole) => whole.size,
            Test::Inert { .. } => 0,
        }
    }
}

/// A regular expression that must match a whole value.
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
        // Only a pattern that is complete in itself stays inside the group: `a)|(?:b` is not.
        compile(pattern)?;
        // In a verbose pattern, `(?x)`, a comment at its end would swallow the end of the group; a line break ends the
        // comment and means nothing there.
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
        match &self.test {
            Test::Glob(glob) => write!(f, "{label}={}", glob.pattern()),
            Test::NotGlob(glob) => write!(f, "{label}!={}", glob.pattern()),
            Test::Regex(whole) => write!(f, "{label}=~{}", whole.pattern),
            Test::NotRegex(whole) => write!(f, "{label}!~{}", whole.pattern),
            Test::Inert { text, .. } => f.write_str(text),
        }
    }
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
    pub alert: &'a Alert,
    pub subject: &'a str,
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
    pub at: Timestamp,
    pub author: String,
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
    pub silences: Vec<Silence>,
    pub acknowledged: BTreeMap<String, Acknowledgement>,
    /// Notifiers that cannot be reached: their messages wait.
    pub parked: BTreeSet<NotifierName>,
    /// When the newest dead letter about an alert that a fallback has a copy of was decided, by fingerprint and fallback.
    pub passed_on: BTreeMap<(String, NotifierName), Timestamp>,
}

impl Quiet {
    /// Fallbacks that have a copy of a message about this firing of an alert.
    pub fn passed_on_to(&self, alert: &Alert) -> BTreeSet<NotifierName> {
        if self.passed_on.is_empty() {
            return BTreeSet::new();
        }
        let fingerprint = alert.identity.fingerprint();
        let is_of_firing = |at: &Timestamp| alert.firing_since.is_some_and(|since| *at >= since);
        self.passed_on
            .iter()
            .filter(|((of, _), at)| *of == fingerprint && is_of_firing(at))
            .map(|((_, fallback), _)| fallback.clone())
            .collect()
    }

    /// An alert's acknowledgement, of this firing or of one before.
    pub fn acknowledgement(&self, alert: &Alert) -> Option<&Acknowledgement> {
        if self.acknowledged.is_empty() {
            return None;
        }
        self.acknowledged.get(&alert.identity.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_matches_the_whole_value_and_cannot_leave_its_anchors() {
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
            assert_eq!(parsed.is_met_by(value), expected, "{matcher}: {value}");
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
    fn a_matcher_beyond_a_limit_is_refused() {
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
    fn bounds_of_a_silence() {
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
    fn a_silence_that_cannot_be_used_mutes_nothing_and_says_why() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let matcher = LabelMatcher::inert("rule!=[".to_owned(), Some("too long".to_owned()));
        assert!(!matcher.is_met_by("month"));
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
