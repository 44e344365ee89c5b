//! Keys that a command would revoke: whether they are in use, and what they spent in the last seven days.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cli::admin::context::CommandContext;
use crate::table::{Cell, Column, OutputTable, hidden, id, shown};
use spendwatch_base::outbound::error_chain;
use spendwatch_domain::admin::key_use::{self, InUse, KeyUse, RecentUsage, RevocationImpact};
use spendwatch_domain::admin::selection::KeyDetails;
use spendwatch_domain::units::ids::{ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_notify::wording::formatting;

/// Maximum number of keys that a question names; the table lists all.
const MAX_NAMED: usize = 20;

/// Columns of a [`KeyImpact`].
pub const COLUMNS: [Column; 5] = [
    shown("workspace", "WORKSPACE"),
    hidden("workspace_id"),
    shown("in_use", "IN USE"),
    shown("last_used_at", "LAST USED"),
    shown("spend_last_7_days_usd", "7 DAYS $"),
];

/// Use of the keys that one step would revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyImpact {
    workspace: Option<String>,
    workspace_id: Option<WorkspaceId>,
    in_use: InUse,
    last_used_at: Option<Timestamp>,
    spend: Option<Usd>,
}

/// One key that would be revoked.
#[derive(Debug, Clone)]
struct AffectedKey {
    id: ApiKeyId,
    name: String,
    workspace: String,
    workspace_id: Option<WorkspaceId>,
    usage: KeyUse,
}

/// Keys that a command would revoke.
#[derive(Debug, Clone, Default)]
pub struct AffectedKeys(Vec<AffectedKey>);

/// Returns workspace names by id. Only warns if they cannot be read, because they are only displayed.
pub async fn workspace_names(context: &CommandContext<'_>) -> BTreeMap<WorkspaceId, String> {
    match context.workspaces().await {
        Ok(listed) => listed.into_iter().map(|one| (one.id, one.name)).collect(),
        Err(error) => {
            let text = format!(
                "warning: cannot read workspace names, showing ids: {}",
                error_chain(&error)
            );
            context.globals.remark(&text);
            BTreeMap::new()
        }
    }
}

