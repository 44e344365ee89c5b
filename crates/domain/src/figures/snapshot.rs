//! A read-only view of one organization, and its parts at one time, shared by all rules.

use jiff::Timestamp;

use crate::figures::totals::Figures;
use crate::org::directory::{Directory, Presence, Workspace};
use crate::org::inventory::Inventory;
use crate::org::teams;
use crate::units::ids::{OrganizationName, UNASSIGNED, UNATTRIBUTED};
use crate::units::matcher::Team;
use crate::units::privacy::Privacy;
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::Part;

/// A read-only view of one organization.
#[derive(Debug, Clone, Copy)]
pub struct OrganizationSnapshot<'a> {
    pub organization: &'a OrganizationName,
    pub directory: &'a Directory,
    pub inventory: &'a Inventory,
    pub teams: &'a [Team],
    pub figures: &'a Figures,
    pub privacy: Privacy,
}

impl<'a> OrganizationSnapshot<'a> {
    /// Returns the current name of a subject, or its id.
    pub fn name_of<'s>(&self, subject: &'s Subject) -> &'s str
    where
        'a: 's,
    {
        name_of(subject, self.directory, self.privacy)
    }
}

/// Returns the name of a subject in a directory, or its id.
pub fn name_of<'s>(subject: &'s Subject, directory: &'s Directory, privacy: Privacy) -> &'s str {
    match subject.kind {
        SubjectKind::Workspace => directory.name_of(&subject.id),
        SubjectKind::ApiKey => directory.key_name(&subject.id),
        SubjectKind::User => directory.user_name(&subject.id, privacy.in_messages()),
        SubjectKind::Organization | SubjectKind::Model | SubjectKind::Team => &subject.id,
    }
}

/// The inputs of one evaluation.
#[derive(Debug, Clone)]
pub struct EvalContext<'a> {
    pub snapshot: OrganizationSnapshot<'a>,
    pub parts: PartTable<'a>,
    pub now: Timestamp,
}

impl<'a> EvalContext<'a> {
    /// Builds the part table of a snapshot.
    pub fn new(snapshot: OrganizationSnapshot<'a>, now: Timestamp) -> EvalContext<'a> {
        let part_table = PartTable::new(&snapshot);
        EvalContext {
            snapshot,
            parts: part_table,
            now,
        }
    }
}

/// One part that is summed.
#[derive(Debug, Clone, Copy)]
pub struct PartInfo<'a> {
    /// The id that it counts under; removed workspaces count as remainder.
    pub id: &'a str,
    pub name: &'a str,
    /// As last listed; `None` for the remainder.
    pub workspace: Option<&'a Workspace>,
    pub is_removed: bool,
    /// The team of the part as a whole; single API keys may belong to others.
    pub team: &'a str,
}

/// Part infos by index in the figures; `None` for the whole.
#[derive(Debug, Clone)]
pub struct PartTable<'a> {
    parts: Vec<Option<PartInfo<'a>>>,
    /// The team of each usage key; empty if no team lists API keys.
    key_teams: Vec<Option<&'a str>>,
}

impl<'a> PartTable<'a> {
    /// Builds the table for all parts.
    pub fn new(snapshot: &OrganizationSnapshot<'a>) -> PartTable<'a> {
        let (directory, figures, teams) = (snapshot.directory, snapshot.figures, snapshot.teams);
        let parts = figures.parts().iter();
        let has_key_teams = teams.iter().any(|team| !team.api_keys.is_empty());
        let cells = figures.usage_keys().iter().filter(|_| has_key_teams);
        PartTable {
            parts: parts
                .map(|state| part_info(directory, teams, &state.part))
                .collect(),
            key_teams: cells
                .map(|usage_key| teams::for_usage_key(teams, directory, usage_key))
                .collect(),
        }
    }

    /// Returns the part at an index.
    pub fn get(&self, index: usize) -> Option<&PartInfo<'a>> {
        self.parts.get(index)?.as_ref()
    }

    /// Returns whether usage keys of one part may belong to several teams.
    pub fn has_key_teams(&self) -> bool {
        !self.key_teams.is_empty()
    }

    /// Returns the team of a usage key of a part.
    pub fn team(&self, part_info: &PartInfo<'a>, usage_key: u32) -> &'a str {
        let of_key = self.key_teams.get(usage_key as usize).copied().flatten();
        of_key.unwrap_or(part_info.team)
    }
}

fn part_info<'a>(
    directory: &'a Directory,
    teams: &'a [Team],
    part: &'a Part,
) -> Option<PartInfo<'a>> {
    let team = |id: &str| teams::for_workspace(teams, directory, id).unwrap_or(UNASSIGNED);
    let remainder = PartInfo {
        id: UNATTRIBUTED,
        name: UNATTRIBUTED,
        workspace: None,
        is_removed: false,
        team: team(UNATTRIBUTED),
    };
    match part {
        Part::Whole => None,
        Part::Unattributed => Some(remainder),
        Part::Workspace(id) => Some(match directory.workspaces.get(id) {
            Some((_, Presence::Removed)) => PartInfo {
                is_removed: true,
                ..remainder
            },
            Some((workspace, Presence::Listed | Presence::Missing(_))) => PartInfo {
                id: id.as_str(),
                name: &workspace.name,
                workspace: Some(workspace),
                is_removed: false,
                team: team(id.as_str()),
            },
            None => PartInfo {
                id: id.as_str(),
                name: id.as_str(),
                team: team(id.as_str()),
                ..remainder
            },
        }),
    }
}
