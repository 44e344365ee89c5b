//! Tallying: turns report rows into buckets by workspace. Prices tokens, marks estimates, and merges the separate
//! report of usage by API key.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::units::ids::{ActorId, DEFAULT_WORKSPACE, ModelName, UNATTRIBUTED, WorkspaceId};
use crate::units::money::Usd;
use crate::units::span::{Hour, HourSpan};
use crate::usage::bucket::{
    Amounts, Buckets, Granularity, Part, Tokens, UnreadableHours, UsageByKey, UsageKey,
    UsageKeyFields, add_to, bucket_starts,
};
use crate::usage::prices::{
    ContextWindow, Price, PriceTable, PricingTraits, depends_on_geo, estimate, has_fast_mode,
};
use crate::usage::report_rows::{
    Actor, CostRow, Dimensions, PricingAttributes, TokenRow, UnreadableRow,
};
use crate::usage::shares;

/// 10 USD per thousand web searches. Source: Anthropic's pricing page.
const WEB_SEARCH: Usd = Usd::from_pico(10_000_000_000);
/// The service tier whose price is set by contract.
const PRIORITY: &str = "priority";

/// How fast mode is reported, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FastMode {
    Known,
    NotReported,
    /// The figures cannot be right: a server that ignores the filter reports all usage as fast.
    Implausible,
}

/// How a report names the default workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceNaming {
    /// By its real id; rows without a workspace are unattributed.
    ById,
    /// By omission: rows without a workspace belong to the default workspace.
    ByNull,
}

/// The report rows so far, as buckets.
#[derive(Debug)]
pub struct Tally {
    prices: Arc<PriceTable>,
    /// The real id of the default workspace, if known.
    default: Option<WorkspaceId>,
    by_part: BTreeMap<Part, Buckets>,
    /// Usage by API key per hour, part and model; used only to apportion.
    keys: BTreeMap<(Hour, Part, ModelName), UsageByKey>,
    /// Bills by day and part.
    bills: BTreeMap<(Hour, Part), UsageByKey>,
    shared: HashSet<UsageKey>,
    /// Fast-mode usage, until it is compared with all usage.
    fast: Vec<(Part, UsageKey, TokenRow)>,
    unreadable: Vec<UnreadablePart>,
}

/// Buckets in which something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePart {
    /// `None` if any part may be affected.
    pub part: Option<Part>,
    pub unreadable: UnreadableHours,
}

