//! Assigns usage to teams by the configuration.

use crate::org::directory::Directory;
use crate::units::ids::UNASSIGNED;
use crate::units::matcher::Team;
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::UsageKey;

/// Returns the team of usage: the first whose API keys match, else workspaces, else tags; else `unassigned`.
pub fn for_usage<'a>(
    teams: &'a [Team],
    directory: &Directory,
    workspace_id: &str,
    usage_key: &UsageKey,
) -> &'a str {
    for_usage_key(teams, directory, usage_key)
        .or_else(|| for_workspace(teams, directory, workspace_id))
        .unwrap_or(UNASSIGNED)
}

/// Returns the first team that lists the API key of a usage key.
pub fn for_usage_key<'a>(
    teams: &'a [Team],
    directory: &Directory,
    usage_key: &UsageKey,
) -> Option<&'a str> {
    of_key(teams, directory, usage_key.api_key.as_ref()?.as_str())
}

/// Returns the first team that lists an API key.
fn of_key<'a>(teams: &'a [Team], directory: &Directory, key: &str) -> Option<&'a str> {
    let name = directory.key_name(key);
    let has_key = |team: &&Team| {
        let mut globs = team.api_keys.iter();
        globs.any(|glob| glob.matches(name) || glob.matches(key))
    };
    teams.iter().find(has_key).map(|team| team.name.as_str())
}

/// Returns the team of a subject that can belong to one: a team itself, a workspace, an API key.
pub fn for_subject<'a>(
    teams: &'a [Team],
    directory: &Directory,
    subject: &Subject,
) -> Option<&'a Team> {
    let id = &*subject.id;
    let name = match subject.kind {
        SubjectKind::Team => Some(id),
        SubjectKind::Workspace => for_workspace(teams, directory, id),
        SubjectKind::ApiKey => of_key(teams, directory, id),
        SubjectKind::Organization | SubjectKind::Model | SubjectKind::User => None,
    };
    teams.iter().find(|team| Some(team.name.as_str()) == name)
}

/// Returns the first team that lists the workspace, else the first whose tags match.
pub fn for_workspace<'a>(teams: &'a [Team], directory: &Directory, id: &str) -> Option<&'a str> {
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
