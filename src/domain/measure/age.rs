//! The age of the data.

use jiff::Timestamp;

use crate::domain::counting::{is_part_counted, is_team_counted};
use crate::domain::figures::PartState;
use crate::domain::ground::{PartInfo, Survey};
use crate::domain::knowledge::Figure;
use crate::domain::measure::Measurement;
use crate::domain::rule::{Limit, Quantity, Rule};
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::Part;

/// Of each workspace, or of the oldest part of the organization. It is always known.
pub(super) fn measure(index: usize, rule: &Rule, survey: &Survey<'_>) -> Vec<Measurement> {
    let (ground, now) = (&survey.ground, survey.now);
    let age_of = |state: &PartState| {
        let since = state.known_until().unwrap_or(state.first_seen);
        Quantity::from(now.duration_since(since).as_secs().max(0))
    };
    let measured = |subject, state: &PartState| Measurement {
        rule: index,
        subject,
        figure: Figure::Known(age_of(state)),
        limit: match &rule.limit {
            Limit::Fixed(limit) => Some(*limit),
            Limit::Budget(_) | Limit::Workspace | Limit::Organization => None,
        },
        label: None,
        event: None,
        span: Span {
            start: now,
            end: now,
        },
        is_closed: false,
        fell: false,
        as_of: state.known_until(),
        sides: None,
    };
    let is_asked = |state: &PartState, member: Option<&PartInfo<'_>>| {
        state.part != Part::Unattributed
            && state.first_seen > Timestamp::MIN
            && member.is_none_or(|member| !member.is_gone)
    };
    let asked = ground
        .figures
        .parts()
        .iter()
        .enumerate()
        .map(|(place, state)| (state, survey.roster.at(place)))
        .filter(|(state, member)| is_asked(state, *member));
    match rule.for_each {
        SubjectKind::Organization => {
            let oldest = asked.max_by_key(|(state, _)| age_of(state));
            let subject = Subject::new(SubjectKind::Organization, ground.organization.shared());
            oldest
                .map(|(state, _)| measured(subject, state))
                .into_iter()
                .collect()
        }
        SubjectKind::Workspace => asked
            .filter_map(|(state, member)| {
                let member = member?;
                let subject = Subject::new(SubjectKind::Workspace, member.id);
                (is_part_counted(rule, member.id, member.name)
                    && is_team_counted(rule, member.team))
                .then(|| measured(subject, state))
            })
            .collect(),
        // The configuration refuses the age of the data of all others: answers are by workspace.
        SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
            Vec::new()
        }
    }
}