impl Tally {
    /// Creates an empty tally.
    pub fn new(prices: Arc<PriceTable>, default: Option<WorkspaceId>) -> Tally {
        Tally {
            prices,
            default,
            by_part: BTreeMap::new(),
            keys: BTreeMap::new(),
            bills: BTreeMap::new(),
            shared: HashSet::new(),
            fast: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Adds rows of any report that could not be read.
    pub fn add_unreadable(&mut self, naming: WorkspaceNaming, rows: Vec<UnreadableRow>) {
        for row in rows {
            let part = row.workspace.map(|id| self.part(naming, id));
            self.unreadable.push(UnreadablePart {
                part,
                unreadable: UnreadableHours {
                    hours: row.hours,
                    reason: row.reason,
                },
            });
        }
    }

    /// Adds unreadable rows of the report by API key. No usage is apportioned in the affected hours.
    pub fn add_unreadable_keys(&mut self, naming: WorkspaceNaming, rows: Vec<UnreadableRow>) {
        for row in &rows {
            let part = row.workspace.clone().map(|id| self.part(naming, id));
            self.keys.retain(|(hour, of, _), _| {
                let is_meant = part.as_ref().is_none_or(|part| part == of);
                !(is_meant && row.hours.contains(*hour))
            });
        }
        self.add_unreadable(naming, rows);
    }

    /// Takes the unreadable buckets found so far.
    pub fn take_unreadable(&mut self) -> Vec<UnreadablePart> {
        std::mem::take(&mut self.unreadable)
    }

    /// Adds spend billed by hour or day and API key.
    pub fn add_costs(&mut self, rows: Vec<CostRow>) {
        for row in rows {
            let part = self.part(WorkspaceNaming::ById, row.dimensions.workspace.clone());
            let usage_key = self.usage_key(&row.dimensions);
            let amounts = Amounts {
                spend: row.billed,
                list: row.list.unwrap_or_default(),
                requests: row.requests.unwrap_or_default(),
                ..Amounts::ZERO
            };
            self.add(part, row.hour, &usage_key, amounts);
        }
    }

    /// Adds lines of daily bills.
    pub fn add_bills(&mut self, rows: Vec<CostRow>) {
        for row in rows {
            let part = self.part(WorkspaceNaming::ByNull, row.dimensions.workspace.clone());
            let usage_key = UsageKey::for_model(model_of(&row.dimensions));
            let spend = row.billed;
            let amounts = Amounts {
                spend,
                ..Amounts::ZERO
            };
            // A bill of zero is a bill.
            let usage = self.bills.entry((row.hour, part)).or_default();
            *usage.entry(usage_key).or_default() += amounts;
        }
    }

    /// Adds token usage. Rows must not overlap.
    pub fn add_usage(&mut self, naming: WorkspaceNaming, rows: Vec<TokenRow>) {
        for row in rows {
            let part = self.part(naming, row.dimensions.workspace.clone());
            let usage_key = self.usage_key(&row.dimensions);
            let searches = Usd::from_pico(WEB_SEARCH.pico() * i128::from(row.web_searches));
            if searches > Usd::ZERO {
                // The bill lists searches separately from the model.
                let amounts = Amounts {
                    priced: searches,
                    ..Amounts::ZERO
                };
                self.add(
                    part.clone(),
                    row.hour,
                    &UsageKey::from(UNATTRIBUTED),
                    amounts,
                );
            }
            let amounts = self.priced(&row, false);
            self.add(part, row.hour, &usage_key, amounts);
        }
    }

    /// Adds the fast-mode subset of the rows added before, for [`Tally::price_fast`].
    pub fn add_fast_usage(&mut self, naming: WorkspaceNaming, rows: Vec<TokenRow>) {
        for row in rows {
            let part = self.part(naming, row.dimensions.workspace.clone());
            let usage_key = self.usage_key(&row.dimensions);
            self.fast.push((part, usage_key, row));
        }
    }

    /// Adds the surcharge for fast mode.
    ///
    /// Ignores fast usage that exceeds all usage of its group in a bucket before `settled`. Ignores all of it if a
    /// model without a fast mode has only fast usage, because that server ignores the filter. For models with a fast
    /// mode, equal figures are plausible.
    pub fn price_fast(&mut self, hours: HourSpan, is_reported: bool, settled: Hour) -> FastMode {
        let rows = std::mem::take(&mut self.fast);
        if !is_reported {
            self.mark_speed_unknown(hours);
            return FastMode::NotReported;
        }
        let mut fast: BTreeMap<(Hour, &Part, &UsageKey), Tokens> = BTreeMap::new();
        for (part, usage_key, row) in &rows {
            let sum = fast.entry((row.hour, part, usage_key)).or_default();
            *sum = sum.zip(&row.tokens, |sum, more| sum + more);
        }
        let mut implausible: BTreeSet<(Hour, Part, UsageKey)> = BTreeSet::new();
        for ((hour, part, usage_key), fast) in fast {
            let all = self.tokens_of(part, hour, usage_key);
            if has_fast_mode(&usage_key.model) == Some(false) && fast == all && fast.sum() > 0 {
                self.mark_speed_unknown(hours);
                return FastMode::Implausible;
            }
            if exceeds(&fast, &all) && hour < settled {
                implausible.insert((hour, part.clone(), usage_key.clone()));
            }
        }
        for (part, usage_key, row) in rows {
            let group = (row.hour, part, usage_key);
            if implausible.contains(&group) {
                continue;
            }
            let (usual, fast) = (self.priced(&row, false), self.priced(&row, true));
            let amounts = Amounts {
                priced: fast.priced - usual.priced,
                saved: fast.saved - usual.saved,
                uncertain: fast.uncertain - usual.uncertain,
                ..Amounts::ZERO
            };
            let (hour, part, usage_key) = group;
            self.add(part, hour, &usage_key, amounts);
        }
        for (hour, part, usage_key) in &implausible {
            let buckets = self.by_part.get_mut(part);
            let usage = buckets.and_then(|buckets| buckets.get_mut(hour));
            if let Some(amounts) = usage.and_then(|usage| usage.get_mut(usage_key)) {
                amounts.uncertain = amounts.priced;
            }
        }
        if implausible.is_empty() {
            FastMode::Known
        } else {
            FastMode::Implausible
        }
    }

    fn tokens_of(&self, part: &Part, hour: Hour, usage_key: &UsageKey) -> Tokens {
        let usage = self
            .by_part
            .get(part)
            .and_then(|buckets| buckets.get(&hour));
        let amounts = usage.and_then(|usage| usage.get(usage_key));
        amounts.map_or(Tokens::default(), |amounts| amounts.tokens)
    }

    /// Marks the prices of models that have a fast mode as uncertain.
    fn mark_speed_unknown(&mut self, hours: HourSpan) {
        for buckets in self.by_part.values_mut() {
            let in_span = buckets
                .iter_mut()
                .filter(|(hour, _)| hours.contains(**hour));
            for (usage_key, amounts) in in_span.flat_map(|(_, usage)| usage) {
                if has_fast_mode(&usage_key.model) != Some(false) {
                    amounts.uncertain = amounts.priced;
                }
            }
        }
    }

    /// Adds usage by API key of the rows added before. It is not summed with them but used to apportion them.
    pub fn add_key_usage(&mut self, naming: WorkspaceNaming, rows: Vec<TokenRow>) {
        for row in rows {
            let part = self.part(naming, row.dimensions.workspace.clone());
            let amounts = self.priced(&row, false);
            let model = model_of(&row.dimensions);
            let usage_key = self.shared(UsageKeyFields {
                model: model.clone(),
                is_apportioned: row.dimensions.api_key.is_some(),
                api_key: row.dimensions.api_key,
                user: None,
            });
            let keys = self.keys.entry((row.hour, part, model)).or_default();
            *keys.entry(usage_key).or_default() += amounts;
        }
    }

    /// Removes everything in the given hours, which are not completely billed yet.
    pub fn remove_hours(&mut self, hours: HourSpan) {
        for buckets in self.by_part.values_mut() {
            buckets.retain(|hour, _| !hours.contains(*hour));
        }
        // Unreadable hours before and after them stay.
        let rest = std::mem::take(&mut self.unreadable).into_iter();
        self.unreadable = rest.flat_map(|of| of.without(hours)).collect();
    }

    /// Apportions usage known only by model to the API keys that caused it.
    pub fn apportion(&mut self) {
        for ((hour, part, model), keys) in std::mem::take(&mut self.keys) {
            let bucket = self
                .by_part
                .get_mut(&part)
                .and_then(|buckets| buckets.get_mut(&hour));
            if let Some(usage) = bucket {
                shares::apportion(usage, &model, &keys);
            }
        }
    }

    /// Sets the spend of the given hours to its list price, marked as estimated.
    pub fn estimate_hours(&mut self, hours: HourSpan) {
        let in_hours = self.by_part.values_mut().flat_map(|buckets| {
            let in_span = buckets
                .iter_mut()
                .filter(|(hour, _)| hours.contains(**hour));
            in_span.flat_map(|(_, usage)| usage.values_mut())
        });
        for amounts in in_hours {
            amounts.spend = amounts.priced;
            amounts.estimated = amounts.priced;
        }
    }

    /// Marks all hours outside of `hours` as billed, so that unpriced tokens no longer matter.
    pub fn mark_billed_outside(&mut self, hours: HourSpan) {
        for buckets in self.by_part.values_mut() {
            for (_, usage) in buckets
                .iter_mut()
                .filter(|(hour, _)| !hours.contains(**hour))
            {
                for amounts in usage.values_mut() {
                    amounts.unpriced = 0;
                }
            }
        }
    }

    /// Returns the days with a bill.
    pub fn billed_days(&self) -> BTreeSet<Hour> {
        self.bills.keys().map(|(hour, _)| *hour).collect()
    }

    /// Returns the days with usage.
    pub fn used_days(&self) -> BTreeSet<Hour> {
        let buckets = self.by_part.values();
        buckets
            .flat_map(|buckets| buckets.keys().copied())
            .collect()
    }

    /// Distributes the daily bills to the usage keys of each day.
    pub fn distribute_bills(&mut self) {
        let none = UsageByKey::new();
        let bills = std::mem::take(&mut self.bills);
        for (part, buckets) in &mut self.by_part {
            for (hour, usage) in buckets.iter_mut() {
                let billed = bills.get(&(*hour, part.clone())).unwrap_or(&none);
                shares::bill(usage, billed);
            }
        }
        for ((hour, part), mut billed) in bills {
            let buckets = self.by_part.entry(part).or_default();
            billed.retain(|_, amounts| !amounts.is_zero());
            // Only bills without usage are left to insert.
            buckets.entry(hour).or_insert(billed);
        }
    }

    /// Returns the buckets of every part with data.
    pub fn into_parts(self) -> BTreeMap<Part, Buckets> {
        self.by_part
    }

    fn add(&mut self, part: Part, hour: Hour, usage_key: &UsageKey, amounts: Amounts) {
        let bucket = self
            .by_part
            .entry(part)
            .or_default()
            .entry(hour)
            .or_default();
        add_to(bucket, usage_key, amounts);
    }

    fn part(&self, naming: WorkspaceNaming, workspace: Option<WorkspaceId>) -> Part {
        match (workspace, naming) {
            (Some(id), _) if self.default.as_ref() == Some(&id) => {
                Part::Workspace(DEFAULT_WORKSPACE.into())
            }
            (Some(id), _) => Part::Workspace(id),
            (None, WorkspaceNaming::ByNull) => Part::Workspace(DEFAULT_WORKSPACE.into()),
            (None, WorkspaceNaming::ById) => Part::Unattributed,
        }
    }

    fn usage_key(&mut self, dimensions: &Dimensions) -> UsageKey {
        self.shared(UsageKeyFields {
            model: model_of(dimensions),
            api_key: dimensions.api_key.clone(),
            user: dimensions.actor.as_ref().and_then(user_of),
            is_apportioned: false,
        })
    }

    fn shared(&mut self, key: UsageKeyFields) -> UsageKey {
        let usage_key = UsageKey::from(key);
        if let Some(known) = self.shared.get(&usage_key) {
            return known.clone();
        }
        self.shared.insert(usage_key.clone());
        usage_key
    }

    fn priced(&self, row: &TokenRow, is_fast: bool) -> Amounts {
        let tokens = row.tokens;
        let used = Amounts {
            tokens,
            ..Amounts::ZERO
        };
        if row.attributes.service_tier.as_deref() == Some(PRIORITY) {
            let by_contract = tokens.sum();
            return Amounts {
                by_contract,
                ..used
            };
        }
        let pricing_traits = pricing_traits(&row.attributes, is_fast);
        let day = row.hour.day().date();
        let priced = row.dimensions.model.as_ref().and_then(|model| {
            let price = self.prices.price_on(model, day)?;
            let uncached = Tokens {
                input: tokens.sum() - tokens.output,
                output: tokens.output,
                ..Tokens::default()
            };
            let cost = estimate(model, price, &tokens, pricing_traits)?;
            let uncached = estimate(model, price, &uncached, pricing_traits)?;
            let is_certain = cost.is_certain
                && self.prices.is_exact(model, day)
                && is_determined(&row.attributes, model, price, is_fast);
            Some((cost.spend, uncached.spend, is_certain))
        });
        match priced {
            Some((priced, uncached, is_certain)) => Amounts {
                priced,
                saved: uncached - priced,
                uncertain: if is_certain { Usd::ZERO } else { priced },
                ..used
            },
            None => Amounts {
                unpriced: tokens.sum(),
                ..used
            },
        }
    }
}

/// Returns whether `part` exceeds `whole` in any class.
fn exceeds(part: &Tokens, whole: &Tokens) -> bool {
    part.input > whole.input
        || part.output > whole.output
        || part.cache_read > whole.cache_read
        || part.cache_write_5m > whole.cache_write_5m
        || part.cache_write_1h > whole.cache_write_1h
}

/// Returns whether all attributes that affect the price are known. The tiers `flex`, `flex_discount` and
/// `priority_on_demand` have no public price.
fn is_determined(
    attributes: &PricingAttributes,
    model: &ModelName,
    price: &Price,
    is_fast: bool,
) -> bool {
    let tier = attributes.service_tier.as_deref();
    let geo = attributes.inference_geo.as_deref();
    let window = attributes.context_window.as_deref();
    let is_speed_known = !is_fast || (has_fast_mode(model) == Some(true) && tier != Some("batch"));
    matches!(tier, Some("standard" | "batch"))
        && (!depends_on_geo(model) || matches!(geo, Some("global" | "us")))
        && (price.long_prompt.is_none() || matches!(window, Some("0-200k" | "200k-1M")))
        && is_speed_known
}

impl UnreadablePart {
    /// Splits off the parts before and after `hours`. An empty span, which is outside of the requested one, stays.
    fn without(self, hours: HourSpan) -> Vec<UnreadablePart> {
        if self.unreadable.hours.is_empty() {
            return vec![self];
        }
        let pieces = self.unreadable.hours.minus(hours).into_iter();
        let piece = |hours| UnreadablePart {
            part: self.part.clone(),
            unreadable: UnreadableHours {
                hours,
                reason: self.unreadable.reason.clone(),
            },
        };
        pieces.map(piece).collect()
    }

    /// Returns the first hours of its buckets.
    pub fn buckets(&self, granularity: Granularity) -> impl Iterator<Item = Hour> {
        bucket_starts(self.unreadable.hours, granularity)
    }
}

fn model_of(dimensions: &Dimensions) -> ModelName {
    dimensions
        .model
        .clone()
        .unwrap_or_else(|| UNATTRIBUTED.into())
}

/// The charged user or account; `None` if a key is charged.
fn user_of(actor: &Actor) -> Option<ActorId> {
    match actor {
        Actor::User { id, .. } | Actor::ServiceAccount { id } => Some(id.clone()),
        Actor::Federated { provider, subject } => Some(match subject {
            Some(subject) => ActorId::new(format!("{provider}:{subject}")),
            None => ActorId::new(provider.as_str()),
        }),
        Actor::ApiKey { .. } | Actor::Other { .. } => None,
    }
}

/// Unknown tiers, regions and context windows are priced as the standard ones and marked as uncertain.
fn pricing_traits(attributes: &PricingAttributes, is_fast: bool) -> PricingTraits {
    PricingTraits {
        is_batch: attributes.service_tier.as_deref() == Some("batch"),
        is_us_only: attributes.inference_geo.as_deref() == Some("us"),
        is_fast,
        context_window: match attributes.context_window.as_deref() {
            Some("200k-1M") => ContextWindow::Large,
            Some(_) | None => ContextWindow::Standard,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::prices::{LongPromptPrices, TokenPrices};

    const HOUR: Hour = Hour::from_count(500_000);
    /// All hours are settled.
    const SETTLED: Hour = Hour::from_count(600_000);
    const ALL: HourSpan = HourSpan {
        start: Hour::from_count(0),
        end: SETTLED,
    };

    /// One dollar per million tokens of any class.
    fn tally() -> Tally {
        let usd = Usd::from_dollars;
        let price = |long| Price {
            from: None,
            until: None,
            standard: TokenPrices {
                input: usd(1),
                output: usd(1),
                cache_write_5m: usd(1),
                cache_write_1h: usd(1),
                cache_read: usd(1),
            },
            long_prompt: long,
            discount: None,
        };
        let long = |over_tokens| LongPromptPrices {
            over_tokens,
            input: usd(5),
            output: usd(5),
        };
        let mut prices = PriceTable::default();
        for (model, long) in [
            ("claude-opus-5", None),
            ("claude-sonnet-4-5", None),
            ("claude-sonnet-5", None),
            ("claude-haiku-5-5", Some(long(100_000))),
            ("claude-sonnet-4", Some(long(200_000))),
            ("gateway-model", None),
        ] {
            assert!(prices.add(model.into(), price(long)));
        }
        Tally::new(Arc::new(prices), None)
    }

    fn row(model: &str, attributes: [&str; 3]) -> TokenRow {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        TokenRow {
            hour: HOUR,
            dimensions: Dimensions {
                workspace: Some("w".into()),
                model: Some(model.into()),
                ..Dimensions::default()
            },
            attributes: PricingAttributes {
                service_tier: text(attributes[0]),
                context_window: text(attributes[1]),
                inference_geo: text(attributes[2]),
            },
            tokens: Tokens {
                input: 1_000_000,
                output: 1_000_000,
                ..Tokens::default()
            },
            web_searches: 0,
        }
    }

    const PLAIN: [&str; 3] = ["standard", "0-200k", "global"];

    fn times(mut row: TokenRow, n: i64) -> TokenRow {
        row.tokens = row.tokens.zip(&row.tokens, |tokens, _| tokens * n);
        row
    }

    /// Returns the list price and its uncertain part in dollars.
    fn priced_and_uncertain(tally: Tally) -> (String, String) {
        let parts = tally.into_parts().into_values();
        let usage = parts.flat_map(BTreeMap::into_values).flatten();
        let all = usage.fold(Amounts::ZERO, |all, (_, amounts)| all + amounts);
        (all.priced.to_string(), all.uncertain.to_string())
    }

    #[track_caller]
    fn check(model: &str, attributes: [&str; 3], priced: &str, is_certain: bool) {
        let mut tally = tally();
        tally.add_usage(WorkspaceNaming::ById, vec![row(model, attributes)]);
        let uncertain = if is_certain { "0" } else { priced };
        assert_eq!(
            priced_and_uncertain(tally),
            (priced.to_owned(), uncertain.to_owned()),
            "{model} {attributes:?}"
        );
    }

    #[test]
    fn prices_that_the_table_cannot_determine_are_uncertain() {
        check("claude-opus-5", PLAIN, "2", true);
        check("claude-opus-5", ["batch", "0-200k", "us"], "1.1", true);
        for tier in ["flex", "flex_discount", "priority_on_demand", "express", ""] {
            check("claude-opus-5", [tier, "0-200k", "global"], "2", false);
        }
        // The region matters from 4.6 on.
        for geo in ["not_available", "eu", ""] {
            check("claude-opus-5", ["standard", "0-200k", geo], "2", false);
            check("claude-sonnet-4-5", ["standard", "0-200k", geo], "2", true);
        }
        // The context window matters if long prompts cost more.
        for window in ["", "1M-2M"] {
            check(
                "claude-sonnet-4",
                ["standard", window, "global"],
                "2",
                false,
            );
            check("claude-opus-5", ["standard", window, "global"], "2", true);
        }
        check("claude-sonnet-4", PLAIN, "2", true);
        check(
            "claude-sonnet-4",
            ["standard", "200k-1M", "global"],
            "10",
            true,
        );
        // Usage is reported up to 200,000 tokens; the long-prompt price starts at 100,000.
        check("claude-haiku-5-5", PLAIN, "2", false);
        check(
            "claude-haiku-5-5",
            ["standard", "200k-1M", "global"],
            "10",
            true,
        );
        // The price is that of the undated id.
        check("claude-opus-5-20991231", PLAIN, "2", false);
        let mut configured = PriceTable::default();
        configured.replace_with((*tally().prices).clone());
        let mut own = Tally::new(Arc::new(configured), None);
        own.add_usage(
            WorkspaceNaming::ById,
            vec![row("claude-opus-5-20991231", PLAIN)],
        );
        assert_eq!(
            priced_and_uncertain(own).1,
            "0",
            "a configured price is for all dates"
        );
        let mut priority = tally();
        priority.add_usage(
            WorkspaceNaming::ById,
            vec![row("claude-opus-5", ["priority", "", ""])],
        );
        assert_eq!(
            priced_and_uncertain(priority),
            ("0".to_owned(), "0".to_owned())
        );
    }

    #[track_caller]
    fn check_fast(
        used: Vec<TokenRow>,
        fast: Option<Vec<TokenRow>>,
        expected: (&str, &str, FastMode),
    ) {
        let mut tally = tally();
        tally.add_usage(WorkspaceNaming::ById, used);
        let is_reported = fast.is_some();
        tally.add_fast_usage(WorkspaceNaming::ById, fast.unwrap_or_default());
        let mode = tally.price_fast(ALL, is_reported, SETTLED);
        let (priced, uncertain) = priced_and_uncertain(tally);
        assert_eq!((&*priced, &*uncertain, mode), expected);
    }

    #[test]
    fn plausible_fast_usage_costs_more() {
        let opus = || times(row("claude-opus-5", PLAIN), 2);
        let one = || row("claude-opus-5", PLAIN);
        let sonnet = || row("claude-sonnet-5", PLAIN);
        check_fast(
            vec![opus(), sonnet()],
            Some(Vec::new()),
            ("6", "0", FastMode::Known),
        );
        check_fast(
            vec![opus(), sonnet()],
            Some(vec![one()]),
            ("8", "0", FastMode::Known),
        );
        // An organization may use fast mode only.
        check_fast(
            vec![opus()],
            Some(vec![opus()]),
            ("8", "0", FastMode::Known),
        );
        // The filter is ignored: a model without a fast mode has fast usage.
        check_fast(
            vec![opus(), sonnet()],
            Some(vec![opus(), sonnet()]),
            ("6", "4", FastMode::Implausible),
        );
        // Fast usage exceeds all usage.
        check_fast(
            vec![opus(), sonnet()],
            Some(vec![times(one(), 3)]),
            ("6", "4", FastMode::Implausible),
        );
        check_fast(
            vec![sonnet()],
            Some(vec![one()]),
            ("2", "0", FastMode::Implausible),
        );
        // The server does not report speed.
        check_fast(
            vec![opus(), sonnet()],
            None,
            ("6", "4", FastMode::NotReported),
        );
        // It is unknown whether the model has a fast mode; its factor is assumed.
        let gateway = || times(row("gateway-model", PLAIN), 2);
        let half = vec![row("gateway-model", PLAIN)];
        check_fast(vec![gateway()], Some(half), ("6", "4", FastMode::Known));
    }

    #[test]
    fn open_hours_may_have_more_fast_usage_than_was_read_before() {
        let mut tally = tally();
        tally.add_usage(WorkspaceNaming::ById, vec![row("claude-opus-5", PLAIN)]);
        tally.add_fast_usage(
            WorkspaceNaming::ById,
            vec![times(row("claude-opus-5", PLAIN), 2)],
        );
        let mode = tally.price_fast(ALL, true, HOUR);
        assert_eq!(
            (priced_and_uncertain(tally).0.as_str(), mode),
            ("6", FastMode::Known)
        );
    }
}
