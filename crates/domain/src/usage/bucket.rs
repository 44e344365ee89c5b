//! Usage of one workspace by model, API key and user (where reported), per UTC hour or day.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Add, AddAssign, Deref, Neg, Sub};
use std::sync::Arc;

use jiff::Timestamp;

use crate::units::ids::{ActorId, ApiKeyId, ModelName, UNATTRIBUTED, WorkspaceId};
use crate::units::money::Usd;
use crate::units::span::{Hour, HourSpan};

/// A part of the organization's usage: the workspaces and the remainder, which always sum to the whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A workspace that is or was listed.
    Workspace(WorkspaceId),
    /// The whole minus the workspaces; derived, never requested.
    Unattributed,
    /// The whole organization as reported by the API. Used to derive the remainder; never summed with the parts.
    Whole,
}

impl Part {
    /// Returns the id under which the part is shown; `None` for the whole.
    pub fn workspace_id(&self) -> Option<&str> {
        match self {
            Part::Workspace(id) => Some(id.as_str()),
            Part::Unattributed => Some(UNATTRIBUTED),
            Part::Whole => None,
        }
    }
}

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    Hour,
    /// One UTC day; identified by its hour 00:00.
    Day,
}

/// Tokens by class; the classes are disjoint. Negative only in a remainder.
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
    /// Returns the sum over all classes.
    pub fn sum(&self) -> i64 {
        self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h
    }

    /// Combines two counts class by class.
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

/// Usage and its spend. Negative only in a remainder or a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Amounts {
    /// Billed, or estimated until it is billed.
    pub spend: Usd,
    /// The estimated part of `spend`.
    pub estimated: Usd,
    /// Before discounts, where the API reports it.
    pub list: Usd,
    /// Tokens × list price. Kept after billing, to compare it with the bill.
    pub priced: Usd,
    /// List-price savings from caching; negative if cache writes cost more than reads saved.
    pub saved: Usd,
    /// The part of `priced` whose price is uncertain.
    pub uncertain: Usd,
    pub tokens: Tokens,
    /// Tokens without a known price; while there are any, `spend` is a lower bound.
    pub unpriced: i64,
    /// Priority Tier tokens, whose price is set by contract and not reported.
    pub by_contract: i64,
    /// Requests; under model `unattributed` if the API reports them without a model.
    pub requests: i64,
}

/// Number of money fields in [`Amounts`].
pub const N_MONEY: usize = 6;
/// Number of count fields in [`Amounts`].
pub const N_COUNTS: usize = 8;

impl Amounts {
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

    /// Returns whether all fields are zero.
    pub fn is_zero(&self) -> bool {
        *self == Amounts::ZERO
    }

    /// Returns the money fields in declaration order.
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

    /// Returns the count fields in declaration order.
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

    /// Creates amounts from the arrays returned by [`Self::money`] and [`Self::counts`].
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

    /// Combines two amounts field by field.
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

/// The finest key of usage within a workspace: model and, where reported, API key and user.
///
/// Interned: clones share one allocation, because every hour has the same few thousand keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey(Arc<UsageKeyFields>);

/// The fields of a [`UsageKey`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKeyFields {
    /// `unattributed` if there is no model.
    pub model: ModelName,
    /// `None` for usage without a key, or if the dialect does not report keys.
    pub api_key: Option<ApiKeyId>,
    /// The charged user; `None` if a key is charged, or if the dialect does not report users.
    pub user: Option<ActorId>,
    /// Whether this is the key's share, by tokens, of a sum reported for all keys together.
    pub is_apportioned: bool,
}

impl UsageKey {
    /// Creates a key for a model's usage without API key and user.
    pub fn for_model(model: ModelName) -> UsageKey {
        UsageKeyFields {
            model,
            api_key: None,
            user: None,
            is_apportioned: false,
        }
        .into()
    }
}

impl Deref for UsageKey {
    type Target = UsageKeyFields;
    fn deref(&self) -> &UsageKeyFields {
        &self.0
    }
}

impl From<UsageKeyFields> for UsageKey {
    fn from(key: UsageKeyFields) -> UsageKey {
        UsageKey(Arc::new(key))
    }
}

impl From<ModelName> for UsageKey {
    fn from(model: ModelName) -> UsageKey {
        UsageKey::for_model(model)
    }
}

impl From<&str> for UsageKey {
    fn from(model: &str) -> UsageKey {
        UsageKey::for_model(model.into())
    }
}

