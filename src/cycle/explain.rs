//! Who caused it: the largest contributors of each alert that is told, and what they had in the same time of the period
//! before.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::domain::counting::{counts_for, quantity};
use crate::domain::decision::Decision;
use crate::domain::frame::Frame;
use crate::domain::ids::{UNATTRIBUTED, WorkspaceId};
use crate::domain::measure::frame_key;
use crate::domain::notification::{Contributor, Fact, MAX_CONTRIBUTORS, NamedKey};
use crate::domain::period;
use crate::domain::privacy::People;
use crate::domain::rule::{Quantity, Rule};
use crate::domain::span::HourSpan;
use crate::domain::usage::{Amounts, Cell, Part};
use crate::store::error::StoreError;

/// So many alerts of one message are explained; the others are counted.
const MAX_EXPLAINED: usize = 12;

/// What the parts had in each cell in a span.
type Past = BTreeMap<(Part, Cell), Amounts>;

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
                let top = self.contributors(rule, fact, frame);
                let span = same_time_before(rule, frame, fact.as_of.unwrap_or(fact.decided_at));
                if let std::collections::hash_map::Entry::Vacant(e) = pasts.entry(span) {
                    e.insert(self.past(span).await?);
                }
                let past = &pasts[&span];
                let with_past = top.into_iter().map(|(contributor, cell)| Contributor {
                    before: self.before(rule, &contributor, &cell, past, span),
                    ..contributor
                });
                fact.top = with_past.collect();
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

    fn contributors(&self, rule: &Rule, fact: &Fact, frame: &Frame) -> Vec<(Contributor, Cell)> {
        let ground = self.ground();
        let mut sums: BTreeMap<(&str, &Cell), Quantity> = BTreeMap::new();
        for (place, state) in self.figures.parts().iter().enumerate() {
            let Some(id) = state.part.workspace_id() else {
                continue;
            };
            for (cell, amounts) in frame.sums_of(place) {
                let cell = self.figures.cell_at(*cell);
                let subject = &fact.identity.slot.subject;
                if counts_for(rule, subject, &ground, id, cell) {
                    *sums.entry((id, cell)).or_default() += quantity(rule.watch, amounts);
                }
            }
        }
        let mut all: Vec<(Quantity, &str, &Cell)> = sums
            .into_iter()
            .filter(|(_, value)| *value > 0)
            .map(|((id, cell), value)| (value, id, cell))
            .collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        all.truncate(MAX_CONTRIBUTORS);
        let contributor = |(value, id, cell): (Quantity, &str, &Cell)| Contributor {
            workspace_id: WorkspaceId::new(id),
            workspace: self.directory.name_of(id).to_owned(),
            model: cell.model.clone(),
            api_key: cell.api_key.as_ref().map(|key| NamedKey {
                name: self.directory.key_name(key.as_str()).to_owned(),
                id: key.clone(),
            }),
            person: self.person(cell),
            value,
            before: None,
        };
        all.into_iter()
            .map(|of| (contributor(of), of.2.clone()))
            .collect()
    }

    /// Who is charged, as far as it may be told.
    fn person(&self, cell: &Cell) -> Option<String> {
        let people = self.settings.privacy.in_messages();
        let user = cell.user.as_ref().filter(|_| people != People::Hidden)?;
        let name = self.directory.person_name(user.as_str(), people);
        Some(name.to_owned())
    }

    async fn past(&self, span: HourSpan) -> Result<Past, StoreError> {
        let sums = self.store.sums(&self.settings.organization, span).await?;
        let mut past = Past::new();
        for (part, cell, amounts) in sums {
            *past.entry((part, cell)).or_default() += amounts;
        }
        Ok(past)
    }

    /// `None` where the ledger does not reach back so far.
    fn before(
        &self,
        rule: &Rule,
        contributor: &Contributor,
        cell: &Cell,
        past: &Past,
        span: HourSpan,
    ) -> Option<Quantity> {
        let part = match contributor.workspace_id.as_str() {
            UNATTRIBUTED => Part::Unattributed,
            _ => Part::Workspace(contributor.workspace_id.clone()),
        };
        let known_from = self.figures.part_state(&part)?.known_from?;
        let amounts = past.get(&(part, cell.clone())).copied().unwrap_or_default();
        (known_from <= span.start).then(|| quantity(rule.watch, &amounts))
    }
}

/// As much of the period before as has passed of this one.
fn same_time_before(rule: &Rule, frame: &Frame, as_of: Timestamp) -> HourSpan {
    let (period, zone) = match frame_key(rule) {
        Some(key) => (key.period, key.zone),
        None => (rule.period, rule.zone.clone()),
    };
    let before = period::previous(period, &zone.rules, &frame.cut);
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
