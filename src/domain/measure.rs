//! Measuring: a rule against the figures, one measurement for each subject it looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::domain::directory::{Directory, Presence};
use crate::domain::figures::{Figures, Frame, FrameKey, PartState};
use crate::domain::ids::{OrganizationName, UNASSIGNED, UNATTRIBUTED};
use crate::domain::matcher::Team;
use crate::domain::rule::{Limit, Quantity, Rule, Watch};
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::{Amounts, Part};

/// A derived value and how far to trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// All of it is known.
    Known(Quantity),
    /// Part of it is unknown: it is at least this. It may fire, it cannot resolve.
    AtLeast(Quantity),
    /// Was known once; nothing is decided on it.
    Stale(Quantity),
    /// Was never known in this period.
    Unknown,
}

impl Figure {
    /// The last value, however old; `None` when there never was one.
    pub fn value(self) -> Option<Quantity> {
        match self {
            Figure::Known(value) | Figure::AtLeast(value) | Figure::Stale(value) => Some(value),
            Figure::Unknown => None,
        }
    }
}

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

/// What measurements are made of.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The organization's configured name.
    pub organization: &'a OrganizationName,
    /// Workspaces by name and limit.
    pub directory: &'a Directory,
    /// Teams, in the order of the configuration.
    pub teams: &'a [Team],
    /// The sums.
    pub figures: &'a Figures,
}

/// The frame that a rule's figures come from; `None` where it has no period.
pub fn frame_key(rule: &Rule) -> Option<FrameKey> {
    match rule.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests => Some(FrameKey {
            period: rule.period,
            zone: rule.zone.clone(),
        }),
        Watch::DataAge => None,
    }
}

/// Measures a rule for all its subjects: in the open period, and in the one just closed where that ended after `began`.
pub fn measure(
    index: usize,
    rule: &Rule,
    ground: &Ground<'_>,
    began: Timestamp,
    now: Timestamp,
) -> Vec<Measurement> {
    if !looks_at_organization(rule, ground) || rule.matcher.api_key.is_some() {
        return Vec::new();
    }
    let Some(key) = frame_key(rule) else {
        return measure_age(index, rule, ground, now);
    };
    let Some((open, closed)) = ground.figures.frame(&key) else {
        return Vec::new();
    };
    let mut measurements = measure_frame(index, rule, ground, open, false, now);
    if let Some(closed) = closed.filter(|closed| closed.cut.span.end > began) {
        measurements.extend(measure_frame(index, rule, ground, closed, true, now));
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
                state.as_of.is_some_and(|as_of| as_of >= start) && reaches_back(state, start)
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

/// Whether a rule still looks at a subject, as far as the directory and the configuration tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It does.
    Inside,
    /// The rule was narrowed, or the team is no more.
    Outside,
    /// The workspace is gone.
    Gone,
}

/// See [`Scope`].
pub fn scope(rule: &Rule, subject: &Subject, ground: &Ground<'_>) -> Scope {
    if !looks_at_organization(rule, ground) || rule.for_each != subject.kind {
        return Scope::Outside;
    }
    let is_inside = match subject.kind {
        SubjectKind::Organization => true,
        SubjectKind::Workspace => match ground.directory.workspaces.get(&*subject.id) {
            Some((_, Presence::Gone)) => return Scope::Gone,
            _ => part_matches(rule, ground, &subject.id),
        },
        SubjectKind::Model => rule
            .matcher
            .model
            .as_ref()
            .is_none_or(|glob| glob.matches(&subject.id)),
        SubjectKind::Team => {
            let exists = *subject.id == *UNASSIGNED
                || ground
                    .teams
                    .iter()
                    .any(|team| team.name.as_str() == &*subject.id);
            exists
                && rule
                    .matcher
                    .team
                    .as_ref()
                    .is_none_or(|glob| glob.matches(&subject.id))
        }
    };
    if is_inside {
        Scope::Inside
    } else {
        Scope::Outside
    }
}

/// The team of a workspace: the first that names it.
pub fn team_of<'a>(teams: &'a [Team], directory: &Directory, id: &str) -> &'a str {
    let name = directory.name_of(id);
    teams
        .iter()
        .find(|team| team.has_workspace(id, name))
        .map_or(UNASSIGNED, |team| team.name.as_str())
}

