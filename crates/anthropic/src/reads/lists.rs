//! The organization and its lists. What differs between the kinds of servers is in `Lists`.

use std::collections::HashSet;

use crate::AdminApi;
use crate::endpoint::Endpoint;
use crate::error::FetchError;
use crate::transport::decode::DecodeError;
use crate::transport::paging::ListPage;
use crate::transport::{GetRequest, fetch_list};
use crate::wire::{lists as wire, organization};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::admin::settings::OrganizationDetails;
use spendwatch_domain::org::directory::{OrganizationInfo, Workspace};
use spendwatch_domain::org::listing::{
    ListedInvite, ListedKey, ListedMember, ListedUser, WorkspaceList,
};
use spendwatch_domain::units::ids::{ActorId, DEFAULT_WORKSPACE, WorkspaceId};

/// Receives the number of rows so far after every page.
pub type OnPage<'a> = &'a (dyn Fn(usize) + Sync);

/// Name of the default workspace.
const DEFAULT_NAME: &str = "Default";

/// What differs between the lists of both kinds of servers.
struct Lists {
    workspaces: Endpoint,
    keys: Endpoint,
    users: Endpoint,
    invites: Option<Endpoint>,
    members: Option<Endpoint>,
    /// Maximum rows per page.
    page_limit: &'static str,
    /// Parameter that adds the default workspace, if the server omits it.
    with_default: Option<(&'static str, &'static str)>,
    /// Parameter that selects the keys of one user.
    key_creator: Option<&'static str>,
}

const GUIDE: Lists = Lists {
    workspaces: Endpoint::Workspaces,
    keys: Endpoint::ApiKeys,
    users: Endpoint::Users,
    invites: None,
    members: None,
    page_limit: "100",
    with_default: None,
    key_creator: None,
};

const REAL: Lists = Lists {
    workspaces: Endpoint::OrganizationWorkspaces,
    keys: Endpoint::OrganizationApiKeys,
    users: Endpoint::OrganizationUsers,
    invites: Some(Endpoint::OrganizationInvites),
    members: Some(Endpoint::WorkspaceMembers),
    page_limit: "1000",
    with_default: Some(("include_default", "true")),
    key_creator: Some("created_by_user_id"),
};

const fn lists(server: ServerKind) -> &'static Lists {
    match server {
        ServerKind::Guide => &GUIDE,
        ServerKind::Real => &REAL,
    }
}

impl AdminApi {
    /// Fetches the organization; only `guide` servers state its limit and spend.
    pub async fn organization(&self, server: ServerKind) -> Result<OrganizationInfo, FetchError> {
        let request = organization_request(server);
        let body = self.0.get(&request).await?;
        let info = organization::organization(server, &body);
        let (info, errors) = self.0.decoded(&request, info)?;
        for error in &errors {
            self.0.record_unreadable(&request, error);
        }
        Ok(info)
    }

    /// Fetches the organization with its settings, which only `guide` servers state.
    pub async fn organization_details(
        &self,
        server: ServerKind,
    ) -> Result<OrganizationDetails, FetchError> {
        let request = organization_request(server);
        let body = self.0.get(&request).await?;
        self.0
            .decoded(&request, organization::details(server, &body))
    }

    /// Fetches all users.
    pub async fn users(
        &self,
        server: ServerKind,
        on_page: OnPage<'_>,
    ) -> Result<Vec<ListedUser>, FetchError> {
        let request = GetRequest::new(lists(server).users);
        let parse = |body: &[u8]| wire::users(server, body);
        self.list(server, request, None, parse, on_page).await
    }

    /// Fetches all keys, active or not. Filters by creator where the server supports it, and returns all keys otherwise.
    pub async fn keys(
        &self,
        server: ServerKind,
        creator: Option<&ActorId>,
        on_page: OnPage<'_>,
    ) -> Result<Vec<ListedKey>, FetchError> {
        let lists = lists(server);
        let filter = lists.key_creator.zip(creator.map(ActorId::to_string));
        let request = GetRequest::new(lists.keys);
        let parse = |body: &[u8]| wire::api_keys(server, body);
        self.list(server, request, filter, parse, on_page).await
    }

    /// Fetches all workspaces that are not archived, including the default workspace under its real id.
    pub async fn workspaces(&self, server: ServerKind) -> Result<Vec<Workspace>, FetchError> {
        self.list_workspaces(server, true).await
    }

