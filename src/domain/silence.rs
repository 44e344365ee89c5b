//! Silences: matchers for a time. They mute messages, never alerts.

use jiff::Timestamp;

use crate::domain::alert::Identity;
use crate::domain::matcher::Glob;
use crate::domain::span::Span;

/// Mutes what matches, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Half-open, UTC.
    pub span: Span,
    /// The rule's name; `None` is every rule.
    pub rule: Option<Glob>,
    /// The subject's id; `None` is every subject.
    pub subject: Option<Glob>,
}

impl Silence {
    /// Whether it mutes an alert now.
    pub fn mutes(&self, alert: &Identity, at: Timestamp) -> bool {
        let matches =
            |glob: &Option<Glob>, name: &str| glob.as_ref().is_none_or(|glob| glob.matches(name));
        self.span.contains(at)
            && matches(&self.rule, alert.slot.rule.as_str())
            && matches(&self.subject, &alert.slot.subject.id)
    }
}
