//! Rows of the API's usage and cost reports.
//!
//! A dimension is `None` if it was not requested, or if the API cannot attribute the usage.

use crate::units::ids::{ActorId, ApiKeyId, ModelName, WorkspaceId};
use crate::units::money::Usd;
use crate::units::span::{Hour, HourSpan};
use crate::usage::bucket::Tokens;

/// The dimensions of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Dimensions {
    /// As reported: for the default workspace, `None` in the older reports and its real id in the newer ones.
    pub workspace: Option<WorkspaceId>,
    /// The full id; `None` for code execution.
    pub model: Option<ModelName>,
    pub api_key: Option<ApiKeyId>,
    pub actor: Option<Actor>,
}

/// The most specific identity that the API knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    User {
        /// As in the list of users.
        id: ActorId,
        email: Option<String>,
    },
    ServiceAccount {
        id: ActorId,
    },
    Federated {
        /// Type and account or issuer: `aws:123456789012`.
        provider: String,
        /// Identity at the provider; `None` if the provider's own fields are the identity.
        subject: Option<String>,
    },
    /// Only an API key is known.
    ApiKey {
        id: ApiKeyId,
    },
    /// A kind unknown to this version.
    Other {
        /// As named by the API.
        kind: String,
    },
}

/// Attributes that affect the price, with values as reported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PricingAttributes {
    /// `standard`, `batch`, `priority` and others.
    pub service_tier: Option<String>,
    /// `0-200k` or `200k-1M`.
    pub context_window: Option<String>,
    /// `global`, `us` or `not_available`.
    pub inference_geo: Option<String>,
}

/// Tokens of one group in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    pub hour: Hour,
    pub dimensions: Dimensions,
    pub attributes: PricingAttributes,
    pub tokens: Tokens,
    /// Web searches, which are billed by number.
    pub web_searches: i64,
}

impl TokenRow {
    /// Returns the number of tokens and searches.
    pub fn count(&self) -> i64 {
        self.tokens.sum().saturating_add(self.web_searches)
    }
}

/// Spend of one group in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    pub hour: Hour,
    pub dimensions: Dimensions,
    /// `tokens`, `web_search`, `code_execution` or `session_usage`, where reported.
    pub cost_type: Option<String>,
    pub billed: Usd,
    /// At list price, where reported.
    pub list: Option<Usd>,
    /// Where reported; for code execution, the number of spans.
    pub requests: Option<i64>,
}

/// A row, or a value of one, that could not be read: unknown rather than zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// The buckets that may be affected; empty if outside of the requested span.
    pub hours: HourSpan,
    /// As in [`Dimensions::workspace`]; the outer `None` if any workspace may be affected.
    pub workspace: Option<Option<WorkspaceId>>,
    pub reason: String,
}
