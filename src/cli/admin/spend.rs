//! What keys and workspaces spent, and since when keys are idle, as far as a ledger beside this command knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cli::admin::desk::Desk;
use crate::cli::globals::Failure;
use crate::cli::swept::{self, Asking};
use crate::cycle::reading::Reports;
use crate::domain::admin::key_use::RecentUsage;
use crate::domain::admin::service::Service;
use crate::domain::coverage::Coverage;
use crate::domain::ids::{ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::Part;
use crate::domain::uses::LastUses;
use crate::outbound::causes;
use crate::store::Store;
use crate::store::organization::Known;

/// An older ledger is no proof that a key is not in use: the service is asked instead.
const LEDGER_MAX_LAG: SignedDuration = SignedDuration::from_hours(3);

/// What the ledger knows of a span.
#[derive(Debug, Default)]
pub struct Spent {
    /// By key; `None` where the ledger tells no keys apart.
    keys: Option<BTreeMap<ApiKeyId, Usd>>,
    /// By workspace, the default one under its real id where that is known.
    workspaces: Option<BTreeMap<WorkspaceId, Usd>>,
    /// All of the span was read: whoever is in neither has spent nothing.
    is_complete: bool,
}

impl Spent {
    /// By a key; `None` where that is not known.
    pub fn by_key(&self, id: &ApiKeyId) -> Option<Usd> {
        let keys = self.keys.as_ref()?;
        self.or_zero(keys.get(id).copied())
    }

    /// By a workspace; `None` where that is not known.
    pub fn by_workspace(&self, id: &WorkspaceId) -> Option<Usd> {
        let workspaces = self.workspaces.as_ref()?;
        self.or_zero(workspaces.get(id).copied())
    }

    fn or_zero(&self, spent: Option<Usd>) -> Option<Usd> {
        spent.or_else(|| self.is_complete.then_some(Usd::ZERO))
    }
}

/// Reads the last seven days from the service. It is good to know before a key is revoked, and no reason to revoke none: where
/// it cannot be read, a remark says so.
async fn live(desk: &Desk<'_>, start: Hour, now: Timestamp) -> Option<RecentUsage> {
    let untold = |why: &dyn std::error::Error| {
        let text = format!("what keys spent lately is not known: {}", causes(why));
        desk.globals.remark(&desk.told(&text));
        None
    };
    let api = &desk.office.api;
    let dialect = match api.detect_dialect().await {
        Ok(dialect) => dialect,
        Err(error) => return untold(&error),
    };
    let reports = Reports::of(dialect)?;
    let asking = Asking {
        api: api.clone(),
        reports,
        prices: Arc::clone(&desk.config.prices.prices),
        hours: HourSpan {
            start,
            end: Hour::of(now).plus(1),
        },
        by_hour: false,
        now,
    };
    let told = match swept::read(asking).await {
        Ok(told) => told,
        Err(error) => return untold(&error),
    };
    let mut usage = RecentUsage {
        known: Some((start.start(), told.missing_since.unwrap_or(now))),
        ..RecentUsage::default()
    };
    let mut spend = BTreeMap::new();
    for (hour, cells) in told.parts.into_values().flatten() {
        // Days that are over are read as days, and say nothing of when within the day.
        let is_day_over = hour.day() < Hour::of(now).day();
        let end = if is_day_over {
            hour.day().end()
        } else {
            hour.end()
        };
        for (cell, amounts) in cells {
            if let Some(key) = &cell.api_key {
                *spend.entry(key.clone()).or_insert(Usd::ZERO) += amounts.spend;
                if !amounts.is_zero() {
                    let last = usage.last_used.entry(key.clone()).or_insert(end);
                    *last = end.max(*last);
                }
            }
        }
    }
    usage.spend = Some(spend);
    Some(usage)
}

/// The ledger of the configuration, where there is one: a command makes none.
pub struct Ledger(Option<(Store, Known)>);

impl Ledger {
    /// Opens it beside whoever works on it.
    pub async fn open(desk: &Desk<'_>) -> Result<Ledger, Failure> {
        let path = &desk.config.store.path;
        if !path.exists() {
            return Ok(Ledger(None));
        }
        let store = Store::open_for_command(path, desk.office.clock.now())?;
        let known = store.known(&desk.office.organization).await?;
        Ok(Ledger(known.map(|known| (store, known))))
    }

    /// Says why no spend is told, where there is no ledger.
    pub fn remark_absence(&self, desk: &Desk<'_>) {
        if self.0.is_none() {
            let path = desk.config.store.path.display();
            let text = format!("no spend is known: there is no ledger of it in `{path}`");
            desk.globals.remark(&desk.told(&text));
        }
    }

    /// In this month of UTC.
    pub async fn month(&self, desk: &Desk<'_>) -> Result<Spent, Failure> {
        let now = desk.office.clock.now();
        let first = Day::from_date(Day::of(now).date().first_of_month());
        self.spent(desk, first.first_hour(), now).await
    }

    /// How keys were used in the last seven days: from the ledger while it is up to date, else straight from the service if its
    /// usage is known by key.
    pub async fn recent(&self, desk: &Desk<'_>) -> Result<RecentUsage, Failure> {
        let now = desk.office.clock.now();
        if desk.service() == Service::Guide {
            return Ok(RecentUsage::default());
        }
        let recorded = self.recorded(desk, now).await?;
        if recorded.is_complete(LEDGER_MAX_LAG, now) {
            return Ok(recorded);
        }
        let start = Hour::of(now).plus(-7 * 24);
        Ok(live(desk, start, now).await.unwrap_or(recorded))
    }

    /// What the ledger knows of the use of keys.
    async fn recorded(&self, desk: &Desk<'_>, now: Timestamp) -> Result<RecentUsage, Failure> {
        let Some(uses) = self.last_uses(desk).await? else {
            return Ok(RecentUsage::default());
        };
        let start = Hour::of(now).plus(-7 * 24);
        let until = now.checked_sub(uses.lag).unwrap_or(now);
        Ok(RecentUsage {
            spend: self.spent(desk, start, now).await?.keys,
            known: uses.by_key_since.map(|from| (from, until)),
            last_used: uses.keys,
        })
    }

    async fn spent(&self, desk: &Desk<'_>, start: Hour, now: Timestamp) -> Result<Spent, Failure> {
        let Some((store, known)) = &self.0 else {
            return Ok(Spent::default());
        };
        let hours = HourSpan {
            start,
            end: Hour::of(now).plus(1),
        };
        let rows = store
            .usage(&desk.office.organization, hours, move |_| start)
            .await?;
        let default = known.directory.default.as_ref();
        let (mut keys, mut workspaces) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            if let Some(key) = &row.cell.api_key {
                *keys.entry(key.clone()).or_insert(Usd::ZERO) += row.amounts.spend;
            }
            if let Part::Workspace(id) = &row.part {
                let real = if id.as_str() == DEFAULT_WORKSPACE {
                    default.unwrap_or(id)
                } else {
                    id
                };
                *workspaces.entry(real.clone()).or_insert(Usd::ZERO) += row.amounts.spend;
            }
        }
        let is_known = known
            .coverages
            .values()
            .any(|part| part.known_from().is_some());
        let present = known.directory.present();
        let mut parts = present
            .map(|workspace| Part::Workspace(workspace.id.clone()))
            .chain([Part::Whole]);
        let is_complete = parts.all(|part| {
            let coverage = known.coverages.get(&part);
            let from = coverage.and_then(Coverage::known_from);
            from.is_some_and(|from| from.first_hour() <= start)
        });
        Ok(Spent {
            // The guide's usage knows no keys.
            keys: (is_known && desk.service() == Service::Real).then_some(keys),
            workspaces: is_known.then_some(workspaces),
            is_complete,
        })
    }

    /// When each key was used last; nothing where there is no ledger, or it tells no keys apart.
    pub async fn last_uses(&self, desk: &Desk<'_>) -> Result<Option<LastUses>, Failure> {
        let Some((store, known)) = &self.0 else {
            return Ok(None);
        };
        let whole = known.coverages.get(&Part::Whole);
        let from = whole.and_then(Coverage::known_from).map(Day::start);
        let span = from.zip(whole.and_then(|whole| whole.as_of));
        let uses = store.last_uses(&desk.office.organization).await?;
        let uses = uses.known(span, desk.office.clock.now());
        let is_told = uses.by_key_since.is_some() && uses.lag < SignedDuration::MAX;
        Ok(Some(uses).filter(|_| is_told))
    }
}