/// A bucket's amounts by key; their sum is the bucket. Keys without usage are absent.
pub type UsageByKey = BTreeMap<UsageKey, Amounts>;

/// Adds amounts to one key, and removes the key if they become zero.
pub fn add_to(usage: &mut UsageByKey, usage_key: &UsageKey, amounts: Amounts) {
    if amounts.is_zero() {
        return;
    }
    match usage.get_mut(usage_key) {
        Some(sum) => {
            *sum += amounts;
            if sum.is_zero() {
                usage.remove(usage_key);
            }
        }
        None => {
            usage.insert(usage_key.clone(), amounts);
        }
    }
}

/// Returns the sum over all keys.
pub fn sum(usage: &UsageByKey) -> Amounts {
    usage
        .values()
        .fold(Amounts::ZERO, |sum, amounts| sum + *amounts)
}

/// Sums by model.
pub fn by_model(usage: &UsageByKey) -> UsageByKey {
    let mut models = UsageByKey::new();
    for (usage_key, amounts) in usage {
        add_to(
            &mut models,
            &UsageKey::for_model(usage_key.model.clone()),
            *amounts,
        );
    }
    models
}

/// Returns `left − right`, key by key.
pub fn difference(left: &UsageByKey, right: &UsageByKey) -> UsageByKey {
    let mut usage = left.clone();
    for (usage_key, amounts) in right {
        add_to(&mut usage, usage_key, -*amounts);
    }
    usage
}

/// Usage of one part and key, from one hour on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    pub part: Part,
    pub usage_key: UsageKey,
    /// The first hour of the bucket or group.
    pub hour: Hour,
    /// Never all zero.
    pub amounts: Amounts,
}

/// Returns the first hours of the buckets in a span.
pub fn bucket_starts(hours: HourSpan, granularity: Granularity) -> impl Iterator<Item = Hour> {
    let (first, step) = match granularity {
        Granularity::Hour => (hours.start, 1),
        Granularity::Day => (hours.start.day().first_hour(), 24),
    };
    (first.count()..hours.end.count())
        .step_by(step)
        .map(Hour::from_count)
}

/// Returns the lower bound of a partly unreadable bucket: the maximum of what was known before and what was reported
/// now. Amounts known before and missing now become unattributed.
pub fn at_least(known: &UsageByKey, reported: &UsageByKey) -> UsageByKey {
    let (before, now) = (sum(known), sum(reported));
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
        return reported.clone();
    }
    let more = now.zip(
        &before,
        |a, b| (a - b).max(Usd::ZERO),
        |a, b| (a - b).max(0),
    );
    if more.spend == Usd::ZERO && more.tokens == Tokens::default() && more.requests == 0 {
        return known.clone();
    }
    let mut usage = reported.clone();
    add_to(&mut usage, &UsageKey::from(UNATTRIBUTED), missing);
    usage
}

/// Buckets of one part and granularity, by their first hour.
pub type Buckets = BTreeMap<Hour, UsageByKey>;

/// How spend is reported for hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Each usage row states its spend.
    ByRow,
    /// By the hour, in separate rows; if these are missing, the spend is unknown.
    ByHour,
    /// By the day; hours get a share of it, and an estimate until it is billed.
    ByDay,
}

/// A span of buckets in which something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableHours {
    /// The hours that may be affected; empty if outside of the requested span.
    pub hours: HourSpan,
    pub reason: String,
}

/// One complete response about one part: buckets of `hours` without an entry are zero, except for those in `unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageResponse {
    pub part: Part,
    pub granularity: Granularity,
    pub hours: HourSpan,
    /// How spend is reported for its hours.
    pub basis: Basis,
    /// Time up to which its open hours are known; `None` for the start of the poll.
    pub known_until: Option<Timestamp>,
    /// Reported usage by first hour of the bucket. Buckets reported as empty are present and empty.
    pub buckets: Buckets,
    /// First hours of buckets that are lower bounds, because part of them could not be read.
    pub unknown: BTreeSet<Hour>,
}

impl UsageResponse {
    /// Drops everything before an hour.
    #[must_use]
    pub fn from_hour(mut self, start: Hour) -> UsageResponse {
        self.buckets = self.buckets.split_off(&start);
        self.unknown = self.unknown.split_off(&start);
        self.hours.start = self.hours.start.max(start);
        self
    }
}
