//! List prices by model and date, and what tokens cost by them: an estimate, until the bill says it.
//!
//! Source: Anthropic's price pages; the rules that are no column of the table stand with the function that applies them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::domain::ids::ModelName;
use crate::domain::money::{Percent, Usd, div_half_even};
use crate::domain::usage::Tokens;

/// So many tokens a price is for.
const PER: i128 = 1_000_000;
/// Millionths of a percent in the whole.
const WHOLE: i128 = 100_000_000;

/// USD per million tokens, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Neither read from nor written to a cache.
    pub input: Usd,
    pub output: Usd,
    /// Written to a cache for five minutes.
    pub cache_write_5m: Usd,
    /// Written to a cache for an hour.
    pub cache_write_1h: Usd,
    pub cache_read: Usd,
}

/// What a request costs whose prompt is long, cached tokens counted. All classes of input rise as `input` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Long {
    /// Prompts of more tokens than this.
    pub over_tokens: u64,
    /// USD per million.
    pub input: Usd,
    /// USD per million.
    pub output: Usd,
}

/// One model's price in a span of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The first day of UTC; open where `None`.
    pub from: Option<Date>,
    /// The last day, inclusive; open where `None`.
    pub until: Option<Date>,
    pub rates: Rates,
    /// Of long ones, where they cost more.
    pub long: Option<Long>,
    pub discount: Option<Percent>,
}

impl Price {
    fn holds_on(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    /// Whether no day belongs to both.
    fn is_apart_from(&self, other: &Price) -> bool {
        let ends_before = |a: &Price, b: &Price| {
            a.until
                .zip(b.from)
                .is_some_and(|(until, from)| until < from)
        };
        ends_before(self, other) || ends_before(other, self)
    }
}

/// Prices by model, and the models whose prices were configured: without a date, such a price is meant for all dates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prices(BTreeMap<ModelName, Vec<Price>>, BTreeSet<ModelName>);

impl Prices {
    /// Adds a price. Gives `false`, and changes nothing, where the model has one on some of these days already.
    pub fn add(&mut self, model: ModelName, price: Price) -> bool {
        let known = self.0.entry(model).or_default();
        let is_free = known.iter().all(|known| known.is_apart_from(&price));
        if is_free {
            known.push(price);
        }
        is_free
    }

    /// Takes over every model of `others`, with all of its dates, in place of what it had here.
    pub fn replace_with(&mut self, others: Prices) {
        self.1.extend(others.0.keys().cloned());
        self.0.extend(others.0);
    }

    /// The price of a model on a day of UTC: by its exact id, else by its id without the date at its end. `None` is not 0:
    /// what the model costs is not known.
    pub fn on(&self, model: &ModelName, day: Date) -> Option<&Price> {
        let of = |id: &str| self.0.get(id)?.iter().find(|price| price.holds_on(day));
        of(model.as_str()).or_else(|| of(undated(model.as_str())?))
    }

    /// Whether the price of a model on a day is stated for its exact id, or configured for its id without the date. A built-in
    /// price of an id without a date may not hold for a dated one that is newer than the table.
    pub fn is_exact(&self, model: &ModelName, day: Date) -> bool {
        let prices = self.0.get(model.as_str());
        let is_stated = prices.is_some_and(|prices| prices.iter().any(|price| price.holds_on(day)));
        is_stated || undated(model.as_str()).is_some_and(|id| self.1.contains(id))
    }
}

/// An id without the `-YYYYMMDD` at its end.
fn undated(id: &str) -> Option<&str> {
    let (rest, date) = id.rsplit_once('-')?;
    (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

/// Prompts by size, as the usage report divides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// Up to 200,000 tokens.
    Usual,
    Large,
}

/// From which prompt size a window is the large one.
const LARGE_OVER: u64 = 200_000;

/// How the tokens were used, as far as it changes what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Manner {
    pub is_batch: bool,
    /// With inference in the United States alone.
    pub is_us_only: bool,
    pub is_fast: bool,
    /// With prompts of that size.
    pub window: Window,
}

/// What tokens cost by list price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// To be replaced by the bill.
    pub spend: Usd,
    /// Whether the price is certain: not where the window does not say which prompts are long ones.
    pub is_certain: bool,
}

