//! Usage: what one workspace used of one model in one hour or day of UTC.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign, Neg, Sub};

use crate::domain::ids::{ModelName, UNATTRIBUTED, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Hour, HourSpan};

/// Whose usage: the parts (workspaces and what belongs to none of them) always sum to the whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// One workspace that is or was listed.
    Workspace(WorkspaceId),
    /// The whole minus the workspaces: derived, never asked for.
    Unattributed,
    /// The whole organization, as the API states it. Kept to derive the remainder; never summed with the parts.
    Whole,
}

impl Part {
    /// The id under which it is shown; the whole has none.
    pub fn workspace_id(&self) -> Option<&str> {
        match self {
            Part::Workspace(id) => Some(id.as_str()),
            Part::Unattributed => Some(UNATTRIBUTED),
            Part::Whole => None,
        }
    }
}

/// How wide a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// One hour of UTC.
    Hour,
    /// One day of UTC; begins at its hour 00:00.
    Day,
}

/// Tokens by class. The classes are disjoint. Negative only in a remainder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tokens {
    /// Input that was neither read from nor written to a cache.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input read from a cache.
    pub cache_read: i64,
    /// Input written to a cache for five minutes.
    pub cache_write_5m: i64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: i64,
}

impl Tokens {
    /// All classes together.
    pub fn sum(&self) -> i64 {
        self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h
    }

    /// Class by class.
    #[must_use]
    pub fn zip(&self, other: &Tokens, each: impl Fn(i64, i64) -> i64) -> Tokens {
        Tokens {
            input: each(self.input, other.input),
            output: each(self.output, other.output),
            cache_read: each(self.cache_read, other.cache_read),
            cache_write_5m: each(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: each(self.cache_write_1h, other.cache_write_1h),
        }
    }
}

/// What was used and what it cost. Negative only in a remainder or a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Amounts {
    /// Billed spend.
    pub spend: Usd,
    /// Tokens by class.
    pub tokens: Tokens,
    /// Requests; the API tells them by row, not by model: they stand under model `unattributed`.
    pub requests: i64,
}

impl Amounts {
    /// Nothing used.
    pub const ZERO: Amounts = Amounts {
        spend: Usd::ZERO,
        tokens: Tokens {
            input: 0,
            output: 0,
            cache_read: 0,
            cache_write_5m: 0,
            cache_write_1h: 0,
        },
        requests: 0,
    };

    /// Whether every figure is zero.
    pub fn is_zero(&self) -> bool {
        *self == Amounts::ZERO
    }
}

impl Add for Amounts {
    type Output = Amounts;
    fn add(self, other: Amounts) -> Amounts {
        Amounts {
            spend: self.spend + other.spend,
            tokens: self.tokens.zip(&other.tokens, |a, b| a + b),
            requests: self.requests + other.requests,
        }
    }
}

impl Sub for Amounts {
    type Output = Amounts;
    fn sub(self, other: Amounts) -> Amounts {
        self + -other
    }
}

impl Neg for Amounts {
    type Output = Amounts;
    fn neg(self) -> Amounts {
        Amounts {
            spend: -self.spend,
            tokens: self.tokens.zip(&Tokens::default(), |a, _| -a),
            requests: -self.requests,
        }
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Amounts) {
        *self = *self + other;
    }
}

/// A bucket's amounts by model; their sum is the bucket. Models with nothing are absent.
pub type Cells = BTreeMap<ModelName, Amounts>;

/// Adds an amount to one model's cell and removes the cell when nothing is left in it.
pub fn add_to(cells: &mut Cells, model: &ModelName, amounts: Amounts) {
    if amounts.is_zero() {
        return;
    }
    let sum = cells.get(model).copied().unwrap_or_default() + amounts;
    if sum.is_zero() {
        cells.remove(model);
    } else {
        cells.insert(model.clone(), sum);
    }
}

/// The sum over all models.
pub fn sum(cells: &Cells) -> Amounts {
    cells
        .values()
        .fold(Amounts::ZERO, |sum, amounts| sum + *amounts)
}

/// `left − right`, model by model.
pub fn difference(left: &Cells, right: &Cells) -> Cells {
    let mut cells = left.clone();
    for (model, amounts) in right {
        add_to(&mut cells, model, -*amounts);
    }
    cells
}

/// What one part used of one model from some hour on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose usage.
    pub part: Part,
    /// Of which model.
    pub model: ModelName,
    /// The first hour of the group.
    pub hour: Hour,
    /// How much; never all zero.
    pub amounts: Amounts,
}

/// Buckets of one part and one granularity, by their first hour.
pub type Buckets = BTreeMap<Hour, Cells>;

/// One complete answer about one part: every bucket of `hours` without an entry was told to be zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose usage.
    pub part: Part,
    /// Hours or days.
    pub granularity: Granularity,
    /// What it is about: whole days of UTC as it comes.
    pub hours: HourSpan,
    /// What was told, by the bucket's first hour. A bucket that was told with nothing in it is there, empty.
    pub buckets: Buckets,
}

impl Answer {
    /// Only what it says from an hour on.
    #[must_use]
    pub fn from_hour(mut self, start: Hour) -> Answer {
        self.buckets = self.buckets.split_off(&start);
        self.hours.start = self.hours.start.max(start);
        self
    }
}
