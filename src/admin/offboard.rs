//! Offboarding carried out: a failure in the middle goes on with the rest, since access is what must end; then it is read again
//! what still stands.

use crate::admin::batch::{Halt, StepEnd, carry_out_all};
use crate::admin::office::Office;
use crate::anthropic::error::FetchError;
use crate::domain::admin::choice::{KnownKey, known_keys};
use crate::domain::admin::offboard::{Plan, Standing, left_behind};
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::Manner;
use crate::domain::census::ToldBy;
use crate::domain::ids::ActorId;
use crate::domain::listing::{ListedInvite, ListedUser};

/// What the service lists, read whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    pub users: Vec<ListedUser>,
    /// All keys, or at least those of the person who was asked for.
    pub keys: Vec<KnownKey>,
    /// All invitations; none where the service does not list them.
    pub invites: Vec<ListedInvite>,
    /// Why the invitations that the service lists are not known.
    pub invites_unread: Option<FetchError>,
}

impl Lists {
    /// For a plan.
    pub fn standing(&self) -> Standing<'_> {
        Standing {
            users: &self.users,
            keys: &self.keys,
            invites: &self.invites,
        }
    }
}

/// Reads them; keys of one person alone where the service can tell them apart.
pub async fn lists(
    office: &Office,
    maker: Option<&ActorId>,
    told_by: ToldBy<'_>,
    on_page: &(dyn Fn(&'static str, usize) + Sync),
) -> Result<Lists, FetchError> {
    let service = office.service;
    let users = office
        .api
        .all_users(service, &|n_rows| on_page("people", n_rows))
        .await?;
    let keys = office
        .api
        .all_keys(service, maker, &|n_rows| on_page("keys", n_rows))
        .await?;
    let (invites, invites_unread) = if service.check(Deed::ListInvites).is_ok() {
        let read = office
            .api
            .all_invites(&|n_rows| on_page("invitations", n_rows))
            .await;
        match read {
            Ok(invites) => (invites, None),
            Err(error) if error.is_rejected() => return Err(error),
            // Who is in the organization has no open invitation: access ends without this list.
            Err(error) => (Vec::new(), Some(error)),
        }
    } else {
        (Vec::new(), None)
    };
    Ok(Lists {
        users,
        keys: known_keys(keys, told_by, office.clock.now()),
        invites,
        invites_unread,
    })
}

/// How it ended for one person.
#[derive(Debug)]
pub struct Offboarded {
    /// Step by step, in the order of the plan.
    pub ends: Vec<StepEnd>,
    pub verdict: Verdict,
}

/// What was read afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Clear,
    Left(Vec<String>),
    /// It could not be read.
    Unread(String),
}

/// Carries out a plan, and reads what is left. `on_step` is told how many steps have ended.
pub async fn offboard(
    office: &Office,
    plan: &Plan,
    manner: Manner,
    halt: &Halt,
    on_step: impl Fn(usize),
) -> Offboarded {
    let ends = carry_out_all(office, &plan.steps, halt, on_step).await;
    let maker = match office.service {
        Service::Guide => None,
        Service::Real => Some(&plan.leaver.id),
    };
    let again = lists(office, maker, ToldBy::Nobody, &|_, _| {}).await;
    let verdict = match again {
        Err(error) => Verdict::Unread(error.to_string()),
        Ok(lists) => {
            let left = left_behind(plan, manner, lists.standing());
            if left.is_empty() {
                Verdict::Clear
            } else {
                Verdict::Left(left)
            }
        }
    };
    Offboarded { ends, verdict }
}
