//! Why a question to the Admin API has no answer: what went wrong, and where.
//!
//! All texts are safe to show: they hold neither the key nor a query, and no control characters.

use jiff::civil::Date;

use crate::anthropic::redaction::Redaction;
use crate::domain::ids::OrganizationName;
use crate::metrics::requests::{Endpoint, Verb};
use crate::outbound::OutboundError;

/// One failed question, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct FetchError {
    /// As the configuration names it.
    pub organization: OrganizationName,
    /// The verb of the request.
    pub verb: Verb,
    pub endpoint: Endpoint,
    /// What stands in the braces of its path, where something was to be changed; safe to show.
    pub ids: Vec<String>,
    /// About which workspace, where the question was about one; safe to show.
    pub workspace: Option<String>,
    /// Which page of a list, from 1.
    pub page: u32,
    pub problem: Problem,
}

/// What went wrong: one variant for each thing that a caller would do differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// 401 or 403: read the key again, and be patient.
    #[error("the server refuses the key (status {status}): {message}{}", hint.map(|hint| format!("; {hint}")).unwrap_or_default())]
    Refused {
        /// 401 or 403.
        status: u16,
        message: String,
        /// What may be wrong with the key.
        hint: Option<&'static str>,
    },
    /// The key cannot stand in a header, so nothing was sent.
    #[error(
        "the admin key holds characters that cannot be sent (a line break or a control character?)"
    )]
    UnsendableKey,
    /// Another status that is no success.
    #[error("the server answers with status {status}: {message}")]
    Status {
        /// Neither 2xx, nor 3xx, nor 401, nor 403.
        status: u16,
        message: String,
    },
    /// 400, with a code that says that this organization has no such feature: it is not for this organization, whatever is asked.
    #[error("this organization cannot use it (status {status}): {message}")]
    NotAvailable {
        /// Usually 400.
        status: u16,
        message: String,
    },
    /// A cap on spend is reached: asking again in a few seconds does not help.
    #[error("{} (status {status}): {message}", cap.explanation(*until))]
    Capped {
        cap: SpendCap,
        /// 429 or 402.
        status: u16,
        /// The first day of the next month.
        until: Date,
        message: String,
    },
    /// The organization uses more than it did before by more than it may, for a while: the service says how long to wait.
    #[error(
        "the organization's usage grows faster than Anthropic allows, waiting as asked (status {status}): {message}"
    )]
    RampLimited {
        /// 429, mostly.
        status: u16,
        message: String,
    },
    /// 402: nobody pays for more. Asking again does not help.
    #[error(
        "the organization cannot be billed (status 402; if its monthly cap is reached, until {until} 00:00 UTC): {message}"
    )]
    Unbilled {
        /// The first day of the next month.
        until: Date,
        message: String,
    },
    /// 3xx. Never followed: the key would go along.
    #[error(
        "the server redirects (status {status}) to {to}; redirects are not followed, because the key would go along: set `base_url` to the address that is meant"
    )]
    Redirect {
        /// 3xx.
        status: u16,
        /// Scheme and host of the new address, or that it is not told.
        to: String,
    },
    /// No answer, or not all of it, in time.
    #[error("no complete answer in time: {detail}")]
    Timeout { detail: String },
    /// No connection, or it broke off.
    #[error("{detail}")]
    Network {
        /// What the network says, with the address.
        detail: String,
    },
    /// More than is ever read.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The largest answer that is read, unpacked.
        limit: usize,
    },
    /// The server answered, and the answer cannot be right: it is refused whole.
    #[error("faulty answer: {detail}")]
    Faulty {
        /// What is wrong with it, and where in it.
        detail: String,
    },
    /// The remainder was asked for: it is derived, the server does not know it.
    #[error("the remainder is derived, it cannot be asked for")]
    NotAskable,
    /// What is to be changed has no such id: it would lead elsewhere. Nothing was sent.
    #[error("`{id}` cannot be an id; ids have letters, digits, `_` and `-`")]
    NotAnId {
        /// As it was asked for; safe to show.
        id: String,
    },
    /// The service has no such call. Nothing was sent.
    #[error("the service cannot do this")]
    NotThere,
}

