//! What rules can measure, with the unit of each watch and the settings that fit it.

use crate::units::money::{Percent, Usd, percent_digits};
use crate::units::subject::SubjectKind;

/// A quantity in the [`Unit`] of its watch.
pub type Quantity = i128;

/// Unit of the quantities of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// In 10⁻¹² USD.
    Usd,
    Tokens,
    Requests,
    Seconds,
    /// In millionths of a percent, as in [`Percent`].
    Percent,
    /// The rank of the severity of an event that holds.
    Severity,
}

impl Unit {
    /// Formats a quantity exactly, in dollars, percent or whole units, without the name of the unit.
    pub fn decimal(self, quantity: Quantity) -> String {
        match self {
            Unit::Usd => Usd::from_pico(quantity).to_string(),
            Unit::Percent => percent_digits(quantity),
            Unit::Tokens | Unit::Requests | Unit::Seconds | Unit::Severity => quantity.to_string(),
        }
    }
}

/// What a rule measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    Spend,
    /// Spend of a whole period at the rate of the last complete hours.
    BurnRate,
    Tokens,
    Requests,
    DataAge,
    /// Absolute difference between bill and estimate.
    ReconciliationUsd,
    /// Absolute difference between bill and estimate, as a share of the estimate.
    ReconciliationPercent,
    /// Events of keys, users, workspaces and limits.
    Lifecycle,
}

/// What fits a watch.
#[derive(Debug, Clone, Copy)]
pub struct WatchInfo {
    /// Used in configuration and messages. The key of the limit distinguishes watches with the same word.
    pub word: &'static str,
    /// Unique; used in the store.
    pub stored: &'static str,
    pub unit: Unit,
    /// Subjects that `for_each` may name; empty if the events determine them.
    pub subjects: &'static [SubjectKind],
    /// Whether `match` may name API keys and users.
    pub is_by_user: bool,
    pub has_period: bool,
    /// Whether it measures spend, which budgets and provider limits apply to.
    pub is_spend: bool,
    /// Whether parts of a figure have its unit, so that contributors can be named.
    pub has_contributors: bool,
    /// Share of the limit at which an alert is critical if the rule has no thresholds.
    pub threshold: Percent,
}

impl WatchInfo {
    /// Describes a watch of usage.
    const fn usage(word: &'static str, unit: Unit) -> WatchInfo {
        WatchInfo {
            word,
            stored: word,
            unit,
            subjects: &SubjectKind::ALL,
            is_by_user: true,
            has_period: true,
            is_spend: false,
            has_contributors: true,
            threshold: Percent::HUNDRED,
        }
    }

    /// Describes a watch of the difference between bill and estimate.
    const fn reconciliation(stored: &'static str, unit: Unit) -> WatchInfo {
        WatchInfo {
            stored,
            // Nothing else is billed separately.
            subjects: &[
                SubjectKind::Organization,
                SubjectKind::Workspace,
                SubjectKind::Model,
            ],
            is_by_user: false,
            ..WatchInfo::usage("reconciliation", unit)
        }
    }
}

impl Watch {
    pub const ALL: [Watch; 8] = [
        Watch::Spend,
        Watch::BurnRate,
        Watch::Tokens,
        Watch::Requests,
        Watch::DataAge,
        Watch::ReconciliationUsd,
        Watch::ReconciliationPercent,
        Watch::Lifecycle,
    ];

    /// Returns what fits this watch.
    pub const fn info(self) -> WatchInfo {
        match self {
            Watch::Spend => WatchInfo {
                is_spend: true,
                ..WatchInfo::usage("spend", Unit::Usd)
            },
            Watch::BurnRate => WatchInfo {
                is_spend: true,
                // A burn rate that uses up the limit exactly is normal; three times as much is not.
                threshold: Percent::from_whole(300),
                ..WatchInfo::usage("burn_rate", Unit::Usd)
            },
            Watch::Tokens => WatchInfo::usage("tokens", Unit::Tokens),
            Watch::Requests => WatchInfo::usage("requests", Unit::Requests),
            Watch::DataAge => WatchInfo {
                subjects: &[SubjectKind::Organization, SubjectKind::Workspace],
                is_by_user: false,
                has_period: false,
                has_contributors: false,
                ..WatchInfo::usage("data_age", Unit::Seconds)
            },
            Watch::ReconciliationUsd => WatchInfo::reconciliation("reconciliation_usd", Unit::Usd),
            Watch::ReconciliationPercent => WatchInfo {
                has_contributors: false,
                ..WatchInfo::reconciliation("reconciliation_percent", Unit::Percent)
            },
            Watch::Lifecycle => WatchInfo {
                subjects: &[],
                has_period: false,
                has_contributors: false,
                ..WatchInfo::usage("lifecycle", Unit::Severity)
            },
        }
    }

    /// Returns the word used in configuration and messages.
    pub const fn as_str(self) -> &'static str {
        self.info().word
    }

    /// Returns the unit of its quantities.
    pub const fn unit(self) -> Unit {
        self.info().unit
    }

    /// Parses the unique word used in the store.
    pub fn from_stored(word: &str) -> Option<Watch> {
        Watch::ALL
            .into_iter()
            .find(|watch| watch.info().stored == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists variants. The match does not compile if one is missing.
    macro_rules! exhaustive {
        ($($variant:ident)+) => {{
            let _ = |watch: Watch| match watch { $(Watch::$variant => ()),+ };
            [$(Watch::$variant),+]
        }};
    }

    #[test]
    fn all_contains_every_watch() {
        let all = exhaustive!(
            Spend BurnRate Tokens Requests DataAge ReconciliationUsd ReconciliationPercent Lifecycle
        );
        assert_eq!(all, Watch::ALL);
    }
}
