//! Keys with all that is known of them: who made them, where they are, since when they are idle.

use std::collections::BTreeMap;

use clap::Args;
use jiff::SignedDuration;

use crate::cli::admin::desk::Desk;
use crate::cli::admin::spend::Ledger;
use crate::cli::admin::users::parse_duration;
use crate::cli::globals::Failure;
use crate::domain::admin::choice::{KeyFilter, KnownKey, find_user, find_workspace, known_keys};
use crate::domain::admin::service::Service;
use crate::domain::census::ToldBy;
use crate::domain::ids::{ActorId, DEFAULT_WORKSPACE, WorkspaceId};
use crate::domain::listing::Maker;

/// Which keys are meant.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Only of this workspace: name or id; `default` is the one that every organization has
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Only made by this person: id or email address
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only not used for so long: `90d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle: Option<SignedDuration>,
}

/// Keys with all that is known of them.
pub struct Known {
    /// In the service's order.
    pub keys: Vec<KnownKey>,
    /// By id, as people know them.
    makers: BTreeMap<ActorId, String>,
    /// By id.
    workspaces: BTreeMap<WorkspaceId, String>,
    /// As it was asked for.
    pub filter: KeyFilter,
    /// What they spent.
    pub ledger: Ledger,
}

impl Chosen {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.workspace.is_none() && self.user.is_none() && self.idle.is_none()
    }

    /// Reads keys, and what it takes to know the chosen ones.
    pub async fn read(&self, desk: &Desk<'_>) -> Result<Known, Failure> {
        let usage = |error: &dyn std::error::Error| Failure::usage(desk.told(&error.to_string()));
        let ledger = Ledger::open(desk).await?;
        let workspaces = match self.workspace {
            Some(_) => desk.workspaces().await?,
            None => {
                let read = desk.try_workspaces().await;
                desk.optional("names of workspaces are", read)?
                    .unwrap_or_default()
            }
        };
        let workspace = match self.workspace.as_deref() {
            None => None,
            Some(DEFAULT_WORKSPACE) if desk.service() == Service::Guide => Some(None),
            Some(asked) => {
                let asked = if asked == DEFAULT_WORKSPACE {
                    "Default"
                } else {
                    asked
                };
                let found = find_workspace(asked, &workspaces).map_err(|error| usage(&error))?;
                Some(Some(found.id.clone()))
            }
        };
        let needs_users = self.user.is_some() || desk.service() == Service::Real;
        // By an id alone, keys are found without the list of people.
        let needs_address = self.user.as_ref().is_some_and(|user| user.contains('@'));
        let users = match (needs_users, needs_address) {
            (false, _) => Vec::new(),
            (true, true) => desk.users().await?,
            (true, false) => {
                let read = desk.try_users().await;
                desk.optional("names of creators are", read)?
                    .unwrap_or_default()
            }
        };
        let user = match self.user.as_deref() {
            None => None,
            // Who is gone has left keys behind: an id need not be in the list.
            Some(asked) => match find_user(asked, &users) {
                Ok(user) => Some(user.id.clone()),
                Err(error) if asked.contains('@') => return Err(usage(&error)),
                Err(_) => Some(ActorId::new(asked)),
            },
        };
        let listed = desk.keys().await?;
        let uses = match desk.service() {
            Service::Guide => None,
            Service::Real => ledger.last_uses(desk).await?,
        };
        if self.idle.is_some() && desk.service() == Service::Real && uses.is_none() {
            let text = "the service does not tell when keys were used, and no ledger here knows it: run `spendwatch run` \
                        beside the store of this configuration first, or leave `--idle` out";
            return Err(Failure::usage(desk.told(text)));
        }
        let told_by = match &uses {
            Some(uses) => ToldBy::Ledger(uses),
            None => ToldBy::List,
        };
        let makers = users.into_iter().map(|user| {
            let known_as = user.email.unwrap_or(user.name);
            (user.id, known_as)
        });
        let names = workspaces.into_iter().map(|one| (one.id, one.name));
        Ok(Known {
            keys: known_keys(listed, told_by, desk.office.clock.now()),
            makers: makers.collect(),
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

impl Known {
    /// Its name; the id where it has none that is known.
    pub fn workspace(&self, id: Option<&WorkspaceId>) -> Option<String> {
        let id = id?;
        Some(
            self.workspaces
                .get(id)
                .cloned()
                .unwrap_or_else(|| id.to_string()),
        )
    }

    /// Names of workspaces by id.
    pub fn workspaces(&self) -> &BTreeMap<WorkspaceId, String> {
        &self.workspaces
    }

    /// Who made a key, as people know them.
    pub fn maker(&self, key: &KnownKey) -> Option<String> {
        let listed = &key.listed;
        let (Maker::Person(id) | Maker::Other(id)) = listed.created_by.as_ref()?;
        let known = listed.maker_email.as_ref().or_else(|| self.makers.get(id));
        Some(known.cloned().unwrap_or_else(|| id.to_string()))
    }
}
