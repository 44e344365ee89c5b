//! Executes an offboarding plan. A failed step does not stop the rest, because ending access matters most. Afterwards the lists
//! are read again to verify the result.

use crate::admin::batch::{StartedStep, StopFlag, execute_all};
use crate::admin::session::AdminSession;
use spendwatch_anthropic::error::FetchError;
use spendwatch_domain::admin::change::Revocation;
use spendwatch_domain::admin::offboard::{CurrentAccess, OffboardPlan, remaining_access};
use spendwatch_domain::admin::selection::{KeyDetails, key_details};
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::org::listing::{ListedInvite, ListedUser};
use spendwatch_domain::units::ids::ActorId;

/// Users, keys and invitations of an organization, each listed in full.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessLists {
    pub users: Vec<ListedUser>,
    /// At least the keys of the requested user.
    pub keys: Vec<KeyDetails>,
    /// Empty if the server does not list invitations.
    pub invites: Vec<ListedInvite>,
    /// Why invitations could not be read, although the server lists them.
    pub invites_error: Option<FetchError>,
}

impl AccessLists {
    /// Returns the lists as input of a plan.
    pub fn current_access(&self) -> CurrentAccess<'_> {
        CurrentAccess {
            users: &self.users,
            keys: &self.keys,
            invites: &self.invites,
        }
    }
}

/// Reads the lists. Restricts the keys to those of `creator` if the server can.
pub async fn read_lists(
    session: &AdminSession,
    creator: Option<&ActorId>,
    last_use: LastUseSource<'_>,
    on_page: &(dyn Fn(&'static str, usize) + Sync),
) -> Result<AccessLists, FetchError> {
    let service = session.service;
    let users = session
        .api
        .users(service, &|n_rows| on_page("users", n_rows))
        .await?;
    let keys = session
        .api
        .keys(service, creator, &|n_rows| on_page("keys", n_rows))
        .await?;
    let invites = session
        .api
        .invites(service, &|n_rows| on_page("invitations", n_rows))
        .await;
    let (invites, invites_error) = match invites {
        Ok(invites) => (invites.unwrap_or_default(), None),
        Err(error) if error.is_key_rejected() => return Err(error),
        // A user of the organization has no open invitation: access can end without this list.
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(AccessLists {
        users,
        keys: key_details(keys, last_use, session.clock.now()),
        invites,
        invites_error,
    })
}

/// Result of offboarding one user.
#[derive(Debug)]
pub struct OffboardResult {
    /// In the order of the plan.
    pub steps: Vec<StartedStep>,
    pub verification: VerifyOutcome,
}

/// Result of reading the lists again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyOutcome {
    Verified,
    AccessLeft(Vec<String>),
    Unverified(String),
}

/// Executes a plan and verifies it. Calls `on_step` with the number of finished steps.
pub async fn offboard(
    session: &AdminSession,
    plan: &OffboardPlan,
    revocation: Revocation,
    stop: &StopFlag,
    on_step: impl Fn(usize),
) -> OffboardResult {
    let steps = execute_all(session, &plan.steps, stop, on_step).await;
    let creator = Some(&plan.user.id);
    let lists = read_lists(session, creator, LastUseSource::Unavailable, &|_, _| {}).await;
    let verification = match lists {
        Err(error) => VerifyOutcome::Unverified(error.to_string()),
        Ok(lists) => {
            let left = remaining_access(plan, revocation, lists.current_access());
            if left.is_empty() {
                VerifyOutcome::Verified
            } else {
                VerifyOutcome::AccessLeft(left)
            }
        }
    };
    OffboardResult {
        steps,
        verification,
    }
}