/// Whether a part and a model are counted for one subject of a rule.
pub fn counts_for(
    rule: &Rule,
    subject: &Subject,
    ground: &Ground<'_>,
    workspace_id: &str,
    model: &str,
) -> bool {
    let is_subject = match subject.kind {
        SubjectKind::Organization => true,
        SubjectKind::Workspace => *subject.id == *workspace_id,
        SubjectKind::Model => *subject.id == *model,
        SubjectKind::Team => *subject.id == *team_of(ground.teams, ground.directory, workspace_id),
    };
    is_subject
        && part_matches(rule, ground, workspace_id)
        && rule
            .matcher
            .model
            .as_ref()
            .is_none_or(|glob| glob.matches(model))
}

/// The figure's quantity in a rule's unit.
pub fn quantity(watch: Watch, amounts: &Amounts) -> Quantity {
    match watch {
        Watch::Spend => amounts.spend.pico(),
        Watch::Tokens => Quantity::from(amounts.tokens.sum()),
        Watch::Requests => Quantity::from(amounts.requests),
        Watch::DataAge => 0,
    }
}

fn looks_at_organization(rule: &Rule, ground: &Ground<'_>) -> bool {
    rule.matcher
        .organization
        .as_ref()
        .is_none_or(|glob| glob.matches(ground.organization.as_str()))
}

fn part_matches(rule: &Rule, ground: &Ground<'_>, id: &str) -> bool {
    let matcher = &rule.matcher;
    let is_named = matcher
        .workspace
        .as_ref()
        .is_none_or(|glob| glob.matches(ground.directory.name_of(id)) || glob.matches(id));
    let has_team = || {
        matcher
            .team
            .as_ref()
            .is_none_or(|glob| glob.matches(team_of(ground.teams, ground.directory, id)))
    };
    is_named && has_team()
}

/// Whether a part exists still; what belonged to a workspace that is gone counts as remainder.
fn is_gone(ground: &Ground<'_>, part: &Part) -> bool {
    match part {
        Part::Workspace(id) => {
            matches!(
                ground.directory.workspaces.get(id),
                Some((_, Presence::Gone))
            )
        }
        Part::Unattributed | Part::Whole => false,
    }
}

/// Everything a frame's part knows is at least from the period's start on.
fn reaches_back(state: &PartState, start: Timestamp) -> bool {
    state.known_from.is_some_and(|hour| hour.start() <= start)
}

/// One subject's sum while it is being added up.
#[derive(Debug, Clone, Copy)]
struct Sum {
    value: Quantity,
    is_complete: bool,
    is_known_once: bool,
    fell: bool,
    as_of: Option<Timestamp>,
}

impl Sum {
    const EMPTY: Sum = Sum {
        value: 0,
        is_complete: true,
        is_known_once: false,
        fell: false,
        as_of: None,
    };

    fn add(&mut self, value: Quantity, known: Knowledge, fell: bool, as_of: Option<Timestamp>) {
        self.as_of = match (self.as_of, as_of) {
            (Some(oldest), Some(as_of)) => Some(oldest.min(as_of)),
            (oldest, as_of) => oldest.or(as_of),
        };
        self.fell |= fell;
        match known {
            Knowledge::Whole => {
                self.value += value;
                self.is_known_once = true;
            }
            Knowledge::LowerBound => {
                self.value += value;
                self.is_known_once = true;
                self.is_complete = false;
            }
            Knowledge::Stale => {
                self.value += value;
                self.is_complete = false;
            }
            Knowledge::Nothing => self.is_complete = false,
        }
    }

