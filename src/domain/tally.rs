//! Tallying: rows of reports become buckets by workspace. Tokens get their price here, estimates are marked, and what a report
//! tells of keys apart from all else is brought together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::ids::{ActorId, DEFAULT_WORKSPACE, ModelName, UNATTRIBUTED, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::prices::{
    Manner, Price, Prices, Window, depends_on_geo, estimate, has_fast_mode,
};
use crate::domain::report::{Actor, CostRow, How, UnreadableRow, UsedRow, Who};
use crate::domain::shares;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{
    Amounts, Buckets, Cell, CellKey, Cells, Granularity, Part, Tokens, Unreadable, add_to,
    bucket_starts,
};

/// 10 USD for a thousand searches of the web. Source: Anthropic's page on pricing.
const WEB_SEARCH: Usd = Usd::from_pico(10_000_000_000);
/// The tier whose price stands in a contract.
const PRIORITY: &str = "priority";

/// What is known of fast mode, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FastMode {
    /// Usage of it is reported.
    Known,
    /// The service does not report it.
    NotReported,
    /// What is reported as fast cannot be: a server that ignores the filter reports all usage again.
    Implausible,
}

/// Which reports rows come from: they name the default workspace differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By its real id; a row without a workspace belongs to none.
    ById,
    /// By nothing: a row without a workspace is the default workspace's.
    ByNull,
}

/// Rows so far, as buckets.
#[derive(Debug)]
pub struct Tally {
    prices: Arc<Prices>,
    /// The real id of the default workspace, where it is known.
    default: Option<WorkspaceId>,
    by_part: BTreeMap<Part, Buckets>,
    /// What keys used, by hour, part and model: only to give each its share.
    keys: BTreeMap<(Hour, Part, ModelName), Cells>,
    /// What is billed by day, model by model.
    bills: BTreeMap<(Hour, Part), Cells>,
    shared: HashSet<Cell>,
    /// What was used in fast mode, until it is compared with all usage.
    fast: Vec<(Part, Cell, UsedRow)>,
    unreadable: Vec<UnreadablePart>,
}

/// Buckets of which something could not be read; without a part, it may be of any part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePart {
    /// `None` for any.
    pub part: Option<Part>,
    pub unreadable: Unreadable,
}

