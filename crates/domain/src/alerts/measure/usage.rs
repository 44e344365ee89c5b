//! Measures the usage that a rule counts, in one period.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::Slot;
use crate::alerts::measure::{Measurement, burn_rate, frame_keys};
use crate::figures::counting::{
    UsageFilter, is_cell_counted, is_team_counted, key_of, quantity, user_of,
};
use crate::figures::figure::{Addend, Completeness, FigureSum, completeness, oldest};
use crate::figures::period_sums::PeriodSums;
use crate::figures::snapshot::{EvalContext, PartInfo};
use crate::figures::totals::PartState;
use crate::rules::rule::{Condition, Limit, PeriodLimit, Rule};
use crate::rules::watch::{Quantity, Watch};
use crate::units::money::Usd;
use crate::units::period::{self, Period};
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::{Amounts, Part, UsageKey};

/// Measures a rule in the open period, and in the closed one if that ended after `began`.
pub(super) fn measure(
    index: usize,
    rule: &Rule,
    limits: &PeriodLimit,
    eval_context: &EvalContext<'_>,
    open_slots: &[&Slot],
    began: Timestamp,
) -> Vec<Measurement> {
    let snapshot = &eval_context.snapshot;
    let periods = frame_keys(rule).into_iter();
    let mut periods = periods.map_while(|key| snapshot.figures.period_sums(&key));
    let Some((open, closed)) = periods.next() else {
        return Vec::new();
    };
    let measure = |frame, is_closed| {
        let measurer = Measurer {
            index,
            rule,
            watch: rule.watch(),
            limits,
            eval_context,
            filter: UsageFilter::new(rule, snapshot, &eval_context.parts),
            frame,
            first_day: first_day(rule, limits.period, frame),
            is_closed,
        };
        measurer.measure(open_slots)
    };
    let mut measurements = measure(open, false);
    if let Condition::BurnRate {
        windows, min_usd, ..
    } = &rule.condition
    {
        let Some((short, _)) = periods.next() else {
            return Vec::new();
        };
        let period = period::containing(limits.period, &rule.zone.rules, eval_context.now);
        let short_window = measure(short, false);
        return burn_rate::burn_rates(measurements, &short_window, *windows, *min_usd, period.span);
    }
    if let Some(closed) = closed.filter(|closed| closed.period.span.end > began) {
        measurements.extend(measure(closed, true));
    }
    measurements
}

fn first_day(rule: &Rule, period: Period, frame: &PeriodSums) -> Date {
    let span = frame.period.span;
    let at = if period.is_calendar() {
        span.start
    } else {
        span.end
            .checked_sub(SignedDuration::from_secs(1))
            .unwrap_or(span.start)
    };
    at.to_zoned(rule.zone.rules.clone()).date()
}

/// Measures one rule in one period.
pub(super) struct Measurer<'a> {
    pub(super) index: usize,
    pub(super) rule: &'a Rule,
    pub(super) watch: Watch,
    pub(super) limits: &'a PeriodLimit,
    pub(super) eval_context: &'a EvalContext<'a>,
    filter: UsageFilter<'a>,
    frame: &'a PeriodSums,
    /// First day of the period; for rolling periods the last day.
    first_day: Date,
    is_closed: bool,
}

pub(super) struct CountedPart<'a> {
    state: &'a PartState,
    pub(super) member: &'a PartInfo<'a>,
    cells: &'a [(u32, Amounts)],
    pub(super) addend: Addend,
}

impl<'a> Measurer<'a> {
    fn measure(&self, open_slots: &[&Slot]) -> Vec<Measurement> {
        let open_slots = open_slots
            .iter()
            .filter(|slot| slot.period == self.frame.label)
            .map(|slot| &slot.subject);
        if let Condition::Reconciliation { unit, .. } = &self.rule.condition {
            return self.gaps(*unit);
        }
        let people = self.eval_context.snapshot.privacy.in_messages();
        match self.limits.for_each {
            SubjectKind::Organization => self.organization(),
            SubjectKind::Workspace => self.workspaces(),
            SubjectKind::Model => self.by_usage_key(open_slots, |key| key.model.as_str()),
            SubjectKind::ApiKey => self.by_usage_key(open_slots, key_of),
            SubjectKind::User => self.by_usage_key(open_slots, |key| user_of(key, people)),
            SubjectKind::Team => self.teams(open_slots),
        }
    }

