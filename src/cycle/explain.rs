//! Who caused it: the largest contributors of each alert that is told, and what they had in the same time of the period
//! before.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use crate::domain::alert::Slot;
use crate::domain::contributors::{Cause, Piece, Pieces};
use crate::domain::counting::{counts_for, quantity};
use crate::domain::decision::Decision;
use crate::domain::frame::Frame;
use crate::domain::ids::{UNATTRIBUTED, WorkspaceId};
use crate::domain::measure::frame_key;
use crate::domain::notification::{Contributor, Fact, MAX_CONTRIBUTORS, NamedKey};
use crate::domain::period;
use crate::domain::privacy::People;
use crate::domain::rule::{Gap, Quantity, Rule, Watch};
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
        // The same alert may be reported to several notifiers.
        let mut explained: BTreeMap<Slot, Vec<Contributor>> = BTreeMap::new();
        for draft in &mut decision.drafts {
            for fact in draft
                .facts
                .iter_mut()
                .filter(|fact| fact.ended_at.is_none())
                .take(MAX_EXPLAINED)
            {
                if let Some(top) = explained.get(&fact.identity.slot) {
                    fact.top.clone_from(top);
                    continue;
                }
                let rule = self
                    .settings
                    .policy
                    .rules
                    .iter()
                    .find(|rule| rule.name == fact.identity.slot.rule);
                let Some(rule) = rule.filter(|rule| has_contributors(rule.watch)) else {
                    continue;
                };
                let Some(frame) = self.frame_of(rule, fact) else {
                    continue;
                };
                let span = same_time_before(rule, frame, fact.as_of.unwrap_or(fact.decided_at));
                if let std::collections::hash_map::Entry::Vacant(e) = pasts.entry(span) {
                    e.insert(self.past(span).await?);
                }
                fact.top = self.contributors(rule, fact, frame, &pasts[&span], span);
                explained.insert(fact.identity.slot.clone(), fact.top.clone());
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

    fn contributors(
        &self,
        rule: &Rule,
        fact: &Fact,
        frame: &Frame,
        past: &Past,
        span: HourSpan,
    ) -> Vec<Contributor> {
        let ground = self.ground();
        let subject = &fact.identity.slot.subject;
        let mut sums: BTreeMap<(&str, &Cell), (Quantity, Quantity)> = BTreeMap::new();
        for (place, state) in self.figures.parts().iter().enumerate() {
            let Some(id) = state.part.workspace_id() else {
                continue;
            };
            for (cell, amounts) in frame.sums_of(place) {
                let cell = self.figures.cell_at(*cell);
                if counts_for(rule, subject, &ground, id, cell) {
                    sums.entry((id, cell)).or_default().0 += quantity(rule.watch, amounts);
                }
            }
        }
        for ((part, cell), amounts) in past {
            let Some(id) = part.workspace_id() else {
                continue;
            };
            if counts_for(rule, subject, &ground, id, cell) {
                sums.entry((id, cell)).or_default().1 += quantity(rule.watch, amounts);
            }
        }
        let piece = |((workspace, cell), (value, before))| Piece {
            workspace,
            cell,
            value,
            before,
        };
        let pieces: Vec<Piece<'_>> = sums.into_iter().map(piece).collect();
        let pieces = Pieces {
            kind: subject.kind,
            names_users: self.settings.privacy.in_messages() != People::Hidden,
            all: &pieces,
        };
        let top = pieces.top(MAX_CONTRIBUTORS, |id| self.is_known_since(id, span));
        top.into_iter()
            .map(|cause| self.contributor(cause))
            .collect()
    }

    fn contributor(&self, cause: Cause<'_>) -> Contributor {
        let group = cause.group;
        Contributor {
            workspace_id: WorkspaceId::new(group.workspace),
            workspace: self.directory.name_of(group.workspace).to_owned(),
            model: group.model.cloned(),
            api_key: group.api_key.map(|key| NamedKey {
                name: self.directory.key_name(key.as_str()).to_owned(),
                id: key.clone(),
            }),
            person: group.user.map(|user| {
                let people = self.settings.privacy.in_messages();
                self.directory.person_name(user.as_str(), people).to_owned()
            }),
            value: cause.value,
            before: cause.before,
        }
    }

    async fn past(&self, span: HourSpan) -> Result<Past, StoreError> {
        let sums = self.store.sums(&self.settings.organization, span).await?;
        let mut past = Past::new();
        for (part, cell, amounts) in sums {
            *past.entry((part, cell)).or_default() += amounts;
        }
        Ok(past)
    }

    /// Whether the ledger reaches back to the start of a span.
    fn is_known_since(&self, workspace_id: &str, span: HourSpan) -> bool {
        let part = match workspace_id {
            UNATTRIBUTED => Part::Unattributed,
            _ => Part::Workspace(WorkspaceId::new(workspace_id)),
        };
        let state = self.figures.part_state(&part);
        state
            .and_then(|state| state.known_from)
            .is_some_and(|known_from| known_from <= span.start)
    }
}

/// Whether parts of a figure are in its own unit.
fn has_contributors(watch: Watch) -> bool {
    match watch {
        Watch::Spend | Watch::BurnRate | Watch::Tokens | Watch::Requests => true,
        Watch::Reconciliation(gap) => gap == Gap::Usd,
        Watch::DataAge | Watch::Lifecycle => false,
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
