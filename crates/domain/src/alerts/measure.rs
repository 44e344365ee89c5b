//! Measures rules against figures: one measurement for each subject of a rule.

mod burn_rate;
mod data_age;
pub mod lifecycle_subjects;
mod usage;

mod lifecycle;

mod reconciliation;

use std::sync::Arc;

use jiff::Timestamp;

use crate::alerts::alert::Slot;
use crate::figures::counting::covers_organization;
use crate::figures::figure::{Figure, reaches_back};
use crate::figures::period_sums::PeriodKey;
use crate::figures::snapshot::{EvalContext, OrganizationSnapshot};
use crate::figures::totals::Figures;
use crate::org::events::Event;
use crate::rules::rule::{Condition, Rule};
use crate::rules::watch::{Quantity, Watch};
use crate::units::money::Usd;
use crate::units::span::Span;
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::{Part, UsageKey};

/// Bill and estimate of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapSides {
    pub billed: Usd,
    pub estimated: Usd,
    /// Upper bound of the uncertain part of `estimated`.
    pub uncertain: Usd,
}

/// Measurement of one rule × subject × period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// Index of the rule in the policy.
    pub rule: usize,
    pub subject: Subject,
    pub figure: Figure,
    /// `None` if the subject has no such limit; then the rule does not apply to it.
    pub limit: Option<Quantity>,
    pub label: Option<Arc<str>>,
    pub event: Option<Event>,
    pub span: Span,
    /// Whether the period has ended; it is still measured because its figures may change.
    pub is_closed: bool,
    /// Whether a settled hour of the figure was corrected downwards in this cycle.
    pub is_corrected_down: bool,
    /// Time up to which the figure is known.
    pub as_of: Option<Timestamp>,
    pub sides: Option<Box<GapSides>>,
}

/// Returns the period whose figures a rule uses, the longest of them; `None` if it has no period.
pub fn frame_key(rule: &Rule) -> Option<PeriodKey> {
    frame_keys(rule).into_iter().next()
}

/// Returns all periods whose figures a rule uses, the longest first.
pub fn frame_keys(rule: &Rule) -> Vec<PeriodKey> {
    if let Condition::BurnRate { windows, .. } = &rule.condition {
        return [windows.long, windows.short]
            .map(burn_rate::frame_key)
            .into();
    }
    let key = rule.period_limit().map(|limit| PeriodKey {
        period: limit.period,
        zone: rule.zone.clone(),
    });
    key.into_iter().collect()
}

/// Measures a rule for all of its subjects in the open period, and in the one just closed if that ended after `began`.
/// `open_slots` have an open alert; they are measured even if the figures no longer contain their subject.
pub fn measure(
    index: usize,
    rule: &Rule,
    eval_context: &EvalContext<'_>,
    open_slots: &[&Slot],
    began: Timestamp,
) -> Vec<Measurement> {
    let snapshot = &eval_context.snapshot;
    if !covers_organization(rule, snapshot) {
        return Vec::new();
    }
    if let Condition::Lifecycle(events) = &rule.condition {
        return lifecycle::measure(index, rule, events, eval_context, open_slots, began);
    }
    if let Condition::DataAge { for_each, limit } = &rule.condition {
        return data_age::measure(index, rule, *for_each, *limit, eval_context);
    }
    let Some(limits) = rule.period_limit() else {
        return Vec::new();
    };
    if !is_reported(rule, limits.for_each, snapshot.figures) {
        return Vec::new();
    }
    usage::measure(index, rule, limits, eval_context, open_slots, began)
}

/// Returns whether the Admin API reports what a rule measures: without keys, users or requests, such rules have no subjects.
fn is_reported(rule: &Rule, for_each: SubjectKind, figures: &Figures) -> bool {
    let has = |is_needed: bool, is_reported: fn(&UsageKey) -> bool| {
        !is_needed || figures.usage_keys().iter().any(is_reported)
    };
    let by_key = for_each == SubjectKind::ApiKey || rule.matcher.api_key.is_some();
    let by_user = for_each == SubjectKind::User || rule.matcher.user.is_some();
    has(by_key, |usage_key| usage_key.api_key.is_some())
        && has(by_user, |usage_key| usage_key.user.is_some())
        && match rule.watch() {
            Watch::Requests => reports_requests(figures),
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::DataAge
            | Watch::ReconciliationUsd
            | Watch::ReconciliationPercent
            | Watch::Lifecycle => true,
        }
}

/// Returns whether requests are reported at all: if there are tokens but no requests, their number is unknown, not zero.
fn reports_requests(figures: &Figures) -> bool {
    let mut cells = (0..figures.parts().len()).flat_map(|part| figures.recorded(part));
    let has_tokens = cells.clone().any(|(_, amounts)| amounts.tokens.sum() > 0);
    !has_tokens || cells.any(|(_, amounts)| amounts.requests > 0)
}

/// Returns whether the open period of every subject, or the lists that events are derived from, were read once.
pub fn is_ready(rule: &Rule, snapshot: &OrganizationSnapshot<'_>) -> bool {
    if let Condition::Lifecycle(events) = &rule.condition {
        return lifecycle::is_ready(events, snapshot);
    }
    let key = frame_key(rule);
    let open = key.and_then(|key| Some(snapshot.figures.period_sums(&key)?.0));
    let start = open.map(|open| open.period.span.start);
    let is_read = |part: &Part| {
        let state = snapshot.figures.part_state(part);
        let is_known = |start: Timestamp| {
            state.is_some_and(|state| {
                // A period that starts before the history stays a lower bound, so waiting does not help.
                let is_read = state.is_history_read || reaches_back(state, start);
                state.as_of.is_some_and(|as_of| as_of >= start) && is_read
            })
        };
        start.is_none_or(is_known)
    };
    snapshot.directory.listed_at.is_some()
        && snapshot
            .directory
            .present()
            .all(|workspace| is_read(&Part::Workspace(workspace.id.clone())))
        && is_read(&Part::Whole)
}
