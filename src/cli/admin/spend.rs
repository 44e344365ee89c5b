//! Spend of keys and workspaces and last use of keys, from the ledger if there is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cli::admin::context::CommandContext;
use crate::cli::globals::CommandError;
use crate::cli::live_usage::{self, LiveQuery};
use crate::cycle::reading::Reports;
use spendwatch_base::outbound::error_chain;
use spendwatch_domain::admin::key_use::RecentUsage;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::ledger::coverage::Coverage;
use spendwatch_domain::org::last_uses::LastUses;
use spendwatch_domain::units::ids::{ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};
use spendwatch_domain::usage::bucket::Part;
use spendwatch_store::Store;
use spendwatch_store::organization::StoredDirectory;

/// Maximum age of the ledger's data; beyond it the server is queried, because an unused key may be in use by now.
const LEDGER_MAX_LAG: SignedDuration = SignedDuration::from_hours(3);

/// Spend in a span, as far as the ledger has it.
#[derive(Debug, Default)]
pub struct KnownSpend {
    /// `None` if the ledger has no usage by key.
    keys: Option<BTreeMap<ApiKeyId, Usd>>,
    /// Has the default workspace under its real id, if known.
    workspaces: Option<BTreeMap<WorkspaceId, Usd>>,
    /// The whole span was read: missing keys and workspaces spent nothing.
    is_complete: bool,
}

impl KnownSpend {
    /// Returns the spend of a key, or `None` if unknown.
    pub fn by_key(&self, id: &ApiKeyId) -> Option<Usd> {
        let keys = self.keys.as_ref()?;
        self.or_zero(keys.get(id).copied())
    }

    /// Returns the spend of a workspace, or `None` if unknown.
    pub fn by_workspace(&self, id: &WorkspaceId) -> Option<Usd> {
        let workspaces = self.workspaces.as_ref()?;
        self.or_zero(workspaces.get(id).copied())
    }

    fn or_zero(&self, spent: Option<Usd>) -> Option<Usd> {
        spent.or_else(|| self.is_complete.then_some(Usd::ZERO))
    }
}

/// Reads the last seven days from the server. Only warns on failure, because revoking a key must not depend on it.
async fn read_live(
    context: &CommandContext<'_>,
    start: Hour,
    now: Timestamp,
) -> Option<RecentUsage> {
    let warn = |error: &dyn std::error::Error| {
        let text = format!("recent spend of keys is unknown: {}", error_chain(error));
        context.globals.remark(&context.with_organization(&text));
        None
    };
    let api = &context.session.api;
    let dialect = match api.detect_dialect().await {
        Ok(dialect) => dialect,
        Err(error) => return warn(&error),
    };
    let reports = Reports::of(dialect)?;
    let query = LiveQuery {
        api: api.clone(),
        reports,
        prices: Arc::clone(&context.config.prices.prices),
        hours: HourSpan {
            start,
            end: Hour::containing(now).plus(1),
        },
        by_hour: false,
        now,
    };
    let live = match live_usage::read(query).await {
        Ok(live) => live,
        Err(error) => return warn(&error),
    };
    let mut usage = RecentUsage {
        known: Some((start.start(), live.missing_since.unwrap_or(now))),
        ..RecentUsage::default()
    };
    let mut spend = BTreeMap::new();
    for (hour, cells) in live.parts.into_values().flatten() {
        // Past days are read as whole days, without the time of use.
        let is_past_day = hour.day() < Hour::containing(now).day();
        let end = if is_past_day {
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

/// Existing ledger of the configuration, if any; commands do not create one.
pub struct Ledger(Option<(Store, StoredDirectory)>);

impl Ledger {
    /// Opens the ledger, also while a daemon uses it.
    pub async fn open(context: &CommandContext<'_>) -> Result<Ledger, CommandError> {
        let path = &context.config.store.path;
        if !path.exists() {
            return Ok(Ledger(None));
        }
        let store = Store::open_for_command(path, context.session.clock.now())?;
        let known = store
            .stored_directory(&context.session.organization)
            .await?;
        Ok(Ledger(known.map(|known| (store, known))))
    }

    /// Warns that spend is unknown if there is no ledger.
    pub fn warn_if_missing(&self, context: &CommandContext<'_>) {
        if self.0.is_none() {
            let path = context.config.store.path.display();
            let text = format!("spend is unknown: no ledger in `{path}`");
            context.globals.remark(&context.with_organization(&text));
        }
    }

    /// Returns the spend in the current UTC month.
    pub async fn month(&self, context: &CommandContext<'_>) -> Result<KnownSpend, CommandError> {
        let now = context.session.clock.now();
        let first = Day::from_date(Day::containing(now).date().first_of_month());
        self.spent(context, first.first_hour(), now).await
    }

    /// Returns the use of keys in the last seven days, from the ledger if it is up to date, else from the server.
    pub async fn recent(&self, context: &CommandContext<'_>) -> Result<RecentUsage, CommandError> {
        let now = context.session.clock.now();
        if context.service() == ServerKind::Guide {
            return Ok(RecentUsage::default());
        }
        let recorded = self.recorded(context, now).await?;
        if recorded.is_complete(LEDGER_MAX_LAG, now) {
            return Ok(recorded);
        }
        let start = Hour::containing(now).plus(-7 * 24);
        Ok(read_live(context, start, now).await.unwrap_or(recorded))
    }

    async fn recorded(
        &self,
        context: &CommandContext<'_>,
        now: Timestamp,
    ) -> Result<RecentUsage, CommandError> {
        let Some(uses) = self.last_uses(context).await? else {
            return Ok(RecentUsage::default());
        };
        let start = Hour::containing(now).plus(-7 * 24);
        let until = now.checked_sub(uses.lag).unwrap_or(now);
        Ok(RecentUsage {
            spend: self.spent(context, start, now).await?.keys,
            known: uses.by_key_since.map(|from| (from, until)),
            last_used: uses.keys,
        })
    }

    async fn spent(
        &self,
        context: &CommandContext<'_>,
        start: Hour,
        now: Timestamp,
    ) -> Result<KnownSpend, CommandError> {
        let Some((store, known)) = &self.0 else {
            return Ok(KnownSpend::default());
        };
        let hours = HourSpan {
            start,
            end: Hour::containing(now).plus(1),
        };
        let rows = store
            .usage(&context.session.organization, hours, move |_| start)
            .await?;
        let default = known.directory.default_workspace.as_ref();
        let (mut keys, mut workspaces) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            if let Some(key) = &row.usage_key.api_key {
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
        Ok(KnownSpend {
            // The `guide` dialect has no usage by key.
            keys: (is_known && context.service() == ServerKind::Real).then_some(keys),
            workspaces: is_known.then_some(workspaces),
            is_complete,
        })
    }

    /// Returns the last use of each key, or `None` if the ledger does not have it.
    pub async fn last_uses(
        &self,
        context: &CommandContext<'_>,
    ) -> Result<Option<LastUses>, CommandError> {
        let Some((store, known)) = &self.0 else {
            return Ok(None);
        };
        let whole = known.coverages.get(&Part::Whole);
        let from = whole.and_then(Coverage::known_from).map(Day::start);
        let span = from.zip(whole.and_then(|whole| whole.as_of));
        let uses = store.last_uses(&context.session.organization).await?;
        let uses = uses.restrict_to(span, context.session.clock.now());
        let is_known = uses.by_key_since.is_some() && uses.lag < SignedDuration::MAX;
        Ok(Some(uses).filter(|_| is_known))
    }
}
