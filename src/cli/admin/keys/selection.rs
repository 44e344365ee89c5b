//! Selection of keys by options, with their creator, workspace and last use.

use std::collections::BTreeMap;

use clap::Args;
use jiff::SignedDuration;

use crate::cli::admin::context::CommandContext;
use crate::cli::admin::spend::Ledger;
use crate::cli::admin::users::parse_duration;
use crate::cli::globals::CommandError;
use spendwatch_domain::admin::selection::{
    KeyDetails, KeyFilter, find_user, find_workspace, key_details,
};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::org::listing::KeyCreator;
use spendwatch_domain::units::ids::{ActorId, DEFAULT_WORKSPACE, WorkspaceId};

/// Options that select keys.
#[derive(Debug, Args)]
pub struct KeySelection {
    /// Name or id of the workspace, or `default`
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Id or email address of the creator
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Minimum time without use, for example `90d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle: Option<SignedDuration>,
}

/// Keys and what selection and display need.
pub struct KeysWithUsage {
    /// In the server's order.
    pub keys: Vec<KeyDetails>,
    /// Display names.
    creators: BTreeMap<ActorId, String>,
    workspaces: BTreeMap<WorkspaceId, String>,
    pub filter: KeyFilter,
    pub ledger: Ledger,
}

impl KeySelection {
    /// Returns whether no option is given.
    pub fn is_empty(&self) -> bool {
        self.workspace.is_none() && self.user.is_none() && self.idle.is_none()
    }

    /// Reads all keys and resolves the options.
    pub async fn read(&self, context: &CommandContext<'_>) -> Result<KeysWithUsage, CommandError> {
        let usage = |error: &dyn std::error::Error| context.usage(error);
        let ledger = Ledger::open(context).await?;
        let workspaces = match self.workspace {
            Some(_) => context.workspaces().await?,
            None => {
                let read = context.workspaces().await;
                context
                    .or_warn("names of workspaces are", read)?
                    .unwrap_or_default()
            }
        };
        let workspace = match self.workspace.as_deref() {
            None => None,
            Some(DEFAULT_WORKSPACE) if context.service() == ServerKind::Guide => Some(None),
            Some(requested) => {
                let requested = if requested == DEFAULT_WORKSPACE {
                    "Default"
                } else {
                    requested
                };
                let found =
                    find_workspace(requested, &workspaces).map_err(|error| usage(&error))?;
                Some(Some(found.id.clone()))
            }
        };
        let needs_users = self.user.is_some() || context.service() == ServerKind::Real;
        // An id does not need the list of users.
        let needs_address = self.user.as_ref().is_some_and(|user| user.contains('@'));
        let users = match (needs_users, needs_address) {
            (false, _) => Vec::new(),
            (true, true) => context.users().await?,
            (true, false) => {
                let read = context.users().await;
                context
                    .or_warn("names of creators are", read)?
                    .unwrap_or_default()
            }
        };
        let user = match self.user.as_deref() {
            None => None,
            // Removed users can have keys: their id is in no list.
            Some(requested) => match find_user(requested, &users) {
                Ok(user) => Some(user.id.clone()),
                Err(error) if requested.contains('@') => return Err(usage(&error)),
                Err(_) => Some(ActorId::new(requested)),
            },
        };
        let listed = context.keys().await?;
        let uses = match context.service() {
            ServerKind::Guide => None,
            ServerKind::Real => ledger.last_uses(context).await?,
        };
        if self.idle.is_some() && context.service() == ServerKind::Real && uses.is_none() {
            let text = "the server does not report when keys were used, and no ledger has it; run `spendwatch run` with this \
                        configuration first, or omit `--idle`";
            return Err(context.usage(text));
        }
        let last_use = match &uses {
            Some(uses) => LastUseSource::Ledger(uses),
            None => LastUseSource::List,
        };
        let creators = users.into_iter().map(|user| {
            let name = user.email.unwrap_or(user.name);
            (user.id, name)
        });
        let names = workspaces.into_iter().map(|one| (one.id, one.name));
        Ok(KeysWithUsage {
            keys: key_details(listed, last_use, context.session.clock.now()),
            creators: creators.collect(),
            workspaces: names.collect(),
            filter: KeyFilter {
                workspace,
                user,
                idle: self.idle,
                ..KeyFilter::default()
            },
            ledger,
        })
    }
}

impl KeysWithUsage {
    /// Returns the workspace's name, or its id if the name is unknown.
    pub fn workspace(&self, id: Option<&WorkspaceId>) -> Option<String> {
        let id = id?;
        Some(
            self.workspaces
                .get(id)
                .cloned()
                .unwrap_or_else(|| id.to_string()),
        )
    }

    /// Returns workspace names by id.
    pub fn workspaces(&self) -> &BTreeMap<WorkspaceId, String> {
        &self.workspaces
    }

    /// Returns the display name of a key's creator.
    pub fn creator(&self, key: &KeyDetails) -> Option<String> {
        let listed = &key.listed;
        let (KeyCreator::User(id) | KeyCreator::Other(id)) = listed.created_by.as_ref()?;
        let known = listed
            .creator_email
            .as_ref()
            .or_else(|| self.creators.get(id));
        Some(known.cloned().unwrap_or_else(|| id.to_string()))
    }
}
