//! The outcome of one attempt to send a message, and errors in a notifier's settings.
//!
//! A failure carries the decision about retries, so that the outbox need not know the responses of receivers.

use std::time::Duration;

use spendwatch_domain::alerts::notification::Thread;

/// The outcome of one attempt. An `error` is one line without secrets, URLs or control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// Accepted as the first message of a thread.
    Posted {
        thread: Thread,
    },
    /// One of several posts was accepted or rejected; the next one follows.
    PartSent {
        /// Why this post was rejected; the others are still sent.
        refused: Option<String>,
    },
    Retry {
        error: String,
        /// The pause that the receiver requests, from the attempt's `now`, at most [`MAX_RETRY_AFTER`]; zero for a time in the past.
        /// `None` if there is none or it cannot be parsed.
        after: Option<Duration>,
        /// The receiver may have accepted the message.
        is_ambiguous: bool,
        schedule: RetrySchedule,
    },
    /// The notifier is misconfigured or blocked; its messages wait.
    Park {
        error: String,
        /// Whether it is probed; otherwise nothing is sent until the configuration changes.
        is_probed: bool,
    },
    /// The message will never be accepted.
    Drop {
        error: String,
    },
}

/// Schedule of retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetrySchedule {
    /// 1 s, 5 s, 30 s, 2 m, 10 m, 30 m, then hourly.
    Common,
    /// 5 m, 15 m, 30 m, then hourly: after a temporary refusal by a mail server (greylisting, full disk).
    Mail,
}

/// A receiver that requests a longer pause is parked.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

impl Delivery {
    /// Returns a retry after an attempt that certainly did not arrive.
    pub fn retry(error: impl Into<String>) -> Delivery {
        Delivery::Retry {
            error: error.into(),
            after: None,
            is_ambiguous: false,
            schedule: RetrySchedule::Common,
        }
    }

    /// Returns a retry after an attempt that may have arrived.
    pub fn ambiguous(error: impl Into<String>) -> Delivery {
        Delivery::Retry {
            error: error.into(),
            after: None,
            is_ambiguous: true,
            schedule: RetrySchedule::Common,
        }
    }

    /// Returns a parking with probes.
    pub fn park(error: impl Into<String>) -> Delivery {
        Delivery::Park {
            error: error.into(),
            is_probed: true,
        }
    }

    /// Returns a drop of the message.
    pub fn drop_message(error: impl Into<String>) -> Delivery {
        Delivery::Drop {
            error: error.into(),
        }
    }

    /// Returns the outcome of one post of several.
    #[must_use]
    pub fn for_post(self, is_last: bool) -> Delivery {
        match self {
            Delivery::Delivered if !is_last => Delivery::PartSent { refused: None },
            Delivery::Drop { error } if !is_last => Delivery::PartSent {
                refused: Some(error),
            },
            whole => whole,
        }
    }

    /// Returns the outcome of the message from that of its last post; `refused` is the error of an earlier rejected post.
    #[must_use]
    pub fn for_message(self, refused: Option<&str>) -> Delivery {
        match (self, refused) {
            (
                Delivery::Delivered | Delivery::Posted { .. } | Delivery::Drop { .. },
                Some(error),
            ) => Delivery::drop_message(error),
            (delivery, _) => delivery,
        }
    }

    /// Changes the error text.
    #[must_use]
    pub fn map_error(mut self, map: impl Fn(&str) -> String) -> Delivery {
        match &mut self {
            Delivery::Delivered | Delivery::Posted { .. } => {}
            Delivery::PartSent { refused } => {
                if let Some(error) = refused {
                    *error = map(error);
                }
            }
            Delivery::Retry { error, .. }
            | Delivery::Park { error, .. }
            | Delivery::Drop { error } => *error = map(error),
        }
        self
    }

    /// Returns why the message was not delivered.
    pub fn error(&self) -> Option<&str> {
        match self {
            Delivery::Delivered | Delivery::Posted { .. } => None,
            Delivery::PartSent { refused } => refused.as_deref(),
            Delivery::Retry { error, .. }
            | Delivery::Park { error, .. }
            | Delivery::Drop { error } => Some(error),
        }
    }
}

/// Why a notifier cannot be built. No variant shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("the URL must start with `http://` or `https://`")]
    Url,
    #[error(
        "`http://` to another host sends secrets in clear text; use `https://`, or set `allow_http = true`"
    )]
    ClearText,
    #[error("the routing key must have 32 characters")]
    RoutingKey,
    #[error("signing secret {index} must be `whsec_` followed by the base64 of 24 to 64 bytes")]
    SigningSecret {
        /// Counted from 1.
        index: usize,
    },
    #[error("header `{name}` has an invalid name or value")]
    Header { name: String },
    #[error("header `{name}` is set by spendwatch itself")]
    ReservedHeader { name: String },
    #[error("the token contains invalid characters")]
    Token,
    #[error("`command` names no program")]
    Program,
    #[error("`{address}` is not a mail address")]
    Address { address: String },
    #[error("a login needs an encrypted connection; use `smtps://` or `starttls = \"required\"`")]
    ClearTextLogin,
    #[error("set both `username` and `password`, or neither")]
    IncompleteLogin,
    #[error("`ca_file` {path}: {reason}")]
    CaFile {
        path: std::path::PathBuf,
        reason: String,
    },
    #[error("cannot set up TLS: {reason}")]
    Tls { reason: String },
}
