//! What a rule counts: which organization, which parts, teams and models, and in which unit.

use crate::domain::directory::Directory;
use crate::domain::figures::Figures;
use crate::domain::ground::Ground;
use crate::domain::ids::UNASSIGNED;
use crate::domain::matcher::Team;
use crate::domain::rule::{Quantity, Rule, Watch};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::Amounts;

/// The team of a workspace: the first that names it.
pub fn team_of<'a>(teams: &'a [Team], directory: &Directory, id: &str) -> &'a str {
    team_named(teams, id, directory.name_of(id))
}

/// The team of a workspace whose name is at hand.
pub fn team_named<'a>(teams: &'a [Team], id: &str, name: &str) -> &'a str {
    teams
        .iter()
        .find(|team| team.has_workspace(id, name))
        .map_or(UNASSIGNED, |team| team.name.as_str())
}

/// Whether a part and a model are counted for one subject of a rule.
pub fn counts_for(
    rule: &Rule,
    subject: &Subject,
    ground: &Ground<'_>,
    workspace_id: &str,
    model: &str,
) -> bool {
    let name = ground.directory.name_of(workspace_id);
    let is_subject = match subject.kind {
        SubjectKind::Organization => true,
        SubjectKind::Workspace => *subject.id == *workspace_id,
        SubjectKind::Model => *subject.id == *model,
        // Not counted yet.
        SubjectKind::ApiKey | SubjectKind::User => false,
        SubjectKind::Team => *subject.id == *team_named(ground.teams, workspace_id, name),
    };
    is_subject && is_part_counted(rule, ground, workspace_id, name) && is_model_counted(rule, model)
}

/// The figure's quantity in a rule's unit.
pub fn quantity(watch: Watch, amounts: &Amounts) -> Quantity {
    match watch {
        Watch::Spend => amounts.spend.pico(),
        Watch::Tokens => Quantity::from(amounts.tokens.sum()),
        Watch::Requests => Quantity::from(amounts.requests),
        // A gap is not measured yet.
        Watch::DataAge | Watch::Reconciliation(_) => 0,
    }
}

/// Whether a rule looks at this organization at all.
pub fn looks_at_organization(rule: &Rule, ground: &Ground<'_>) -> bool {
    rule.matcher
        .organization
        .as_ref()
        .is_none_or(|glob| glob.matches(ground.organization.as_str()))
}

/// Whether a rule counts a workspace, or the remainder, by id, name and team.
pub fn is_part_counted(rule: &Rule, ground: &Ground<'_>, id: &str, name: &str) -> bool {
    let matcher = &rule.matcher;
    let is_named = matcher
        .workspace
        .as_ref()
        .is_none_or(|glob| glob.matches(name) || glob.matches(id));
    let has_team = || {
        matcher
            .team
            .as_ref()
            .is_none_or(|glob| glob.matches(team_named(ground.teams, id, name)))
    };
    is_named && has_team()
}

/// Whether a rule counts a model.
pub fn is_model_counted(rule: &Rule, model: &str) -> bool {
    rule.matcher
        .model
        .as_ref()
        .is_none_or(|glob| glob.matches(model))
}

/// By cell index whether a rule counts its model; `None` where it counts all.
pub fn models_counted(rule: &Rule, figures: &Figures) -> Option<Vec<bool>> {
    let glob = rule.matcher.model.as_ref()?;
    let cells = figures.cells().iter();
    Some(
        cells
            .map(|cell| glob.matches(cell.model.as_str()))
            .collect(),
    )
}
