//! Usage: what one workspace used of one model, with one key where that is known, in one hour or day of UTC.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, AddAssign, Deref, Neg, Sub};
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::ids::{ActorId, ApiKeyId, ModelName, UNATTRIBUTED, WorkspaceId};
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
    /// As it is billed, or estimated as long as nothing is.
    pub spend: Usd,
    /// The part of `spend` that is an estimate.
    pub estimated: Usd,
    /// What it costs before discounts, where the service says it.
    pub list: Usd,
    /// What the tokens cost by our price table; kept when the bill replaces it, to be compared with the bill.
    pub priced: Usd,
    /// How much more the tokens would have cost without a cache, by our price table. Below zero where writing cost more
    /// than reading saved.
    pub saved: Usd,
    /// The part of `priced` that our price table cannot determine with certainty.
    pub uncertain: Usd,
    pub tokens: Tokens,
    /// Tokens whose price is not known and that are not billed: as long as there are any, `spend` is a lower bound.
    pub unpriced: i64,
    /// Tokens of the Priority Tier, whose price stands in a contract and in no report.
    pub by_contract: i64,
    /// Requests. Where the API tells them by row and not by model, they stand under model `unattributed`.
    pub requests: i64,
}

/// How many amounts of money there are in [`Amounts`].
pub const N_MONEY: usize = 6;
/// How many counts there are in [`Amounts`].
pub const N_COUNTS: usize = 8;

impl Amounts {
    /// Nothing used.
    pub const ZERO: Amounts = Amounts {
        spend: Usd::ZERO,
        estimated: Usd::ZERO,
        list: Usd::ZERO,
        priced: Usd::ZERO,
        saved: Usd::ZERO,
        uncertain: Usd::ZERO,
        tokens: Tokens {
            input: 0,
            output: 0,
            cache_read: 0,
            cache_write_5m: 0,
            cache_write_1h: 0,
        },
        unpriced: 0,
        by_contract: 0,
        requests: 0,
    };

    /// Whether every figure is zero.
    pub fn is_zero(&self) -> bool {
        *self == Amounts::ZERO
    }

    /// The same without any money.
    #[must_use]
    pub fn without_money(self) -> Amounts {
        Amounts::from_figures([Usd::ZERO; N_MONEY], self.counts())
    }

    /// All amounts of money, in the order of the fields.
    pub fn money(&self) -> [Usd; N_MONEY] {
        [
            self.spend,
            self.estimated,
            self.list,
            self.priced,
            self.saved,
            self.uncertain,
        ]
    }

    /// All counts, in the order of the fields.
    pub fn counts(&self) -> [i64; N_COUNTS] {
        let tokens = &self.tokens;
        [
            tokens.input,
            tokens.output,
            tokens.cache_read,
            tokens.cache_write_5m,
            tokens.cache_write_1h,
            self.unpriced,
            self.by_contract,
            self.requests,
        ]
    }

    /// From all of both, as [`Self::money`] and [`Self::counts`] give them.
    pub fn from_figures(money: [Usd; N_MONEY], counts: [i64; N_COUNTS]) -> Amounts {
        let [spend, estimated, list, priced, saved, uncertain] = money;
        let [
            input,
            output,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            unpriced,
            by_contract,
            requests,
        ] = counts;
        Amounts {
            spend,
            estimated,
            list,
            priced,
            saved,
            uncertain,
            tokens: Tokens {
                input,
                output,
                cache_read,
                cache_write_5m,
                cache_write_1h,
            },
            unpriced,
            by_contract,
            requests,
        }
    }

    /// Figure by figure.
    #[must_use]
    pub fn zip(
        &self,
        other: &Amounts,
        usd: impl Fn(Usd, Usd) -> Usd,
        count: impl Fn(i64, i64) -> i64,
    ) -> Amounts {
        let (mut money, mut counts) = (self.money(), self.counts());
        for (mine, theirs) in money.iter_mut().zip(other.money()) {
            *mine = usd(*mine, theirs);
        }
        for (mine, theirs) in counts.iter_mut().zip(other.counts()) {
            *mine = count(*mine, theirs);
        }
        Amounts::from_figures(money, counts)
    }
}

impl Add for Amounts {
    type Output = Amounts;
    fn add(self, other: Amounts) -> Amounts {
        self.zip(&other, |a, b| a + b, |a, b| a + b)
    }
}

impl Sub for Amounts {
    type Output = Amounts;
    fn sub(self, other: Amounts) -> Amounts {
        self.zip(&other, |a, b| a - b, |a, b| a - b)
    }
}

impl Neg for Amounts {
    type Output = Amounts;
    fn neg(self) -> Amounts {
        Amounts::ZERO - self
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Amounts) {
        *self = *self + other;
    }
}

/// The finest that the service tells within a workspace: which model, and with which key and by whom where it is known.
///
/// A clone is the same piece of memory: each hour has the same few thousand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(Arc<CellKey>);

/// What makes a [`Cell`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellKey {
    /// `unattributed` for what has no model.
    pub model: ModelName,
    /// `None` is usage without a key, and all usage where the dialect tells no keys.
    pub api_key: Option<ApiKeyId>,
    /// Who is charged; `None` where the key is, and where the dialect does not tell it.
    pub user: Option<ActorId>,
    /// The service told the sum over all keys, and this is this key's share by its tokens.
    pub is_apportioned: bool,
}

