//! Teams: to whom what was used belongs, by the configuration.

use crate::domain::directory::Directory;
use crate::domain::ids::UNASSIGNED;
use crate::domain::matcher::Team;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::Cell;

/// The team that what was used belongs to: the first whose keys match, else workspaces, else tags.
pub fn of<'a>(
    teams: &'a [Team],
    directory: &Directory,
    workspace_id: &str,
    cell: &Cell,
) -> &'a str {
    of_cell(teams, directory, cell)
        .or_else(|| of_workspace(teams, directory, workspace_id))
        .unwrap_or(UNASSIGNED)
}

/// The first team that names a cell's key.
pub fn of_cell<'a>(teams: &'a [Team], directory: &Directory, cell: &Cell) -> Option<&'a str> {
    of_key(teams, directory, cell.api_key.as_ref()?.as_str())
}

/// The first team that names the key.
fn of_key<'a>(teams: &'a [Team], directory: &Directory, key: &str) -> Option<&'a str> {
    let name = directory.key_name(key);
    let has_key = |team: &&Team| {
        let mut globs = team.api_keys.iter();
        globs.any(|glob| glob.matches(name) || glob.matches(key))
    };
    teams.iter().find(has_key).map(|team| team.name.as_str())
}

/// The team of a subject that belongs to one: a team itself, a workspace, an API key.
pub fn of_subject<'a>(
    teams: &'a [Team],
    directory: &Directory,
    subject: &Subject,
) -> Option<&'a Team> {
    let id = &*subject.id;
    let name = match subject.kind {
        SubjectKind::Team => Some(id),
        SubjectKind::Workspace => of_workspace(teams, directory, id),
        SubjectKind::ApiKey => of_key(teams, directory, id),
        SubjectKind::Organization | SubjectKind::Model | SubjectKind::User => None,
    };
    teams.iter().find(|team| Some(team.name.as_str()) == name)
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
