//! Teams: to whom what was used belongs, by the configuration.

use crate::domain::directory::Directory;
use crate::domain::ids::UNASSIGNED;
use crate::domain::matcher::Team;
use crate::domain::usage::Cell;

/// The team that what was used belongs to: the first whose keys match, else workspaces, else tags.
pub fn of<'a>(
    teams: &'a [Team],
    directory: &Directory,
    workspace_id: &str,
    cell: &Cell,
) -> &'a str {
    of_key(teams, directory, cell)
        .or_else(|| of_workspace(teams, directory, workspace_id))
        .unwrap_or(UNASSIGNED)
}

/// The first team that names the key.
pub fn of_key<'a>(teams: &'a [Team], directory: &Directory, cell: &Cell) -> Option<&'a str> {
    let key = cell.api_key.as_ref()?.as_str();
    let name = directory.key_name(key);
    let has_key = |team: &&Team| {
        let mut globs = team.api_keys.iter();
        globs.any(|glob| glob.matches(name) || glob.matches(key))
    };
    teams.iter().find(has_key).map(|team| team.name.as_str())
}

/// The first team that names the workspace, else the first whose tags it has.
pub fn of_workspace<'a>(teams: &'a [Team], directory: &Directory, id: &str) -> Option<&'a str> {
    let name = directory.name_of(id);
    let tags = directory
        .workspaces
        .get(id)
        .map(|(workspace, _)| &workspace.tags);
    let is_tagged = |team: &&Team| {
        let mut wanted = team.workspace_tags.iter();
        !team.workspace_tags.is_empty()
            && tags.is_some_and(|tags| wanted.all(|(tag, value)| tags.get(tag) == Some(value)))
    };
    let named = teams.iter().find(|team| team.has_workspace(id, name));
    let team = named.or_else(|| teams.iter().find(is_tagged));
    team.map(|team| team.name.as_str())
}