/// What tokens of one model cost. `None` where the amount outgrows its type.
pub fn estimate(
    model: &ModelName,
    price: &Price,
    tokens: &Tokens,
    manner: Manner,
) -> Option<Estimate> {
    let long = price.long.filter(|long| match manner.window {
        Window::Large => long.over_tokens <= LARGE_OVER,
        Window::Usual => false,
    });
    let rates = &price.rates;
    // Classes of input cost `long.input / rates.input` times as much in a long prompt. That need not be a whole number, so
    // the sum is made in parts of `rates.input` and divided once, at the end.
    let (scale, input, output) = match long {
        Some(long) => (rates.input.pico().max(1), long.input.pico(), long.output),
        None => (1, 1, rates.output),
    };
    let of = |n: i64, rate: Usd, factor: i128| {
        let priced = i128::from(n).checked_mul(rate.pico())?;
        priced.checked_mul(factor)
    };
    let classes = [
        of(tokens.input, rates.input, input),
        of(tokens.cache_write_5m, rates.cache_write_5m, input),
        of(tokens.cache_write_1h, rates.cache_write_1h, input),
        of(tokens.cache_read, rates.cache_read, input),
        of(tokens.output, output, scale),
    ];
    let mut sum: i128 = 0;
    for class in classes {
        sum = sum.checked_add(class?)?;
    }
    let (numerator, denominator) = factors(model, price, manner);
    let spend = div_half_even(
        sum.checked_mul(numerator)?,
        scale.checked_mul(denominator)?.checked_mul(PER)?,
    );
    let may_be_long = price.long.is_some_and(|long| match manner.window {
        Window::Usual => long.over_tokens < LARGE_OVER,
        Window::Large => long.over_tokens > LARGE_OVER,
    });
    Some(Estimate {
        spend: Usd::from_pico(spend),
        is_certain: !may_be_long,
    })
}

/// Everything that multiplies all classes, as a fraction.
///
/// Batch ½; inference in the United States alone 1.1 from Claude 4.6 on; fast mode 2, for Opus 4.6 and 4.7 6, and not with
/// batch; a discount. Source: Anthropic's pages on pricing, data residency and fast mode.
fn factors(model: &ModelName, price: &Price, manner: Manner) -> (i128, i128) {
    let (mut numerator, mut denominator) = (1, 1);
    let version = version(model.as_str());
    if manner.is_batch {
        denominator *= 2;
    } else if manner.is_fast {
        numerator *= match version {
            Some((4, 6 | 7)) => 6,
            Some(_) | None => 2,
        };
    }
    if manner.is_us_only && depends_on_geo(model) {
        numerator *= 11;
        denominator *= 10;
    }
    if let Some(discount) = price.discount {
        numerator *= WHOLE - i128::from(discount.millionths());
        denominator *= WHOLE;
    }
    (numerator, denominator)
}

/// Whether what a model costs depends on where it runs.
pub fn depends_on_geo(model: &ModelName) -> bool {
    version(model.as_str()).is_none_or(|version| version >= (4, 6))
}

/// Whether a model has, or had, a fast mode; `None` for a model that is newer than this list. Source: Anthropic's page on fast
/// mode.
pub fn has_fast_mode(model: &ModelName) -> Option<bool> {
    let version = version(model.as_str())?;
    let is = |family: &str| model.as_str().split('-').any(|word| word == family);
    if is("opus") {
        let is_fast = matches!(version, (4, 6..=8) | (5, 0 | 5));
        (version <= (5, 5)).then_some(is_fast)
    } else if is("fable") || is("mythos") {
        (version <= (5, 2)).then_some(version == (5, 2))
    } else if is("sonnet") || is("haiku") {
        (version <= (5, 5)).then_some(false)
    } else {
        None
    }
}

/// `claude-opus-4-6-20260205` → (4, 6), `claude-sonnet-5` → (5, 0); the older way round, `claude-3-5-haiku-20241022` →
/// (3, 5).
fn version(model: &str) -> Option<(u32, u32)> {
    let short = |word: &str| word.len() <= 2;
    let numbers = model
        .split('-')
        .skip_while(|word| word.parse::<u32>().is_err());
    let mut numbers = numbers.map_while(|word| word.parse().ok().filter(|_| short(word)));
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}
