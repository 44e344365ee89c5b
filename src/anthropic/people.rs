//! What commands ask of either service: who answers, and its lists whole, with a word after every page.

use crate::anthropic::error::{DetectError, FetchError};
use crate::anthropic::fault::Fault;
use crate::anthropic::paging::{ListPage, PAGE_LIMIT, REAL_PAGE_LIMIT};
use crate::anthropic::transport::Question;
use crate::anthropic::{AdminApi, guide, guide_admin, lists, real, real_admin};
use crate::domain::admin::service::Service;
use crate::domain::admin::settings::Organization;
use crate::domain::dialect::Dialect;
use crate::domain::directory::Workspace;
use crate::domain::ids::{ActorId, WorkspaceId};
use crate::domain::listing::{ListedInvite, ListedKey, ListedMember, ListedUser};
use crate::metrics::requests::Endpoint;

/// Told after every page, with the rows so far.
pub type OnPage<'a> = &'a (dyn Fn(usize) + Sync);

impl AdminApi {
    /// Who answers. Which reports it has is not asked: a key that may read none can still look after people.
    pub async fn detect_service(&self) -> Result<Service, DetectError> {
        let (service, dialect) = match self.me().await {
            Ok(_) => (Service::Real, Dialect::Reports),
            Err(error) if error.is_unknown_path() => {
                self.organization().await?;
                (Service::Guide, Dialect::Guide)
            }
            Err(error) => return Err(error.into()),
        };
        self.set_dialect(dialect);
        Ok(service)
    }

    /// Asks for the least of each list that commands and rules need: what the key may read, and what it may not.
    pub async fn reach(&self, service: Service) -> Vec<(&'static str, Result<(), FetchError>)> {
        let lists = match service {
            Service::Guide => [
                ("workspaces", Endpoint::Workspaces),
                ("people", Endpoint::Users),
                ("keys", Endpoint::ApiKeys),
            ]
            .as_slice(),
            Service::Real => [
                ("workspaces", Endpoint::OrganizationWorkspaces),
                ("people", Endpoint::OrganizationUsers),
                ("keys", Endpoint::OrganizationApiKeys),
                ("invitations", Endpoint::OrganizationInvites),
            ]
            .as_slice(),
        };
        let query = [("limit", "1".to_owned())];
        let mut told = Vec::with_capacity(lists.len());
        for (what, endpoint) in lists {
            let question = Question {
                query: &query,
                ..Question::about(*endpoint)
            };
            told.push((*what, self.0.ask(&question).await.map(|_| ())));
        }
        told
    }

    /// The organization whole, by a guide server.
    pub async fn settings(&self) -> Result<Organization, FetchError> {
        let question = Question::about(Endpoint::Organizations);
        let body = self.0.ask(&question).await?;
        self.translated(&question, guide_admin::organization(&body))
    }

    /// All people.
    pub async fn all_users(
        &self,
        service: Service,
        on_page: OnPage<'_>,
    ) -> Result<Vec<ListedUser>, FetchError> {
        match service {
            Service::Guide => {
                let endpoint = Endpoint::Users;
                self.whole(endpoint, service, &[], guide::users, on_page)
                    .await
            }
            Service::Real => {
                let endpoint = Endpoint::OrganizationUsers;
                self.whole(endpoint, service, &[], real::users, on_page)
                    .await
            }
        }
    }

    /// All keys, in whatever state; those of one person alone where the service can tell them apart, else of all.
    pub async fn all_keys(
        &self,
        service: Service,
        maker: Option<&ActorId>,
        on_page: OnPage<'_>,
    ) -> Result<Vec<ListedKey>, FetchError> {
        match service {
            Service::Guide => {
                let endpoint = Endpoint::ApiKeys;
                self.whole(endpoint, service, &[], guide::api_keys, on_page)
                    .await
            }
            Service::Real => {
                let of = maker.map(|id| ("created_by_user_id", id.to_string()));
                let endpoint = Endpoint::OrganizationApiKeys;
                self.whole(endpoint, service, of.as_slice(), real::api_keys, on_page)
                    .await
            }
        }
    }

    /// All workspaces that are not archived. Of the real service, the default one under its real id.
    pub async fn all_workspaces(&self, service: Service) -> Result<Vec<Workspace>, FetchError> {
        match service {
            Service::Guide => self.workspaces().await,
            Service::Real => {
                let with_default = [("include_default", "true".to_owned())];
                let endpoint = Endpoint::OrganizationWorkspaces;
                self.whole(endpoint, service, &with_default, real::workspaces, &|_| {})
                    .await
            }
        }
    }

    /// All invitations, in whatever state; only the real service lists them.
    pub async fn all_invites(&self, on_page: OnPage<'_>) -> Result<Vec<ListedInvite>, FetchError> {
        let endpoint = Endpoint::OrganizationInvites;
        self.whole(endpoint, Service::Real, &[], real_admin::invites, on_page)
            .await
    }

    /// Who belongs to a workspace, those who do by their role in the organization excepted; only the real service lists them.
    pub async fn members(&self, workspace: &WorkspaceId) -> Result<Vec<ListedMember>, FetchError> {
        let about = Question {
            workspace: Some(workspace.as_str()),
            ..Question::about(Endpoint::WorkspaceMembers)
        };
        let query = vec![page_limit(Service::Real)];
        lists::by_id_about(&self.0, about, query, real_admin::members, &|_| {}).await
    }

    async fn whole<T>(
        &self,
        endpoint: Endpoint,
        service: Service,
        more: &[(&'static str, String)],
        translate: fn(&[u8]) -> Result<ListPage<T>, Fault>,
        on_page: OnPage<'_>,
    ) -> Result<Vec<T>, FetchError> {
        let mut query = vec![page_limit(service)];
        query.extend_from_slice(more);
        let about = Question::about(endpoint);
        lists::by_id_about(&self.0, about, query, translate, on_page).await
    }
}

fn page_limit(service: Service) -> (&'static str, String) {
    let limit = match service {
        Service::Guide => PAGE_LIMIT.to_string(),
        Service::Real => REAL_PAGE_LIMIT.to_string(),
    };
    ("limit", limit)
}