    /// Returns the parts that the rule counts. Removed workspaces count towards totals, but do not have alerts of their own.
    pub(super) fn counted(&self) -> impl Iterator<Item = CountedPart<'a>> {
        let figures = self.eval_context.snapshot.figures;
        let settle = figures.settle();
        let parts = figures.parts().iter().enumerate();
        parts.filter_map(move |(index, state)| {
            let member = self.eval_context.parts.get(index)?;
            let is_left_out = member.is_removed && self.limits.for_each == SubjectKind::Workspace;
            let is_counted = !is_left_out && self.filter.has_part(member);
            is_counted.then(|| CountedPart {
                state,
                member,
                cells: self.frame.sums_of(index),
                addend: Addend {
                    completeness: if member.is_removed {
                        Completeness::Whole
                    } else {
                        completeness(state, self.frame, self.is_closed, settle)
                    },
                    fell: state
                        .decreased
                        .iter()
                        .any(|hour| self.frame.hours.contains(*hour)),
                    as_of: state.as_of.filter(|_| !member.is_removed),
                },
            })
        })
    }

    /// Adds the counted usage of a part; without a price it is a lower bound.
    fn add(&self, sum: &mut FigureSum, part: &CountedPart<'_>) {
        let mut value = 0;
        let mut addend = part.addend;
        for (_, amounts) in self.cells(part) {
            value += quantity(self.watch, amounts);
            addend = self.with_unpriced(addend, amounts);
        }
        sum.add(value, addend);
    }

    pub(super) fn cells<'b>(
        &self,
        part: &CountedPart<'b>,
    ) -> impl Iterator<Item = &'b (u32, Amounts)> {
        let cells = part.cells.iter();
        cells.filter(|(usage_key, _)| self.filter.has(part.member, *usage_key))
    }

    /// Downgrades an addend that contains tokens without a price, because their spend is missing.
    fn with_unpriced(&self, addend: Addend, amounts: &Amounts) -> Addend {
        let lacks_price = amounts.unpriced > 0 && self.watch.info().is_spend;
        if lacks_price && addend.completeness == Completeness::Whole {
            Addend {
                completeness: Completeness::LowerBound,
                ..addend
            }
        } else {
            addend
        }
    }

    fn organization(&self) -> Vec<Measurement> {
        let mut sum = FigureSum::EMPTY;
        for part in self.counted() {
            self.add(&mut sum, &part);
        }
        let name = self.eval_context.snapshot.organization.shared();
        let subject = Subject::new(SubjectKind::Organization, name);
        vec![self.measurement(subject, sum, None)]
    }

    fn workspaces(&self) -> Vec<Measurement> {
        let measured = |part: CountedPart<'_>| {
            let mut sum = FigureSum::EMPTY;
            self.add(&mut sum, &part);
            let id = match &part.state.part {
                Part::Workspace(id) => id.shared(),
                Part::Unattributed | Part::Whole => {
                    sum.add_value(-self.unsettled_remainder(part.member));
                    Arc::from(part.member.id)
                }
            };
            let subject = Subject::new(SubjectKind::Workspace, id);
            Measurement {
                figure: sum.into_single_figure(),
                ..self.measurement(subject, sum, Some(part.member))
            }
        };
        let mut all = Vec::with_capacity(self.eval_context.snapshot.figures.parts().len());
        all.extend(self.counted().map(measured));
        all
    }

    /// Measures models, keys or users. All are lower bounds if any part is unknown, because it may have used each of them.
    fn by_usage_key<'b>(
        &self,
        open_slots: impl Iterator<Item = &'b Subject>,
        id_of: impl Fn(&'a UsageKey) -> &'a str,
    ) -> Vec<Measurement> {
        let figures = self.eval_context.snapshot.figures;
        let mut sums: BTreeMap<&str, FigureSum> = BTreeMap::new();
        let mut unused = FigureSum::EMPTY;
        for part in self.counted() {
            if part.addend.completeness != Completeness::Whole {
                unused.add_unknown_part();
            }
            unused.as_of = oldest(unused.as_of, part.addend.as_of);
            for (usage_key, amounts) in self.cells(&part) {
                let id = id_of(figures.usage_key_at(*usage_key));
                let sum = sums.entry(id).or_insert(FigureSum::EMPTY);
                let value = quantity(self.watch, amounts);
                sum.add(value, self.with_unpriced(part.addend, amounts));
            }
        }
        let without_usage: Vec<Subject> = open_slots
            .filter(|subject| !sums.contains_key(&*subject.id))
            .cloned()
            .collect();
        let known = sums.into_iter().map(|(id, mut sum)| {
            if !unused.is_complete() {
                sum.add_unknown_part();
            }
            (Subject::new(self.limits.for_each, id), sum)
        });
        let without_usage = without_usage.into_iter().map(|subject| (subject, unused));
        known
            .chain(without_usage)
            .map(|(subject, sum)| self.measurement(subject, sum, None))
            .collect()
    }

    fn teams<'b>(&self, open_slots: impl Iterator<Item = &'b Subject>) -> Vec<Measurement> {
        let part_table = &self.eval_context.parts;
        let mut sums: BTreeMap<&str, FigureSum> = BTreeMap::new();
        let mut is_any_unknown = false;
        for part in self.counted() {
            is_any_unknown |= part.addend.completeness != Completeness::Whole;
            if is_team_counted(self.rule, part.member.team) {
                let sum = sums.entry(part.member.team).or_insert(FigureSum::EMPTY);
                sum.add(0, part.addend);
            }
            for (usage_key, amounts) in self.cells(&part) {
                let sum = sums
                    .entry(part_table.team(part.member, *usage_key))
                    .or_insert(FigureSum::EMPTY);
                let value = quantity(self.watch, amounts);
                sum.add(value, self.with_unpriced(part.addend, amounts));
            }
        }
        for subject in open_slots {
            sums.entry(&subject.id).or_insert(FigureSum::EMPTY);
        }
        // Keys of a team may have been used in any workspace.
        let is_lower_bound = part_table.has_key_teams() && is_any_unknown;
        let measured = |(name, mut sum): (&str, FigureSum)| {
            if is_lower_bound {
                sum.add_unknown_part();
            }
            let subject = Subject::new(SubjectKind::Team, name);
            self.measurement(subject, sum, None)
        };
        sums.into_iter().map(measured).collect()
    }

    /// Returns the unsettled part of the remainder, which is a difference between two responses of different times.
    fn unsettled_remainder(&self, member: &PartInfo<'_>) -> Quantity {
        let snapshot = &self.eval_context.snapshot;
        let open = snapshot
            .figures
            .unsettled_of_unattributed(self.frame.hours, self.eval_context.now);
        open.iter()
            .filter(|(usage_key, _)| {
                is_cell_counted(self.rule, snapshot, usage_key)
                    && is_team_counted(self.rule, member.team)
            })
            .map(|(_, amounts)| quantity(self.watch, amounts))
            .sum()
    }

    pub(super) fn measurement(
        &self,
        subject: Subject,
        sum: FigureSum,
        member: Option<&PartInfo<'_>>,
    ) -> Measurement {
        Measurement {
            rule: self.index,
            limit: self.limit(&subject, member),
            figure: sum.into_figure(),
            subject,
            label: self.frame.label.clone(),
            event: None,
            span: self.frame.period.span,
            is_closed: self.is_closed,
            is_corrected_down: sum.has_decreased,
            as_of: sum.as_of,
            sides: None,
        }
    }

    fn limit(&self, subject: &Subject, member: Option<&PartInfo<'_>>) -> Option<Quantity> {
        let snapshot = &self.eval_context.snapshot;
        match &self.limits.limit {
            Limit::Fixed(quantity) => Some(*quantity),
            Limit::Budget(budget) => {
                let name = member.map_or_else(|| snapshot.name_of(subject), |member| member.name);
                budget
                    .limit(&subject.id, name, self.first_day)
                    .map(Usd::pico)
            }
            Limit::Workspace => member?.workspace?.monthly_limit.map(Usd::pico),
            Limit::Organization => {
                let info = snapshot.directory.organization.as_ref()?;
                info.usage_limit.map(Usd::pico)
            }
        }
    }
}