/// A cap on what an organization may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendCap {
    /// That of its usage tier, or its own, for a month of UTC.
    Month,
    /// That of its contract with Anthropic.
    Contract,
    /// That of the organization that pays for it.
    Linked,
}

impl SpendCap {
    fn explanation(self, until: Date) -> String {
        match self {
            SpendCap::Month => {
                format!("the organization's monthly cap is reached until {until} 00:00 UTC")
            }
            SpendCap::Contract => {
                "the spend limit of the organization's contract with Anthropic is reached, ask Anthropic to raise it"
                    .to_owned()
            }
            SpendCap::Linked => {
                "the spend limit of the linked organization that pays is reached, raise it in that organization's Console"
                    .to_owned()
            }
        }
    }
}

/// What to set where the newer reports are refused with 400, as they are to HIPAA-ready organizations.
const NO_ANALYTICS: &str = "the analytics reports are not for every organization (HIPAA-ready ones have none): \
     set `dialect = \"reports\"` or `dialect = \"auto\"`";

impl FetchError {
    /// Cause, place and what to do.
    fn text(&self) -> String {
        let Self {
            organization,
            problem,
            ..
        } = self;
        match problem {
            Problem::Refused {
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
                let advice = match self.is_analytics_refused() {
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

    /// Whether the newer reports are refused as such (400): some organizations have none.
    pub fn is_analytics_refused(&self) -> bool {
        let is_analytics = matches!(
            self.endpoint,
            Endpoint::AnalyticsCost | Endpoint::AnalyticsUsage
        );
        is_analytics && self.status() == Some(400)
    }

    /// Verb, path, and of a list the page.
    fn place(&self) -> String {
        let (verb, path) = (self.verb.word(), self.endpoint.path());
        match self.verb {
            Verb::Get => {
                let about = self
                    .workspace
                    .iter()
                    .map(|id| format!(" (workspace `{id}`)"));
                let about: String = about.collect();
                format!("{verb} {path}{about}, page {}", self.page)
            }
            Verb::Post | Verb::Patch | Verb::Delete => {
                format!("{verb} {}", filled(path, &self.ids))
            }
        }
    }

    /// Whether the key is at fault: it was refused, or cannot even be sent.
    pub fn is_about_the_key(&self) -> bool {
        matches!(
            self.problem,
            Problem::Refused { .. } | Problem::UnsendableKey
        )
    }

    /// Whether the key opens nothing at all: it was rejected (401), or cannot even be sent.
    pub fn is_rejected(&self) -> bool {
        self.status() == Some(401) || matches!(self.problem, Problem::UnsendableKey)
    }

    /// The status, where an answer had one that is no success.
    pub fn status(&self) -> Option<u16> {
        match &self.problem {
            Problem::Refused { status, .. }
            | Problem::Status { status, .. }
            | Problem::NotAvailable { status, .. }
            | Problem::RampLimited { status, .. }
            | Problem::Capped { status, .. }
            | Problem::Redirect { status, .. } => Some(*status),
            Problem::Unbilled { .. } => Some(402),
            Problem::UnsendableKey
            | Problem::Timeout { .. }
            | Problem::Network { .. }
            | Problem::TooLarge { .. }
            | Problem::Faulty { .. }
            | Problem::NotAskable
            | Problem::NotAnId { .. }
            | Problem::NotThere => None,
        }
    }

    /// Whether the key may not ask this, the server does not know it (403, 404), or says that the organization has no such feature.
    pub fn is_forbidden_or_unknown(&self) -> bool {
        let is_unavailable = matches!(self.problem, Problem::NotAvailable { .. });
        is_unavailable || matches!(self.status(), Some(403 | 404))
    }

    /// Whether the organization may not ask this, or the server does not know it (400, 403, 404): where a feature is not for
    /// everyone, all three happen.
    pub fn is_not_for_us(&self) -> bool {
        matches!(self.status(), Some(400 | 403 | 404))
    }

    /// Whether the server does not know the path, or not for reading (404, 405).
    pub fn is_unknown_path(&self) -> bool {
        matches!(
            self.problem,
            Problem::Status {
                status: 404 | 405,
                ..
            }
        )
    }

    /// Whether the server knows no such thing (404): the list of workspaces is to be read again.
    pub fn is_not_found(&self) -> bool {
        matches!(self.problem, Problem::Status { status: 404, .. })
    }
}

/// Why the dialect is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectError {
    /// The answers decide nothing; asking again may.
    #[error("cannot tell which dialect the server speaks")]
    Undecided(#[source] FetchError),
    /// The key is rejected, whatever the dialect.
    #[error(transparent)]
    Rejected(FetchError),
}

impl From<FetchError> for DetectError {
    fn from(error: FetchError) -> Self {
        if error.is_rejected() {
            DetectError::Rejected(error)
        } else {
            DetectError::Undecided(error)
        }
    }
}

/// Why there is no client for an organization.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The base URL is none.
    #[error("organization `{organization}`: `base_url` {reason}")]
    BaseUrl {
        /// As the configuration names it.
        organization: OrganizationName,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The version of the API cannot stand in a header.
    #[error(
        "organization `{organization}`: the version of the API holds characters that cannot be sent"
    )]
    ApiVersion {
        /// As the configuration names it.
        organization: OrganizationName,
    },
    /// No HTTP client can be built.
    #[error("organization `{organization}`: cannot build the HTTP client")]
    Client {
        /// As the configuration names it.
        organization: OrganizationName,
        source: OutboundError,
    },
}

/// Returns text from a server as one line, without secrets and control characters, cut to a maximum of characters.
pub fn tame(text: &str, redaction: &Redaction, max_chars: usize) -> String {
    let scrubbed = redaction.text(text);
    let mut plain = scrubbed
        .chars()
        .map(|c| if is_harmful(c) { ' ' } else { c });
    let mut short: String = plain.by_ref().take(max_chars).collect();
    if plain.next().is_some() {
        short.push('…');
    }
    short.trim().to_owned()
}

/// Control characters, and those that turn the direction of a text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A path with ids in the place of its braces, as far as there are some.
fn filled(path: &str, ids: &[String]) -> String {
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
    use crate::secret::Secret;

    #[test]
    fn foreign_texts_are_tamed() {
        let redaction = Redaction::new(&Secret::new("canary-of-a-gateway".to_owned()));
        let check = |text: &str, expected: &str| assert_eq!(tame(text, &redaction, 20), expected);
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
    fn the_place_is_named() {
        let error = FetchError {
            organization: "acme".into(),
            verb: Verb::Get,
            endpoint: Endpoint::Usage,
            ids: Vec::new(),
            workspace: Some("workspace_01".to_owned()),
            page: 1,
            problem: Problem::TooLarge { limit: 64 },
        };
        assert_eq!(
            error.to_string(),
            "organization `acme`: GET /v1/usage (workspace `workspace_01`), page 1: the answer is larger than 64 bytes"
        );
        assert!(!error.is_about_the_key() && !error.is_not_found());
        let write = FetchError {
            verb: Verb::Delete,
            endpoint: Endpoint::WorkspaceMember,
            ids: vec!["wrkspc_1".to_owned(), "user_1".to_owned()],
            workspace: None,
            ..error
        };
        assert_eq!(
            write.to_string(),
            "organization `acme`: DELETE /v1/organizations/workspaces/wrkspc_1/members/user_1: the answer is larger than 64 bytes"
        );
    }
}
