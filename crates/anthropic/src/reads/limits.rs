//! Rate limits and spend limits of Anthropic's Admin API.

use crate::AdminApi;
use crate::endpoint::Endpoint;
use crate::error::FetchError;
use crate::transport::{GetRequest, fetch_list};
use crate::wire::limits;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::org::listing::{RateLimit, SpendLimits};
use spendwatch_domain::units::ids::WorkspaceId;

/// Beta header of the spend limits.
const SPEND_LIMITS_BETA: &str = "spend-limit-reads-2026-09-26";

impl AdminApi {
    /// Fetches the rate limits of the organization, or those of a workspace, given by its real id.
    pub async fn rate_limits(
        &self,
        workspace: Option<&WorkspaceId>,
    ) -> Result<Vec<RateLimit>, FetchError> {
        let Some(id) = workspace else {
            let base = GetRequest::new(Endpoint::RateLimits);
            return fetch_list::by_cursor(&self.0, base, limits::rate_limits).await;
        };
        let base = GetRequest {
            workspace: Some(id.as_str()),
            ..GetRequest::new(Endpoint::WorkspaceRateLimits)
        };
        fetch_list::by_cursor(&self.0, base, limits::workspace_rate_limits).await
    }

    /// Fetches the monthly spend limits; `None` if they are unavailable to the organization, as from `guide` servers, which
    /// state limits in their lists.
    pub async fn spend_limits(
        &self,
        server: ServerKind,
    ) -> Result<Option<SpendLimits>, FetchError> {
        if server == ServerKind::Guide {
            return Ok(None);
        }
        let base = GetRequest {
            beta: Some(SPEND_LIMITS_BETA),
            ..GetRequest::new(Endpoint::SpendLimits)
        };
        match fetch_list::by_cursor(&self.0, base, limits::spend_limits).await {
            Ok(limits) => Ok(Some(limits::lowest(limits))),
            Err(error) if error.is_unavailable() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