impl Cell {
    /// All usage of a model, or what of it has no key.
    pub fn of_model(model: ModelName) -> Cell {
        CellKey {
            model,
            api_key: None,
            user: None,
            is_apportioned: false,
        }
        .into()
    }
}

impl Deref for Cell {
    type Target = CellKey;
    fn deref(&self) -> &CellKey {
        &self.0
    }
}

impl From<CellKey> for Cell {
    fn from(key: CellKey) -> Cell {
        Cell(Arc::new(key))
    }
}

impl From<ModelName> for Cell {
    fn from(model: ModelName) -> Cell {
        Cell::of_model(model)
    }
}

impl From<&str> for Cell {
    fn from(model: &str) -> Cell {
        Cell::of_model(model.into())
    }
}

/// A bucket's amounts by cell; their sum is the bucket. Cells with nothing are absent.
pub type Cells = BTreeMap<Cell, Amounts>;

/// Adds an amount to one cell and removes it when nothing is left in it.
pub fn add_to(cells: &mut Cells, cell: &Cell, amounts: Amounts) {
    if amounts.is_zero() {
        return;
    }
    match cells.get_mut(cell) {
        Some(sum) => {
            *sum += amounts;
            if sum.is_zero() {
                cells.remove(cell);
            }
        }
        None => {
            cells.insert(cell.clone(), amounts);
        }
    }
}

/// The sum over all cells.
pub fn sum(cells: &Cells) -> Amounts {
    cells
        .values()
        .fold(Amounts::ZERO, |sum, amounts| sum + *amounts)
}

/// The same by model alone.
pub fn by_model(cells: &Cells) -> Cells {
    let mut models = Cells::new();
    for (cell, amounts) in cells {
        add_to(&mut models, &Cell::of_model(cell.model.clone()), *amounts);
    }
    models
}

/// `left − right`, cell by cell.
pub fn difference(left: &Cells, right: &Cells) -> Cells {
    let mut cells = left.clone();
    for (cell, amounts) in right {
        add_to(&mut cells, cell, -*amounts);
    }
    cells
}

/// What one part used in one cell from some hour on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    pub part: Part,
    /// Of which model, and with which key.
    pub cell: Cell,
    /// The first hour of the group.
    pub hour: Hour,
    /// How much; never all zero.
    pub amounts: Amounts,
}

/// The first hours of the buckets in a span.
pub fn bucket_starts(hours: HourSpan, granularity: Granularity) -> impl Iterator<Item = Hour> {
    let (first, step) = match granularity {
        Granularity::Hour => (hours.start, 1),
        Granularity::Day => (hours.start.day().first_hour(), 24),
    };
    (first.count()..hours.end.count())
        .step_by(step)
        .map(Hour::from_count)
}

/// What is known of a bucket of which something could not be read: as much as was known before, and whatever is more. What was
/// known before and is not told now is unattributed.
pub fn at_least(known: &Cells, told: &Cells) -> Cells {
    let (before, now) = (sum(known), sum(told));
    let missing = before.zip(&now, |a, b| (a - b).max(Usd::ZERO), |a, b| (a - b).max(0));
    let missing = Amounts {
        spend: missing.spend,
        estimated: missing.estimated.min(missing.spend),
        list: missing.list,
        tokens: missing.tokens,
        requests: missing.requests,
        ..Amounts::ZERO
    };
    if missing.is_zero() {
        return told.clone();
    }
    let more = now.zip(
        &before,
        |a, b| (a - b).max(Usd::ZERO),
        |a, b| (a - b).max(0),
    );
    if more.spend == Usd::ZERO && more.tokens == Tokens::default() && more.requests == 0 {
        return known.clone();
    }
    let mut cells = told.clone();
    add_to(&mut cells, &Cell::from(UNATTRIBUTED), missing);
    cells
}

/// Buckets of one part and one granularity, by their first hour.
pub type Buckets = BTreeMap<Hour, Cells>;

/// Where the money of hours comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Each row of usage states its money.
    ByRow,
    /// The service states it hour by hour, in rows of its own: where these are missing, nothing was said of money.
    ByHour,
    /// The service states it day by day; an hour has its share of it, and an estimate until there is a bill.
    ByDay,
}

/// Buckets of which something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// All that it may be about; empty where it is outside of what was asked for.
    pub hours: HourSpan,
    pub reason: String,
}

/// One complete answer about one part: every bucket of `hours` without an entry was told to be zero, but for the unknown ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub part: Part,
    /// Hours or days.
    pub granularity: Granularity,
    pub hours: HourSpan,
    /// Where the money of its hours comes from.
    pub basis: Basis,
    /// Up to when its running hours are known; `None` is the start of the poll.
    pub known_until: Option<Timestamp>,
    /// What was told, by the bucket's first hour. A bucket that was told with nothing in it is there, empty.
    pub buckets: Buckets,
    /// Buckets that hold at least what was told, because something of them could not be read; by their first hour.
    pub unknown: BTreeSet<Hour>,
}

impl Answer {
    /// Only what it says from an hour on.
    #[must_use]
    pub fn from_hour(mut self, start: Hour) -> Answer {
        self.buckets = self.buckets.split_off(&start);
        self.unknown = self.unknown.split_off(&start);
        self.hours.start = self.hours.start.max(start);
        self
    }
}