    /// Of something that has parts.
    fn of_parts(self) -> Figure {
        match (self.is_complete, self.is_known_once) {
            (true, _) => Figure::Known(self.value),
            (false, true) => Figure::AtLeast(self.value),
            (false, false) => Figure::Stale(self.value),
        }
    }
}

/// How far one part's sum in one span can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    Whole,
    LowerBound,
    Stale,
    Nothing,
}

fn knowledge(
    state: &PartState,
    frame: &Frame,
    is_closed: bool,
    settle: SignedDuration,
) -> Knowledge {
    let Some(as_of) = state.as_of.filter(|as_of| *as_of >= frame.cut.span.start) else {
        return Knowledge::Nothing;
    };
    if !state.is_fresh {
        return Knowledge::Stale;
    }
    // A period that is over is known when its last hour is settled.
    let is_final = !is_closed || as_of.duration_since(frame.cut.span.end) >= settle;
    if is_final && reaches_back(state, frame.cut.span.start) {
        Knowledge::Whole
    } else {
        Knowledge::LowerBound
    }
}

fn measure_frame(
    index: usize,
    rule: &Rule,
    ground: &Ground<'_>,
    frame: &Frame,
    is_closed: bool,
    now: Timestamp,
) -> Vec<Measurement> {
    let figures = ground.figures;
    let mut sums: BTreeMap<Subject, Sum> = BTreeMap::new();
    if rule.for_each == SubjectKind::Organization {
        sums.insert(
            Subject::new(SubjectKind::Organization, ground.organization.as_str()),
            Sum::EMPTY,
        );
    }
    let mut is_partly_unknown = false;
    for (part_index, state) in figures.parts().iter().enumerate() {
        let Some(own_id) = state.part.workspace_id() else {
            continue;
        };
        let is_gone = is_gone(ground, &state.part);
        // What a workspace left behind is in the totals; it must not make the remainder fire for old spend.
        if is_gone && rule.for_each == SubjectKind::Workspace {
            continue;
        }
        let id = if is_gone { UNATTRIBUTED } else { own_id };
        if !part_matches(rule, ground, id) {
            continue;
        }
        let known = if is_gone {
            Knowledge::Whole
        } else {
            knowledge(state, frame, is_closed, figures.settle())
        };
        let fell = state.fell.iter().any(|hour| frame.hours.contains(*hour));
        let cells = frame.sums_of(part_index);
        is_partly_unknown |= known != Knowledge::Whole;
        if rule.for_each == SubjectKind::Model {
            add_models(&mut sums, rule, figures, cells, (known, fell, state.as_of));
            continue;
        }
        let subject = match rule.for_each {
            SubjectKind::Organization => {
                Subject::new(SubjectKind::Organization, ground.organization.as_str())
            }
            SubjectKind::Workspace | SubjectKind::Model => Subject::new(SubjectKind::Workspace, id),
            SubjectKind::Team => Subject::new(
                SubjectKind::Team,
                team_of(ground.teams, ground.directory, id),
            ),
        };
        let mut value: Quantity = cells
            .iter()
            .filter(|cell| model_matches(rule, figures, cell.0))
            .map(|(_, amounts)| quantity(rule.watch, amounts))
            .sum();
        if rule.for_each == SubjectKind::Workspace && state.part == Part::Unattributed {
            value -= unsettled(rule, figures, frame, now);
        }
        let as_of = if is_gone { None } else { state.as_of };
        sums.entry(subject)
            .or_insert(Sum::EMPTY)
            .add(value, known, fell, as_of);
    }
    // A model that an unknown part may have used is a lower bound, also where that part's last answer had none of it.
    if rule.for_each == SubjectKind::Model && is_partly_unknown {
        for sum in sums.values_mut() {
            sum.is_complete = false;
        }
    }
    sums.into_iter()
        .map(|(subject, sum)| Measurement {
            rule: index,
            limit: limit(rule, &subject, ground),
            figure: if subject.kind == SubjectKind::Workspace {
                of_one(sum)
            } else {
                sum.of_parts()
            },
            subject,
            label: frame.label.clone(),
            span: frame.cut.span,
            is_closed,
            fell: sum.fell,
            as_of: sum.as_of,
        })
        .collect()
}

