//! Creates a key and writes its secret to an open sink; revokes the key if the secret cannot be written.

use crate::admin::execute::{StepOutcome, execute_step, permanent_revocation};
use crate::admin::session::AdminSession;
use crate::secret_sink::OpenSink;
use spendwatch_anthropic::admin::result::WriteResult;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::units::ids::ApiKeyId;

/// Result of creating a key.
#[derive(Debug)]
pub enum KeyOutcome {
    /// The key exists and its secret was written.
    Created {
        id: ApiKeyId,
        request_id: Option<String>,
    },
    NotCreated(String),
    /// The key was revoked again because its secret could not be written.
    Revoked {
        id: ApiKeyId,
        why: String,
    },
    /// A key exists, or may exist, whose secret was lost.
    Lost {
        /// `None` if the response was lost.
        id: Option<ApiKeyId>,
        why: String,
    },
}

/// Creates the key of an [`AdminChange::CreateKey`].
pub async fn create(session: &AdminSession, write: &AdminChange, sink: OpenSink) -> KeyOutcome {
    let result = execute_step(session, write).await;
    let key = match result.outcome {
        StepOutcome::Done(WriteResult::Key(key)) => key,
        StepOutcome::NotDone(why) => return KeyOutcome::NotCreated(why),
        StepOutcome::Unknown(why) => return KeyOutcome::Lost { id: None, why },
        StepOutcome::Done(_) | StepOutcome::AlreadyDone(_) => {
            let why = "the response contains no key".to_owned();
            return KeyOutcome::Lost { id: None, why };
        }
    };
    match sink.write(&key.secret).await {
        Ok(()) => KeyOutcome::Created {
            id: key.id,
            request_id: result.request_id,
        },
        Err(error) => match revoke_unused(session, &key.id, error.to_string()).await {
            Ok(why) => KeyOutcome::Revoked { id: key.id, why },
            Err(why) => KeyOutcome::Lost {
                id: Some(key.id),
                why,
            },
        },
    }
}

/// Revokes a key whose secret was not delivered. Returns why, or why it could not be revoked.
pub async fn revoke_unused(
    session: &AdminSession,
    id: &ApiKeyId,
    why: String,
) -> Result<String, String> {
    let revoke = AdminChange::RevokeKey {
        key: id.clone(),
        revocation: permanent_revocation(session.service),
    };
    match execute_step(session, &revoke).await.outcome {
        StepOutcome::Done(_) | StepOutcome::AlreadyDone(_) => Ok(why),
        StepOutcome::NotDone(more) | StepOutcome::Unknown(more) => {
            Err(format!("{why}; the key could not be revoked: {more}"))
        }
    }
}
