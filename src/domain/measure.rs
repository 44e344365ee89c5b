//! Measuring: a rule against the figures, one measurement for each subject it looks at.

mod age;
mod gap;
pub mod lifecycle;
mod pace;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::Slot;
use crate::domain::counting::{
    Counts, is_cell_counted, is_team_counted, key_of, looks_at_organization, quantity, user_of,
};
use crate::domain::event::Event;
use crate::domain::figures::{Figures, PartState};
use crate::domain::frame::{Frame, FrameKey};
use crate::domain::ground::{OrganizationSnapshot, PartInfo, Survey};
use crate::domain::knowledge::{Addend, Figure, Knowledge, Sum, knowledge, oldest, reaches_back};
use crate::domain::money::Usd;
use crate::domain::rule::{Limit, Quantity, Rule, Watch};
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::{Amounts, Cell, Part};

/// What a gap lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    pub billed: Usd,
    /// What that was estimated at.
    pub estimated: Usd,
    /// The part of `estimated` that is not certain, at most.
    pub uncertain: Usd,
}

/// One rule × subject, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The rule, by its place in the list.
    pub rule: usize,
    pub subject: Subject,
    pub figure: Figure,
    /// Against what; `None` where the service has no such limit: then the subject has no rule.
    pub limit: Option<Quantity>,
    pub label: Option<Arc<str>>,
    /// The event that is measured, of a rule on events.
    pub event: Option<Event>,
    pub span: Span,
    /// The period is over; it is measured once more because its figures may still change.
    pub is_closed: bool,
    /// A settled hour of the figure fell in this cycle.
    pub fell: bool,
    /// Up to when the figure is known.
    pub as_of: Option<Timestamp>,
    /// Both sides of a gap.
    pub sides: Option<Box<Sides>>,
}

/// The frame that a rule's figures come from, the longest of them; `None` where it has no period.
pub fn frame_key(rule: &Rule) -> Option<FrameKey> {
    match rule.watch {
        Watch::BurnRate => Some(pace::frame_key(rule.windows.long)),
        Watch::Spend | Watch::Tokens | Watch::Requests | Watch::Reconciliation(_) => {
            Some(FrameKey {
                period: rule.period,
                zone: rule.zone.clone(),
            })
        }
        Watch::DataAge | Watch::Lifecycle => None,
    }
}

/// All frames that a rule needs.
pub fn frame_keys(rule: &Rule) -> Vec<FrameKey> {
    let short = match rule.watch {
        Watch::BurnRate => Some(pace::frame_key(rule.windows.short)),
        Watch::Spend
        | Watch::Tokens
        | Watch::Requests
        | Watch::Reconciliation(_)
        | Watch::DataAge
        | Watch::Lifecycle => None,
    };
    frame_key(rule).into_iter().chain(short).collect()
}

/// Measures a rule for all its subjects: in the open period, and in the one just closed where that ended after `began`.
/// Slots that are `awaited` have an open alert: their models and teams are measured even where the figures have nothing
/// of them.
pub fn measure(
    index: usize,
    rule: &Rule,
    survey: &Survey<'_>,
    awaited: &[&Slot],
    began: Timestamp,
) -> Vec<Measurement> {
    if rule.watch == Watch::Lifecycle {
        return lifecycle::measure(index, rule, survey, awaited, began);
    }
    if !looks_at_organization(rule, &survey.ground) || !is_told(rule, survey.ground.figures) {
        return Vec::new();
    }
    let Some(key) = frame_key(rule) else {
        return age::measure(index, rule, survey);
    };
    let Some((open, closed)) = survey.ground.figures.frame(&key) else {
        return Vec::new();
    };
    let dated = |frame| (frame, first_day(rule, frame));
    let in_frame = |(frame, first_day), is_closed| Look {
        index,
        rule,
        survey,
        counts: Counts::of(rule, &survey.ground, &survey.roster),
        frame,
        first_day,
        is_closed,
    };
    let mut measurements = in_frame(dated(open), false).measure(awaited);
    if rule.watch == Watch::BurnRate {
        let Some((short, _)) = survey
            .ground
            .figures
            .frame(&pace::frame_key(rule.windows.short))
        else {
            return Vec::new();
        };
        let short_ones = in_frame(dated(short), false).measure(awaited);
        return pace::paces(rule, measurements, &short_ones, survey.now);
    }
    if let Some(closed) = closed.filter(|closed| closed.cut.span.end > began) {
        measurements.extend(in_frame(dated(closed), true).measure(awaited));
    }
    measurements
}