    /// Like [`AdminApi::workspaces`], but with the default workspace as [`DEFAULT_WORKSPACE`]. Recognizes it by its real id if
    /// known, and otherwise by comparing the lists with and without it.
    pub async fn workspaces_with_default(
        &self,
        server: ServerKind,
        default: Option<&WorkspaceId>,
    ) -> Result<WorkspaceList, FetchError> {
        if lists(server).with_default.is_none() {
            let workspaces = self.list_workspaces(server, false).await?;
            return Ok(WorkspaceList {
                workspaces,
                default: None,
            });
        }
        let others = match default {
            Some(_) => None,
            None => Some(self.list_workspaces(server, false).await?),
        };
        let mut workspaces = self.list_workspaces(server, true).await?;
        let is_listed = |id: &&WorkspaceId| workspaces.iter().any(|listed| listed.id == **id);
        let default = match (default.filter(is_listed), others) {
            (Some(id), _) => Some(id.clone()),
            (None, Some(others)) => find_default(&others, &workspaces),
            // The known default workspace is no longer listed.
            (None, None) => find_default(&self.list_workspaces(server, false).await?, &workspaces),
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

    /// Fetches all invitations, pending or not; `None` if the server does not list them.
    pub async fn invites(
        &self,
        server: ServerKind,
        on_page: OnPage<'_>,
    ) -> Result<Option<Vec<ListedInvite>>, FetchError> {
        let Some(endpoint) = lists(server).invites else {
            return Ok(None);
        };
        let request = GetRequest::new(endpoint);
        let invites = self.list(server, request, None, wire::invites, on_page);
        invites.await.map(Some)
    }

    /// Fetches the members of a workspace, except those by organization role; `None` if the server does not list them.
    pub async fn members(
        &self,
        server: ServerKind,
        workspace: &WorkspaceId,
    ) -> Result<Option<Vec<ListedMember>>, FetchError> {
        let Some(endpoint) = lists(server).members else {
            return Ok(None);
        };
        let request = GetRequest {
            workspace: Some(workspace.as_str()),
            ..GetRequest::new(endpoint)
        };
        let members = self.list(server, request, None, wire::members, &|_| {});
        members.await.map(Some)
    }

    /// Requests one row of each list that commands and rules need, to find out what the key may read.
    pub async fn check_access(
        &self,
        server: ServerKind,
    ) -> Vec<(&'static str, Result<(), FetchError>)> {
        let lists = lists(server);
        let endpoints = [
            ("workspaces", Some(lists.workspaces)),
            ("people", Some(lists.users)),
            ("keys", Some(lists.keys)),
            ("invitations", lists.invites),
        ];
        let query = [("limit", "1".to_owned())];
        let mut results = Vec::with_capacity(endpoints.len());
        for (name, endpoint) in endpoints {
            let Some(endpoint) = endpoint else { continue };
            let request = GetRequest {
                query: &query,
                ..GetRequest::new(endpoint)
            };
            results.push((name, self.0.get(&request).await.map(|_| ())));
        }
        results
    }

    async fn list_workspaces(
        &self,
        server: ServerKind,
        has_default: bool,
    ) -> Result<Vec<Workspace>, FetchError> {
        let lists = lists(server);
        let with_default = lists.with_default.filter(|_| has_default);
        let with_default = with_default.map(|(name, value)| (name, value.to_owned()));
        let request = GetRequest::new(lists.workspaces);
        let parse = |body: &[u8]| wire::workspaces(server, body);
        self.list(server, request, with_default, parse, &|_| {})
            .await
    }

    async fn list<T>(
        &self,
        server: ServerKind,
        request: GetRequest<'_>,
        filter: Option<(&'static str, String)>,
        parse: impl Fn(&[u8]) -> Result<ListPage<T>, DecodeError>,
        on_page: OnPage<'_>,
    ) -> Result<Vec<T>, FetchError> {
        let mut query = vec![("limit", lists(server).page_limit.to_owned())];
        query.extend(filter);
        fetch_list::by_id(&self.0, request, query, parse, on_page).await
    }
}

const fn organization_request(server: ServerKind) -> GetRequest<'static> {
    GetRequest::new(match server {
        ServerKind::Guide => Endpoint::Organizations,
        ServerKind::Real => Endpoint::OrganizationsMe,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use spendwatch_domain::admin::server::Capability;

    #[test]
    fn lists_agree_with_the_capabilities() {
        for server in [ServerKind::Guide, ServerKind::Real] {
            let can = |capability| server.check(capability).is_ok();
            let lists = lists(server);
            assert_eq!(lists.invites.is_some(), can(Capability::ListInvites));
            assert_eq!(lists.members.is_some(), can(Capability::Members));
        }
    }
}
