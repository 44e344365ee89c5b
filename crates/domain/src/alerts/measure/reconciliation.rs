//! Measures the gap between bill and estimate.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alerts::measure::usage::Measurer;
use crate::alerts::measure::{GapSides, Measurement};
use crate::figures::counting::billed_and_estimated;
use crate::figures::figure::FigureSum;
use crate::rules::rule::GapUnit;
use crate::rules::watch::Quantity;
use crate::units::money::{Percent, Usd};
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::Amounts;

impl Measurer<'_> {
    /// Compares the bill with the estimate of the same tokens. Subjects without any price or bill are left out.
    pub(super) fn gaps(&self, unit: GapUnit) -> Vec<Measurement> {
        let figures = self.eval_context.snapshot.figures;
        let mut sums: BTreeMap<(SubjectKind, Arc<str>), (FigureSum, Amounts)> = BTreeMap::new();
        let organization = self.eval_context.snapshot.organization.shared();
        for part in self.counted() {
            for (usage_key, amounts) in self.cells(&part) {
                let id = match self.limits.for_each {
                    SubjectKind::Workspace => Arc::from(part.member.id),
                    SubjectKind::Model => figures.usage_key_at(*usage_key).model.shared(),
                    // Rejected by the configuration: a bill does not show them.
                    SubjectKind::Organization
                    | SubjectKind::ApiKey
                    | SubjectKind::User
                    | SubjectKind::Team => Arc::clone(&organization),
                };
                let (sum, total) = sums
                    .entry((self.limits.for_each, id))
                    .or_insert((FigureSum::EMPTY, Amounts::ZERO));
                sum.add(0, part.addend);
                *total += *amounts;
            }
        }
        let measured =
            |((kind, id), (mut sum, total)): ((SubjectKind, Arc<str>), (FigureSum, Amounts))| {
                let (billed, estimated) = billed_and_estimated(&total);
                if total.priced == Usd::ZERO || (billed, estimated) == (Usd::ZERO, Usd::ZERO) {
                    return None;
                }
                sum.add_value(gap(unit, billed, estimated));
                let subject = Subject::new(kind, id);
                Some(Measurement {
                    sides: Some(Box::new(GapSides {
                        billed,
                        estimated,
                        // The sum includes hours without a bill.
                        uncertain: total.uncertain.min(estimated),
                    })),
                    ..self.measurement(subject, sum, None)
                })
            };
        sums.into_iter().filter_map(measured).collect()
    }
}

fn gap(unit: GapUnit, billed: Usd, estimated: Usd) -> Quantity {
    let difference = (billed - estimated).abs();
    let whole = Quantity::from(Percent::HUNDRED.millionths());
    match unit {
        GapUnit::Usd => difference.pico(),
        GapUnit::Percent { min_usd } if difference < min_usd => 0,
        // Anything billed without an estimate is a gap of 100%.
        GapUnit::Percent { .. } if estimated <= Usd::ZERO => whole,
        GapUnit::Percent { .. } => {
            let share = difference.pico().checked_mul(whole);
            share.map_or(Quantity::MAX, |share| share / estimated.pico())
        }
    }
}
