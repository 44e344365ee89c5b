//! Who caused it: the largest contributors of each alert that is told, and what they had in the same time of the period
//! before.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::domain::counting::{counts_for, quantity};
use crate::domain::decision::Decision;
use crate::domain::frame::Frame;
use crate::domain::ids::{ModelName, UNATTRIBUTED, WorkspaceId};
use crate::domain::measure::frame_key;
use crate::domain::notification::{Contributor, Fact, MAX_CONTRIBUTORS};
use crate::domain::period;
use crate::domain::rule::{Quantity, Rule};
use crate::domain::span::HourSpan;
use crate::domain::usage::{Amounts, Part};
use crate::store::error::StoreError;

/// So many alerts of one message are explained; the others are counted.
const MAX_EXPLAINED: usize = 12;

/// What the parts had of each model in a span.
type Past = BTreeMap<(Part, ModelName), Amounts>;

impl Watcher {
    /// Fills the facts of a decision with their contributors. Facts of resolved alerts need none.
    pub(in crate::cycle) async fn explain(
        &self,
        decision: &mut Decision,
    ) -> Result<(), StoreError> {
        let mut pasts: HashMap<HourSpan, Past> = HashMap::new();
        for draft in &mut decision.drafts {
            for fact in draft
                .facts
                .iter_mut()
                .filter(|fact| fact.ended_at.is_none())
                .take(MAX_EXPLAINED)
            {
                let rule = self
                    .settings
                    .policy
                    .rules
                    .iter()
                    .find(|rule| rule.name == fact.identity.slot.rule);
                let Some(rule) = rule else { continue };
                let Some(frame) = self.frame_of(rule, fact) else {
                    continue;
                };
                let mut top = self.contributors(rule, fact, frame);
                let span = same_time_before(rule, frame, fact.as_of.unwrap_or(fact.decided_at));
                if let std::collections::hash_map::Entry::Vacant(e) = pasts.entry(span) {
                    e.insert(self.past(span).await?);
                }
                let past = &pasts[&span];
                for contributor in &mut top {
                    contributor.before = self.before(rule, contributor, past, span);
                }
                fact.top = top;
            }
        }
        Ok(())
    }

    fn frame_of(&self, rule: &Rule, fact: &Fact) -> Option<&Frame> {
        let (open, closed) = self.figures.frame(&frame_key(rule)?)?;
        [Some(open), closed]
            .into_iter()
            .flatten()
            .find(|frame| frame.label == fact.identity.slot.period)
    }

    fn contributors(&self, rule: &Rule, fact: &Fact, frame: &Frame) -> Vec<Contributor> {
        let ground = self.ground();
        let mut sums: BTreeMap<(&str, &ModelName), Quantity> = BTreeMap::new();
        for (place, state) in self.figures.parts().iter().enumerate() {
            let Some(id) = state.part.workspace_id() else {
                continue;
            };
            for (cell, amounts) in frame.sums_of(place) {
                let model = &self.figures.cell_at(*cell).model;
                let subject = &fact.identity.slot.subject;
                if counts_for(rule, subject, &ground, id, self.figures.cell_at(*cell)) {
                    *sums.entry((id, model)).or_default() += quantity(rule.watch, amounts);
                }
            }
        }
        let mut all: Vec<(Quantity, &str, &ModelName)> = sums
            .into_iter()
            .filter(|(_, value)| *value > 0)
            .map(|((id, model), value)| (value, id, model))
            .collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        all.truncate(MAX_CONTRIBUTORS);
        let contributor = |(value, id, model): (Quantity, &str, &ModelName)| Contributor {
            workspace_id: WorkspaceId::new(id),
            workspace: self.directory.name_of(id).to_owned(),
            model: model.clone(),
            value,
            before: None,
        };
        all.into_iter().map(contributor).collect()
    }

    async fn past(&self, span: HourSpan) -> Result<Past, StoreError> {
        let sums = self.store.sums(&self.settings.organization, span).await?;
        let mut past = Past::new();
        for (part, cell, amounts) in sums {
            *past.entry((part, cell.model)).or_default() += amounts;
        }
        Ok(past)
    }

    /// `None` where the ledger does not reach back so far.
    fn before(
        &self,
        rule: &Rule,
        contributor: &Contributor,
        past: &Past,
        span: HourSpan,
    ) -> Option<Quantity> {
        let part = match contributor.workspace_id.as_str() {
            UNATTRIBUTED => Part::Unattributed,
            _ => Part::Workspace(contributor.workspace_id.clone()),
        };
        let known_from = self.figures.part_state(&part)?.known_from?;
        let amounts = past
            .get(&(part, contributor.model.clone()))
            .copied()
            .unwrap_or_default();
        (known_from <= span.start).then(|| quantity(rule.watch, &amounts))
    }
}

/// As much of the period before as has passed of this one.
fn same_time_before(rule: &Rule, frame: &Frame, as_of: Timestamp) -> HourSpan {
    let before = period::previous(rule.period, &rule.zone.rules, &frame.cut);
    let passed = as_of
        .min(frame.cut.span.end)
        .duration_since(frame.cut.span.start);
    let end = before
        .span
        .start
        .checked_add(passed)
        .unwrap_or(before.span.end)
        .min(before.span.end);
    period_hours(before.span.start, end)
}

fn period_hours(start: Timestamp, end: Timestamp) -> HourSpan {
    crate::domain::span::Span { start, end }.hours()
}