/// Whether the service tells what a rule looks at: where it tells no keys, people or requests, the rule has no subject.
fn is_told(rule: &Rule, figures: &Figures) -> bool {
    let has = |asked: bool, tells: fn(&Cell) -> bool| !asked || figures.cells().iter().any(tells);
    let by_key = rule.for_each == SubjectKind::ApiKey || rule.matcher.api_key.is_some();
    let by_user = rule.for_each == SubjectKind::User || rule.matcher.user.is_some();
    has(by_key, |cell| cell.api_key.is_some())
        && has(by_user, |cell| cell.user.is_some())
        && (rule.watch != Watch::Requests || tells_requests(figures))
}

/// Whether any request was ever told: where there are tokens and no requests, these are unknown and not zero.
fn tells_requests(figures: &Figures) -> bool {
    let mut cells = (0..figures.parts().len()).flat_map(|part| figures.recorded(part));
    let has_tokens = cells.clone().any(|(_, amounts)| amounts.tokens.sum() > 0);
    !has_tokens || cells.any(|(_, amounts)| amounts.requests > 0)
}

/// Whether every subject's open period was read once; of events, whether the lists were that tell of them.
pub fn is_ready(rule: &Rule, ground: &OrganizationSnapshot<'_>) -> bool {
    if rule.watch == Watch::Lifecycle {
        return lifecycle::is_ready(rule, ground);
    }
    let start = frame_key(rule).and_then(|key| {
        ground
            .figures
            .frame(&key)
            .map(|(open, _)| open.cut.span.start)
    });
    let is_read = |part: &Part| {
        let state = ground.figures.part_state(part);
        let is_known = |start: Timestamp| {
            state.is_some_and(|state| {
                // What began before the history is a lower bound, however long one waits.
                let is_read = state.is_history_read || reaches_back(state, start);
                state.as_of.is_some_and(|as_of| as_of >= start) && is_read
            })
        };
        start.is_none_or(is_known)
    };
    ground.directory.listed_at.is_some()
        && ground
            .directory
            .present()
            .all(|workspace| is_read(&Part::Workspace(workspace.id.clone())))
        && is_read(&Part::Whole)
}

fn first_day(rule: &Rule, frame: &Frame) -> Date {
    let span = frame.cut.span;
    let at = if rule.period.is_calendar() {
        span.start
    } else {
        span.end
            .checked_sub(SignedDuration::from_secs(1))
            .unwrap_or(span.start)
    };
    at.to_zoned(rule.zone.rules.clone()).date()
}

/// One rule looking at one frame.
struct Look<'a> {
    index: usize,
    rule: &'a Rule,
    survey: &'a Survey<'a>,
    counts: Counts<'a>,
    frame: &'a Frame,
    /// On which the period begins; of a rolling span the last.
    first_day: Date,
    is_closed: bool,
}

/// One part that a rule counts.
struct Counted<'a> {
    state: &'a PartState,
    member: &'a PartInfo<'a>,
    cells: &'a [(u32, Amounts)],
    addend: Addend,
}

impl<'a> Look<'a> {
    fn measure(&self, awaited: &[&Slot]) -> Vec<Measurement> {
        let awaited = awaited
            .iter()
            .filter(|slot| slot.period == self.frame.label)
            .map(|slot| &slot.subject);
        if let Watch::Reconciliation(gap) = self.rule.watch {
            return self.gaps(gap);
        }
        let figures = self.survey.ground.figures;
        let people = self.survey.ground.privacy.in_messages();
        match self.rule.for_each {
            SubjectKind::Organization => self.organization(),
            SubjectKind::Workspace => self.workspaces(),
            SubjectKind::Model => {
                self.by_cell(awaited, |cell| figures.cell_at(cell).model.as_str())
            }
            SubjectKind::ApiKey => self.by_cell(awaited, |cell| key_of(figures.cell_at(cell))),
            SubjectKind::User => {
                self.by_cell(awaited, |cell| user_of(figures.cell_at(cell), people))
            }
            SubjectKind::Team => self.teams(awaited),
        }
    }

