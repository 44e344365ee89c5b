//! Errors of requests to the Admin API.
//!
//! All texts are safe to show: they contain no key, no query parameters and no control characters.

use jiff::civil::Date;

use crate::endpoint::{Endpoint, Verb};
use crate::redaction::Redaction;
use spendwatch_base::outbound::OutboundError;
use spendwatch_domain::units::ids::OrganizationName;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct FetchError {
    pub organization: OrganizationName,
    pub verb: Verb,
    pub endpoint: Endpoint,
    /// Path parameters of a write; safe to show.
    pub ids: Vec<String>,
    /// Workspace that the request was about; safe to show.
    pub workspace: Option<String>,
    /// Page of a list, from 1.
    pub page: u32,
    pub kind: FetchErrorKind,
}

/// What went wrong, with one variant per reaction of the callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchErrorKind {
    /// The key may be outdated: reload it.
    #[error("the server rejected the key (status {status}): {message}{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default())]
    KeyRejected {
        /// 401 or 403.
        status: u16,
        message: String,
        hint: Option<&'static str>,
    },
    /// The key is not a valid header value; nothing was sent.
    #[error("the admin key contains characters that cannot be sent, such as a line break")]
    UnsendableKey,
    #[error("the server responded with status {status}: {message}")]
    Status {
        /// Neither 2xx, nor 3xx, nor 401, nor 403.
        status: u16,
        message: String,
    },
    /// The error code says that this organization does not have the feature.
    #[error("not available to this organization (status {status}): {message}")]
    NotAvailable {
        /// Usually 400.
        status: u16,
        message: String,
    },
    /// A spend cap was reached, so retrying soon does not help.
    #[error("{} (status {status}): {message}", cap.explanation(*until))]
    SpendCapReached {
        cap: SpendCap,
        /// 429 or 402.
        status: u16,
        /// The first day of the next month.
        until: Date,
        message: String,
    },
    /// Usage increased faster than the API allows; the response says how long to wait.
    #[error(
        "the organization's usage grows faster than Anthropic allows, waiting as requested (status {status}): {message}"
    )]
    RampLimited {
        /// Usually 429.
        status: u16,
        message: String,
    },
    /// 402. Retrying does not help.
    #[error(
        "the organization cannot be billed (status 402; until {until} 00:00 UTC if it reached its monthly cap): {message}"
    )]
    PaymentRequired {
        /// The first day of the next month.
        until: Date,
        message: String,
    },
    /// 3xx. Never followed, because the key would be sent along.
    #[error(
        "the server redirected (status {status}) to {to}; redirects are not followed, because the key would be sent along; set `base_url` to the final address"
    )]
    Redirect {
        /// 3xx.
        status: u16,
        /// Scheme and host of the target, or a description of it.
        to: String,
    },
    #[error("the request timed out: {detail}")]
    Timeout { detail: String },
    /// Connecting failed, or the connection was lost.
    #[error("{detail}")]
    Network { detail: String },
    #[error("the response is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("invalid response: {detail}")]
    InvalidResponse { detail: String },
    /// The unattributed remainder has no usage of its own at the server.
    #[error("the unattributed remainder is derived and cannot be requested")]
    DerivedPart,
    /// The id could change the path of the URL; nothing was sent.
    #[error("`{id}` is not an id; ids consist of letters, digits, `_` and `-`")]
    InvalidId { id: String },
    /// The server has no such endpoint; nothing was sent.
    #[error("the server does not support this")]
    Unsupported,
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

impl SpendCap {
    fn explanation(self, until: Date) -> String {
        match self {
            SpendCap::Month => {
                format!("the organization reached its monthly cap, until {until} 00:00 UTC")
            }
            SpendCap::Contract => {
                "the organization reached the spend limit of its contract with Anthropic; ask Anthropic to raise it"
                    .to_owned()
            }
            SpendCap::Linked => {
                "the linked organization that pays reached its spend limit; raise it in that organization's Console"
                    .to_owned()
            }
        }
    }
}

/// Advice if the `analytics` reports are rejected with 400, as for HIPAA-ready organizations.
const NO_ANALYTICS: &str = "not every organization has the analytics reports (HIPAA-ready ones do not); \
     set `dialect = \"reports\"` or `dialect = \"auto\"`";

impl FetchError {
    /// Returns cause, place and advice.
    fn text(&self) -> String {
        let Self {
            organization,
            kind: problem,
            ..
        } = self;
        match problem {
            FetchErrorKind::KeyRejected {
                status: 401,
                message,
                hint,
            } => {
                let place = self.place();
                let place = place.strip_suffix(", page 1").unwrap_or(&place);
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!(
                    "the Admin API rejected the key (401): organization `{organization}`, {place}: {message}; \
                     check `admin_key`, or create a new key in the Console under Settings > Admin keys{hint}"
                )
            }
            problem => {
                let advice = match self.is_analytics_unavailable() {
                    true => format!("; {NO_ANALYTICS}"),
                    false => String::new(),
                };
                format!(
                    "organization `{organization}`: {}: {problem}{advice}",
                    self.place()
                )
            }
        }
    }

    /// Returns whether the `analytics` reports were rejected with 400, which means that the organization does not have them.
    pub fn is_analytics_unavailable(&self) -> bool {
        let is_analytics = matches!(
            self.endpoint,
            Endpoint::AnalyticsCost | Endpoint::AnalyticsUsage
        );
        is_analytics && self.status() == Some(400)
    }

