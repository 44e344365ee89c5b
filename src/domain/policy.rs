//! What was configured: rules, and how each notifier wants to be told.

use std::collections::BTreeMap;

use crate::domain::event::Lists;
use crate::domain::ids::NotifierName;
use crate::domain::rule::{Rule, Severity, lists_needed};

/// How a notifier wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Whether it hears of the end of an alert.
    pub send_resolved: bool,
    /// Whether it hears of an end by the calendar or the configuration.
    pub tells_period_end: bool,
    /// The mildest severity that it hears of.
    pub min_severity: Severity,
    /// The receiver keeps a state of its own and must hear of every end.
    pub holds_state: bool,
}

/// What was configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// In the order of the file.
    pub rules: Vec<Rule>,
    pub notifiers: BTreeMap<NotifierName, Manners>,
    /// Who is told in the place of whom, while that one is parked. There are no circles.
    pub fallbacks: BTreeMap<NotifierName, NotifierName>,
}

impl Policy {
    /// Which lists its rules are measured against.
    pub fn needs(&self) -> Lists {
        lists_needed(&self.rules)
    }
}