    /// The parts that the rule counts. What a workspace left behind is in the totals; it must not make the remainder fire
    /// for old spend.
    fn counted(&self) -> impl Iterator<Item = Counted<'a>> {
        let figures = self.survey.ground.figures;
        let settle = figures.settle();
        let parts = figures.parts().iter().enumerate();
        parts.filter_map(move |(place, state)| {
            let member = self.survey.roster.at(place)?;
            let is_left_out = member.is_gone && self.rule.for_each == SubjectKind::Workspace;
            let is_counted = !is_left_out && self.counts.has_part(member);
            let addend = || Addend {
                known: if member.is_gone {
                    Knowledge::Whole
                } else {
                    knowledge(state, self.frame, self.is_closed, settle)
                },
                fell: state
                    .fell
                    .iter()
                    .any(|hour| self.frame.hours.contains(*hour)),
                as_of: state.as_of.filter(|_| !member.is_gone),
            };
            is_counted.then(|| Counted {
                state,
                member,
                cells: self.frame.sums_of(place),
                addend: addend(),
            })
        })
    }

    /// What is counted of a part's cells, as an addend: without a price it is a lower bound.
    fn add(&self, sum: &mut Sum, part: &Counted<'_>) {
        let mut value = 0;
        let mut addend = part.addend;
        for (_, amounts) in self.cells(part) {
            value += quantity(self.rule.watch, amounts);
            addend = self.bounded(addend, amounts);
        }
        sum.add(value, addend);
    }

    fn cells<'b>(&self, part: &Counted<'b>) -> impl Iterator<Item = &'b (u32, Amounts)> {
        let cells = part.cells.iter();
        cells.filter(|(cell, _)| self.counts.has(part.member, *cell))
    }

    /// Money of tokens without a price is not in the figure.
    fn bounded(&self, addend: Addend, amounts: &Amounts) -> Addend {
        let is_missing = self.rule.watch.is_money() && amounts.unpriced > 0;
        match addend.known {
            Knowledge::Whole if is_missing => Addend {
                known: Knowledge::LowerBound,
                ..addend
            },
            Knowledge::Whole | Knowledge::LowerBound | Knowledge::Stale | Knowledge::Nothing => {
                addend
            }
        }
    }

    fn organization(&self) -> Vec<Measurement> {
        let mut sum = Sum::EMPTY;
        for part in self.counted() {
            self.add(&mut sum, &part);
        }
        let name = self.survey.ground.organization.shared();
        let subject = Subject::new(SubjectKind::Organization, name);
        vec![self.measurement(subject, sum, sum.of_parts(), None)]
    }

    fn workspaces(&self) -> Vec<Measurement> {
        let measured = |part: Counted<'_>| {
            let mut sum = Sum::EMPTY;
            self.add(&mut sum, &part);
            let id = match &part.state.part {
                Part::Workspace(id) => id.shared(),
                Part::Unattributed | Part::Whole => {
                    sum.add_value(-self.unsettled(part.member));
                    Arc::from(part.member.id)
                }
            };
            let subject = Subject::new(SubjectKind::Workspace, id);
            self.measurement(subject, sum, sum.of_one(), Some(part.member))
        };
        let mut all = Vec::with_capacity(self.survey.ground.figures.parts().len());
        all.extend(self.counted().map(measured));
        all
    }

    /// Of models, keys and people: what an unknown part may have used is a lower bound, also where that part's last answer
    /// had none of it.
    fn by_cell<'b>(
        &self,
        awaited: impl Iterator<Item = &'b Subject>,
        id_of: impl Fn(u32) -> &'a str,
    ) -> Vec<Measurement> {
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        let mut unused = Sum::EMPTY;
        for part in self.counted() {
            if part.addend.known != Knowledge::Whole {
                unused.miss();
            }
            unused.as_of = oldest(unused.as_of, part.addend.as_of);
            for (cell, amounts) in self.cells(&part) {
                let sum = sums.entry(id_of(*cell)).or_insert(Sum::EMPTY);
                let value = quantity(self.rule.watch, amounts);
                sum.add(value, self.bounded(part.addend, amounts));
            }
        }
        let missed: Vec<Subject> = awaited
            .filter(|subject| !sums.contains_key(&*subject.id))
            .cloned()
            .collect();
        let known = sums.into_iter().map(|(id, mut sum)| {
            if !unused.is_complete() {
                sum.miss();
            }
            (Subject::new(self.rule.for_each, id), sum)
        });
        let missed = missed.into_iter().map(|subject| (subject, unused));
        known
            .chain(missed)
            .map(|(subject, sum)| self.measurement(subject, sum, sum.of_parts(), None))
            .collect()
    }

    fn teams<'b>(&self, awaited: impl Iterator<Item = &'b Subject>) -> Vec<Measurement> {
        let roster = &self.survey.roster;
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        let mut is_any_unknown = false;
        for part in self.counted() {
            is_any_unknown |= part.addend.known != Knowledge::Whole;
            if is_team_counted(self.rule, part.member.team) {
                let sum = sums.entry(part.member.team).or_insert(Sum::EMPTY);
                sum.add(0, part.addend);
            }
            for (cell, amounts) in self.cells(&part) {
                let sum = sums
                    .entry(roster.team(part.member, *cell))
                    .or_insert(Sum::EMPTY);
                let value = quantity(self.rule.watch, amounts);
                sum.add(value, self.bounded(part.addend, amounts));
            }
        }
        for subject in awaited {
            sums.entry(&subject.id).or_insert(Sum::EMPTY);
        }
        // Keys of a team may have been used anywhere.
        let is_bounded = roster.has_key_teams() && is_any_unknown;
        let measured = |(name, mut sum): (&str, Sum)| {
            if is_bounded {
                sum.miss();
            }
            let subject = Subject::new(SubjectKind::Team, name);
            self.measurement(subject, sum, sum.of_parts(), None)
        };
        sums.into_iter().map(measured).collect()
    }

    /// Of the remainder: what is not settled is a difference of two answers of two moments.
    fn unsettled(&self, member: &PartInfo<'_>) -> Quantity {
        let ground = &self.survey.ground;
        let open = ground
            .figures
            .unsettled_of_unattributed(self.frame.hours, self.survey.now);
        open.iter()
            .filter(|(cell, _)| {
                is_cell_counted(self.rule, ground, cell) && is_team_counted(self.rule, member.team)
            })
            .map(|(_, amounts)| quantity(self.rule.watch, amounts))
            .sum()
    }

    fn measurement(
        &self,
        subject: Subject,
        sum: Sum,
        figure: Figure,
        member: Option<&PartInfo<'_>>,
    ) -> Measurement {
        Measurement {
            rule: self.index,
            limit: self.limit(&subject, member),
            figure,
            subject,
            label: self.frame.label.clone(),
            event: None,
            span: self.frame.cut.span,
            is_closed: self.is_closed,
            fell: sum.fell,
            as_of: sum.as_of,
            sides: None,
        }
    }

    fn limit(&self, subject: &Subject, member: Option<&PartInfo<'_>>) -> Option<Quantity> {
        let ground = &self.survey.ground;
        match &self.rule.limit {
            Limit::Fixed(quantity) => Some(*quantity),
            Limit::Budget(budget) => {
                let name = member.map_or_else(|| ground.name_of(subject), |member| member.name);
                budget
                    .limit(&subject.id, name, self.first_day)
                    .map(Usd::pico)
            }
            Limit::Workspace => member?.workspace?.monthly_limit.map(Usd::pico),
            Limit::Organization => {
                let info = ground.directory.organization.as_ref()?;
                info.usage_limit.map(Usd::pico)
            }
        }
    }
}
