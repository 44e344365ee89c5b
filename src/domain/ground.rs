//! What measurements are made of, and who the parts are at this moment: looked up once, for all rules.

use jiff::Timestamp;

use crate::domain::census::Census;
use crate::domain::directory::{Directory, Presence, Workspace};
use crate::domain::figures::Figures;
use crate::domain::ids::{OrganizationName, UNASSIGNED, UNATTRIBUTED};
use crate::domain::matcher::Team;
use crate::domain::privacy::Privacy;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::teams;
use crate::domain::usage::Part;

/// What measurements are made of.
#[derive(Debug, Clone, Copy)]
pub struct OrganizationSnapshot<'a> {
    pub organization: &'a OrganizationName,
    /// Workspaces by name and limit.
    pub directory: &'a Directory,
    /// Which keys and people there are.
    pub census: &'a Census,
    /// Teams, in the order of the configuration.
    pub teams: &'a [Team],
    pub figures: &'a Figures,
    /// By what people are named.
    pub privacy: Privacy,
}

impl<'a> OrganizationSnapshot<'a> {
    /// The name of a subject now; its id where it has no other.
    pub fn name_of<'s>(&self, subject: &'s Subject) -> &'s str
    where
        'a: 's,
    {
        name_of(subject, self.directory, self.privacy)
    }
}

/// The name of a subject by a directory; its id where it has no other.
pub fn name_of<'s>(subject: &'s Subject, directory: &'s Directory, privacy: Privacy) -> &'s str {
    match subject.kind {
        SubjectKind::Workspace => directory.name_of(&subject.id),
        SubjectKind::ApiKey => directory.key_name(&subject.id),
        SubjectKind::User => directory.person_name(&subject.id, privacy.in_messages()),
        SubjectKind::Organization | SubjectKind::Model | SubjectKind::Team => &subject.id,
    }
}

/// The ground as rules look at it at one moment.
#[derive(Debug, Clone)]
pub struct Survey<'a> {
    pub ground: OrganizationSnapshot<'a>,
    pub roster: Roster<'a>,
    pub now: Timestamp,
}

impl<'a> Survey<'a> {
    /// Of a ground, now.
    pub fn new(ground: OrganizationSnapshot<'a>, now: Timestamp) -> Survey<'a> {
        let roster = Roster::of(&ground);
        Survey {
            ground,
            roster,
            now,
        }
    }
}

/// One part that is summed.
#[derive(Debug, Clone, Copy)]
pub struct PartInfo<'a> {
    /// The id that it counts under: what belonged to a workspace that is gone counts as remainder.
    pub id: &'a str,
    pub name: &'a str,
    /// As it was last listed; the remainder never is.
    pub workspace: Option<&'a Workspace>,
    pub is_gone: bool,
    /// The team to which it belongs as a whole; single keys of it may belong to others.
    pub team: &'a str,
}

/// By the parts' places in the figures; the whole is no member of itself.
#[derive(Debug, Clone)]
pub struct Roster<'a> {
    members: Vec<Option<PartInfo<'a>>>,
    /// The team of each cell's key, where any team names keys.
    key_teams: Vec<Option<&'a str>>,
}

impl<'a> Roster<'a> {
    /// Of all parts.
    pub fn of(ground: &OrganizationSnapshot<'a>) -> Roster<'a> {
        let (directory, figures, teams) = (ground.directory, ground.figures, ground.teams);
        let parts = figures.parts().iter();
        let has_key_teams = teams.iter().any(|team| !team.api_keys.is_empty());
        let cells = figures.cells().iter().filter(|_| has_key_teams);
        Roster {
            members: parts
                .map(|state| member(directory, teams, &state.part))
                .collect(),
            key_teams: cells
                .map(|cell| teams::of_cell(teams, directory, cell))
                .collect(),
        }
    }

    /// The member at a part's place.
    pub fn at(&self, place: usize) -> Option<&PartInfo<'a>> {
        self.members.get(place)?.as_ref()
    }

    /// Whether cells of one part may belong to several teams.
    pub fn has_key_teams(&self) -> bool {
        !self.key_teams.is_empty()
    }

    /// The team that a cell of a part belongs to.
    pub fn team(&self, member: &PartInfo<'a>, cell: u32) -> &'a str {
        let of_key = self.key_teams.get(cell as usize).copied().flatten();
        of_key.unwrap_or(member.team)
    }
}

fn member<'a>(directory: &'a Directory, teams: &'a [Team], part: &'a Part) -> Option<PartInfo<'a>> {
    let team = |id: &str| teams::of_workspace(teams, directory, id).unwrap_or(UNASSIGNED);
    let remainder = PartInfo {
        id: UNATTRIBUTED,
        name: UNATTRIBUTED,
        workspace: None,
        is_gone: false,
        team: team(UNATTRIBUTED),
    };
    match part {
        Part::Whole => None,
        Part::Unattributed => Some(remainder),
        Part::Workspace(id) => Some(match directory.workspaces.get(id) {
            Some((_, Presence::Gone)) => PartInfo {
                is_gone: true,
                ..remainder
            },
            Some((workspace, Presence::Listed | Presence::Missing(_))) => PartInfo {
                id: id.as_str(),
                name: &workspace.name,
                workspace: Some(workspace),
                is_gone: false,
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
