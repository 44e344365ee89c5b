//! The gap between the bill and the price table.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::counting::sides;
use crate::domain::knowledge::Sum;
use crate::domain::measure::{Look, Measurement, Sides};
use crate::domain::money::{Percent, Usd};
use crate::domain::rule::{Gap, Quantity};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::Amounts;

impl Look<'_> {
    /// What is billed against what its tokens cost by the price table. Where nothing has a price there, or nothing is billed
    /// yet, there is nothing to compare.
    pub(super) fn gaps(&self, gap: Gap) -> Vec<Measurement> {
        let figures = self.survey.ground.figures;
        let mut sums: BTreeMap<(SubjectKind, Arc<str>), (Sum, Amounts)> = BTreeMap::new();
        let organization = self.survey.ground.organization.shared();
        for part in self.counted() {
            for (cell, amounts) in self.cells(&part) {
                let id = match self.rule.for_each {
                    SubjectKind::Workspace => Arc::from(part.member.id),
                    SubjectKind::Model => figures.cell_at(*cell).model.shared(),
                    // The configuration refuses the others: a bill does not tell them.
                    SubjectKind::Organization
                    | SubjectKind::ApiKey
                    | SubjectKind::User
                    | SubjectKind::Team => Arc::clone(&organization),
                };
                let (sum, total) = sums
                    .entry((self.rule.for_each, id))
                    .or_insert((Sum::EMPTY, Amounts::ZERO));
                sum.add(0, part.addend);
                *total += *amounts;
            }
        }
        let measured =
            |((kind, id), (mut sum, total)): ((SubjectKind, Arc<str>), (Sum, Amounts))| {
                let (billed, estimated) = sides(&total);
                if total.priced == Usd::ZERO || (billed, estimated) == (Usd::ZERO, Usd::ZERO) {
                    return None;
                }
                sum.add_value(self.gap(gap, billed, estimated));
                let subject = Subject::new(kind, id);
                Some(Measurement {
                    sides: Some(Box::new(Sides {
                        billed,
                        estimated,
                        // That of hours without a bill is in it, too.
                        uncertain: total.uncertain.min(estimated),
                    })),
                    ..self.measurement(subject, sum, sum.of_parts(), None)
                })
            };
        sums.into_iter().filter_map(measured).collect()
    }

    fn gap(&self, gap: Gap, billed: Usd, estimated: Usd) -> Quantity {
        let apart = (billed - estimated).abs();
        match gap {
            Gap::Usd => apart.pico(),
            Gap::Percent if apart < self.rule.min_usd => 0,
            // Of nothing, everything is too much.
            Gap::Percent if estimated <= Usd::ZERO => Quantity::from(Percent::HUNDRED.millionths()),
            Gap::Percent => {
                let whole = Quantity::from(Percent::HUNDRED.millionths());
                let share = apart.pico().checked_mul(whole);
                share.map_or(Quantity::MAX, |share| share / estimated.pico())
            }
        }
    }
}
