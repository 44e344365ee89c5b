//! What a rule counts: which organization, which parts and cells, of which team, and in which unit.

use crate::domain::figures::Figures;
use crate::domain::ground::{OrganizationSnapshot, PartInfo, Roster};
use crate::domain::ids::{HIDDEN, UNATTRIBUTED};
use crate::domain::matcher::Glob;
use crate::domain::money::Usd;
use crate::domain::privacy::People;
use crate::domain::rule::{Quantity, Rule, Watch};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::teams;
use crate::domain::usage::{Amounts, Cell};

/// Whether what a part used in a cell is counted for one subject of a rule.
pub fn counts_for(
    rule: &Rule,
    subject: &Subject,
    ground: &OrganizationSnapshot<'_>,
    workspace_id: &str,
    cell: &Cell,
) -> bool {
    let may_be_subject = match subject.kind {
        SubjectKind::Organization | SubjectKind::Team => true,
        SubjectKind::Workspace => *subject.id == *workspace_id,
        SubjectKind::Model => *subject.id == *cell.model.as_str(),
        SubjectKind::ApiKey => *subject.id == *key_of(cell),
        SubjectKind::User => *subject.id == *user_of(cell, ground.privacy.in_messages()),
    };
    if !may_be_subject {
        return false;
    }
    let name = ground.directory.name_of(workspace_id);
    let team = teams::of(ground.teams, ground.directory, workspace_id, cell);
    let is_subject = subject.kind != SubjectKind::Team || *subject.id == *team;
    let matches = |glob: &Option<Glob>| glob.as_ref().is_none_or(|glob| glob.matches(team));
    is_subject
        && matches(&rule.matcher.team)
        && is_part_counted(rule, workspace_id, name)
        && is_cell_counted(rule, ground, cell)
}

/// The id under which a cell counts for its key.
pub fn key_of(cell: &Cell) -> &str {
    cell.api_key
        .as_ref()
        .map_or(UNATTRIBUTED, |key| key.as_str())
}

/// The id under which a cell counts for whoever is charged.
pub fn user_of(cell: &Cell, people: People) -> &str {
    match (&cell.user, people) {
        (None, _) => UNATTRIBUTED,
        (Some(_), People::Hidden) => HIDDEN,
        (Some(user), People::Email | People::Id) => user.as_str(),
    }
}

/// The figure's quantity in a rule's unit.
pub fn quantity(watch: Watch, amounts: &Amounts) -> Quantity {
    match watch {
        Watch::Spend | Watch::BurnRate => amounts.spend.pico(),
        Watch::Tokens => Quantity::from(amounts.tokens.sum()),
        Watch::Requests => Quantity::from(amounts.requests),
        // What is an estimate is no gap: there the two are one.
        Watch::Reconciliation(_) => (amounts.spend - amounts.priced).pico(),
        Watch::DataAge | Watch::Lifecycle => 0,
    }
}

/// What is billed of some amounts, and what that was estimated at.
pub fn sides(amounts: &Amounts) -> (Usd, Usd) {
    (
        amounts.spend - amounts.estimated,
        amounts.priced - amounts.estimated,
    )
}

/// Whether a rule looks at this organization at all.
pub fn looks_at_organization(rule: &Rule, ground: &OrganizationSnapshot<'_>) -> bool {
    rule.matcher
        .organization
        .as_ref()
        .is_none_or(|glob| glob.matches(ground.organization.as_str()))
}

/// Whether a rule counts a workspace, or the remainder, by id and name.
pub fn is_part_counted(rule: &Rule, id: &str, name: &str) -> bool {
    let glob = rule.matcher.workspace.as_ref();
    glob.is_none_or(|glob| glob.matches(name) || glob.matches(id))
}

/// Whether a rule counts a workspace by the team that it belongs to as a whole.
pub fn is_team_counted(rule: &Rule, team: &str) -> bool {
    let glob = rule.matcher.team.as_ref();
    glob.is_none_or(|glob| glob.matches(team))
}

/// Whether a rule counts a cell, by its model, key and user.
pub fn is_cell_counted(rule: &Rule, ground: &OrganizationSnapshot<'_>, cell: &Cell) -> bool {
    let matcher = &rule.matcher;
    let has_model = matcher
        .model
        .as_ref()
        .is_none_or(|glob| glob.matches(cell.model.as_str()));
    let has_key = matcher.api_key.as_ref().is_none_or(|glob| {
        let key = key_of(cell);
        glob.matches(key) || glob.matches(ground.directory.key_name(key))
    });
    let has_user = matcher.user.as_ref().is_none_or(|glob| {
        let user = cell
            .user
            .as_ref()
            .map_or(UNATTRIBUTED, |user| user.as_str());
        let person = ground.directory.people.get(user);
        glob.matches(user)
            || person
                .is_some_and(|person| glob.matches(&person.email) || glob.matches(&person.name))
    });
    has_model && has_key && has_user
}

/// Which cells of which parts a rule counts: looked up once for all of them.
#[derive(Debug)]
pub struct Counts<'a> {
    rule: &'a Rule,
    /// By cell index; `None` where all are counted.
    cells: Option<Vec<bool>>,
    roster: &'a Roster<'a>,
}

impl<'a> Counts<'a> {
    /// Of a rule.
    pub fn of(
        rule: &'a Rule,
        ground: &OrganizationSnapshot<'_>,
        roster: &'a Roster<'a>,
    ) -> Counts<'a> {
        let matcher = &rule.matcher;
        let is_narrowed =
            matcher.model.is_some() || matcher.api_key.is_some() || matcher.user.is_some();
        Counts {
            rule,
            cells: is_narrowed.then(|| counted_cells(rule, ground, ground.figures)),
            roster,
        }
    }

    /// Whether anything of a part may be counted.
    pub fn has_part(&self, member: &PartInfo<'_>) -> bool {
        is_part_counted(self.rule, member.id, member.name)
            && (self.roster.has_key_teams() || is_team_counted(self.rule, member.team))
    }

    /// Whether a cell of a part is counted.
    pub fn has(&self, member: &PartInfo<'_>, cell: u32) -> bool {
        let is_counted = self
            .cells
            .as_ref()
            .is_none_or(|counted| counted[cell as usize]);
        is_counted && is_team_counted(self.rule, self.roster.team(member, cell))
    }
}

fn counted_cells(rule: &Rule, ground: &OrganizationSnapshot<'_>, figures: &Figures) -> Vec<bool> {
    let cells = figures.cells().iter();
    cells
        .map(|cell| is_cell_counted(rule, ground, cell))
        .collect()
}
