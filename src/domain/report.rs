//! Rows of the service's reports, whichever report they come from: what was used, and what it cost.
//!
//! A dimension that was not asked for is `None`, and so is what the service cannot attribute. Who asks knows which.

use crate::domain::ids::{ActorId, ApiKeyId, ModelName, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::Tokens;

/// Of whom, of what, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Who {
    /// As the report has it: the default workspace is `None` in the older reports, and has its real id in the newer ones.
    pub workspace: Option<WorkspaceId>,
    /// The full id. Of code execution there is none.
    pub model: Option<ModelName>,
    pub api_key: Option<ApiKeyId>,
    pub actor: Option<Actor>,
}

/// The most specific identity that the service knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    User {
        /// As the list of users has it.
        id: ActorId,
        /// Where the service tells it.
        email: Option<String>,
    },
    /// An account of the organization without a person.
    ServiceAccount { id: ActorId },
    Federated {
        /// Its type, and the account or issuer: `aws:123456789012`.
        provider: String,
        /// What it is there; `None` where the provider's own fields are the identity.
        subject: Option<String>,
    },
    /// A key, where nothing else is known.
    ApiKey { id: ApiKeyId },
    /// A kind that this version does not know.
    Other {
        /// As the service names it.
        kind: String,
    },
}

/// How tokens were used, as far as it changes what they cost; texts as the service has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct How {
    /// `standard`, `batch`, `priority` and others.
    pub service_tier: Option<String>,
    /// `0-200k` or `200k-1M`.
    pub context_window: Option<String>,
    /// `global`, `us` or `not_available`.
    pub inference_geo: Option<String>,
}

/// Tokens of one group in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedRow {
    pub hour: Hour,
    pub who: Who,
    pub how: How,
    pub tokens: Tokens,
    /// Searches of the web, which are billed by number.
    pub web_searches: i64,
}

impl UsedRow {
    /// All tokens and searches.
    pub fn count(&self) -> i64 {
        self.tokens.sum().saturating_add(self.web_searches)
    }
}

/// Money of one group in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    pub hour: Hour,
    pub who: Who,
    /// `tokens`, `web_search`, `code_execution`, `session_usage`, where the report tells it.
    pub cost_type: Option<String>,
    pub billed: Usd,
    /// At list price, where the report tells it.
    pub list: Option<Usd>,
    /// Requests, where the report tells them; for code execution, spans.
    pub requests: Option<i64>,
}

/// A row of a report, or a figure of one, that could not be read: what it says is unknown, and not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// The buckets that it may belong to; empty where it is outside of what was asked for.
    pub hours: HourSpan,
    /// As in [`Who::workspace`]; the outer `None` where it may belong to any workspace.
    pub workspace: Option<Option<WorkspaceId>>,
    pub reason: String,
}
