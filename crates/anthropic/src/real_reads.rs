//! Reads from Anthropic's Admin API, in the `analytics` and `reports` dialects.

use std::collections::HashSet;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::error::FetchError;
use crate::paging::REAL_PAGE_LIMIT;
use crate::report::BucketSpan;
use crate::report_pages::ReportPages;
use crate::report_requests::{self, SPEND_LIMITS_BETA, UsageGrouping};
use crate::transport::GetRequest;
use crate::{AdminApi, fetch_list, limits, real};
use spendwatch_domain::org::directory::{OrganizationInfo, Workspace};
use spendwatch_domain::org::listing::{
    ListedKey, ListedUser, RateLimit, SpendLimits, WorkspaceList,
};
use spendwatch_domain::units::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use spendwatch_domain::usage::report_rows::{CostRow, TokenRow};

/// Name of the default workspace.
const DEFAULT_NAME: &str = "Default";

impl AdminApi {
    /// Fetches spend by hour or day, workspace, key, model and actor in the `analytics` dialect.
    pub fn analytics_cost(&self, span: BucketSpan) -> ReportPages<CostRow> {
        ReportPages::new(Arc::clone(&self.0), report_requests::analytics_cost(span))
    }

    /// Fetches tokens by hour or day, workspace, key, model, tier and region in the `analytics` dialect, of all usage or of fast
    /// mode only.
    pub fn analytics_usage(&self, span: BucketSpan, is_fast: bool) -> ReportPages<TokenRow> {
        ReportPages::new(
            Arc::clone(&self.0),
            report_requests::analytics_usage(span, is_fast),
        )
    }

    /// Fetches tokens by hour or day in the `reports` dialect.
    pub fn usage_report(&self, span: BucketSpan, cut: UsageGrouping) -> ReportPages<TokenRow> {
        ReportPages::new(
            Arc::clone(&self.0),
            report_requests::usage_report(span, cut),
        )
    }

    /// Fetches the lines of the bill by day and workspace in the `reports` dialect, always in whole days.
    pub fn cost_report(&self, span: BucketSpan) -> ReportPages<CostRow> {
        ReportPages::new(Arc::clone(&self.0), report_requests::cost_report(span))
    }

    /// Fetches the organization's id and name.
    pub async fn real_organization(&self) -> Result<OrganizationInfo, FetchError> {
        let request = GetRequest::new(Endpoint::OrganizationsMe);
        let body = self.0.get(&request).await?;
        real::me(&body).map_err(|error| self.0.decode_error(&request, &error))
    }

    /// Fetches all workspaces that are not archived. Recognizes the default workspace by its real id if known, and otherwise by
    /// comparing the lists with and without it.
    pub async fn real_workspaces(
        &self,
        default: Option<&WorkspaceId>,
    ) -> Result<WorkspaceList, FetchError> {
        let others = match default {
            Some(_) => None,
            None => Some(self.list_workspaces(false).await?),
        };
        let mut workspaces = self.list_workspaces(true).await?;
        let is_listed = |id: &&WorkspaceId| workspaces.iter().any(|listed| listed.id == **id);
        let default = match (default.filter(is_listed), others) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(others)) => find_default(&others, &workspaces),
            // The known default workspace is no longer listed.
            (None, None) => find_default(&self.list_workspaces(false).await?, &workspaces),
        };
        let is_default = |workspace: &&mut Workspace| Some(&workspace.id) == default.as_ref();
        if let Some(workspace) = workspaces.iter_mut().find(is_default) {
            workspace.id = DEFAULT_WORKSPACE.into();
        }
        Ok(WorkspaceList {
            workspaces,
            default,
        })
    }

    async fn list_workspaces(&self, has_default: bool) -> Result<Vec<Workspace>, FetchError> {
        let mut query = page_limit();
        if has_default {
            query.push(("include_default", "true".to_owned()));
        }
        let endpoint = Endpoint::OrganizationWorkspaces;
        fetch_list::by_id(&self.0, endpoint, query, real::workspaces).await
    }

    /// Fetches all API keys, active or not.
    pub async fn real_api_keys(&self) -> Result<Vec<ListedKey>, FetchError> {
        let endpoint = Endpoint::OrganizationApiKeys;
        fetch_list::by_id(&self.0, endpoint, page_limit(), real::api_keys).await
    }

    /// Fetches all users.
    pub async fn real_users(&self) -> Result<Vec<ListedUser>, FetchError> {
        let endpoint = Endpoint::OrganizationUsers;
        fetch_list::by_id(&self.0, endpoint, page_limit(), real::users).await
    }

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

    /// Fetches the monthly spend limits; `None` if they are unavailable to the organization.
    pub async fn spend_limits(&self) -> Result<Option<SpendLimits>, FetchError> {
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

fn page_limit() -> Vec<(&'static str, String)> {
    vec![("limit", REAL_PAGE_LIMIT.to_string())]
}

/// Returns the workspace that only the second list has. If another was created in between, the name decides; if that is
/// ambiguous too, returns `None`.
fn find_default(without: &[Workspace], with: &[Workspace]) -> Option<WorkspaceId> {
    let known: HashSet<&WorkspaceId> = without.iter().map(|workspace| &workspace.id).collect();
    let added: Vec<&Workspace> = with
        .iter()
        .filter(|workspace| !known.contains(&workspace.id))
        .collect();
    if let [only] = added.as_slice() {
        return Some(only.id.clone());
    }
    let mut named = added
        .into_iter()
        .filter(|workspace| workspace.name == DEFAULT_NAME);
    let first = named.next()?;
    named.next().is_none().then(|| first.id.clone())
}
