//! Measuring: a rule against the figures, one measurement for each subject it looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::alert::Slot;
use crate::domain::counting::{
    is_model_counted, is_part_counted, looks_at_organization, models_counted, quantity, team_named,
};
use crate::domain::figures::PartState;
use crate::domain::frame::{Frame, FrameKey};
use crate::domain::ground::{Ground, Member, Survey};
use crate::domain::ids::ModelName;
use crate::domain::knowledge::{Addend, Figure, Knowledge, Sum, knowledge, oldest, reaches_back};
use crate::domain::money::Usd;
use crate::domain::rule::{Limit, Quantity, Rule, Watch};
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::{Amounts, Part};

/// One rule × subject, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The rule, by its place in the list.
    pub rule: usize,
    /// Of whom.
    pub subject: Subject,
    /// How much.
    pub figure: Figure,
    /// Against what; `None` where the service has no such limit: then the subject has no rule.
    pub limit: Option<Quantity>,
    /// The calendar period's label.
    pub label: Option<Arc<str>>,
    /// The period.
    pub span: Span,
    /// The period is over; it is measured once more because its figures may still change.
    pub is_closed: bool,
    /// A settled hour of the figure fell in this cycle.
    pub fell: bool,
    /// Up to when the figure is known.
    pub as_of: Option<Timestamp>,
}

/// The frame that a rule's figures come from; `None` where it has no period.
pub fn frame_key(rule: &Rule) -> Option<FrameKey> {
    match rule.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests | Watch::Reconciliation(_) => {
            Some(FrameKey {
                period: rule.period,
                zone: rule.zone.clone(),
            })
        }
        Watch::DataAge => None,
    }
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
    // What is used by one key or person is not measured yet.
    let asks_for_whom = rule.matcher.api_key.is_some() || rule.matcher.user.is_some();
    if asks_for_whom || !looks_at_organization(rule, &survey.ground) {
        return Vec::new();
    }
    let Some(key) = frame_key(rule) else {
        return measure_age(index, rule, survey);
    };
    let Some((open, closed)) = survey.ground.figures.frame(&key) else {
        return Vec::new();
    };
    let in_frame = |frame, is_closed| Look {
        index,
        rule,
        survey,
        models: models_counted(rule, survey.ground.figures),
        frame,
        is_closed,
    };
    let mut measurements = in_frame(open, false).measure(awaited);
    if let Some(closed) = closed.filter(|closed| closed.cut.span.end > began) {
        measurements.extend(in_frame(closed, true).measure(awaited));
    }
    measurements
}

/// Whether every subject's open period was read once.
pub fn is_ready(rule: &Rule, ground: &Ground<'_>) -> bool {
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

/// One rule looking at one frame.
struct Look<'a> {
    index: usize,
    rule: &'a Rule,
    survey: &'a Survey<'a>,
    models: Option<Vec<bool>>,
    frame: &'a Frame,
    is_closed: bool,
}

/// One part that a rule counts.
struct Counted<'a> {
    state: &'a PartState,
    member: &'a Member<'a>,
    cells: &'a [(u32, Amounts)],
    addend: Addend,
}

impl<'a> Look<'a> {
    fn measure(&self, awaited: &[&Slot]) -> Vec<Measurement> {
        let awaited = awaited
            .iter()
            .filter(|slot| slot.period == self.frame.label)
            .map(|slot| &slot.subject);
        match self.rule.for_each {
            SubjectKind::Organization => self.organization(),
            SubjectKind::Workspace => self.workspaces(),
            SubjectKind::Model => self.by_model(awaited),
            // Not measured yet.
            SubjectKind::ApiKey | SubjectKind::User => Vec::new(),
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
            let is_counted = !is_left_out
                && is_part_counted(self.rule, &self.survey.ground, member.id, member.name);
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

    fn value(&self, cells: &[(u32, Amounts)]) -> Quantity {
        cells
            .iter()
            .filter(|(model, _)| self.has_model(*model))
            .map(|(_, amounts)| quantity(self.rule.watch, amounts))
            .sum()
    }

    fn has_model(&self, model: u32) -> bool {
        self.models
            .as_ref()
            .is_none_or(|counted| counted[model as usize])
    }

    fn organization(&self) -> Vec<Measurement> {
        let mut sum = Sum::EMPTY;
        for part in self.counted() {
            sum.add(self.value(part.cells), part.addend);
        }
        let name = self.survey.ground.organization.shared();
        let subject = Subject::new(SubjectKind::Organization, name);
        vec![self.measurement(subject, sum, sum.of_parts(), None)]
    }

    fn workspaces(&self) -> Vec<Measurement> {
        let measured = |part: Counted<'_>| {
            let mut value = self.value(part.cells);
            let id = match &part.state.part {
                Part::Workspace(id) => id.shared(),
                Part::Unattributed | Part::Whole => {
                    value -= self.unsettled();
                    Arc::from(part.member.id)
                }
            };
            let mut sum = Sum::EMPTY;
            sum.add(value, part.addend);
            let subject = Subject::new(SubjectKind::Workspace, id);
            self.measurement(subject, sum, sum.of_one(), Some(part.member))
        };
        self.counted().map(measured).collect()
    }

    /// A model that an unknown part may have used is a lower bound, also where that part's last answer had none of it.
    fn by_model<'b>(&self, awaited: impl Iterator<Item = &'b Subject>) -> Vec<Measurement> {
        let figures = self.survey.ground.figures;
        let mut sums: BTreeMap<&str, (&ModelName, Sum)> = BTreeMap::new();
        let mut unused = Sum::EMPTY;
        for part in self.counted() {
            if part.addend.known != Knowledge::Whole {
                unused.miss();
            }
            unused.as_of = oldest(unused.as_of, part.addend.as_of);
            for (cell, amounts) in part.cells.iter().filter(|(cell, _)| self.has_model(*cell)) {
                let model = &figures.cell_at(*cell).model;
                let (_, sum) = sums.entry(model.as_str()).or_insert((model, Sum::EMPTY));
                sum.add(quantity(self.rule.watch, amounts), part.addend);
            }
        }
        let missed: Vec<Subject> = awaited
            .filter(|subject| !sums.contains_key(&*subject.id))
            .cloned()
            .collect();
        let known = sums.into_values().map(|(name, mut sum)| {
            if !unused.is_complete() {
                sum.miss();
            }
            (Subject::new(SubjectKind::Model, name.shared()), sum)
        });
        let missed = missed.into_iter().map(|subject| (subject, unused));
        known
            .chain(missed)
            .map(|(subject, sum)| self.measurement(subject, sum, sum.of_parts(), None))
            .collect()
    }

