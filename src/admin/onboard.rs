//! Onboarding carried out: the key first, since only it can be taken back, then the mail. Where the mail fails, the key is
//! taken back.

use crate::admin::carry::{Outcome, carry_out};
use crate::admin::key::{self, Made};
use crate::admin::office::Office;
use crate::anthropic::written::Told;
use crate::domain::admin::onboard::{Part, Step, Todo};
use crate::domain::admin::write::Write;
use crate::domain::ids::ApiKeyId;
use crate::domain::span::Day;
use crate::handover::Handover;

/// How one part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEnd {
    pub part: Part,
    pub end: End,
    /// The id of what stands, where it has one.
    pub id: Option<String>,
    pub told: String,
}

/// How a part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Made,
    Stands,
    /// A person has to do it.
    ByHand,
    /// It was made and taken back.
    Undone,
    Failed,
    Unknown,
    NotBegun,
}

impl End {
    /// In a table.
    pub const fn word(self) -> &'static str {
        match self {
            End::Made => "done",
            End::Stands => "stands",
            End::ByHand => "by hand",
            End::Undone => "undone",
            End::Failed => "failed",
            End::Unknown => "unknown",
            End::NotBegun => "not begun",
        }
    }
}

/// How it ended for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onboarded {
    /// Part by part, in the order of the plan.
    pub parts: Vec<PartEnd>,
}

impl Onboarded {
    /// Whether all is there that was to be.
    pub fn is_whole(&self) -> bool {
        let is_good = |end: End| matches!(end, End::Made | End::Stands | End::ByHand);
        self.parts.iter().all(|part| is_good(part.end))
    }

    /// Whether something of it stands, or may stand, whoever made it.
    pub fn has_something(&self) -> bool {
        let stands = |end: End| matches!(end, End::Made | End::Stands | End::Unknown);
        self.parts.iter().any(|part| stands(part.end))
    }
}

/// A key that this has made.
struct NewKey {
    place: usize,
    id: ApiKeyId,
}

/// Carries out a plan. The secret goes to `handover`, which is needed where the plan makes a key.
pub async fn onboard(office: &Office, steps: &[Step], handover: &Handover) -> Onboarded {
    let mut parts: Vec<PartEnd> = Vec::with_capacity(steps.len());
    let mut new_key = None;
    let mut is_over = false;
    for step in steps {
        if is_over {
            parts.push(ended(
                step.part,
                End::NotBegun,
                None,
                "not begun".to_owned(),
            ));
            continue;
        }
        let end = match &step.todo {
            Todo::Stands { id, how } => ended(step.part, End::Stands, id.clone(), how.clone()),
            Todo::ByHand(how) => ended(step.part, End::ByHand, None, how.clone()),
            Todo::Send(write @ Write::CreateKey { .. }) => {
                let (end, id) = make_key(office, step.part, write, handover).await;
                let place = parts.len();
                new_key = id.map(|id| NewKey { place, id });
                end
            }
            Todo::Send(write) => send(office, step.part, write).await,
        };
        is_over = matches!(end.end, End::Failed | End::Unknown | End::Undone);
        // A mail that may have gone out has its key: it is not taken back.
        if end.end == End::Failed
            && end.part == Part::Invite
            && let Some(NewKey { place, id }) = new_key.take()
            && let Some(key) = parts.get_mut(place)
        {
            *key = take_back(office, id, handover).await;
        }
        parts.push(end);
    }
    Onboarded { parts }
}

const fn ended(part: Part, end: End, id: Option<String>, told: String) -> PartEnd {
    PartEnd {
        part,
        end,
        id,
        told,
    }
}

async fn make_key(
    office: &Office,
    part: Part,
    write: &Write,
    handover: &Handover,
) -> (PartEnd, Option<ApiKeyId>) {
    let place = match handover.open() {
        Ok(place) => place,
        Err(error) => return (ended(part, End::Failed, None, error.to_string()), None),
    };
    match key::make(office, write, place).await {
        Made::Key { id, .. } => {
            let told = format!(
                "key `{}`; its secret is {}",
                write.target(),
                handover.told()
            );
            (ended(part, End::Made, Some(id.to_string()), told), Some(id))
        }
        Made::Nothing(why) => (ended(part, End::Failed, None, why), None),
        Made::Undone { id, why } => (ended(part, End::Undone, Some(id.to_string()), why), None),
        Made::Lost { id, why } => {
            let id = id.map(|id| id.to_string());
            (ended(part, End::Unknown, id, why), None)
        }
    }
}

async fn take_back(office: &Office, id: ApiKeyId, handover: &Handover) -> PartEnd {
    let shown = Some(id.to_string());
    match key::undo(office, id, "the invitation failed".to_owned()).await {
        Made::Lost { why, .. } => ended(Part::Key, End::Made, shown, format!("it stands: {why}")),
        Made::Undone { why, .. } | Made::Nothing(why) => {
            handover.take_back();
            ended(
                Part::Key,
                End::Undone,
                shown,
                format!("revoked again: {why}"),
            )
        }
        Made::Key { .. } => ended(Part::Key, End::Made, shown, "it stands".to_owned()),
    }
}

async fn send(office: &Office, part: Part, write: &Write) -> PartEnd {
    match carry_out(office, write).await.outcome {
        Outcome::Done(told) => {
            let (id, words) = done(told);
            ended(part, End::Made, id, words)
        }
        Outcome::Stands(how) => ended(part, End::Stands, None, how),
        Outcome::NotDone(why) => ended(part, End::Failed, None, why),
        Outcome::Unknown(why) => ended(part, End::Unknown, None, why),
    }
}

fn done(told: Told) -> (Option<String>, String) {
    match told {
        Told::Invite(invite) => {
            let until = invite
                .expires_at
                .map(|at| format!(", until {}", Day::of(at).date()));
            let until = until.unwrap_or_default();
            let words = format!("{} was invited as {}{until}", invite.email, invite.role);
            (Some(invite.id.to_string()), words)
        }
        Told::Done | Told::Key(_) | Told::Workspace(_) | Told::Organization(_) => {
            (None, "done".to_owned())
        }
    }
}
