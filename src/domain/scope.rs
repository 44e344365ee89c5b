//! Whether a rule still looks at a subject that has an alert.

use crate::domain::counting::{is_part_counted, looks_at_organization};
use crate::domain::directory::Presence;
use crate::domain::ground::Ground;
use crate::domain::ids::UNASSIGNED;
use crate::domain::rule::Rule;
use crate::domain::subject::{Subject, SubjectKind};

/// Whether a rule still looks at a subject, as far as the directory and the configuration tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It does.
    Inside,
    /// The rule was narrowed, or the team is no more.
    Outside,
    /// The workspace is gone.
    Gone,
}

/// See [`Scope`].
pub fn scope(rule: &Rule, subject: &Subject, ground: &Ground<'_>) -> Scope {
    if !looks_at_organization(rule, ground) || rule.for_each != subject.kind {
        return Scope::Outside;
    }
    let is_inside = match subject.kind {
        SubjectKind::Organization => true,
        SubjectKind::Workspace => match ground.directory.workspaces.get(&*subject.id) {
            Some((_, Presence::Gone)) => return Scope::Gone,
            _ => is_part_counted(
                rule,
                ground,
                &subject.id,
                ground.directory.name_of(&subject.id),
            ),
        },
        SubjectKind::Model => rule
            .matcher
            .model
            .as_ref()
            .is_none_or(|glob| glob.matches(&subject.id)),
        // Nothing tells yet which keys and people there are.
        SubjectKind::ApiKey | SubjectKind::User => true,
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