    fn teams<'b>(&self, awaited: impl Iterator<Item = &'b Subject>) -> Vec<Measurement> {
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        for part in self.counted() {
            let (id, name) = (part.member.id, part.member.name);
            let team = team_named(self.survey.ground.teams, id, name);
            let sum = sums.entry(team).or_insert(Sum::EMPTY);
            sum.add(self.value(part.cells), part.addend);
        }
        for subject in awaited {
            sums.entry(&subject.id).or_insert(Sum::EMPTY);
        }
        sums.into_iter()
            .map(|(name, sum)| {
                let subject = Subject::new(SubjectKind::Team, name);
                self.measurement(subject, sum, sum.of_parts(), None)
            })
            .collect()
    }

    /// Of the remainder: what is not settled is a difference of two answers of two moments.
    fn unsettled(&self) -> Quantity {
        let figures = self.survey.ground.figures;
        let open = figures.unsettled_of_unattributed(self.frame.hours, self.survey.now);
        open.iter()
            .filter(|(cell, _)| is_model_counted(self.rule, cell.model.as_str()))
            .map(|(_, amounts)| quantity(self.rule.watch, amounts))
            .sum()
    }

    fn measurement(
        &self,
        subject: Subject,
        sum: Sum,
        figure: Figure,
        member: Option<&Member<'_>>,
    ) -> Measurement {
        Measurement {
            rule: self.index,
            limit: limit(self.rule, member, &self.survey.ground),
            figure,
            subject,
            label: self.frame.label.clone(),
            span: self.frame.cut.span,
            is_closed: self.is_closed,
            fell: sum.fell,
            as_of: sum.as_of,
        }
    }
}

fn limit(rule: &Rule, member: Option<&Member<'_>>, ground: &Ground<'_>) -> Option<Quantity> {
    match rule.limit {
        Limit::Fixed(quantity) => Some(quantity),
        Limit::Workspace => member?.workspace?.monthly_limit.map(Usd::pico),
        Limit::Organization => {
            let info = ground.directory.organization.as_ref()?;
            info.usage_limit.map(Usd::pico)
        }
    }
}

/// The age of the data: of each workspace, or of the oldest part of the organization. It is always known.
fn measure_age(index: usize, rule: &Rule, survey: &Survey<'_>) -> Vec<Measurement> {
    let (ground, now) = (&survey.ground, survey.now);
    let age_of = |state: &PartState| {
        let since = state.as_of.unwrap_or(state.first_seen);
        Quantity::from(now.duration_since(since).as_secs().max(0))
    };
    let measured = |subject, state: &PartState| Measurement {
        rule: index,
        subject,
        figure: Figure::Known(age_of(state)),
        limit: match rule.limit {
            Limit::Fixed(limit) => Some(limit),
            Limit::Workspace | Limit::Organization => None,
        },
        label: None,
        span: Span {
            start: now,
            end: now,
        },
        is_closed: false,
        fell: false,
        as_of: state.as_of,
    };
    let is_asked = |state: &PartState, member: Option<&Member<'_>>| {
        state.part != Part::Unattributed
            && state.first_seen > Timestamp::MIN
            && member.is_none_or(|member| !member.is_gone)
    };
    let asked = ground
        .figures
        .parts()
        .iter()
        .enumerate()
        .map(|(place, state)| (state, survey.roster.at(place)))
        .filter(|(state, member)| is_asked(state, *member));
    match rule.for_each {
        SubjectKind::Organization => {
            let oldest = asked.max_by_key(|(state, _)| age_of(state));
            let subject = Subject::new(SubjectKind::Organization, ground.organization.shared());
            oldest
                .map(|(state, _)| measured(subject, state))
                .into_iter()
                .collect()
        }
        SubjectKind::Workspace => asked
            .filter_map(|(state, member)| {
                let member = member?;
                let subject = Subject::new(SubjectKind::Workspace, member.id);
                is_part_counted(rule, ground, member.id, member.name)
                    .then(|| measured(subject, state))
            })
            .collect(),
        // The configuration refuses the age of the data of all others: answers are by workspace.
        SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
            Vec::new()
        }
    }
}