    /// Returns verb, path and page.
    fn place(&self) -> String {
        let (verb, path) = (self.verb.as_str(), self.endpoint.path());
        match self.verb {
            Verb::Get => {
                let workspace = self
                    .workspace
                    .iter()
                    .map(|id| format!(" (workspace `{id}`)"));
                let workspace: String = workspace.collect();
                format!("{verb} {path}{workspace}, page {}", self.page)
            }
            Verb::Post | Verb::Patch | Verb::Delete => {
                format!("{verb} {}", fill_path(path, &self.ids))
            }
        }
    }

    /// Returns whether the key was rejected (401 or 403) or cannot be sent.
    pub fn is_key_error(&self) -> bool {
        matches!(
            self.kind,
            FetchErrorKind::KeyRejected { .. } | FetchErrorKind::UnsendableKey
        )
    }

    /// Returns whether the key is invalid: rejected (401), or not a valid header value.
    pub fn is_key_rejected(&self) -> bool {
        self.status() == Some(401) || matches!(self.kind, FetchErrorKind::UnsendableKey)
    }

    /// Returns the status of an error response.
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            FetchErrorKind::KeyRejected { status, .. }
            | FetchErrorKind::Status { status, .. }
            | FetchErrorKind::NotAvailable { status, .. }
            | FetchErrorKind::RampLimited { status, .. }
            | FetchErrorKind::SpendCapReached { status, .. }
            | FetchErrorKind::Redirect { status, .. } => Some(*status),
            FetchErrorKind::PaymentRequired { .. } => Some(402),
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

    /// Returns whether the key lacks permission (403), the path does not exist (404) or the organization does not have the feature.
    pub fn is_forbidden_or_not_found(&self) -> bool {
        let is_unavailable = matches!(self.kind, FetchErrorKind::NotAvailable { .. });
        is_unavailable || matches!(self.status(), Some(403 | 404))
    }

    /// Returns whether a feature is unavailable to the organization, which servers report as 400, 403 or 404.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.status(), Some(400 | 403 | 404))
    }

    /// Returns whether the path does not exist or cannot be read (404, 405).
    pub fn is_unknown_path(&self) -> bool {
        matches!(
            self.kind,
            FetchErrorKind::Status {
                status: 404 | 405,
                ..
            }
        )
    }

    /// Returns whether the object does not exist (404).
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, FetchErrorKind::Status { status: 404, .. })
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

/// Returns text from a server in one line, without secrets and control characters, cut to `max_chars`.
pub fn sanitize(text: &str, redaction: &Redaction, max_chars: usize) -> String {
    let redacted = redaction.text(text);
    let mut plain = redacted
        .chars()
        .map(|c| if is_harmful(c) { ' ' } else { c });
    let mut short: String = plain.by_ref().take(max_chars).collect();
    if plain.next().is_some() {
        short.push('…');
    }
    short.trim().to_owned()
}

/// Returns whether a character is a control character or changes the text direction.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns a path with its parameters replaced by ids.
fn fill_path(path: &str, ids: &[String]) -> String {
    let mut ids = ids.iter();
    let pieces = path.split('/').map(|piece| match piece.strip_prefix('{') {
        Some(_) => ids.next().map_or(piece, String::as_str),
        None => piece,
    });
    pieces.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use spendwatch_base::secret::Secret;

    #[test]
    fn server_texts_are_sanitized() {
        let redaction = Redaction::new(&Secret::new("canary-of-a-gateway".to_owned()));
        let check =
            |text: &str, expected: &str| assert_eq!(sanitize(text, &redaction, 20), expected);
        check("plain", "plain");
        check("  a\nb\u{1b}[31m ", "a b [31m");
        check("key canary-of-a-gateway", "key [redacted]");
        check("key sk-ant-admin-canary", "key [redacted]");
        check("Y2FuYXJ5LW9mLWEtZ2F0ZXdheQ==", "[redacted]");
        check("sk%2Dant%2Dcanary!", "[redacted]");
        check("left\u{202e}thgir", "left thgir");
        check(&"ä".repeat(30), &format!("{}…", "ä".repeat(20)));
    }

    #[test]
    fn errors_name_their_place() {
        let error = FetchError {
            organization: "acme".into(),
            verb: Verb::Get,
            endpoint: Endpoint::Usage,
            ids: Vec::new(),
            workspace: Some("workspace_01".to_owned()),
            page: 1,
            kind: FetchErrorKind::TooLarge { limit: 64 },
        };
        assert_eq!(
            error.to_string(),
            "organization `acme`: GET /v1/usage (workspace `workspace_01`), page 1: the response is larger than 64 bytes"
        );
        assert!(!error.is_key_error() && !error.is_not_found());
        let write = FetchError {
            verb: Verb::Delete,
            endpoint: Endpoint::WorkspaceMember,
            ids: vec!["wrkspc_1".to_owned(), "user_1".to_owned()],
            workspace: None,
            ..error
        };
        assert_eq!(
            write.to_string(),
            "organization `acme`: DELETE /v1/organizations/workspaces/wrkspc_1/members/user_1: the response is larger than 64 bytes"
        );
    }
}
