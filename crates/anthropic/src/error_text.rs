//! Texts of request errors: the cause first, then the place, then what to do.

use std::fmt;

use crate::endpoint::Verb;
use crate::error::{FetchError, FetchErrorKind, SpendCap, StatusCause};

/// What to do if a path does not exist.
const CHECK_SERVER: &str = "check `base_url` and `dialect`";
/// What to do if the `analytics` reports are rejected with 400, as for HIPAA-ready organizations.
const NO_ANALYTICS: &str = "not every organization has the analytics reports (HIPAA-ready ones do not); \
     set `dialect = \"reports\"` or `dialect = \"auto\"`";

/// The parts of an error's text. The place of the request belongs after the cause.
struct ErrorText<'a> {
    cause: String,
    /// For example the server's message.
    detail: Option<&'a str>,
    advice: Vec<&'static str>,
}

impl ErrorText<'_> {
    fn write(&self, f: &mut fmt::Formatter<'_>, place: Option<&str>) -> fmt::Result {
        f.write_str(&self.cause)?;
        for more in place.into_iter().chain(self.detail) {
            write!(f, ": {more}")?;
        }
        self.advice.iter().try_for_each(|it| write!(f, "; {it}"))
    }
}

impl FetchErrorKind {
    fn text(&self) -> ErrorText<'_> {
        let mut advice = Vec::new();
        let (cause, detail) = match self {
            FetchErrorKind::UnsendableKey => {
                advice.push("check `admin_key`");
                let problem =
                    "the admin key contains characters that cannot be sent, such as a line break";
                (problem.to_owned(), None)
            }
            FetchErrorKind::Status {
                status,
                message,
                cause,
            } => (cause.text(*status, &mut advice), Some(message)),
            FetchErrorKind::Redirect { status, to } => {
                advice.push("redirects are not followed, because the key would be sent along");
                advice.push("set `base_url` to the final address");
                let cause = format!("the server redirected (status {status}) to {to}");
                (cause, None)
            }
            FetchErrorKind::Timeout { detail } => {
                ("the request timed out".to_owned(), Some(detail))
            }
            FetchErrorKind::Network { cause, detail } => (cause.clone(), Some(detail)),
            FetchErrorKind::TooLarge { limit } => {
                let cause = format!("the response is larger than {limit} bytes");
                (cause, None)
            }
            FetchErrorKind::InvalidResponse { detail } => {
                ("invalid response".to_owned(), Some(detail))
            }
            FetchErrorKind::DerivedPart => {
                let cause = "the unattributed remainder is derived and cannot be requested";
                (cause.to_owned(), None)
            }
            FetchErrorKind::InvalidId { id } => {
                advice.push("ids consist of letters, digits, `_` and `-`");
                (format!("`{id}` is not an id"), None)
            }
            FetchErrorKind::Unsupported => ("the server does not support this".to_owned(), None),
        };
        ErrorText {
            cause,
            detail: detail.map(String::as_str),
            advice,
        }
    }
}

impl StatusCause {
    fn text(self, status: u16, advice: &mut Vec<&'static str>) -> String {
        match self {
            StatusCause::KeyRejected(hint) => {
                let cause = if status == 401 {
                    advice.push(
                        "check `admin_key`, or create a new key in the Console under Settings > Admin keys",
                    );
                    "the Admin API rejected the key (401)".to_owned()
                } else {
                    advice.push("`spendwatch doctor` lists what the key can read");
                    format!("the server rejected the key (status {status})")
                };
                advice.extend(hint);
                cause
            }
            StatusCause::NotAvailable => {
                format!("not available to this organization (status {status})")
            }
            StatusCause::SpendCapReached(SpendCap::Month, until) => format!(
                "the organization reached its monthly cap, until {until} 00:00 UTC (status {status})"
            ),
            StatusCause::SpendCapReached(SpendCap::Contract, _) => {
                advice.push("ask Anthropic to raise it");
                format!(
                    "the organization reached the spend limit of its contract with Anthropic (status {status})"
                )
            }
            StatusCause::SpendCapReached(SpendCap::Linked, _) => {
                advice.push("raise it in that organization's Console");
                format!(
                    "the linked organization that pays reached its spend limit (status {status})"
                )
            }
            StatusCause::RampLimited => format!(
                "the organization's usage grows faster than Anthropic allows, waiting as requested (status {status})"
            ),
            StatusCause::PaymentRequired(until) => format!(
                "the organization cannot be billed (status {status}; until {until} 00:00 UTC if it reached its monthly cap)"
            ),
            StatusCause::Other => format!("the server responded with status {status}"),
        }
    }
}

/// Without the place of the request.
impl fmt::Display for FetchErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().write(f, None)
    }
}

/// The cause, the place of the request, details, and what to do.
impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.kind.text();
        if self.is_analytics_unavailable() {
            text.advice.push(NO_ANALYTICS);
        }
        if self.verb == Verb::Get && self.workspace.is_none() && self.is_unknown_path() {
            text.advice.push(CHECK_SERVER);
        }
        text.write(f, Some(&self.place()))
    }
}

impl FetchError {
    /// Returns organization, verb and path, and the page unless it is the first.
    fn place(&self) -> String {
        let path = fill_path(self.endpoint.path(), &self.ids);
        let mut place = format!(
            "organization `{}`, {} {path}",
            self.organization,
            self.verb.as_str()
        );
        if let Some(id) = &self.workspace {
            place.push_str(&format!(" (workspace `{id}`)"));
        }
        if self.page > 1 {
            place.push_str(&format!(", page {}", self.page));
        }
        place
    }
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
    use crate::endpoint::Endpoint;

    #[test]
    fn errors_name_their_place() {
        let error = FetchError {
            organization: "acme".into(),
            verb: Verb::Get,
            endpoint: Endpoint::Usage,
            ids: Vec::new(),
            workspace: Some("workspace_01".into()),
            page: 2,
            kind: FetchErrorKind::TooLarge { limit: 64 },
        };
        assert_eq!(
            error.to_string(),
            "the response is larger than 64 bytes: organization `acme`, GET /v1/usage (workspace `workspace_01`), page 2"
        );
        assert!(!error.is_key_error() && !error.is_not_found());
        let write = FetchError {
            verb: Verb::Delete,
            endpoint: Endpoint::WorkspaceMember,
            ids: vec!["wrkspc_1".to_owned(), "user_1".to_owned()],
            workspace: None,
            page: 1,
            ..error
        };
        assert_eq!(
            write.to_string(),
            "the response is larger than 64 bytes: organization `acme`, DELETE /v1/organizations/workspaces/wrkspc_1/members/user_1"
        );
    }
}
