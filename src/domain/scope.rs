//! Whether a rule still looks at a subject that has an alert.

use crate::domain::alert::Slot;
use crate::domain::counting::{is_part_counted, is_team_counted, looks_at_organization};
use crate::domain::directory::Presence;
use crate::domain::ground::OrganizationSnapshot;
use crate::domain::ids::UNASSIGNED;
use crate::domain::matcher::Glob;
use crate::domain::measure::lifecycle;
use crate::domain::rule::{Rule, Watch};
use crate::domain::subject::SubjectKind;
use crate::domain::teams;

/// Whether a rule still looks at a subject, as far as the directory and the configuration tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Inside,
    /// The rule was narrowed, or the team is no more.
    Outside,
    /// The workspace is gone; of a rule on events, whatever it is about.
    Gone,
}

/// See [`Scope`].
pub fn scope(rule: &Rule, slot: &Slot, ground: &OrganizationSnapshot<'_>) -> Scope {
    match slot.event {
        Some(_) => of_event(rule, slot, ground),
        None if rule.watch == Watch::Lifecycle => Scope::Outside,
        None => of_figure(rule, slot, ground),
    }
}

fn of_event(rule: &Rule, slot: &Slot, ground: &OrganizationSnapshot<'_>) -> Scope {
    let is_asked = slot.event.is_some_and(|event| rule.event(event).is_some());
    if !is_asked || !looks_at_organization(rule, ground) {
        Scope::Outside
    } else if lifecycle::is_gone(&slot.subject, ground) {
        Scope::Gone
    } else if lifecycle::looks_at(rule, &slot.subject, ground) {
        Scope::Inside
    } else {
        Scope::Outside
    }
}

fn of_figure(rule: &Rule, slot: &Slot, ground: &OrganizationSnapshot<'_>) -> Scope {
    let subject = &slot.subject;
    if !looks_at_organization(rule, ground) || rule.for_each != subject.kind {
        return Scope::Outside;
    }
    let is_inside = match subject.kind {
        SubjectKind::Organization => true,
        SubjectKind::Workspace => match ground.directory.workspaces.get(&*subject.id) {
            Some((_, Presence::Gone)) => return Scope::Gone,
            _ => {
                let name = ground.directory.name_of(&subject.id);
                let team = teams::of_workspace(ground.teams, ground.directory, &subject.id);
                // A key of the workspace may belong to a team that the rule looks at.
                let has_key_teams = ground.teams.iter().any(|team| !team.api_keys.is_empty());
                is_part_counted(rule, &subject.id, name)
                    && (has_key_teams || is_team_counted(rule, team.unwrap_or(UNASSIGNED)))
            }
        },
        SubjectKind::Model => rule
            .matcher
            .model
            .as_ref()
            .is_none_or(|glob| glob.matches(&subject.id)),
        SubjectKind::ApiKey => {
            let glob = rule.matcher.api_key.as_ref();
            let name = ground.directory.key_name(&subject.id);
            glob.is_none_or(|glob| glob.matches(&subject.id) || glob.matches(name))
        }
        SubjectKind::User => {
            let glob = rule.matcher.user.as_ref();
            let person = ground.directory.people.get(&*subject.id);
            let is_named = |glob: &Glob| {
                person.is_some_and(|of| glob.matches(&of.email) || glob.matches(&of.name))
            };
            glob.is_none_or(|glob| glob.matches(&subject.id) || is_named(glob))
        }
        SubjectKind::Team => {
            let exists = *subject.id == *UNASSIGNED
                || ground
                    .teams
                    .iter()
                    .any(|team| team.name.as_str() == &*subject.id);
            exists
                && rule
                    .matcher
                    .team
                    .as_ref()
                    .is_none_or(|glob| glob.matches(&subject.id))
        }
    };
    if is_inside {
        Scope::Inside
    } else {
        Scope::Outside
    }
}
