//! One step carried out: its intent into the audit log, the order to the service, the outcome into the audit log.

use crate::admin::look::{self, Found};
use crate::admin::office::Office;
use crate::anthropic::orders::{Fate, OrderError};
use crate::anthropic::written::Told;
use crate::audit::{Ended, Operation};
use crate::domain::admin::service::Service;
use crate::domain::admin::write::{Manner, Write};

/// How a step ended.
#[derive(Debug)]
pub struct Carried {
    pub outcome: Outcome,
    /// By which the service finds the request again.
    pub request_id: Option<String>,
}

/// What became of a step.
#[derive(Debug)]
pub enum Outcome {
    Done(Told),
    /// It was so already: how, in words.
    Stands(String),
    /// It is not done: why.
    NotDone(String),
    /// It may be done or not: why nobody knows.
    Unknown(String),
}

impl Outcome {
    /// Whether all is as it was to be.
    pub fn is_good(&self) -> bool {
        match self {
            Outcome::Done(_) | Outcome::Stands(_) => true,
            Outcome::NotDone(_) | Outcome::Unknown(_) => false,
        }
    }
}

/// Carries out one step. An order that may have been carried out, and must not be twice, is looked for first; where it is not
/// there, it is sent once more.
pub async fn carry_out(office: &Office, write: &Write) -> Carried {
    let since = look::moment(office);
    let first = order(office, write).await;
    if write.is_repeatable() || !matches!(first.outcome, Outcome::Unknown(_)) {
        return first;
    }
    let found = look::look(office, write, since).await;
    match found {
        Ok(Found::Made(told)) => Carried {
            outcome: Outcome::Done(told),
            ..first
        },
        Ok(Found::Nothing) => order(office, write).await,
        Ok(Found::KeyWithoutSecret(key)) => {
            let revoke = Write::RevokeKey {
                key: key.clone(),
                manner: final_manner(office.service),
            };
            let revoked = order(office, &revoke).await;
            if revoked.outcome.is_good() {
                order(office, write).await
            } else {
                let told = format!(
                    "key `{key}` was made, its secret was lost on the way, and it could not be revoked"
                );
                Carried {
                    outcome: Outcome::Unknown(told),
                    ..first
                }
            }
        }
        Ok(Found::Untold) | Err(_) => first,
    }
}

/// How a key is revoked that nobody has had.
pub const fn final_manner(service: Service) -> Manner {
    match service {
        Service::Guide => Manner::Deleted,
        Service::Real => Manner::Archived,
    }
}

async fn order(office: &Office, write: &Write) -> Carried {
    let arguments = write.arguments();
    let operation = Operation {
        organization: Some(office.organization.as_str()),
        action: write.action(),
        target: write.target(),
        arguments: &arguments,
    };
    let intent = match office.audit.begin(&operation) {
        Ok(intent) => intent,
        Err(error) => {
            return Carried {
                outcome: Outcome::NotDone(format!("nothing was sent: {error}")),
                request_id: None,
            };
        }
    };
    let answer = office.api.write(&intent, office.service, write).await;
    let (outcome, request_id) = match answer {
        Ok(written) => (Outcome::Done(written.told), written.request_id),
        Err(error) => (judged(write, &error), error.request_id),
    };
    let error = match &outcome {
        Outcome::Done(_) | Outcome::Stands(_) => None,
        Outcome::NotDone(why) | Outcome::Unknown(why) => Some(why.as_str()),
    };
    let ended = Ended {
        error,
        request_id: request_id.as_deref(),
    };
    office.end(intent, &ended);
    Carried {
        outcome,
        request_id,
    }
}

/// What an order without a good answer means.
fn judged(write: &Write, error: &OrderError) -> Outcome {
    let is_gone = write.takes_away() && error.source.is_not_found();
    match error.fate {
        Fate::There => Outcome::Stands("the service says that it is there already".to_owned()),
        Fate::NotDone if is_gone => Outcome::Stands("it was gone already".to_owned()),
        Fate::NotDone => Outcome::NotDone(error.to_string()),
        Fate::Unknown => Outcome::Unknown(format!("it may have been done or not: {error}")),
    }
}