/// Of one workspace: what is not known now decides nothing.
fn of_one(sum: Sum) -> Figure {
    match (sum.is_complete, sum.is_known_once) {
        (true, _) => Figure::Known(sum.value),
        (false, true) => Figure::AtLeast(sum.value),
        (false, false) if sum.as_of.is_some() => Figure::Stale(sum.value),
        (false, false) => Figure::Unknown,
    }
}

fn add_models(
    sums: &mut BTreeMap<Subject, Sum>,
    rule: &Rule,
    figures: &Figures,
    cells: &[(u32, Amounts)],
    (known, fell, as_of): (Knowledge, bool, Option<Timestamp>),
) {
    for (model, amounts) in cells
        .iter()
        .filter(|cell| model_matches(rule, figures, cell.0))
    {
        let name = figures.models()[*model as usize].as_str();
        let subject = Subject::new(SubjectKind::Model, name);
        sums.entry(subject).or_insert(Sum::EMPTY).add(
            quantity(rule.watch, amounts),
            known,
            fell,
            as_of,
        );
    }
}

fn model_matches(rule: &Rule, figures: &Figures, model: u32) -> bool {
    rule.matcher
        .model
        .as_ref()
        .is_none_or(|glob| glob.matches(figures.models()[model as usize].as_str()))
}

fn unsettled(rule: &Rule, figures: &Figures, frame: &Frame, now: Timestamp) -> Quantity {
    let open = figures.unsettled_of_unattributed(frame.hours, now);
    let is_counted = |model: &str| {
        rule.matcher
            .model
            .as_ref()
            .is_none_or(|glob| glob.matches(model))
    };
    open.iter()
        .filter(|(model, _)| is_counted(model.as_str()))
        .map(|(_, amounts)| quantity(rule.watch, amounts))
        .sum()
}

fn limit(rule: &Rule, subject: &Subject, ground: &Ground<'_>) -> Option<Quantity> {
    match rule.limit {
        Limit::Fixed(quantity) => Some(quantity),
        Limit::Workspace => {
            let (workspace, _) = ground.directory.workspaces.get(&*subject.id)?;
            workspace.monthly_limit.map(super::money::Usd::pico)
        }
        Limit::Organization => ground
            .directory
            .organization
            .as_ref()?
            .usage_limit
            .map(super::money::Usd::pico),
    }
}

/// The age of the data: of each workspace, or of the oldest part of the organization. It is always known.
fn measure_age(index: usize, rule: &Rule, ground: &Ground<'_>, now: Timestamp) -> Vec<Measurement> {
    let age_of = |state: &PartState| {
        let since = state.as_of.unwrap_or(state.first_seen);
        Quantity::from(now.duration_since(since).as_secs().max(0))
    };
    let asked = ground.figures.parts().iter().filter(|state| {
        state.part != Part::Unattributed
            && !is_gone(ground, &state.part)
            && state.first_seen > Timestamp::MIN
    });
    let measured = |subject, age, as_of| Measurement {
        rule: index,
        subject,
        figure: Figure::Known(age),
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
        as_of,
    };
    match rule.for_each {
        SubjectKind::Organization => {
            let oldest = asked.max_by_key(|state| age_of(state));
            let subject = Subject::new(SubjectKind::Organization, ground.organization.as_str());
            oldest
                .map(|state| measured(subject, age_of(state), state.as_of))
                .into_iter()
                .collect()
        }
        SubjectKind::Workspace => asked
            .filter_map(|state| {
                let id = state.part.workspace_id()?;
                let subject = Subject::new(SubjectKind::Workspace, id);
                part_matches(rule, ground, id)
                    .then(|| measured(subject, age_of(state), state.as_of))
            })
            .collect(),
        // The configuration refuses the age of a model's or a team's data: answers are by workspace.
        SubjectKind::Model | SubjectKind::Team => Vec::new(),
    }
}
