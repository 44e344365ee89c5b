//! What measurements are made of, and who the parts are at this moment: looked up once, for all rules.

use jiff::Timestamp;

use crate::domain::directory::{Directory, Presence, Workspace};
use crate::domain::figures::Figures;
use crate::domain::ids::{OrganizationName, UNATTRIBUTED};
use crate::domain::matcher::Team;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::Part;

/// What measurements are made of.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The organization's configured name.
    pub organization: &'a OrganizationName,
    /// Workspaces by name and limit.
    pub directory: &'a Directory,
    /// Teams, in the order of the configuration.
    pub teams: &'a [Team],
    /// The sums.
    pub figures: &'a Figures,
}

impl<'a> Ground<'a> {
    /// The name of a subject now; its id where it has no other.
    pub fn name_of<'s>(&self, subject: &'s Subject) -> &'s str
    where
        'a: 's,
    {
        match subject.kind {
            SubjectKind::Workspace => self.directory.name_of(&subject.id),
            // Keys and people have no other name here yet.
            SubjectKind::Organization
            | SubjectKind::Model
            | SubjectKind::ApiKey
            | SubjectKind::User
            | SubjectKind::Team => &subject.id,
        }
    }
}

/// The ground as rules look at it at one moment.
#[derive(Debug, Clone)]
pub struct Survey<'a> {
    /// What is measured.
    pub ground: Ground<'a>,
    /// Who the parts are.
    pub roster: Roster<'a>,
    /// The moment.
    pub now: Timestamp,
}

impl<'a> Survey<'a> {
    /// Of a ground, now.
    pub fn new(ground: Ground<'a>, now: Timestamp) -> Survey<'a> {
        let roster = Roster::of(ground.directory, ground.figures);
        Survey {
            ground,
            roster,
            now,
        }
    }
}

/// One part that is summed.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The id that it counts under: what belonged to a workspace that is gone counts as remainder.
    pub id: &'a str,
    /// Its name now.
    pub name: &'a str,
    /// As it was last listed; the remainder never is.
    pub workspace: Option<&'a Workspace>,
    /// The workspace is gone.
    pub is_gone: bool,
}

/// By the parts' places in the figures; the whole is no member of itself.
#[derive(Debug, Clone)]
pub struct Roster<'a>(Vec<Option<Member<'a>>>);

impl<'a> Roster<'a> {
    /// Of all parts.
    pub fn of(directory: &'a Directory, figures: &'a Figures) -> Roster<'a> {
        let parts = figures.parts().iter();
        Roster(parts.map(|state| member(directory, &state.part)).collect())
    }

    /// The member at a part's place.
    pub fn at(&self, place: usize) -> Option<&Member<'a>> {
        self.0.get(place)?.as_ref()
    }
}

fn member<'a>(directory: &'a Directory, part: &'a Part) -> Option<Member<'a>> {
    let remainder = Member {
        id: UNATTRIBUTED,
        name: UNATTRIBUTED,
        workspace: None,
        is_gone: false,
    };
    match part {
        Part::Whole => None,
        Part::Unattributed => Some(remainder),
        Part::Workspace(id) => Some(match directory.workspaces.get(id) {
            Some((_, Presence::Gone)) => Member {
                is_gone: true,
                ..remainder
            },
            Some((workspace, Presence::Listed | Presence::Missing(_))) => Member {
                id: id.as_str(),
                name: &workspace.name,
                workspace: Some(workspace),
                is_gone: false,
            },
            None => Member {
                id: id.as_str(),
                name: id.as_str(),
                ..remainder
            },
        }),
    }
}
