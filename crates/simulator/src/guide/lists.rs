//! Lists of the guide's API, and their pages.

use crate::api_error::ApiError;
use crate::guide::{GuideEndpoint, wire};
use crate::paging::{self, by_id};
use crate::parameters::parameter;
use crate::request::{Pagination, Query};
use crate::world::World;
use crate::world::directory::SimulatedKey;

/// Maximum rows per page.
const MAX_ROWS: usize = 100;

/// Returns a page.
pub fn list(world: &World, endpoint: GuideEndpoint, query: &Query) -> Result<String, ApiError> {
    match endpoint {
        GuideEndpoint::Users => by_id(query, MAX_ROWS, &world.users, |user| &user.id, wire::user),
        GuideEndpoint::Keys => {
            let keys: Vec<&SimulatedKey> = keys(world, query).collect();
            let render = |key: &&SimulatedKey| wire::key(key, &world.users);
            by_id(query, MAX_ROWS, &keys, |key| &key.id, render)
        }
        GuideEndpoint::Workspaces
        | GuideEndpoint::Organization
        | GuideEndpoint::Usage
        | GuideEndpoint::WriteOnly => {
            let workspaces = &world.workspaces;
            by_id(query, MAX_ROWS, workspaces, |it| &it.id, wire::workspace)
        }
    }
}

fn keys<'a>(world: &'a World, query: &'a Query) -> impl Iterator<Item = &'a SimulatedKey> {
    let workspace = parameter(query, "workspace_id");
    let keys = world.keys.iter();
    keys.filter(move |key| workspace.is_none_or(|id| key.workspace.as_deref() == Some(id)))
}

/// Returns the requested page of a list, starting at 1.
pub fn page_number(world: &World, endpoint: GuideEndpoint, query: &Query) -> Option<usize> {
    if endpoint.pagination() != Pagination::ById {
        return None;
    }
    let ids: Vec<&str> = match endpoint {
        GuideEndpoint::Users => world.users.iter().map(|user| user.id.as_str()).collect(),
        GuideEndpoint::Keys => keys(world, query).map(|key| key.id.as_str()).collect(),
        GuideEndpoint::Workspaces
        | GuideEndpoint::Organization
        | GuideEndpoint::Usage
        | GuideEndpoint::WriteOnly => {
            let workspaces = world.workspaces.iter();
            workspaces.map(|workspace| workspace.id.as_str()).collect()
        }
    };
    paging::page_number(query, MAX_ROWS, ids.into_iter())
}
