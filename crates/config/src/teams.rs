//! `[[teams]]`: named sets of workspaces and API keys.

use std::collections::BTreeMap;

use crate::reader::SectionReader;
use crate::terms::{read_globs, read_notify};
use spendwatch_domain::units::ids::{TeamName, UNASSIGNED};
use spendwatch_domain::units::matcher::Team;

/// Reads all teams. `notifiers` are the names of all configured notifiers.
pub fn read(root: &SectionReader<'_>, notifiers: &[String]) -> Vec<Team> {
    let mut teams: Vec<Team> = Vec::new();
    for section in root.sections("teams") {
        let team = read_one(&section, notifiers);
        section.finish();
        let Some(team) = team else { continue };
        if team.name.as_str() == UNASSIGNED {
            section.problem(
                "name",
                format!("is `{UNASSIGNED}`, which is reserved for usage without a team"),
            );
        }
        if teams.iter().any(|other| other.name == team.name) {
            section.problem(
                "name",
                format!("duplicates the name `{}` of an earlier team", team.name),
            );
        }
        teams.push(team);
    }
    teams
}

fn read_one(section: &SectionReader<'_>, notifiers: &[String]) -> Option<Team> {
    let name = section.name("name");
    let workspaces = read_globs(section, "workspaces");
    let api_keys = read_globs(section, "api_keys");
    let workspace_tags: BTreeMap<String, String> = section
        .text_map("workspace_tags")
        .into_iter()
        .map(|(tag, text)| (tag, text.value))
        .collect();
    let notify = read_notify(section, notifiers).unwrap_or_default();
    let name = TeamName::new(name?.value);
    let has_members = ["workspaces", "api_keys", "workspace_tags"]
        .into_iter()
        .any(|key| section.has(key));
    if !has_members {
        section.problem(
            "workspaces",
            "is missing; set `workspaces`, `api_keys` or `workspace_tags`",
        );
    }
    Some(Team {
        name,
        workspaces,
        api_keys,
        workspace_tags,
        notify,
    })
}
