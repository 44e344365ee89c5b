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

struct CreatedKey {
    position: usize,
    id: ApiKeyId,
}

/// Executes a plan. A new key's secret is written to `sink`.
pub async fn onboard(
    session: &AdminSession,
    steps: &[OnboardStep],
    sink: &SecretSink,
) -> OnboardResult {
    let mut items: Vec<ItemResult> = Vec::with_capacity(steps.len());
    let mut new_key = None;
    let mut is_stopped = false;
    for step in steps {
        if is_stopped {
            items.push(item_result(
                step.item,
                ItemOutcome::NotStarted,
                None,
                "not started".to_owned(),
            ));
            continue;
        }
        let result = match &step.action {
            PlannedAction::Exists { id, detail: how } => {
                item_result(step.item, ItemOutcome::AlreadyDone, id.clone(), how.clone())
            }
            PlannedAction::Manual(how) => {
                item_result(step.item, ItemOutcome::Manual, None, how.clone())
            }
            PlannedAction::Send(write @ AdminChange::CreateKey { .. }) => {
                let (result, id) = create_key(session, step.item, write, sink).await;
                let position = items.len();
                new_key = id.map(|id| CreatedKey { position, id });
                result
            }
            PlannedAction::Send(write) => send(session, step.item, write).await,
        };
        is_stopped = matches!(
            result.outcome,
            ItemOutcome::Failed | ItemOutcome::Unknown | ItemOutcome::Reverted
        );
        // If the invitation may have been sent, its key is kept.
        if result.outcome == ItemOutcome::Failed
            && result.item == OnboardItem::Invite
            && let Some(CreatedKey { position, id }) = new_key.take()
            && let Some(key) = items.get_mut(position)
        {
            *key = revoke_created_key(session, id, sink).await;
        }
        items.push(result);
    }
    OnboardResult { items }
}

const fn item_result(
    item: OnboardItem,
    outcome: ItemOutcome,
    id: Option<String>,
    detail: String,
) -> ItemResult {
    ItemResult {
        item,
        outcome,
        id,
        detail,
    }
}

async fn create_key(
    session: &AdminSession,
    item: OnboardItem,
    write: &AdminChange,
    sink: &SecretSink,
) -> (ItemResult, Option<ApiKeyId>) {
    let open = match sink.open() {
        Ok(open) => open,
        Err(error) => {
            return (
                item_result(item, ItemOutcome::Failed, None, error.to_string()),
                None,
            );
        }
    };
    match key::create(session, write, open).await {
        KeyOutcome::Created { id, .. } => {
            let detail = format!(
                "key `{}`; its secret is {}",
                write.target(),
                sink.description()
            );
            (
                item_result(item, ItemOutcome::Done, Some(id.to_string()), detail),
                Some(id),
            )
        }
        KeyOutcome::NotCreated(why) => (item_result(item, ItemOutcome::Failed, None, why), None),
        KeyOutcome::Revoked { id, why } => (
            item_result(item, ItemOutcome::Reverted, Some(id.to_string()), why),
            None,
        ),
        KeyOutcome::Lost { id, why } => {
            let id = id.map(|id| id.to_string());
            (item_result(item, ItemOutcome::Unknown, id, why), None)
        }
    }
}

async fn revoke_created_key(session: &AdminSession, id: ApiKeyId, sink: &SecretSink) -> ItemResult {
    let shown = Some(id.to_string());
    match key::revoke_unused(session, id, "the invitation failed".to_owned()).await {
        KeyOutcome::Lost { why, .. } => item_result(
            OnboardItem::Key,
            ItemOutcome::Done,
            shown,
            format!("still active: {why}"),
        ),
        KeyOutcome::Revoked { why, .. } | KeyOutcome::NotCreated(why) => {
            sink.discard();
            item_result(
                OnboardItem::Key,
                ItemOutcome::Reverted,
                shown,
                format!("revoked: {why}"),
            )
        }
        KeyOutcome::Created { .. } => item_result(
            OnboardItem::Key,
            ItemOutcome::Done,
            shown,
            "still active".to_owned(),
        ),
    }
}

async fn send(session: &AdminSession, item: OnboardItem, write: &AdminChange) -> ItemResult {
    match execute_step(session, write).await.outcome {
        StepOutcome::Done(result) => {
            let (id, detail) = describe(result);
            item_result(item, ItemOutcome::Done, id, detail)
        }
        StepOutcome::AlreadyDone(how) => item_result(item, ItemOutcome::AlreadyDone, None, how),
        StepOutcome::NotDone(why) => item_result(item, ItemOutcome::Failed, None, why),
        StepOutcome::Unknown(why) => item_result(item, ItemOutcome::Unknown, None, why),
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
