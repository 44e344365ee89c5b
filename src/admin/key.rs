//! A key is made for a place that is open, and its secret goes there. A key whose secret goes nowhere is revoked again.

use crate::admin::carry::{Outcome, carry_out, final_manner};
use crate::admin::office::Office;
use crate::anthropic::written::Told;
use crate::domain::admin::write::Write;
use crate::domain::ids::ApiKeyId;
use crate::handover::Opened;

/// How it ended.
#[derive(Debug)]
pub enum Made {
    /// The key stands, and its secret is in its place.
    Key {
        id: ApiKeyId,
        /// By which the service finds the request again.
        request_id: Option<String>,
    },
    /// No key stands, and none was made: why.
    Nothing(String),
    /// A key was made and revoked again, since its secret did not reach its place.
    Undone { id: ApiKeyId, why: String },
    /// A key stands, or may stand, whose secret nobody has.
    Lost {
        /// Its id, where it is known.
        id: Option<ApiKeyId>,
        why: String,
    },
}

/// Makes the key of a [`Write::CreateKey`].
pub async fn make(office: &Office, write: &Write, place: Opened) -> Made {
    let carried = carry_out(office, write).await;
    let key = match carried.outcome {
        Outcome::Done(Told::Key(key)) => key,
        Outcome::NotDone(why) => return Made::Nothing(why),
        Outcome::Unknown(why) => return Made::Lost { id: None, why },
        Outcome::Done(_) | Outcome::Stands(_) => {
            let why = "the service told no key".to_owned();
            return Made::Lost { id: None, why };
        }
    };
    match place.give(&key.secret).await {
        Ok(()) => Made::Key {
            id: key.id,
            request_id: carried.request_id,
        },
        Err(error) => undo(office, key.id, error.to_string()).await,
    }
}

/// Revokes a key that nobody has had.
pub async fn undo(office: &Office, id: ApiKeyId, why: String) -> Made {
    let revoke = Write::RevokeKey {
        key: id.clone(),
        manner: final_manner(office.service),
    };
    match carry_out(office, &revoke).await.outcome {
        Outcome::Done(_) | Outcome::Stands(_) => Made::Undone { id, why },
        Outcome::NotDone(more) | Outcome::Unknown(more) => Made::Lost {
            id: Some(id),
            why: format!("{why}; and it could not be revoked again: {more}"),
        },
    }
}
