//! What became of one attempt to send a message, and what may be wrong with a notifier's settings.
//!
//! The failure carries its own decision, so that the outbox need not know any receiver's answers.

use std::time::Duration;

use crate::domain::notification::Thread;

/// The outcome of one attempt. An `error` is one line without secrets, URLs or control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// The receiver has it, and shows it as the first message of a thread.
    Posted {
        thread: Thread,
    },
    /// The receiver answered one post of several; the next one is to follow.
    Partly {
        /// Why the receiver will never take this post; the others follow all the same.
        refused: Option<String>,
    },
    /// Try the same message again.
    Retry {
        error: String,
        /// How long the receiver asks to be left alone, from the attempt's `now`; at most [`MAX_RETRY_AFTER`], zero for
        /// an instant that is past. `None` where it says nothing that can be understood.
        after: Option<Duration>,
        /// The receiver may have the message all the same.
        is_ambiguous: bool,
        /// Which steps to wait by.
        schedule: Schedule,
    },
    /// The receiver is at fault, not the message: keep the queue and say it elsewhere.
    Park {
        error: String,
        /// Whether a probe now and then is welcome; without, nothing is sent until the configuration changes.
        is_probed: bool,
    },
    /// This message will never be accepted.
    Drop {
        error: String,
    },
}

/// Which steps a retry waits by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// 1 s, 5 s, 30 s, 2 m, 10 m, 30 m, then hourly.
    Common,
    /// 5 m, 15 m, 30 m, then hourly: for a mail server that said "later" (greylisting, a full disk).
    Mail,
}

/// A receiver that asks for a longer pause is parked.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

impl Delivery {
    /// A retry by the common steps, of which it is certain that the receiver has nothing.
    pub fn retry(error: impl Into<String>) -> Delivery {
        Delivery::Retry {
            error: error.into(),
            after: None,
            is_ambiguous: false,
            schedule: Schedule::Common,
        }
    }

    /// A retry by the common steps, of which the receiver may have the message already.
    pub fn ambiguous(error: impl Into<String>) -> Delivery {
        Delivery::Retry {
            error: error.into(),
            after: None,
            is_ambiguous: true,
            schedule: Schedule::Common,
        }
    }

    /// Parked, with probes.
    pub fn park(error: impl Into<String>) -> Delivery {
        Delivery::Park {
            error: error.into(),
            is_probed: true,
        }
    }

    /// Dropped.
    pub fn drop_message(error: impl Into<String>) -> Delivery {
        Delivery::Drop {
            error: error.into(),
        }
    }

    /// The outcome of one post of a message that consists of several.
    #[must_use]
    pub fn of_part(self, is_last: bool) -> Delivery {
        match self {
            Delivery::Delivered if !is_last => Delivery::Partly { refused: None },
            Delivery::Drop { error } if !is_last => Delivery::Partly {
                refused: Some(error),
            },
            whole => whole,
        }
    }

    /// The outcome of the last post as that of the whole message, of which an earlier post may have been refused.
    #[must_use]
    pub fn of_whole(self, refused: Option<&str>) -> Delivery {
        match (self, refused) {
            (
                Delivery::Delivered | Delivery::Posted { .. } | Delivery::Drop { .. },
                Some(error),
            ) => Delivery::drop_message(error),
            (delivery, _) => delivery,
        }
    }

    /// The same, told otherwise.
    #[must_use]
    pub fn retold(mut self, tell: impl Fn(&str) -> String) -> Delivery {
        match &mut self {
            Delivery::Delivered | Delivery::Posted { .. } => {}
            Delivery::Partly { refused } => {
                if let Some(error) = refused {
                    *error = tell(error);
                }
            }
            Delivery::Retry { error, .. }
            | Delivery::Park { error, .. }
            | Delivery::Drop { error } => *error = tell(error),
        }
        self
    }

    /// Why it was not delivered.
    pub fn error(&self) -> Option<&str> {
        match self {
            Delivery::Delivered | Delivery::Posted { .. } => None,
            Delivery::Partly { refused } => refused.as_deref(),
            Delivery::Retry { error, .. }
            | Delivery::Park { error, .. }
            | Delivery::Drop { error } => Some(error),
        }
    }
}

/// Why a notifier cannot be built. No variant shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not an `http://` or `https://` address.
    #[error("the url is not an http or https address")]
    Url,
    /// A secret would cross a network unencrypted.
    #[error(
        "the url is `http://` to another host, which sends in clear text; use `https://`, or `allow_http = true` if you must"
    )]
    ClearText,
    /// Not of the length of a routing key.
    #[error("the routing key has not 32 characters")]
    RoutingKey,
    /// Not a Standard Webhooks secret.
    #[error("signing secret {index} is not `whsec_` followed by the base64 of 24 to 64 bytes")]
    SigningSecret {
        /// Which one, counted from 1.
        index: usize,
    },
    /// A header's name is not one, or its value holds what a header cannot.
    #[error("header `{name}` cannot be sent")]
    Header { name: String },
    /// A header that the notifier sets itself.
    #[error("header `{name}` is set by spendwatch itself")]
    ReservedHeader { name: String },
    /// What no header can hold.
    #[error("the token holds characters that no token has")]
    Token,
    #[error("no program is named")]
    Program,
    #[error("`{address}` is not a mail address")]
    Address { address: String },
    /// A password is to be sent over an unencrypted connection.
    #[error("a user name needs an encrypted connection: use smtps:// or starttls = \"required\"")]
    ClearTextLogin,
    /// A user name without a password, or the other way round.
    #[error("username and password belong together")]
    HalfLogin,
    /// The file of certificates cannot be used.
    #[error("ca_file {path}: {reason}")]
    CaFile {
        /// Where it was looked for.
        path: std::path::PathBuf,
        reason: String,
    },
    /// The system's TLS cannot be set up.
    #[error("encryption cannot be set up: {reason}")]
    Tls { reason: String },
}
