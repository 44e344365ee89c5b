//! The questions to the real service, in the dialects `analytics` and `reports`.

use std::collections::HashSet;
use std::sync::Arc;

use crate::anthropic::error::FetchError;
use crate::anthropic::pages::Pages;
use crate::anthropic::paging::REAL_PAGE_LIMIT;
use crate::anthropic::questions::{self, Cut, SPEND_LIMITS_BETA};
use crate::anthropic::report::Asked;
use crate::anthropic::transport::Question;
use crate::anthropic::{AdminApi, limits, lists, real};
use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::{DEFAULT_WORKSPACE, WorkspaceId};
use crate::domain::listing::{Listed, ListedKey, ListedUser, RateLimit, SpendLimits};
use crate::domain::report::{CostRow, UsedRow};
use crate::metrics::requests::Endpoint;

/// The name that the service gives to the default workspace.
const DEFAULT_NAME: &str = "Default";

impl AdminApi {
    /// Money by hour or day, workspace, key, model and actor, by the `analytics` dialect.
    pub fn billed(&self, asked: Asked) -> Pages<CostRow> {
        Pages::new(Arc::clone(&self.0), questions::billed(asked))
    }

    /// Tokens by hour or day, workspace, key, model, tier and place, by the `analytics` dialect; of all, or of fast mode alone.
    pub fn used(&self, asked: Asked, is_fast: bool) -> Pages<UsedRow> {
        Pages::new(Arc::clone(&self.0), questions::used(asked, is_fast))
    }

    /// Tokens by hour or day, by the `reports` dialect.
    pub fn messages(&self, asked: Asked, cut: Cut) -> Pages<UsedRow> {
        Pages::new(Arc::clone(&self.0), questions::messages(asked, cut))
    }

    /// The lines of the bill by day and workspace, by the `reports` dialect; whole days, however it is asked.
    pub fn bills(&self, asked: Asked) -> Pages<CostRow> {
        Pages::new(Arc::clone(&self.0), questions::bills(asked))
    }

    /// The organization: its id and name.
    pub async fn me(&self) -> Result<OrganizationInfo, FetchError> {
        let question = Question::about(Endpoint::OrganizationsMe);
        let body = self.0.ask(&question).await?;
        real::me(&body).map_err(|fault| self.0.faulty(&question, &fault))
    }

    /// All workspaces that are not archived. The default one is told from the others by its real id, if that is known already,
    /// or else by asking with and without it.
    pub async fn listed(&self, default: Option<&WorkspaceId>) -> Result<Listed, FetchError> {
        let others = match default {
            Some(_) => None,
            None => Some(self.real_workspaces(false).await?),
        };
        let mut workspaces = self.real_workspaces(true).await?;
        let is_listed = |id: &&WorkspaceId| workspaces.iter().any(|listed| listed.id == **id);
        let default = match (default.filter(is_listed), others) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(others)) => added(&others, &workspaces),
            // What was taken for the default workspace is none: it is looked for again.
            (None, None) => added(&self.real_workspaces(false).await?, &workspaces),
        };
        let is_default = |workspace: &&mut Workspace| Some(&workspace.id) == default.as_ref();
        if let Some(workspace) = workspaces.iter_mut().find(is_default) {
            workspace.id = DEFAULT_WORKSPACE.into();
        }
        Ok(Listed {
            workspaces,
            default,
        })
    }

    async fn real_workspaces(&self, is_whole: bool) -> Result<Vec<Workspace>, FetchError> {
        let mut query = page_limit();
        if is_whole {
            query.push(("include_default", "true".to_owned()));
        }
        let endpoint = Endpoint::OrganizationWorkspaces;
        lists::by_id(&self.0, endpoint, query, real::workspaces).await
    }

    /// All API keys, in whatever state.
    pub async fn api_keys(&self) -> Result<Vec<ListedKey>, FetchError> {
        let endpoint = Endpoint::OrganizationApiKeys;
        lists::by_id(&self.0, endpoint, page_limit(), real::api_keys).await
    }

    /// All people of the organization.
    pub async fn users(&self) -> Result<Vec<ListedUser>, FetchError> {
        let endpoint = Endpoint::OrganizationUsers;
        lists::by_id(&self.0, endpoint, page_limit(), real::users).await
    }

    /// The service's limits of use: the organization's, or what a workspace has for itself. It is asked for by its real id.
    pub async fn rate_limits(
        &self,
        workspace: Option<&WorkspaceId>,
    ) -> Result<Vec<RateLimit>, FetchError> {
        let Some(id) = workspace else {
            let about = Question::about(Endpoint::RateLimits);
            return lists::by_cursor(&self.0, about, limits::rate_limits).await;
        };
        let about = Question {
            workspace: Some(id.as_str()),
            ..Question::about(Endpoint::WorkspaceRateLimits)
        };
        lists::by_cursor(&self.0, about, limits::workspace_rate_limits).await
    }

    /// The service's monthly limits of spend; `None` where they cannot be read, which says nothing about whether there are any.
    pub async fn spend_limits(&self) -> Result<Option<SpendLimits>, FetchError> {
        let about = Question {
            beta: Some(SPEND_LIMITS_BETA),
            ..Question::about(Endpoint::SpendLimits)
        };
        match lists::by_cursor(&self.0, about, limits::spend_limits).await {
            Ok(limits) => Ok(Some(limits::lowest(limits))),
            Err(error) if error.is_not_for_us() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn page_limit() -> Vec<(&'static str, String)> {
    vec![("limit", REAL_PAGE_LIMIT.to_string())]
}

/// The one that only the second list has. Where another one was made between the two, the name decides; where that does not,
/// nothing is told.
fn added(without: &[Workspace], with: &[Workspace]) -> Option<WorkspaceId> {
    let known: HashSet<&WorkspaceId> = without.iter().map(|workspace| &workspace.id).collect();
    let more: Vec<&Workspace> = with
        .iter()
        .filter(|workspace| !known.contains(&workspace.id))
        .collect();
    if let [only] = more.as_slice() {
        return Some(only.id.clone());
    }
    let mut named = more
        .into_iter()
        .filter(|workspace| workspace.name == DEFAULT_NAME);
    let first = named.next()?;
    named.next().is_none().then(|| first.id.clone())
}
