//! Lists of the guide's API, and their pages.

use crate::api_error::ApiError;
use crate::guide::{GuideEndpoint, Parameters, parse_parameters, wire};
use crate::request::{Pagination, Query};
use crate::world::World;
use crate::world::directory::SimulatedKey;

/// Rows per page by default.
const DEFAULT_LIMIT: usize = 20;
/// Maximum rows per page.
const MAX_LIMIT: usize = 100;

/// Returns a page.
pub fn list(
    world: &mut World,
    endpoint: GuideEndpoint,
    parameters: &Parameters<'_>,
) -> Result<String, ApiError> {
    let limit = limit(parameters)?;
    let start = start(world, endpoint, parameters)?;
    let rows: Vec<(&str, String)> = match endpoint {
        GuideEndpoint::Users => {
            let rows = world.users.iter().skip(start).take(limit + 1);
            rows.map(|user| (user.id.as_str(), wire::user(user)))
                .collect()
        }
        GuideEndpoint::Keys => {
            let rows = keys(world, parameters).skip(start).take(limit + 1);
            rows.map(|key| (key.id.as_str(), wire::key(key, &world.users)))
                .collect()
        }
        GuideEndpoint::Workspaces
        | GuideEndpoint::Organization
        | GuideEndpoint::Usage
        | GuideEndpoint::WriteOnly => {
            let rows = world.workspaces.iter().skip(start).take(limit + 1);
            rows.map(|workspace| (workspace.id.as_str(), wire::workspace(workspace)))
                .collect()
        }
    };
    // One more row than the page holds shows whether there is another page.
    let has_more = rows.len() > limit;
    Ok(wire::page(&rows[..rows.len().min(limit)], has_more))
}

fn keys<'a>(
    world: &'a World,
    parameters: &Parameters<'a>,
) -> impl Iterator<Item = &'a SimulatedKey> {
    let workspace = parameters.get("workspace_id").copied();
    let keys = world.keys.iter();
    keys.filter(move |key| workspace.is_none_or(|id| key.workspace.as_deref() == Some(id)))
}

fn limit(parameters: &Parameters<'_>) -> Result<usize, ApiError> {
    match parameters.get("limit").map(|text| text.parse()) {
        None => Ok(DEFAULT_LIMIT),
        Some(Ok(limit @ 1..=MAX_LIMIT)) => Ok(limit),
        Some(Ok(_)) => Err(ApiError::bad_request("limit must be between 1 and 100")),
        Some(Err(_)) => Err(ApiError::bad_request("limit is not a number")),
    }
}

/// Returns the index of the first row of the page.
fn start(
    world: &mut World,
    endpoint: GuideEndpoint,
    parameters: &Parameters<'_>,
) -> Result<usize, ApiError> {
    let Some(after) = parameters.get("after_id").copied() else {
        return Ok(0);
    };
    let index = match endpoint {
        GuideEndpoint::Users => world.users.iter().position(|user| user.id == after),
        GuideEndpoint::Keys => keys(world, parameters).position(|key| key.id == after),
        GuideEndpoint::Workspaces
        | GuideEndpoint::Organization
        | GuideEndpoint::Usage
        | GuideEndpoint::WriteOnly => world.position_of(after),
    };
    index
        .map(|index| index + 1)
        .ok_or_else(|| ApiError::bad_request("after_id is unknown"))
}

/// Returns the requested page of a list, starting at 1.
pub fn page_number(world: &mut World, endpoint: GuideEndpoint, query: &Query) -> Option<usize> {
    let parameters = parse_parameters(query, &["limit", "after_id", "workspace_id"]).ok()?;
    let limit = limit(&parameters)
        .ok()
        .filter(|_| endpoint.pagination() == Pagination::ById)?;
    let start = start(world, endpoint, &parameters).ok()?;
    Some(start / limit + 1)
}
