//! Measures data age.

use jiff::Timestamp;

use crate::alerts::measure::Measurement;
use crate::figures::counting::{is_part_counted, is_team_counted};
use crate::figures::figure::Figure;
use crate::figures::snapshot::{EvalContext, PartInfo};
use crate::figures::totals::PartState;
use crate::rules::rule::Rule;
use crate::rules::watch::Quantity;
use crate::units::span::Span;
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::Part;

/// Measures each workspace, or the oldest part of the organization. Data age is always known.
pub(super) fn measure(
    index: usize,
    rule: &Rule,
    for_each: SubjectKind,
    limit: Quantity,
    eval_context: &EvalContext<'_>,
) -> Vec<Measurement> {
    let (snapshot, now) = (&eval_context.snapshot, eval_context.now);
    let age_of = |state: &PartState| {
        let since = state.known_until().unwrap_or(state.first_seen);
        Quantity::from(now.duration_since(since).as_secs().max(0))
    };
    let measurement = |subject, state: &PartState| Measurement {
        rule: index,
        subject,
        figure: Figure::Known(age_of(state)),
        limit: Some(limit),
        label: None,
        event: None,
        span: Span {
            start: now,
            end: now,
        },
        is_closed: false,
        is_corrected_down: false,
        as_of: state.known_until(),
        sides: None,
    };
    let is_measured = |state: &PartState, member: Option<&PartInfo<'_>>| {
        state.part != Part::Unattributed
            && state.first_seen > Timestamp::MIN
            && member.is_none_or(|member| !member.is_removed)
    };
    let parts = snapshot
        .figures
        .parts()
        .iter()
        .enumerate()
        .map(|(place, state)| (state, eval_context.parts.get(place)))
        .filter(|(state, member)| is_measured(state, *member));
    match for_each {
        SubjectKind::Organization => {
            let oldest = parts.max_by_key(|(state, _)| age_of(state));
            let subject = Subject::new(SubjectKind::Organization, snapshot.organization.shared());
            oldest
                .map(|(state, _)| measurement(subject, state))
                .into_iter()
                .collect()
        }
        SubjectKind::Workspace => parts
            .filter_map(|(state, member)| {
                let member = member?;
                let subject = Subject::new(SubjectKind::Workspace, member.id);
                (is_part_counted(rule, member.id, member.name)
                    && is_team_counted(rule, member.team))
                .then(|| measurement(subject, state))
            })
            .collect(),
        // Rejected by the configuration: data is read by workspace.
        SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
            Vec::new()
        }
    }
}
