//! What a command would break: the keys that it revokes, whether they are in use, and what they spent in the last seven days.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cli::admin::desk::Desk;
use crate::domain::admin::choice::KnownKey;
use crate::domain::admin::key_use::{self, AtStake, InUse, KeyUse, RecentUsage};
use crate::domain::ids::{ApiKeyId, DEFAULT_WORKSPACE, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::plural::{agreeing, counted};
use crate::notify::formatting;
use crate::sheet::{Cell, Column, Sheet, hidden, id, shown};

/// A refusal names this many keys at most; the table lists all.
const MAX_NAMED: usize = 20;

/// Columns of a [`Stake`].
pub const COLUMNS: [Column; 5] = [
    shown("workspace", "WORKSPACE"),
    hidden("workspace_id"),
    shown("in_use", "IN USE"),
    shown("last_used_at", "LAST USED"),
    shown("spend_last_7_days_usd", "7 DAYS $"),
];

/// What one step would break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stake {
    workspace: Option<String>,
    workspace_id: Option<WorkspaceId>,
    in_use: InUse,
    last_used_at: Option<Timestamp>,
    spend: Option<Usd>,
}

/// One key that would be revoked.
#[derive(Debug, Clone)]
struct Key {
    id: ApiKeyId,
    name: String,
    workspace: String,
    workspace_id: Option<WorkspaceId>,
    usage: KeyUse,
}

/// All keys that would be revoked.
#[derive(Debug, Clone, Default)]
pub struct KeysAtStake(Vec<Key>);

/// Names of workspaces by id. They are only displayed: if they cannot be read, ids are shown instead.
pub async fn workspace_names(desk: &Desk<'_>) -> BTreeMap<WorkspaceId, String> {
    match desk.workspaces().await {
        Ok(listed) => listed.into_iter().map(|one| (one.id, one.name)).collect(),
        Err(error) => {
            let text = format!(
                "warning: workspaces are shown by id, their names cannot be read: {}",
                error.line()
            );
            desk.globals.remark(&text);
            BTreeMap::new()
        }
    }
}

impl KeysAtStake {
    /// Looks up how each key was used.
    pub fn new<'k>(
        keys: impl IntoIterator<Item = &'k KnownKey>,
        recent: &RecentUsage,
        names: &BTreeMap<WorkspaceId, String>,
        now: Timestamp,
    ) -> KeysAtStake {
        let one = |key: &KnownKey| {
            let workspace_id = key.listed.workspace.clone();
            let name_of =
                |id: &WorkspaceId| names.get(id).cloned().unwrap_or_else(|| id.to_string());
            Key {
                id: key.listed.id.clone(),
                name: key.listed.name.clone(),
                workspace: workspace_id
                    .as_ref()
                    .map_or_else(|| DEFAULT_WORKSPACE.to_owned(), name_of),
                workspace_id,
                usage: recent.of(key, now),
            }
        };
        KeysAtStake(keys.into_iter().map(one).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn total(&self) -> AtStake {
        key_use::at_stake(self.0.iter().map(|key| key.usage))
    }

    /// One sentence about all keys; `None` if there are none.
    pub fn summary(&self) -> Option<String> {
        let AtStake {
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
            0 => format!("At stake: {keys}, none known to be in use"),
            n => format!("At stake: {keys}, {n} IN USE"),
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

    /// The question that comes first, and a second one if keys are in use.
    pub fn questions(&self, first: String) -> Vec<String> {
        let in_use = self.0.iter().filter(|key| key.usage.in_use == InUse::Yes);
        let in_use: Vec<&Key> = in_use.collect();
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
            KeysAtStake(in_use.into_iter().cloned().collect()).spend(),
            agreeing(&n, "it", "them"),
        );
        vec![first, second]
    }

    /// The keys as rows, for a command whose plan does not list them.
    pub fn sheet(&self) -> Sheet {
        let mut columns = vec![id("id", "KEY"), shown("name", "NAME")];
        columns.extend(COLUMNS);
        let row = |key: &Key| {
            let mut cells = vec![Cell::Text(key.id.to_string()), Cell::Text(key.name.clone())];
            cells.extend(key.stake().cells());
            cells
        };
        Sheet {
            columns,
            rows: self.0.iter().map(row).collect(),
        }
    }

    /// What revoking this key would break.
    pub fn of(&self, id: &ApiKeyId) -> Option<Stake> {
        self.0.iter().find(|key| key.id == *id).map(Key::stake)
    }

    /// What revoking all of them at once would break.
    pub fn of_all(&self) -> Stake {
        let total = self.total();
        Stake {
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

impl Key {
    fn stake(&self) -> Stake {
        Stake {
            workspace: Some(self.workspace.clone()),
            workspace_id: self.workspace_id.clone(),
            in_use: self.usage.in_use,
            last_used_at: self.usage.last_used_at,
            spend: self.usage.spend,
        }
    }
}

impl Stake {
    /// Spend in the last seven days; `None` if not known.
    pub fn spend(&self) -> Option<Usd> {
        self.spend
    }

    /// One row of [`COLUMNS`].
    pub fn cells(&self) -> [Cell; 5] {
        [
            Cell::text_or_empty(self.workspace.clone()),
            Cell::text_or_empty(self.workspace_id.as_ref().map(ToString::to_string)),
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
