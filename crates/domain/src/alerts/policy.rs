//! Configuration that decisions depend on: rules, and what each notifier wants to receive.

use std::collections::BTreeMap;

use crate::org::events::RequiredLists;
use crate::rules::rule::{Rule, Severity, required_lists};
use crate::units::ids::NotifierName;

/// What a notifier receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifierPolicy {
    pub send_resolved: bool,
    /// Whether it also receives "resolved" when the period ended or the configuration changed.
    pub send_period_end: bool,
    pub min_severity: Severity,
    /// Whether the receiver keeps alert state itself and must receive every "resolved".
    pub holds_state: bool,
}

/// Rules, notifiers and fallbacks as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// In the order of the file.
    pub rules: Vec<Rule>,
    pub notifiers: BTreeMap<NotifierName, NotifierPolicy>,
    /// Fallback of each notifier, used while that notifier is parked; free of cycles.
    pub fallbacks: BTreeMap<NotifierName, NotifierName>,
}

impl Policy {
    /// Returns the lists that the lifecycle rules need.
    pub fn required_lists(&self) -> RequiredLists {
        required_lists(&self.rules)
    }
}
