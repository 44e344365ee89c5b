//! Whether a rule still covers a subject that has an alert.

use crate::alerts::alert::Slot;
use crate::alerts::measure::lifecycle_subjects;
use crate::figures::counting::{
    covers_organization, is_key_counted, is_model_counted, is_part_counted, is_team_counted,
    is_user_counted,
};
use crate::figures::snapshot::OrganizationSnapshot;
use crate::org::directory::Presence;
use crate::org::teams;
use crate::rules::rule::Rule;
use crate::rules::watch::Watch;
use crate::units::ids::UNASSIGNED;
use crate::units::matcher::Team;
use crate::units::subject::SubjectKind;

/// Whether a rule still covers a subject, by the directory and the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Inside,
    /// The rule was narrowed, or the team was removed from the configuration.
    Outside,
    /// The workspace, or for lifecycle rules any subject, was removed.
    Removed,
}

/// Returns whether a rule still covers the subject of a slot.
pub fn scope(rule: &Rule, slot: &Slot, snapshot: &OrganizationSnapshot<'_>) -> Scope {
    match slot.event {
        Some(_) => of_event(rule, slot, snapshot),
        None if rule.watch() == Watch::Lifecycle => Scope::Outside,
        None => of_figure(rule, slot, snapshot),
    }
}

fn of_event(rule: &Rule, slot: &Slot, snapshot: &OrganizationSnapshot<'_>) -> Scope {
    let is_configured = slot.event.is_some_and(|event| rule.event(event).is_some());
    if !is_configured || !covers_organization(rule, snapshot) {
        Scope::Outside
    } else if lifecycle_subjects::is_removed(&slot.subject, snapshot) {
        Scope::Removed
    } else if lifecycle_subjects::covers_subject(rule, &slot.subject, snapshot) {
        Scope::Inside
    } else {
        Scope::Outside
    }
}

fn of_figure(rule: &Rule, slot: &Slot, snapshot: &OrganizationSnapshot<'_>) -> Scope {
    let subject = &slot.subject;
    if !covers_organization(rule, snapshot) || rule.for_each() != Some(subject.kind) {
        return Scope::Outside;
    }
    let is_inside = match subject.kind {
        SubjectKind::Organization => true,
        SubjectKind::Workspace => match snapshot.directory.workspaces.get(&*subject.id) {
            Some((_, Presence::Removed)) => return Scope::Removed,
            _ => {
                let name = snapshot.directory.name_of(&subject.id);
                let team = teams::for_workspace(snapshot.teams, snapshot.directory, &subject.id);
                // An API key of the workspace may belong to a team that the rule covers.
                let has_key_teams = snapshot.teams.iter().any(|team| !team.api_keys.is_empty());
                is_part_counted(rule, &subject.id, name)
                    && (has_key_teams || is_team_counted(rule, team.unwrap_or(UNASSIGNED)))
            }
        },
        SubjectKind::Model => is_model_counted(rule, &subject.id),
        SubjectKind::ApiKey => is_key_counted(rule, &subject.id, snapshot),
        SubjectKind::User => is_user_counted(rule, &subject.id, snapshot),
        SubjectKind::Team => {
            let is_named = |team: &Team| team.name.as_str() == &*subject.id;
            let exists = &*subject.id == UNASSIGNED || snapshot.teams.iter().any(is_named);
            exists && is_team_counted(rule, &subject.id)
        }
    };
    if is_inside {
        Scope::Inside
    } else {
        Scope::Outside
    }
}
