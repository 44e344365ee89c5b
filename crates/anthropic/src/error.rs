//! Errors of requests to the Admin API.
//!
//! All texts are safe to show: they contain no key, no query parameters and no control characters.

use jiff::civil::Date;

use crate::endpoint::{Endpoint, Verb};
use spendwatch_base::outbound::OutboundError;
use spendwatch_domain::units::ids::OrganizationName;

/// A request that failed for good, after its retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    pub organization: OrganizationName,
    pub verb: Verb,
    pub endpoint: Endpoint,
    /// Path parameters of a write; safe to show.
    pub ids: Vec<String>,
    /// Workspace that the request was about; safe to show.
    pub workspace: Option<Box<str>>,
    /// Page of a list, from 1.
    pub page: u32,
    pub kind: FetchErrorKind,
}

impl std::error::Error for FetchError {}

/// What went wrong, with one variant per reaction of the callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// The key is not a valid header value; nothing was sent.
    UnsendableKey,
    /// A response with an error status, and what the server said.
    Status {
        /// Neither 2xx nor 3xx.
        status: u16,
        message: String,
        cause: StatusCause,
    },
    /// 3xx. Never followed, because the key would be sent along.
    Redirect {
        /// 3xx.
        status: u16,
        /// Scheme and host of the target, or a description of it.
        to: String,
    },
    Timeout {
        detail: String,
    },
    /// Connecting failed, or the connection was lost.
    Network {
        /// Which of both, and the server.
        cause: String,
        detail: String,
    },
    TooLarge {
        limit: usize,
    },
    InvalidResponse {
        detail: String,
    },
    /// The unattributed remainder has no usage of its own at the server.
    DerivedPart,
    /// The id could change the path of the URL; nothing was sent.
    InvalidId {
        id: String,
    },
    /// The server has no such endpoint; nothing was sent.
    Unsupported,
}

/// What an error response means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusCause {
    /// 401 or 403. The key may be outdated: reload it.
    KeyRejected(Option<&'static str>),
    /// Usually 400: the organization does not have the feature.
    NotAvailable,
    /// 429 or 402: a spend cap was reached until the first day of the next month, so retrying soon does not help.
    SpendCapReached(SpendCap, Date),
    /// Usually 429: usage increased faster than the API allows; the response says how long to wait.
    RampLimited,
    /// 402. Retrying before the first day of the next month does not help.
    PaymentRequired(Date),
    Other,
}

/// A cap on an organization's spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendCap {
    /// Of its usage tier or its own, per month (UTC).
    Month,
    /// Of its contract with Anthropic.
    Contract,
    /// Of the linked organization that pays for it.
    Linked,
}

impl FetchError {
    /// Returns whether the `analytics` reports were rejected with 400, which means that the organization does not have them.
    pub fn is_analytics_unavailable(&self) -> bool {
        let is_analytics = matches!(
            self.endpoint,
            Endpoint::AnalyticsCost | Endpoint::AnalyticsUsage
        );
        is_analytics && self.status() == Some(400)
    }

    /// Returns whether the key was rejected (401 or 403) or cannot be sent.
    pub fn is_key_error(&self) -> bool {
        let is_rejected = matches!(self.cause(), Some(StatusCause::KeyRejected(_)));
        is_rejected || matches!(self.kind, FetchErrorKind::UnsendableKey)
    }

    /// Returns whether the key is invalid: rejected (401), or not a valid header value.
    pub fn is_key_rejected(&self) -> bool {
        self.status() == Some(401) || matches!(self.kind, FetchErrorKind::UnsendableKey)
    }

    /// Returns the status of an error response.
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            FetchErrorKind::Status { status, .. } | FetchErrorKind::Redirect { status, .. } => {
                Some(*status)
            }
            FetchErrorKind::UnsendableKey
            | FetchErrorKind::Timeout { .. }
            | FetchErrorKind::Network { .. }
            | FetchErrorKind::TooLarge { .. }
            | FetchErrorKind::InvalidResponse { .. }
            | FetchErrorKind::DerivedPart
            | FetchErrorKind::InvalidId { .. }
            | FetchErrorKind::Unsupported => None,
        }
    }

    fn cause(&self) -> Option<StatusCause> {
        let FetchErrorKind::Status { cause, .. } = &self.kind else {
            return None;
        };
        Some(*cause)
    }

    /// Returns whether the key lacks permission (403), the path does not exist (404) or the organization does not have the feature.
    pub fn is_forbidden_or_not_found(&self) -> bool {
        let is_unavailable = self.cause() == Some(StatusCause::NotAvailable);
        is_unavailable || matches!(self.status(), Some(403 | 404))
    }

    /// Returns whether a feature is unavailable to the organization, which servers report as 400, 403 or 404.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.status(), Some(400 | 403 | 404))
    }

    /// Returns whether the path does not exist or cannot be read (404, 405).
    pub fn is_unknown_path(&self) -> bool {
        self.cause() == Some(StatusCause::Other) && matches!(self.status(), Some(404 | 405))
    }

    /// Returns whether the object does not exist (404).
    pub fn is_not_found(&self) -> bool {
        self.kind.is_not_found()
    }
}

impl FetchErrorKind {
    /// Returns whether the object does not exist (404).
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            FetchErrorKind::Status {
                status: 404,
                cause: StatusCause::Other,
                ..
            }
        )
    }
}

/// Why the dialect could not be detected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// A later attempt may succeed.
    #[error("cannot detect the server's dialect")]
    Undecided(#[source] FetchError),
    #[error(transparent)]
    KeyRejected(FetchError),
}

impl From<FetchError> for DetectError {
    fn from(error: FetchError) -> Self {
        if error.is_key_rejected() {
            DetectError::KeyRejected(error)
        } else {
            DetectError::Undecided(error)
        }
    }
}

/// Why the client of an organization cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("organization `{organization}`: `base_url` {reason}")]
    BaseUrl {
        organization: OrganizationName,
        reason: &'static str,
    },
    #[error("organization `{organization}`: `api_version` contains characters that cannot be sent")]
    ApiVersion { organization: OrganizationName },
    #[error("organization `{organization}`: cannot build the HTTP client")]
    Client {
        organization: OrganizationName,
        source: OutboundError,
    },
}
