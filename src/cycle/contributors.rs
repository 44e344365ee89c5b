//! Adds top contributors to the facts of alerts, compared with the same point of the previous period.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::cycle::state::Watcher;
use spendwatch_domain::alerts::alert::Slot;
use spendwatch_domain::alerts::decision::Decision;
use spendwatch_domain::alerts::measure::frame_key;
use spendwatch_domain::alerts::notification::{Contributor, Fact, MAX_CONTRIBUTORS, NamedKey};
use spendwatch_domain::figures::contributors::{ContributingUsage, ContributorSum, UsagePiece};
use spendwatch_domain::figures::counting::{is_counted_for, quantity};
use spendwatch_domain::figures::period_sums::{PeriodKey, PeriodSums};
use spendwatch_domain::rules::rule::Rule;
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::{UNATTRIBUTED, WorkspaceId};
use spendwatch_domain::units::period;
use spendwatch_domain::units::privacy::UserNaming;
use spendwatch_domain::units::span::{HourSpan, Span};
use spendwatch_domain::usage::bucket::{Amounts, Part, UsageKey};
use spendwatch_store::error::StoreError;

/// Maximum number of alerts per message that have contributors.
const MAX_EXPLAINED: usize = 12;

/// Amounts by part and usage key in a span.
type Past = BTreeMap<(Part, UsageKey), Amounts>;

impl Watcher {
    /// Adds contributors to the facts of a decision, except to those of resolved alerts.
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
                let Some((rule, key, frame)) = self.explained_period(fact) else {
                    continue;
                };
                let span = same_time_previous(&key, frame, fact.as_of.unwrap_or(fact.decided_at));
                if let Entry::Vacant(entry) = pasts.entry(span) {
                    entry.insert(self.past(span).await?);
                }
                fact.top = self.contributors(rule, fact, frame, &pasts[&span], span);
                explained.insert(fact.identity.slot.clone(), fact.top.clone());
            }
        }
        Ok(())
    }

    /// Returns the rule of a fact and its period, if the rule has contributors.
    fn explained_period(&self, fact: &Fact) -> Option<(&Rule, PeriodKey, &PeriodSums)> {
        let slot = &fact.identity.slot;
        let mut rules = self.settings.policy.rules.iter();
        let rule = rules.find(|rule| rule.name == slot.rule)?;
        let key = frame_key(rule).filter(|_| rule.watch().info().has_contributors)?;
        let (open, closed) = self.figures.period_sums(&key)?;
        let mut frames = [Some(open), closed].into_iter().flatten();
        Some((rule, key, frames.find(|frame| frame.label == slot.period)?))
    }

    fn contributors(
        &self,
        rule: &Rule,
        fact: &Fact,
        frame: &PeriodSums,
        past: &Past,
        span: HourSpan,
    ) -> Vec<Contributor> {
        let snapshot = self.snapshot();
        let subject = &fact.identity.slot.subject;
        let mut sums: BTreeMap<(&str, &UsageKey), (Quantity, Quantity)> = BTreeMap::new();
        for (index, state) in self.figures.parts().iter().enumerate() {
            let Some(id) = state.part.workspace_id() else {
                continue;
            };
            for (usage_key, amounts) in frame.sums_of(index) {
                let usage_key = self.figures.usage_key_at(*usage_key);
                if is_counted_for(rule, subject, &snapshot, id, usage_key) {
                    sums.entry((id, usage_key)).or_default().0 += quantity(rule.watch(), amounts);
                }
            }
        }
        for ((part, usage_key), amounts) in past {
            let Some(id) = part.workspace_id() else {
                continue;
            };
            if is_counted_for(rule, subject, &snapshot, id, usage_key) {
                sums.entry((id, usage_key)).or_default().1 += quantity(rule.watch(), amounts);
            }
        }
        let piece = |((workspace, usage_key), (value, before))| UsagePiece {
            workspace,
            usage_key,
            value,
            before,
        };
        let pieces: Vec<UsagePiece<'_>> = sums.into_iter().map(piece).collect();
        let pieces = ContributingUsage {
            kind: subject.kind,
            names_users: self.settings.privacy.in_messages() != UserNaming::Hidden,
            all: &pieces,
        };
        let top = pieces.top(MAX_CONTRIBUTORS, |id| self.is_known_since(id, span));
        top.into_iter()
            .map(|cause| self.contributor(cause))
            .collect()
    }

    fn contributor(&self, cause: ContributorSum<'_>) -> Contributor {
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
                self.directory.user_name(user.as_str(), people).to_owned()
            }),
            value: cause.value,
            before: cause.before,
        }
    }

    async fn past(&self, span: HourSpan) -> Result<Past, StoreError> {
        let sums = self.store.sums(&self.settings.organization, span).await?;
        let mut past = Past::new();
        for (part, usage_key, amounts) in sums {
            *past.entry((part, usage_key)).or_default() += amounts;
        }
        Ok(past)
    }

    /// Returns whether the ledger reaches back to the start of a span.
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

/// Returns the start of the previous period, as long as this one has lasted.
fn same_time_previous(key: &PeriodKey, frame: &PeriodSums, as_of: Timestamp) -> HourSpan {
    let before = period::previous(key.period, &key.zone.rules, &frame.period);
    let passed = as_of
        .min(frame.period.span.end)
        .duration_since(frame.period.span.start);
    let end = before
        .span
        .start
        .checked_add(passed)
        .unwrap_or(before.span.end)
        .min(before.span.end);
    let start = before.span.start;
    Span { start, end }.hours()
}
