//! List prices by model and date, and estimates of spend by list price.
//!
//! Source: Anthropic's pricing pages; rules that are not part of the price table are documented at the functions that
//! apply them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::units::ids::ModelName;
use crate::units::money::{Percent, Usd, div_half_even};
use crate::usage::bucket::Tokens;

/// Number of tokens that a price is for.
const PER: i128 = 1_000_000;
/// Millionths of a percent in 100%.
const WHOLE: i128 = 100_000_000;

/// Prices in USD per million tokens, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPrices {
    pub input: Usd,
    pub output: Usd,
    pub cache_write_5m: Usd,
    pub cache_write_1h: Usd,
    pub cache_read: Usd,
}

/// Prices for requests with long prompts, including cached tokens. All input classes increase by the same factor as
/// `input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPromptPrices {
    /// Applies to prompts with more tokens than this.
    pub over_tokens: u64,
    /// In USD per million tokens.
    pub input: Usd,
    /// In USD per million tokens.
    pub output: Usd,
}

/// The price of a model for a range of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// The first UTC day; `None` if unbounded.
    pub from: Option<Date>,
    /// The last UTC day, inclusive; `None` if unbounded.
    pub until: Option<Date>,
    pub standard: TokenPrices,
    /// For long prompts, if they cost more.
    pub long_prompt: Option<LongPromptPrices>,
    pub discount: Option<Percent>,
}

impl Price {
    fn is_valid_on(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    /// Returns whether the ranges do not overlap.
    fn is_disjoint_from(&self, other: &Price) -> bool {
        let ends_before = |a: &Price, b: &Price| {
            a.until
                .zip(b.from)
                .is_some_and(|(until, from)| until < from)
        };
        ends_before(self, other) || ends_before(other, self)
    }
}

/// Prices by model, and the models with configured prices, which apply to all dated versions of the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable(BTreeMap<ModelName, Vec<Price>>, BTreeSet<ModelName>);

impl PriceTable {
    /// Adds a price. Returns `false`, and changes nothing, if it overlaps an existing price of the model.
    pub fn add(&mut self, model: ModelName, price: Price) -> bool {
        let known = self.0.entry(model).or_default();
        let is_free = known.iter().all(|known| known.is_disjoint_from(&price));
        if is_free {
            known.push(price);
        }
        is_free
    }

    /// Replaces all prices of each model in `others`.
    pub fn replace_with(&mut self, others: PriceTable) {
        self.1.extend(others.0.keys().cloned());
        self.0.extend(others.0);
    }

    /// Returns the price of a model on a UTC day, by its exact id or else by its id without the date suffix. `None`
    /// means unknown, not 0.
    pub fn price_on(&self, model: &ModelName, day: Date) -> Option<&Price> {
        let of = |id: &str| self.0.get(id)?.iter().find(|price| price.is_valid_on(day));
        of(model.as_str()).or_else(|| of(undated(model.as_str())?))
    }

    /// Returns whether the price is stated for the exact id, or configured for the undated id. A built-in price of an
    /// undated id may not apply to a dated one that is newer than the table.
    pub fn is_exact(&self, model: &ModelName, day: Date) -> bool {
        let prices = self.0.get(model.as_str());
        let is_stated =
            prices.is_some_and(|prices| prices.iter().any(|price| price.is_valid_on(day)));
        is_stated || undated(model.as_str()).is_some_and(|id| self.1.contains(id))
    }
}

/// The id without its `-YYYYMMDD` suffix.
fn undated(id: &str) -> Option<&str> {
    let (rest, date) = id.rsplit_once('-')?;
    (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some(rest)
}

/// Prompt size class, as in the usage report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextWindow {
    /// Up to 200,000 tokens.
    Standard,
    Large,
}

/// Prompt size in tokens above which the large context window applies.
const LARGE_OVER: u64 = 200_000;

/// Attributes of usage that affect its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PricingTraits {
    pub is_batch: bool,
    /// Inference in the United States only.
    pub is_us_only: bool,
    pub is_fast: bool,
    pub context_window: ContextWindow,
}

/// The spend of tokens by list price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Replaced by the bill later.
    pub spend: Usd,
    /// False if the context window does not tell which prompts are long.
    pub is_certain: bool,
}

/// Estimates the spend of tokens of one model. `None` on overflow.
pub fn estimate(
    model: &ModelName,
    price: &Price,
    tokens: &Tokens,
    traits: PricingTraits,
) -> Option<Estimate> {
    let long = price
        .long_prompt
        .filter(|long| match traits.context_window {
            ContextWindow::Large => long.over_tokens <= LARGE_OVER,
            ContextWindow::Standard => false,
        });
    let rates = &price.standard;
    // In long prompts, input classes cost `long.input / standard.input` times as much. That ratio may not be whole, so
    // the sum is computed in units of it and divided once at the end.
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
    let (numerator, denominator) = factors(model, price, traits);
    let spend = div_half_even(
        sum.checked_mul(numerator)?,
        scale.checked_mul(denominator)?.checked_mul(PER)?,
    );
    let may_be_long = price
        .long_prompt
        .is_some_and(|long| match traits.context_window {
            ContextWindow::Standard => long.over_tokens < LARGE_OVER,
            ContextWindow::Large => long.over_tokens > LARGE_OVER,
        });
    Some(Estimate {
        spend: Usd::from_pico(spend),
        is_certain: !may_be_long,
    })
}

/// The factors that apply to all classes, as a fraction.
///
/// Batch ½; US-only inference 1.1 from Claude 4.6 on; fast mode 2, or 6 for Opus 4.6 and 4.7, and not with batch; the
/// discount. Source: Anthropic's pages on pricing, data residency and fast mode.
fn factors(model: &ModelName, price: &Price, traits: PricingTraits) -> (i128, i128) {
    let (mut numerator, mut denominator) = (1, 1);
    let version = version(model.as_str());
    if traits.is_batch {
        denominator *= 2;
    } else if traits.is_fast {
        numerator *= match version {
            Some((4, 6 | 7)) => 6,
            Some(_) | None => 2,
        };
    }
    if traits.is_us_only && depends_on_geo(model) {
        numerator *= 11;
        denominator *= 10;
    }
    if let Some(discount) = price.discount {
        numerator *= WHOLE - i128::from(discount.millionths());
        denominator *= WHOLE;
    }
    (numerator, denominator)
}

/// Returns whether the price of a model depends on the inference region.
pub fn depends_on_geo(model: &ModelName) -> bool {
    version(model.as_str()).is_none_or(|version| version >= (4, 6))
}

/// Returns whether a model has or had a fast mode; `None` for models newer than this list. Source: Anthropic's page on
/// fast mode.
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

/// Parses `claude-opus-4-6-20260205` as (4, 6), `claude-sonnet-5` as (5, 0), and the older form
/// `claude-3-5-haiku-20241022` as (3, 5).
fn version(model: &str) -> Option<(u32, u32)> {
    let short = |word: &str| word.len() <= 2;
    let numbers = model
        .split('-')
        .skip_while(|word| word.parse::<u32>().is_err());
    let mut numbers = numbers.map_while(|word| word.parse().ok().filter(|_| short(word)));
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}