impl Tally {
    /// Nothing yet.
    pub fn new(prices: Arc<Prices>, default: Option<WorkspaceId>) -> Tally {
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

    /// Takes rows of any report that could not be read.
    pub fn unreadable(&mut self, naming: Naming, rows: Vec<UnreadableRow>) {
        for row in rows {
            let part = row.workspace.map(|id| self.part(naming, id));
            self.unreadable.push(UnreadablePart {
                part,
                unreadable: Unreadable {
                    hours: row.hours,
                    reason: row.reason,
                },
            });
        }
    }

    /// The same of the report by key: where it cannot be read, no key is given a share of what was used there.
    pub fn unreadable_keys(&mut self, naming: Naming, rows: Vec<UnreadableRow>) {
        for row in &rows {
            let part = row.workspace.clone().map(|id| self.part(naming, id));
            self.keys.retain(|(hour, of, _), _| {
                let is_meant = part.as_ref().is_none_or(|part| part == of);
                !(is_meant && row.hours.contains(*hour))
            });
        }
        self.unreadable(naming, rows);
    }

    /// Takes what could not be read, so far.
    pub fn take_unreadable(&mut self) -> Vec<UnreadablePart> {
        std::mem::take(&mut self.unreadable)
    }

    /// Takes what was billed by hour or day and key.
    pub fn cost(&mut self, rows: Vec<CostRow>) {
        for row in rows {
            let part = self.part(Naming::ById, row.who.workspace.clone());
            let cell = self.cell(&row.who);
            let amounts = Amounts {
                spend: row.billed,
                list: row.list.unwrap_or_default(),
                requests: row.requests.unwrap_or_default(),
                ..Amounts::ZERO
            };
            self.add(part, row.hour, &cell, amounts);
        }
    }

    /// Takes what was billed by day, line by line.
    pub fn bill(&mut self, rows: Vec<CostRow>) {
        for row in rows {
            let part = self.part(Naming::ByNull, row.who.workspace.clone());
            let cell = Cell::of_model(model_of(&row.who));
            let spend = row.billed;
            let amounts = Amounts {
                spend,
                ..Amounts::ZERO
            };
            // A day that is billed with nothing is billed.
            let cells = self.bills.entry((row.hour, part)).or_default();
            *cells.entry(cell).or_default() += amounts;
        }
    }

    /// Takes tokens. Each row counts: they must not overlap with others.
    pub fn used(&mut self, naming: Naming, rows: Vec<UsedRow>) {
        for row in rows {
            let part = self.part(naming, row.who.workspace.clone());
            let cell = self.cell(&row.who);
            let searches = Usd::from_pico(WEB_SEARCH.pico() * i128::from(row.web_searches));
            if searches > Usd::ZERO {
                // The bill has them apart from the model that searched.
                let amounts = Amounts {
                    priced: searches,
                    ..Amounts::ZERO
                };
                self.add(part.clone(), row.hour, &Cell::from(UNATTRIBUTED), amounts);
            }
            let amounts = self.priced(&row, false);
            self.add(part, row.hour, &cell, amounts);
        }
    }

    /// Takes those of the rows before that were used in fast mode, for [`Tally::price_fast`].
    pub fn fast(&mut self, naming: Naming, rows: Vec<UsedRow>) {
        for row in rows {
            let part = self.part(naming, row.who.workspace.clone());
            let cell = self.cell(&row.who);
            self.fast.push((part, cell, row));
        }
    }

    /// Adds what fast mode costs more than what its tokens were taken for.
    ///
    /// Fast usage is not believed where it exceeds all usage of its group in a bucket before `settled`. None of it is believed
    /// where all usage of a model without a fast mode is reported as fast: that server ignores the filter. An organization may
    /// use fast mode only, so equal figures of models that have one are believed.
    pub fn price_fast(&mut self, hours: HourSpan, is_reported: bool, settled: Hour) -> FastMode {
        let rows = std::mem::take(&mut self.fast);
        if !is_reported {
            self.doubt_speed(hours);
            return FastMode::NotReported;
        }
        let mut fast: BTreeMap<(Hour, &Part, &Cell), Tokens> = BTreeMap::new();
        for (part, cell, row) in &rows {
            let sum = fast.entry((row.hour, part, cell)).or_default();
            *sum = sum.zip(&row.tokens, |sum, more| sum + more);
        }
        let mut implausible: BTreeSet<(Hour, Part, Cell)> = BTreeSet::new();
        for ((hour, part, cell), fast) in fast {
            let all = self.used_by(part, hour, cell);
            if has_fast_mode(&cell.model) == Some(false) && fast == all && fast.sum() > 0 {
                self.doubt_speed(hours);
                return FastMode::Implausible;
            }
            if exceeds(&fast, &all) && hour < settled {
                implausible.insert((hour, part.clone(), cell.clone()));
            }
        }
        for (part, cell, row) in rows {
            let place = (row.hour, part, cell);
            if implausible.contains(&place) {
                continue;
            }
            let (usual, fast) = (self.priced(&row, false), self.priced(&row, true));
            let amounts = Amounts {
                priced: fast.priced - usual.priced,
                saved: fast.saved - usual.saved,
                uncertain: fast.uncertain - usual.uncertain,
                ..Amounts::ZERO
            };
            let (hour, part, cell) = place;
            self.add(part, hour, &cell, amounts);
        }
        for (hour, part, cell) in &implausible {
            let buckets = self.by_part.get_mut(part);
            let cells = buckets.and_then(|buckets| buckets.get_mut(hour));
            if let Some(amounts) = cells.and_then(|cells| cells.get_mut(cell)) {
                amounts.uncertain = amounts.priced;
            }
        }
        if implausible.is_empty() {
            FastMode::Known
        } else {
            FastMode::Implausible
        }
    }

    fn used_by(&self, part: &Part, hour: Hour, cell: &Cell) -> Tokens {
        let cells = self
            .by_part
            .get(part)
            .and_then(|buckets| buckets.get(&hour));
        let amounts = cells.and_then(|cells| cells.get(cell));
        amounts.map_or(Tokens::default(), |amounts| amounts.tokens)
    }

    /// Nothing is known of speed: what models with a fast mode cost is uncertain.
    fn doubt_speed(&mut self, hours: HourSpan) {
        for buckets in self.by_part.values_mut() {
            let asked = buckets
                .iter_mut()
                .filter(|(hour, _)| hours.contains(**hour));
            for (cell, amounts) in asked.flat_map(|(_, cells)| cells) {
                if has_fast_mode(&cell.model) != Some(false) {
                    amounts.uncertain = amounts.priced;
                }
            }
        }
    }

    /// Takes which keys used the tokens of the rows before. They are not summed with these, but give each key its share.
    pub fn keys(&mut self, naming: Naming, rows: Vec<UsedRow>) {
        for row in rows {
            let part = self.part(naming, row.who.workspace.clone());
            let amounts = self.priced(&row, false);
            let model = model_of(&row.who);
            let cell = self.shared(CellKey {
                model: model.clone(),
                is_apportioned: row.who.api_key.is_some(),
                api_key: row.who.api_key,
                user: None,
            });
            let keys = self.keys.entry((row.hour, part, model)).or_default();
            *keys.entry(cell).or_default() += amounts;
        }
    }

    /// Forgets what was billed in some hours: it is not all of it yet.
    pub fn forget(&mut self, hours: HourSpan) {
        for buckets in self.by_part.values_mut() {
            buckets.retain(|hour, _| !hours.contains(*hour));
        }
        // Pieces on both sides of the hours that are forgotten stay.
        let rest = std::mem::take(&mut self.unreadable).into_iter();
        self.unreadable = rest.flat_map(|of| of.without(hours)).collect();
    }

    /// Gives what is known by model alone to the keys that used it.
    pub fn apportion(&mut self) {
        for ((hour, part, model), keys) in std::mem::take(&mut self.keys) {
            let bucket = self
                .by_part
                .get_mut(&part)
                .and_then(|buckets| buckets.get_mut(&hour));
            if let Some(cells) = bucket {
                shares::apportion(cells, &model, &keys);
            }
        }
    }

    /// What was used in some hours costs what its tokens cost, until it is billed.
    pub fn estimate(&mut self, hours: HourSpan) {
        let of_hours = self.by_part.values_mut().flat_map(|buckets| {
            let asked = buckets
                .iter_mut()
                .filter(|(hour, _)| hours.contains(**hour));
            asked.flat_map(|(_, cells)| cells.values_mut())
        });
        for amounts in of_hours {
            amounts.spend = amounts.priced;
            amounts.estimated = amounts.priced;
        }
    }

    /// What was used in all hours but these is billed: what its tokens cost is not asked any more.
    pub fn billed_but_for(&mut self, hours: HourSpan) {
        for buckets in self.by_part.values_mut() {
            for (_, cells) in buckets
                .iter_mut()
                .filter(|(hour, _)| !hours.contains(**hour))
            {
                for amounts in cells.values_mut() {
                    amounts.unpriced = 0;
                }
            }
        }
    }

    /// Days of which something is billed.
    pub fn billed_days(&self) -> BTreeSet<Hour> {
        self.bills.keys().map(|(hour, _)| *hour).collect()
    }

    /// Days in which something was used.
    pub fn used_days(&self) -> BTreeSet<Hour> {
        let buckets = self.by_part.values();
        buckets
            .flat_map(|buckets| buckets.keys().copied())
            .collect()
    }

    /// Gives the bills to the days' cells.
    pub fn give_bills(&mut self) {
        let none = Cells::new();
        let bills = std::mem::take(&mut self.bills);
        for (part, buckets) in &mut self.by_part {
            for (hour, cells) in buckets.iter_mut() {
                let billed = bills.get(&(*hour, part.clone())).unwrap_or(&none);
                shares::bill(cells, billed);
            }
        }
        for ((hour, part), mut billed) in bills {
            let buckets = self.by_part.entry(part).or_default();
            billed.retain(|_, amounts| !amounts.is_zero());
            // A bill without usage; one with usage was given.
            buckets.entry(hour).or_insert(billed);
        }
    }

    /// The buckets of every part that was told anything.
    pub fn into_parts(self) -> BTreeMap<Part, Buckets> {
        self.by_part
    }

    fn add(&mut self, part: Part, hour: Hour, cell: &Cell, amounts: Amounts) {
        let bucket = self
            .by_part
            .entry(part)
            .or_default()
            .entry(hour)
            .or_default();
        add_to(bucket, cell, amounts);
    }

    fn part(&self, naming: Naming, workspace: Option<WorkspaceId>) -> Part {
        match (workspace, naming) {
            (Some(id), _) if self.default.as_ref() == Some(&id) => {
                Part::Workspace(DEFAULT_WORKSPACE.into())
            }
            (Some(id), _) => Part::Workspace(id),
            (None, Naming::ByNull) => Part::Workspace(DEFAULT_WORKSPACE.into()),
            (None, Naming::ById) => Part::Unattributed,
        }
    }

    fn cell(&mut self, who: &Who) -> Cell {
        self.shared(CellKey {
            model: model_of(who),
            api_key: who.api_key.clone(),
            user: who.actor.as_ref().and_then(user_of),
            is_apportioned: false,
        })
    }

    /// The same is kept once, however many rows have it.
    fn shared(&mut self, key: CellKey) -> Cell {
        let cell = Cell::from(key);
        if let Some(known) = self.shared.get(&cell) {
            return known.clone();
        }
        self.shared.insert(cell.clone());
        cell
    }

    fn priced(&self, row: &UsedRow, is_fast: bool) -> Amounts {
        let tokens = row.tokens;
        let used = Amounts {
            tokens,
            ..Amounts::ZERO
        };
        if row.how.service_tier.as_deref() == Some(PRIORITY) {
            let by_contract = tokens.sum();
            return Amounts {
                by_contract,
                ..used
            };
        }
        let manner = manner(&row.how, is_fast);
        let day = row.hour.day().date();
        let priced = row.who.model.as_ref().and_then(|model| {
            let price = self.prices.on(model, day)?;
            let uncached = Tokens {
                input: tokens.sum() - tokens.output,
                output: tokens.output,
                ..Tokens::default()
            };
            let cost = estimate(model, price, &tokens, manner)?;
            let uncached = estimate(model, price, &uncached, manner)?;
            let is_certain = cost.is_certain
                && self.prices.is_exact(model, day)
                && is_determined(&row.how, model, price, is_fast);
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

/// Whether any class of tokens is more than in the whole.
fn exceeds(part: &Tokens, whole: &Tokens) -> bool {
    part.input > whole.input
        || part.output > whole.output
        || part.cache_read > whole.cache_read
        || part.cache_write_5m > whole.cache_write_5m
        || part.cache_write_1h > whole.cache_write_1h
}

/// Whether it is known what the way in which tokens were used does to their price. There is no public price for the tiers `flex`,
/// `flex_discount` and `priority_on_demand`.
fn is_determined(how: &How, model: &ModelName, price: &Price, is_fast: bool) -> bool {
    let tier = how.service_tier.as_deref();
    let geo = how.inference_geo.as_deref();
    let window = how.context_window.as_deref();
    let is_speed_known = !is_fast || (has_fast_mode(model) == Some(true) && tier != Some("batch"));
    matches!(tier, Some("standard" | "batch"))
        && (!depends_on_geo(model) || matches!(geo, Some("global" | "us")))
        && (price.long.is_none() || matches!(window, Some("0-200k" | "200k-1M")))
        && is_speed_known
}

impl UnreadablePart {
    /// What is left of it outside of some hours. What is outside of everything stays.
    fn without(self, hours: HourSpan) -> Vec<UnreadablePart> {
        if self.unreadable.hours.is_empty() {
            return vec![self];
        }
        let pieces = self.unreadable.hours.minus(hours).into_iter();
        let piece = |hours| UnreadablePart {
            part: self.part.clone(),
            unreadable: Unreadable {
                hours,
                reason: self.unreadable.reason.clone(),
            },
        };
        pieces.map(piece).collect()
    }

    /// The first hours of its buckets.
    pub fn buckets(&self, granularity: Granularity) -> impl Iterator<Item = Hour> {
        bucket_starts(self.unreadable.hours, granularity)
    }
}

fn model_of(who: &Who) -> ModelName {
    who.model.clone().unwrap_or_else(|| UNATTRIBUTED.into())
}

/// Who is charged, where that is not the key itself.
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

/// Tiers, places and windows that this version does not know are priced like the usual ones, and marked as uncertain.
fn manner(how: &How, is_fast: bool) -> Manner {
    Manner {
        is_batch: how.service_tier.as_deref() == Some("batch"),
        is_us_only: how.inference_geo.as_deref() == Some("us"),
        is_fast,
        window: match how.context_window.as_deref() {
            Some("200k-1M") => Window::Large,
            Some(_) | None => Window::Usual,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prices::{Long, Rates};

    const HOUR: Hour = Hour::from_count(500_000);
    /// Of all hours, none is still growing.
    const SETTLED: Hour = Hour::from_count(600_000);
    const ALL: HourSpan = HourSpan {
        start: Hour::from_count(0),
        end: SETTLED,
    };

    /// Every million tokens of any class costs a dollar.
    fn tally() -> Tally {
        let usd = Usd::from_dollars;
        let price = |long| Price {
            from: None,
            until: None,
            rates: Rates {
                input: usd(1),
                output: usd(1),
                cache_write_5m: usd(1),
                cache_write_1h: usd(1),
                cache_read: usd(1),
            },
            long,
            discount: None,
        };
        let long = |over_tokens| Long {
            over_tokens,
            input: usd(5),
            output: usd(5),
        };
        let mut prices = Prices::default();
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

    /// Two million tokens of a model.
    fn row(model: &str, how: [&str; 3]) -> UsedRow {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        UsedRow {
            hour: HOUR,
            who: Who {
                workspace: Some("w".into()),
                model: Some(model.into()),
                ..Who::default()
            },
            how: How {
                service_tier: text(how[0]),
                context_window: text(how[1]),
                inference_geo: text(how[2]),
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

    fn times(mut row: UsedRow, n: i64) -> UsedRow {
        row.tokens = row.tokens.zip(&row.tokens, |tokens, _| tokens * n);
        row
    }

    /// Price and its uncertain part, in dollars.
    fn told(tally: Tally) -> (String, String) {
        let parts = tally.into_parts().into_values();
        let cells = parts.flat_map(BTreeMap::into_values).flatten();
        let all = cells.fold(Amounts::ZERO, |all, (_, amounts)| all + amounts);
        (all.priced.to_string(), all.uncertain.to_string())
    }

    #[track_caller]
    fn check(model: &str, how: [&str; 3], priced: &str, is_certain: bool) {
        let mut tally = tally();
        tally.used(Naming::ById, vec![row(model, how)]);
        let uncertain = if is_certain { "0" } else { priced };
        assert_eq!(
            told(tally),
            (priced.to_owned(), uncertain.to_owned()),
            "{model} {how:?}"
        );
    }

    #[test]
    fn what_the_table_cannot_determine_is_uncertain() {
        check("claude-opus-5", PLAIN, "2", true);
        check("claude-opus-5", ["batch", "0-200k", "us"], "1.1", true);
        for tier in ["flex", "flex_discount", "priority_on_demand", "express", ""] {
            check("claude-opus-5", [tier, "0-200k", "global"], "2", false);
        }
        // Where it runs matters from 4.6 on.
        for geo in ["not_available", "eu", ""] {
            check("claude-opus-5", ["standard", "0-200k", geo], "2", false);
            check("claude-sonnet-4-5", ["standard", "0-200k", geo], "2", true);
        }
        // The window matters where long prompts cost more.
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
        // It is reported up to 200,000 tokens, and costs more from 100,000 on.
        check("claude-haiku-5-5", PLAIN, "2", false);
        check(
            "claude-haiku-5-5",
            ["standard", "200k-1M", "global"],
            "10",
            true,
        );
        // The price is that of the id without its date.
        check("claude-opus-5-20991231", PLAIN, "2", false);
        let mut configured = Prices::default();
        configured.replace_with((*tally().prices).clone());
        let mut own = Tally::new(Arc::new(configured), None);
        own.used(Naming::ById, vec![row("claude-opus-5-20991231", PLAIN)]);
        assert_eq!(told(own).1, "0", "a configured price is for all dates");
        let mut priority = tally();
        priority.used(
            Naming::ById,
            vec![row("claude-opus-5", ["priority", "", ""])],
        );
        assert_eq!(told(priority), ("0".to_owned(), "0".to_owned()));
    }

    #[track_caller]
    fn check_fast(
        used: Vec<UsedRow>,
        fast: Option<Vec<UsedRow>>,
        expected: (&str, &str, FastMode),
    ) {
        let mut tally = tally();
        tally.used(Naming::ById, used);
        let is_reported = fast.is_some();
        tally.fast(Naming::ById, fast.unwrap_or_default());
        let mode = tally.price_fast(ALL, is_reported, SETTLED);
        let (priced, uncertain) = told(tally);
        assert_eq!((&*priced, &*uncertain, mode), expected);
    }

    #[test]
    fn fast_usage_costs_more_where_it_can_be_believed() {
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
        // The filter is ignored: so says a model that has no fast mode.
        check_fast(
            vec![opus(), sonnet()],
            Some(vec![opus(), sonnet()]),
            ("6", "4", FastMode::Implausible),
        );
        // More than everything is nothing of it.
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
        // A service that does not report speed.
        check_fast(
            vec![opus(), sonnet()],
            None,
            ("6", "4", FastMode::NotReported),
        );
        // Whether the model has a fast mode is not known, and its factor is assumed.
        let gateway = || times(row("gateway-model", PLAIN), 2);
        let half = vec![row("gateway-model", PLAIN)];
        check_fast(vec![gateway()], Some(half), ("6", "4", FastMode::Known));
    }

    #[test]
    fn an_hour_that_still_grows_may_have_more_of_fast_a_moment_later() {
        let mut tally = tally();
        tally.used(Naming::ById, vec![row("claude-opus-5", PLAIN)]);
        tally.fast(Naming::ById, vec![times(row("claude-opus-5", PLAIN), 2)]);
        let mode = tally.price_fast(ALL, true, HOUR);
        assert_eq!((told(tally).0.as_str(), mode), ("6", FastMode::Known));
    }
}