impl AffectedKeys {
    /// Collects the keys and their use.
    pub fn new<'k>(
        keys: impl IntoIterator<Item = &'k KeyDetails>,
        recent: &RecentUsage,
        names: &BTreeMap<WorkspaceId, String>,
        now: Timestamp,
    ) -> AffectedKeys {
        let one = |key: &KeyDetails| {
            let workspace_id = key.listed.workspace.clone();
            let name_of =
                |id: &WorkspaceId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
            AffectedKey {
                id: key.listed.id.clone(),
                name: key.listed.name.clone(),
                workspace: workspace_id
                    .as_ref()
                    .map_or_else(|| DEFAULT_WORKSPACE.to_owned(), name_of),
                workspace_id,
                usage: recent.key_use(key, now),
            }
        };
        AffectedKeys(keys.into_iter().map(one).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn total(&self) -> RevocationImpact {
        key_use::revocation_impact(self.0.iter().map(|key| key.usage))
    }

    /// Returns one sentence about all keys, or `None` if there are none.
    pub fn summary(&self) -> Option<String> {
        let RevocationImpact {
            n_keys,
            n_in_use,
            n_unknown,
            ..
        } = self.total();
        if n_keys == 0 {
            return None;
        }
        let keys = counted(n_keys, "key");
        let in_use = match n_in_use {
            0 => format!("Affected: {keys}, none known to be in use"),
            n => format!("Affected: {keys}, {n} IN USE"),
        };
        let unknown = match n_unknown {
            0 => String::new(),
            n => format!(", {n} unknown"),
        };
        Some(format!("{in_use}{unknown}; {}", self.spend()))
    }

    fn spend(&self) -> String {
        let total = self.total();
        match total.spend {
            None => "spend in the last 7 days is unknown".to_owned(),
            Some(usd) => {
                let least = if total.is_lower_bound {
                    "at least "
                } else {
                    ""
                };
                format!("{least}${} spent in the last 7 days", usd.grouped())
            }
        }
    }

    /// Returns the first question, and a second one if keys are in use.
    pub fn questions(&self, first: String) -> Vec<String> {
        let in_use = self.0.iter().filter(|key| key.usage.in_use == InUse::Yes);
        let in_use: Vec<&AffectedKey> = in_use.collect();
        if in_use.is_empty() {
            return vec![first];
        }
        let mut named: Vec<String> = in_use
            .iter()
            .take(MAX_NAMED)
            .map(|key| format!("`{}` ({})", formatting::clean(&key.name), key.id))
            .collect();
        if in_use.len() > MAX_NAMED {
            named.push(format!("{} more", in_use.len() - MAX_NAMED));
        }
        let n = in_use.len();
        let second = format!(
            "{} {} IN USE: {}; {}. Whatever uses {} stops working. Are you sure?",
            counted(n, "key"),
            agreeing(&n, "is", "are"),
            named.join(", "),
            AffectedKeys(in_use.into_iter().cloned().collect()).spend(),
            agreeing(&n, "it", "them"),
        );
        vec![first, second]
    }

    /// Returns the keys as a table, for a command whose plan does not list them.
    pub fn table(&self) -> OutputTable {
        let mut columns = vec![id("id", "KEY"), shown("name", "NAME")];
        columns.extend(COLUMNS);
        let row = |key: &AffectedKey| {
            let mut cells = vec![Cell::Text(key.id.to_string()), Cell::Text(key.name.clone())];
            cells.extend(key.impact().cells());
            cells
        };
        OutputTable {
            columns,
            rows: self.0.iter().map(row).collect(),
        }
    }

    /// Returns the impact of revoking this key.
    pub fn impact_of(&self, id: &ApiKeyId) -> Option<KeyImpact> {
        self.0
            .iter()
            .find(|key| key.id == *id)
            .map(AffectedKey::impact)
    }

    /// Returns the impact of revoking all keys.
    pub fn total_impact(&self) -> KeyImpact {
        let total = self.total();
        KeyImpact {
            workspace: None,
            workspace_id: None,
            in_use: match (total.n_in_use, total.n_unknown) {
                (0, 0) => InUse::No,
                (0, _) => InUse::Unknown,
                (_, _) => InUse::Yes,
            },
            last_used_at: self.0.iter().filter_map(|key| key.usage.last_used_at).max(),
            spend: if total.n_keys == 0 {
                Some(Usd::ZERO)
            } else {
                total.spend
            },
        }
    }
}

impl AffectedKey {
    fn impact(&self) -> KeyImpact {
        KeyImpact {
            workspace: Some(self.workspace.clone()),
            workspace_id: self.workspace_id.clone(),
            in_use: self.usage.in_use,
            last_used_at: self.usage.last_used_at,
            spend: self.usage.spend,
        }
    }
}

impl KeyImpact {
    /// Returns the spend in the last seven days, or `None` if unknown.
    pub fn spend(&self) -> Option<Usd> {
        self.spend
    }

    /// Returns one row of [`COLUMNS`].
    pub fn cells(&self) -> [Cell; 5] {
        [
            self.workspace.as_deref().into(),
            Cell::from(self.workspace_id.as_ref().map(ToString::to_string)),
            match self.in_use {
                InUse::Yes => Cell::Flag(true),
                InUse::No => Cell::Flag(false),
                InUse::Unknown => Cell::Unknown,
            },
            match (self.in_use, self.last_used_at) {
                (_, Some(at)) => Cell::Time(at),
                (InUse::Unknown, None) => Cell::Unknown,
                (InUse::Yes | InUse::No, None) => Cell::Empty,
            },
            self.spend.map_or(Cell::Unknown, Cell::Money),
        ]
    }
}
