//! Executes an onboarding plan: creates the key first, because only it can be reverted, then sends the invitation. Revokes the
//! key if the invitation fails.

use crate::admin::execute::{StepOutcome, execute_step};
use crate::admin::key::{self, KeyOutcome};
use crate::admin::session::AdminSession;
use crate::secret_sink::SecretSink;
use spendwatch_anthropic::admin::result::WriteResult;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::onboard::{OnboardItem, OnboardStep, PlannedAction};
use spendwatch_domain::units::ids::ApiKeyId;
use spendwatch_domain::units::span::Day;

/// Result of one onboarding item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult {
    pub item: OnboardItem,
    pub outcome: ItemOutcome,
    /// Id of the object that exists now, if it has one.
    pub id: Option<String>,
    pub detail: String,
}

/// Outcome of one onboarding item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemOutcome {
    Done,
    AlreadyDone,
    Manual,
    Reverted,
    Failed,
    Unknown,
    NotStarted,
}

impl ItemOutcome {
    /// Returns the value of the `outcome` column.
    pub const fn as_str(self) -> &'static str {
        match self {
            ItemOutcome::Done => "done",
            ItemOutcome::AlreadyDone => "stands",
            ItemOutcome::Manual => "by hand",
            ItemOutcome::Reverted => "undone",
            ItemOutcome::Failed => "failed",
            ItemOutcome::Unknown => "unknown",
            ItemOutcome::NotStarted => "not begun",
        }
    }
}

/// Result of onboarding one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnboardResult {
    /// In the order of the plan.
    pub items: Vec<ItemResult>,
}

impl OnboardResult {
    /// Returns whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        let is_good = |outcome: ItemOutcome| {
            matches!(
                outcome,
                ItemOutcome::Done | ItemOutcome::AlreadyDone | ItemOutcome::Manual
            )
        };
        self.items.iter().all(|item| is_good(item.outcome))
    }

    /// Returns whether any item exists or may exist.
    pub fn may_have_effects(&self) -> bool {
        let exists = |outcome: ItemOutcome| {
            matches!(
                outcome,
                ItemOutcome::Done | ItemOutcome::AlreadyDone | ItemOutcome::Unknown
            )
        };
        self.items.iter().any(|item| exists(item.outcome))
    }
}

/// Outcome of an item, id of its object and detail.
type Ended = (ItemOutcome, Option<String>, String);

/// Executes a plan. A new key's secret is written to `sink`.
pub async fn onboard(
    session: &AdminSession,
    steps: &[OnboardStep],
    sink: &SecretSink,
) -> OnboardResult {
    let mut items: Vec<ItemResult> = Vec::with_capacity(steps.len());
    let mut is_stopped = false;
    for step in steps {
        let item = step.item;
        let (outcome, id, detail) = match &step.action {
            _ if is_stopped => (ItemOutcome::NotStarted, None, "not started".to_owned()),
            PlannedAction::Exists { id, detail } => {
                (ItemOutcome::AlreadyDone, id.clone(), detail.clone())
            }
            PlannedAction::Manual(how) => (ItemOutcome::Manual, None, how.clone()),
            PlannedAction::Send(write @ AdminChange::CreateKey { .. }) => {
                create_key(session, write, sink).await
            }
            PlannedAction::Send(write) => send(session, write).await,
        };
        is_stopped |= matches!(
            outcome,
            ItemOutcome::Failed | ItemOutcome::Unknown | ItemOutcome::Reverted
        );
        // If the invitation may have been sent, its key is kept.
        if outcome == ItemOutcome::Failed && item == OnboardItem::Invite {
            let is_new = |(done, step): &(&mut ItemResult, &OnboardStep)| {
                let is_sent = matches!(step.action, PlannedAction::Send(_));
                done.item == OnboardItem::Key && done.outcome == ItemOutcome::Done && is_sent
            };
            if let Some((key, _)) = items.iter_mut().zip(steps).find(is_new) {
                revoke_created_key(session, key, sink).await;
            }
        }
        items.push(ItemResult {
            item,
            outcome,
            id,
            detail,
        });
    }
    OnboardResult { items }
}

async fn create_key(session: &AdminSession, write: &AdminChange, sink: &SecretSink) -> Ended {
    let open = match sink.open() {
        Ok(open) => open,
        Err(error) => return (ItemOutcome::Failed, None, error.to_string()),
    };
    match key::create(session, write, open).await {
        KeyOutcome::Created { id, .. } => {
            let (name, place) = (write.target(), sink.description());
            let detail = format!("key `{name}`; its secret is {place}");
            (ItemOutcome::Done, Some(id.to_string()), detail)
        }
        KeyOutcome::NotCreated(why) => (ItemOutcome::Failed, None, why),
        KeyOutcome::Revoked { id, why } => (ItemOutcome::Reverted, Some(id.to_string()), why),
        KeyOutcome::Lost { id, why } => (ItemOutcome::Unknown, id.map(|id| id.to_string()), why),
    }
}

async fn revoke_created_key(session: &AdminSession, key: &mut ItemResult, sink: &SecretSink) {
    let id = ApiKeyId::new(key.id.clone().unwrap_or_default());
    match key::revoke_unused(session, &id, "the invitation failed".to_owned()).await {
        Ok(why) => {
            sink.discard();
            key.outcome = ItemOutcome::Reverted;
            key.detail = format!("revoked: {why}");
        }
        Err(why) => key.detail = format!("still active: {why}"),
    }
}

async fn send(session: &AdminSession, write: &AdminChange) -> Ended {
    match execute_step(session, write).await.outcome {
        StepOutcome::Done(result) => {
            let (id, detail) = describe(result);
            (ItemOutcome::Done, id, detail)
        }
        StepOutcome::AlreadyDone(how) => (ItemOutcome::AlreadyDone, None, how),
        StepOutcome::NotDone(why) => (ItemOutcome::Failed, None, why),
        StepOutcome::Unknown(why) => (ItemOutcome::Unknown, None, why),
    }
}

fn describe(result: WriteResult) -> (Option<String>, String) {
    match result {
        WriteResult::Invite(invite) => {
            let until = invite
                .expires_at
                .map(|at| format!(", until {}", Day::containing(at).date()));
            let until = until.unwrap_or_default();
            let detail = format!("invited {} as {}{until}", invite.email, invite.role);
            (Some(invite.id.to_string()), detail)
        }
        WriteResult::Done
        | WriteResult::Key(_)
        | WriteResult::Workspace(_)
        | WriteResult::Organization(_) => (None, "done".to_owned()),
    }
}
