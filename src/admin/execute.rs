//! Executes one step: records the intent in the audit log, sends the request, records the outcome.

use crate::admin::lookup::{self, Lookup};
use crate::admin::session::AdminSession;
use spendwatch_anthropic::admin::request::{WriteEffect, WriteError};
use spendwatch_anthropic::admin::result::WriteResult;
use spendwatch_audit::{Operation, OperationOutcome};
use spendwatch_domain::admin::change::{AdminChange, Revocation};
use spendwatch_domain::admin::server::ServerKind;

/// Outcome of a step, and the id under which the server logged its request.
#[derive(Debug)]
pub struct StepResult {
    pub outcome: StepOutcome,
    pub request_id: Option<String>,
}

/// Whether a step took effect, with the reason if it may not have.
#[derive(Debug)]
pub enum StepOutcome {
    Done(WriteResult),
    AlreadyDone(String),
    NotDone(String),
    /// The request may or may not have taken effect.
    Unknown(String),
}

impl StepOutcome {
    /// Returns whether the intended state is reached.
    pub fn is_success(&self) -> bool {
        match self {
            StepOutcome::Done(_) | StepOutcome::AlreadyDone(_) => true,
            StepOutcome::NotDone(_) | StepOutcome::Unknown(_) => false,
        }
    }
}

/// Executes one step. If the response is lost and the change must not happen twice, looks up whether it took effect and sends
/// it once more only if it did not.
pub async fn execute_step(session: &AdminSession, write: &AdminChange) -> StepResult {
    let since = lookup::server_time(session);
    let first = send(session, write).await;
    if write.is_repeatable() || !matches!(first.outcome, StepOutcome::Unknown(_)) {
        return first;
    }
    let found = lookup::lookup(session, write, since).await;
    match found {
        Ok(Lookup::Created(result)) => StepResult {
            outcome: StepOutcome::Done(result),
            ..first
        },
        Ok(Lookup::Nothing) => send(session, write).await,
        Ok(Lookup::KeyWithoutSecret(key)) => {
            let revoke = AdminChange::RevokeKey {
                key: key.clone(),
                revocation: permanent_revocation(session.service),
            };
            let revoked = send(session, &revoke).await;
            if revoked.outcome.is_success() {
                send(session, write).await
            } else {
                let reason = format!(
                    "key `{key}` was created, but its secret was lost and it could not be revoked"
                );
                StepResult {
                    outcome: StepOutcome::Unknown(reason),
                    ..first
                }
            }
        }
        Ok(Lookup::Unknown) | Err(_) => first,
    }
}

/// Returns how to revoke a key whose secret was not delivered.
pub const fn permanent_revocation(service: ServerKind) -> Revocation {
    match service {
        ServerKind::Guide => Revocation::Deleted,
        ServerKind::Real => Revocation::Archived,
    }
}

async fn send(session: &AdminSession, write: &AdminChange) -> StepResult {
    let arguments = write.arguments();
    let operation = Operation {
        organization: Some(session.organization.as_str()),
        action: write.action(),
        target: write.target(),
        arguments: &arguments,
    };
    let intent = match session.audit.begin(&operation) {
        Ok(intent) => intent,
        Err(error) => {
            return StepResult {
                outcome: StepOutcome::NotDone(format!("nothing was sent: {error}")),
                request_id: None,
            };
        }
    };
    let answer = session.api.write(&intent, session.service, write).await;
    let (outcome, request_id) = match answer {
        Ok(written) => (StepOutcome::Done(written.result), written.request_id),
        Err(error) => (classify_error(write, &error), error.request_id),
    };
    let error = match &outcome {
        StepOutcome::Done(_) | StepOutcome::AlreadyDone(_) => None,
        StepOutcome::NotDone(why) | StepOutcome::Unknown(why) => Some(why.as_str()),
    };
    let ended = OperationOutcome {
        error,
        request_id: request_id.as_deref(),
    };
    session.record_outcome(intent, &ended);
    StepResult {
        outcome,
        request_id,
    }
}

fn classify_error(write: &AdminChange, error: &WriteError) -> StepOutcome {
    let is_removed = write.is_removal() && error.source.is_not_found();
    match error.effect {
        WriteEffect::AlreadyExists => StepOutcome::AlreadyDone("already exists".to_owned()),
        WriteEffect::NotApplied if is_removed => {
            StepOutcome::AlreadyDone("already removed".to_owned())
        }
        WriteEffect::NotApplied => StepOutcome::NotDone(error.to_string()),
        WriteEffect::Unknown => StepOutcome::Unknown(format!(
            "it is unknown whether the change took effect: {error}"
        )),
    }
}
