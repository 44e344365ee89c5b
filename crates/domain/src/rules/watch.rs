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

const USAGE: WatchInfo = WatchInfo {
    word: "",
    stored: "",
    unit: Unit::Usd,
    subjects: &SubjectKind::ALL,
    is_by_user: true,
    has_period: true,
    is_spend: false,
    has_contributors: true,
    threshold: Percent::HUNDRED,
};
const SPEND: WatchInfo = WatchInfo {
    word: "spend",
    stored: "spend",
    is_spend: true,
    ..USAGE
};
const BURN_RATE: WatchInfo = WatchInfo {
    word: "burn_rate",
    stored: "burn_rate",
    // A burn rate that uses up the limit exactly is normal; three times as much is not.
    threshold: Percent::from_whole(300),
    ..SPEND
};
const TOKENS: WatchInfo = WatchInfo {
    word: "tokens",
    stored: "tokens",
    unit: Unit::Tokens,
    ..USAGE
};
const REQUESTS: WatchInfo = WatchInfo {
    word: "requests",
    stored: "requests",
    unit: Unit::Requests,
    ..USAGE
};
const DATA_AGE: WatchInfo = WatchInfo {
    word: "data_age",
    stored: "data_age",
    unit: Unit::Seconds,
    subjects: &[SubjectKind::Organization, SubjectKind::Workspace],
    is_by_user: false,
    has_period: false,
    has_contributors: false,
    ..USAGE
};
const RECONCILIATION_USD: WatchInfo = WatchInfo {
    word: "reconciliation",
    stored: "reconciliation_usd",
    // Nothing else is billed separately.
    subjects: &[
        SubjectKind::Organization,
        SubjectKind::Workspace,
        SubjectKind::Model,
    ],
    is_by_user: false,
    ..USAGE
};
const RECONCILIATION_PERCENT: WatchInfo = WatchInfo {
    stored: "reconciliation_percent",
    unit: Unit::Percent,
    has_contributors: false,
    ..RECONCILIATION_USD
};
const LIFECYCLE: WatchInfo = WatchInfo {
    word: "lifecycle",
    stored: "lifecycle",
    unit: Unit::Severity,
    subjects: &[],
    has_period: false,
    has_contributors: false,
    ..USAGE
};

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
    pub const fn info(self) -> &'static WatchInfo {
        match self {
            Watch::Spend => &SPEND,
            Watch::BurnRate => &BURN_RATE,
            Watch::Tokens => &TOKENS,
            Watch::Requests => &REQUESTS,
            Watch::DataAge => &DATA_AGE,
            Watch::ReconciliationUsd => &RECONCILIATION_USD,
            Watch::ReconciliationPercent => &RECONCILIATION_PERCENT,
            Watch::Lifecycle => &LIFECYCLE,
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
