//! Reads for commands: the kind of server, and its complete lists with a progress callback.

use crate::decode::DecodeError;
use crate::endpoint::Endpoint;
use crate::error::{DetectError, FetchError};
use crate::paging::{ListPage, PAGE_LIMIT, REAL_PAGE_LIMIT};
use crate::transport::GetRequest;
use crate::{AdminApi, fetch_list, guide, guide_admin, real, real_admin};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::admin::settings::OrganizationDetails;
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::{ListedInvite, ListedKey, ListedMember, ListedUser};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{ActorId, WorkspaceId};

/// Receives the number of rows so far after every page.
pub type OnPage<'a> = &'a (dyn Fn(usize) + Sync);

impl AdminApi {
    /// Detects the kind of server without requesting reports, which the key may not be allowed to read.
    pub async fn detect_service(&self) -> Result<ServerKind, DetectError> {
        let (server, dialect) = match self.real_organization().await {
            Ok(_) => (ServerKind::Real, Dialect::Reports),
            Err(error) if error.is_unknown_path() => {
                self.guide_organization().await?;
                (ServerKind::Guide, Dialect::Guide)
            }
            Err(error) => return Err(error.into()),
        };
        self.set_dialect(dialect);
        Ok(server)
    }

    /// Requests one row of each list that commands and rules need, to find out what the key may read.
    pub async fn check_access(
        &self,
        server: ServerKind,
    ) -> Vec<(&'static str, Result<(), FetchError>)> {
        let lists = match server {
            ServerKind::Guide => [
                ("workspaces", Endpoint::Workspaces),
                ("people", Endpoint::Users),
                ("keys", Endpoint::ApiKeys),
            ]
            .as_slice(),
            ServerKind::Real => [
                ("workspaces", Endpoint::OrganizationWorkspaces),
                ("people", Endpoint::OrganizationUsers),
                ("keys", Endpoint::OrganizationApiKeys),
                ("invitations", Endpoint::OrganizationInvites),
            ]
            .as_slice(),
        };
        let query = [("limit", "1".to_owned())];
        let mut results = Vec::with_capacity(lists.len());
        for (name, endpoint) in lists {
            let request = GetRequest {
                query: &query,
                ..GetRequest::new(*endpoint)
            };
            results.push((*name, self.0.get(&request).await.map(|_| ())));
        }
        results
    }

    /// Fetches the organization with its settings from a `guide` server.
    pub async fn organization_settings(&self) -> Result<OrganizationDetails, FetchError> {
        let request = GetRequest::new(Endpoint::Organizations);
        let body = self.0.get(&request).await?;
        self.decoded(&request, guide_admin::organization(&body))
    }

    /// Fetches all users.
    pub async fn all_users(
        &self,
        server: ServerKind,
        on_page: OnPage<'_>,
    ) -> Result<Vec<ListedUser>, FetchError> {
        match server {
            ServerKind::Guide => {
                let endpoint = Endpoint::Users;
                self.fetch_all(endpoint, server, &[], guide::users, on_page)
                    .await
            }
            ServerKind::Real => {
                let endpoint = Endpoint::OrganizationUsers;
                self.fetch_all(endpoint, server, &[], real::users, on_page)
                    .await
            }
        }
    }

    /// Fetches all keys, active or not. Filters by creator where the server supports it, and returns all keys otherwise.
    pub async fn all_keys(
        &self,
        server: ServerKind,
        creator: Option<&ActorId>,
        on_page: OnPage<'_>,
    ) -> Result<Vec<ListedKey>, FetchError> {
        match server {
            ServerKind::Guide => {
                let endpoint = Endpoint::ApiKeys;
                self.fetch_all(endpoint, server, &[], guide::api_keys, on_page)
                    .await
            }
            ServerKind::Real => {
                let filter = creator.map(|id| ("created_by_user_id", id.to_string()));
                let endpoint = Endpoint::OrganizationApiKeys;
                self.fetch_all(endpoint, server, filter.as_slice(), real::api_keys, on_page)
                    .await
            }
        }
    }

    /// Fetches all workspaces that are not archived; from Anthropic, including the default workspace under its real id.
    pub async fn all_workspaces(&self, server: ServerKind) -> Result<Vec<Workspace>, FetchError> {
        match server {
            ServerKind::Guide => self.guide_workspaces().await,
            ServerKind::Real => {
                let with_default = [("include_default", "true".to_owned())];
                let endpoint = Endpoint::OrganizationWorkspaces;
                self.fetch_all(endpoint, server, &with_default, real::workspaces, &|_| {})
                    .await
            }
        }
    }

    /// Fetches all invitations, pending or not; `guide` servers cannot list them.
    pub async fn all_invites(&self, on_page: OnPage<'_>) -> Result<Vec<ListedInvite>, FetchError> {
        let endpoint = Endpoint::OrganizationInvites;
        self.fetch_all(
            endpoint,
            ServerKind::Real,
            &[],
            real_admin::invites,
            on_page,
        )
        .await
    }

    /// Fetches the members of a workspace, except those by organization role; `guide` servers cannot list them.
    pub async fn members(&self, workspace: &WorkspaceId) -> Result<Vec<ListedMember>, FetchError> {
        let base = GetRequest {
            workspace: Some(workspace.as_str()),
            ..GetRequest::new(Endpoint::WorkspaceMembers)
        };
        let query = vec![page_limit(ServerKind::Real)];
        fetch_list::by_id_with(&self.0, base, query, real_admin::members, &|_| {}).await
    }

    async fn fetch_all<T>(
        &self,
        endpoint: Endpoint,
        server: ServerKind,
        filter: &[(&'static str, String)],
        parse: fn(&[u8]) -> Result<ListPage<T>, DecodeError>,
        on_page: OnPage<'_>,
    ) -> Result<Vec<T>, FetchError> {
        let mut query = vec![page_limit(server)];
        query.extend_from_slice(filter);
        let base = GetRequest::new(endpoint);
        fetch_list::by_id_with(&self.0, base, query, parse, on_page).await
    }
}

fn page_limit(server: ServerKind) -> (&'static str, String) {
    let limit = match server {
        ServerKind::Guide => PAGE_LIMIT.to_string(),
        ServerKind::Real => REAL_PAGE_LIMIT.to_string(),
    };
    ("limit", limit)
}
