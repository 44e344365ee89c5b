//! Tallying: rows of reports become buckets by workspace. Tokens get their price here, estimates are marked, and what a report
//! tells of keys apart from all else is brought together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::domain::ids::{ActorId, DEFAULT_WORKSPACE, ModelName, UNATTRIBUTED, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::prices::{Estimate, Manner, Prices, Window, estimate};
use crate::domain::report::{Actor, CostRow, How, UsedRow, Who};
use crate::domain::shares;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Amounts, Buckets, Cell, CellKey, Cells, Part, Tokens, add_to};

/// 10 USD for a thousand searches of the web. Source: Anthropic's page on pricing.
const WEB_SEARCH: Usd = Usd::from_pico(10_000_000_000);
/// The tier whose price stands in a contract.
const PRIORITY: &str = "priority";

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
        }
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

    /// Takes those of the rows before that were used in fast mode: they cost more than what they were taken for.
    pub fn fast(&mut self, naming: Naming, rows: Vec<UsedRow>) {
        for row in rows {
            let part = self.part(naming, row.who.workspace.clone());
            let cell = self.cell(&row.who);
            let (usual, fast) = (self.priced(&row, false), self.priced(&row, true));
            let amounts = Amounts {
                priced: fast.priced - usual.priced,
                saved: fast.saved - usual.saved,
                ..Amounts::ZERO
            };
            self.add(part, row.hour, &cell, amounts);
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
        let cost = |tokens: &Tokens| {
            let model = row.who.model.as_ref()?;
            let price = self.prices.on(model, row.hour.day().date())?;
            estimate(model, price, tokens, manner)
        };
        let uncached = Tokens {
            input: tokens.sum() - tokens.output,
            output: tokens.output,
            ..Tokens::default()
        };
        match (cost(&tokens), cost(&uncached)) {
            (Some(Estimate { spend, .. }), Some(uncached)) => Amounts {
                priced: spend,
                saved: uncached.spend - spend,
                ..used
            },
            (_, _) => Amounts {
                unpriced: tokens.sum(),
                ..used
            },
        }
    }
}

fn model_of(who: &Who) -> ModelName {
    who.model.clone().unwrap_or_else(|| UNATTRIBUTED.into())
}

/// Who is charged, where that is not the key itself.
fn user_of(actor: &Actor) -> Option<ActorId> {
    match actor {
        Actor::User { id, .. } | Actor::ServiceAccount { id } => Some(id.clone()),
        Actor::Federated { provider, subject } => {
            Some(ActorId::new(format!("{provider}:{subject}")))
        }
        Actor::ApiKey { .. } | Actor::Other { .. } => None,
    }
}

/// Tiers, places and windows that this version does not know cost what the usual ones do.
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
