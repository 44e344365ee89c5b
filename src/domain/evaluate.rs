//! One step of one alert: its state before and a measurement give its state after. Nothing is told here.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::domain::alert::{Alert, Crossing, EndedBy, Identity, Line, Now, Observed, Slot, State};
use crate::domain::ids::OrganizationName;
use crate::domain::knowledge::Figure;
use crate::domain::lines::{Lines, is_any_crossed, is_crossed, is_held};
use crate::domain::measure::Measurement;
use crate::domain::rule::{Quantity, Rule};
use crate::domain::span::Span;

/// Evaluates the measurements of one rule, one after the other. Its lines are drawn once for each limit that follows another.
pub struct Evaluator<'a> {
    organization: &'a OrganizationName,
    rule: &'a Rule,
    now: Now,
    drawn: Option<(Quantity, Lines)>,
}

impl<'a> Evaluator<'a> {
    /// Of a rule at a moment.
    pub fn new(organization: &'a OrganizationName, rule: &'a Rule, now: Now) -> Evaluator<'a> {
        Evaluator {
            organization,
            rule,
            now,
            drawn: None,
        }
    }

    /// The alert after one measurement; `None` where nothing of it changes.
    pub fn step(&mut self, measurement: &Measurement, before: Option<&Alert>) -> Option<Alert> {
        let (rule, now) = (self.rule, self.now);
        let Some(limit) = measurement.limit else {
            return before.and_then(|alert| end(alert, EndedBy::LimitChanged, None, now));
        };
        let (value, is_complete) = match measurement.figure {
            Figure::Known(value) => (value, true),
            Figure::AtLeast(value) => (value, false),
            Figure::Stale(_) | Figure::Unknown => {
                return before.and_then(|alert| pause(alert, now));
            }
        };
        let open = before.filter(|alert| !matches!(alert.state, State::Ended { .. }));
        if open.is_none() && !is_any_crossed(rule, limit, value) {
            return None;
        }
        let organization = self.organization;
        let step = Step {
            organization,
            rule,
            measurement,
            lines: self.lines(limit),
            limit,
            value,
            is_complete,
            now,
        };
        if let Some(alert) = open.filter(|alert| step.holds(alert)) {
            let thorough = || step.of_open(alert, step.standing(&known(alert)));
            debug_assert_eq!(thorough(), None, "what holds does not change");
            return None;
        }
        let standing = step.standing(&open.map(known).unwrap_or_default());
        match before {
            Some(alert) if measurement.is_closed => step.of_closed(alert, standing),
            Some(alert) => step.of_open(alert, standing),
            None => (!standing.is_empty()).then(|| step.begin(standing)),
        }
    }

    fn lines(&mut self, limit: Quantity) -> &Lines {
        let drawn = self.drawn.take().filter(|(of, _)| *of == limit);
        let (_, lines) = self
            .drawn
            .insert(drawn.unwrap_or_else(|| (limit, Lines::of(self.rule, limit))));
        lines
    }
}

/// Ends an alert; `None` where it is over already or was never more than pending and nobody knows.
pub fn end(alert: &Alert, by: EndedBy, value: Option<Quantity>, now: Now) -> Option<Alert> {
    match &alert.state {
        State::Ended { .. } => None,
        State::Pending { line, .. } | State::Firing { line, .. } => Some(Alert {
            state: State::Ended {
                by,
                at: now.at,
                line: line.clone(),
            },
            rising: Vec::new(),
            sequence: alert.sequence + 1,
            value: value.unwrap_or(alert.value),
            limit: if by == EndedBy::LimitChanged && value.is_none() {
                None
            } else {
                alert.limit
            },
            ..alert.clone()
        }),
    }
}

/// A line that stands at this moment, and since when; `None` is for long enough, because it fires already.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    line: Line,
    since: Option<Observed>,
}

struct Step<'a> {
    organization: &'a OrganizationName,
    rule: &'a Rule,
    measurement: &'a Measurement,
    lines: &'a Lines,
    limit: Quantity,
    value: Quantity,
    is_complete: bool,
    now: Now,
}

impl Step<'_> {
    /// Whether an open alert fires by just the line that is the highest crossed, and nothing else is on its way: what most
    /// alerts are asked, and nothing is allocated for it.
    fn holds(&self, alert: &Alert) -> bool {
        match &alert.state {
            State::Firing {
                line,
                clearing_since: None,
            } => {
                !self.measurement.is_closed
                    && alert.rising.is_empty()
                    && alert.limit == Some(self.limit)
                    && self.lines.highest_crossed(self.value) == Some(line)
            }
            State::Firing { .. } | State::Pending { .. } | State::Ended { .. } => false,
        }
    }

    /// The lines that are crossed, or were and have not been cleared; lowest first. Of several that stand since the same
    /// moment only the highest.
    fn standing(&self, known: &[Standing]) -> Vec<Standing> {
        let mut standing: Vec<Standing> = self
            .lines
            .iter()
            .take_while(|line| is_crossed(line, self.value) || self.is_still_held(line, known))
            .map(|line| Standing {
                line: line.clone(),
                since: self.since(line, known),
            })
            .collect();
        if !self.is_complete {
            standing.extend(self.not_refuted(known, standing.last()));
        }
        let mut highest: Vec<Standing> = Vec::new();
        for next in standing {
            highest.pop_if(|last| last.since == next.since);
            highest.push(next);
        }
        highest
    }

    /// A lower bound may raise, never lower: what was known stays, and the time does not count for it.
    fn not_refuted(&self, known: &[Standing], crossed: Option<&Standing>) -> Vec<Standing> {
        let is_above = |held: &&Standing| {
            crossed.is_none_or(|crossed| self.lines.compare(&held.line, &crossed.line).is_gt())
        };
        let paused = |held: &Standing| Standing {
            line: held.line.clone(),
            since: held.since.map(|since| later(since, self.now)),
        };
        known.iter().filter(is_above).map(paused).collect()
    }

    /// Hysteresis: for a line at or below one that was held, by rank and by quantity. A limit that was raised clears at
    /// the new line itself.
    fn is_still_held(&self, line: &Line, known: &[Standing]) -> bool {
        let covers = |held: &Standing| {
            line.quantity <= held.line.quantity && self.lines.compare(line, &held.line).is_le()
        };
        self.is_complete
            && is_held(line, self.rule.clear_below, self.value)
            && known.iter().any(covers)
    }

    /// A line is crossed at least since any was that lies at or above it. A limit that moves takes its lines along.
    fn since(&self, line: &Line, known: &[Standing]) -> Option<Observed> {
        let covers = |held: &&Standing| {
            line.quantity <= held.line.quantity || self.lines.compare(line, &held.line).is_eq()
        };
        let earliest = known.iter().filter(covers).map(|held| held.since).min();
        earliest.unwrap_or(Some(self.now.observed))
    }

    fn begin(&self, standing: Vec<Standing>) -> Alert {
        let slot = Slot {
            rule: self.rule.name.clone(),
            subject: self.measurement.subject.clone(),
            period: self.measurement.label.clone(),
            event: self.measurement.event,
        };
        let alert = Alert {
            identity: Identity {
                organization: self.organization.clone(),
                slot,
                started_at: self.now.at,
            },
            watch: self.rule.watch,
            span: self.measurement.span,
            state: State::Pending {
                line: standing[0].line.clone(),
                since: self.now.observed,
            },
            rising: Vec::new(),
            sequence: 0,
            firing_since: None,
            is_late: self.measurement.is_closed,
            is_silenced: false,
            value: self.value,
            limit: Some(self.limit),
            told: BTreeMap::new(),
        };
        self.raised(&alert, standing)
    }

    /// The highest line that was held for long enough fires, and those above it wait. A period that is over does not wait.
    fn raised(&self, alert: &Alert, mut standing: Vec<Standing>) -> Alert {
        let is_ripe = |held: &Standing| {
            let is_long = |since| {
                self.measurement.is_closed
                    || self.now.observed.since(since) >= milliseconds(self.rule.hold)
            };
            held.since.is_none_or(is_long)
        };
        let n_ripe = standing
            .iter()
            .rposition(is_ripe)
            .map_or(0, |place| place + 1);
        let waiting = standing.split_off(n_ripe);
        match (standing.pop(), &alert.state) {
            (Some(fires), _) => self.firing(alert, fires.line, waiting),
            // Its threshold is no more; another one is on its way.
            (None, State::Firing { line, .. }) => self.firing(alert, line.clone(), waiting),
            (None, State::Pending { .. } | State::Ended { .. }) => {
                let mut rising = crossings(waiting);
                let Crossing { line, since } = rising.remove(0);
                self.with(alert, State::Pending { line, since }, rising)
            }
        }
    }

    fn firing(&self, alert: &Alert, line: Line, waiting: Vec<Standing>) -> Alert {
        let state = State::Firing {
            line,
            clearing_since: None,
        };
        Alert {
            firing_since: if alert.is_firing() {
                alert.firing_since
            } else {
                Some(self.now.at)
            },
            ..self.with(alert, state, crossings(waiting))
        }
    }

    fn with(&self, alert: &Alert, state: State, rising: Vec<Crossing>) -> Alert {
        Alert {
            state,
            rising,
            span: self.span(alert),
            sequence: alert.sequence + 1,
            value: self.value,
            limit: Some(self.limit),
            is_late: self.measurement.is_closed && !alert.is_firing(),
            ..alert.clone()
        }
    }

    /// What stands no more keeps the time in which it stood.
    fn span(&self, alert: &Alert) -> Span {
        match self.measurement.event {
            Some(_) if self.value == 0 => alert.span,
            Some(_) | None => self.measurement.span,
        }
    }

    fn of_open(&self, alert: &Alert, standing: Vec<Standing>) -> Option<Alert> {
        let is_clear = standing.is_empty();
        match &alert.state {
            State::Ended { .. } if is_clear => None,
            State::Ended { .. } => Some(self.raised(alert, standing)),
            State::Pending { .. } if is_clear => Some(self.ended(alert, EndedBy::Cleared)),
            State::Firing {
                line,
                clearing_since,
            } if is_clear => self.clearing(alert, line, *clearing_since),
            State::Pending { .. } | State::Firing { .. } => {
                let after = self.raised(alert, standing);
                let is_same = (&after.state, &after.rising, after.limit)
                    == (&alert.state, &alert.rising, alert.limit);
                (!is_same).then_some(after)
            }
        }
    }

    fn clearing(&self, alert: &Alert, held: &Line, began: Option<Observed>) -> Option<Alert> {
        let since = began.unwrap_or(self.now.observed);
        if self.now.observed.since(since) >= milliseconds(self.rule.keep_firing) {
            return Some(self.ended(alert, self.why_it_ended(held)));
        }
        let keeps = State::Firing {
            line: held.clone(),
            clearing_since: Some(since),
        };
        began.is_none().then(|| self.with(alert, keeps, Vec::new()))
    }

    /// A period that is over: once its figures are complete the alert ends. Until then, and by late data or corrections
    /// even after, it may still rise.
    fn of_closed(&self, alert: &Alert, standing: Vec<Standing>) -> Option<Alert> {
        let highest = standing.last().map(|held| held.line.clone());
        let is_above = |line: &Line| {
            highest
                .as_ref()
                .is_some_and(|highest| self.lines.compare(highest, line).is_gt())
        };
        match &alert.state {
            State::Pending { .. } if standing.is_empty() => {
                Some(self.ended(alert, EndedBy::Cleared))
            }
            State::Pending { .. } => Some(self.raised(alert, standing)),
            State::Firing { line, .. } if is_above(line) => Some(Alert {
                is_late: true,
                ..self.raised(alert, standing)
            }),
            State::Firing { line, .. } if self.is_complete => {
                let has_fallen = highest.is_none() && self.measurement.fell;
                let by = if has_fallen {
                    self.why_it_ended(line)
                } else {
                    EndedBy::PeriodOver
                };
                Some(self.ended(alert, by))
            }
            State::Firing { .. } => None,
            State::Ended { .. } if standing.is_empty() => None,
            State::Ended { by, line, .. } => {
                let is_over_for_good = match by {
                    EndedBy::PeriodOver | EndedBy::RuleRemoved => !is_above(line),
                    EndedBy::SubjectGone => true,
                    EndedBy::Cleared | EndedBy::Corrected | EndedBy::LimitChanged => false,
                };
                (!is_over_for_good).then(|| self.raised(alert, standing))
            }
        }
    }

    fn ended(&self, alert: &Alert, by: EndedBy) -> Alert {
        let state = State::Ended {
            by,
            at: self.now.at,
            line: alert.line().clone(),
        };
        Alert {
            is_late: alert.is_late,
            ..self.with(alert, state, Vec::new())
        }
    }

    fn why_it_ended(&self, held: &Line) -> EndedBy {
        if !self.lines.has(held) && is_held(held, self.rule.clear_below, self.value) {
            EndedBy::LimitChanged
        } else if self.measurement.fell {
            EndedBy::Corrected
        } else {
            EndedBy::Cleared
        }
    }
}

/// What an open alert knows to be crossed.
fn known(alert: &Alert) -> Vec<Standing> {
    let standing = |line: &Line, since| Standing {
        line: line.clone(),
        since,
    };
    let first = match &alert.state {
        State::Pending { line, since } => Some(standing(line, Some(*since))),
        State::Firing { line, .. } => Some(standing(line, None)),
        State::Ended { .. } => None,
    };
    let rising = alert.rising.iter();
    first
        .into_iter()
        .chain(rising.map(|crossing| standing(&crossing.line, Some(crossing.since))))
        .collect()
}

/// Of lines that wait: what fires already never does.
fn crossings(waiting: Vec<Standing>) -> Vec<Crossing> {
    let crossing = |held: Standing| {
        let since = held.since?;
        Some(Crossing {
            line: held.line,
            since,
        })
    };
    waiting.into_iter().filter_map(crossing).collect()
}

/// While a figure is not known, the time does not count for `for` and `keep_firing_for`.
fn pause(alert: &Alert, now: Now) -> Option<Alert> {
    let state = match &alert.state {
        State::Pending { line, since } => State::Pending {
            line: line.clone(),
            since: later(*since, now),
        },
        State::Firing {
            line,
            clearing_since,
        } => State::Firing {
            line: line.clone(),
            clearing_since: clearing_since.map(|since| later(since, now)),
        },
        State::Ended { .. } => return None,
    };
    let rising: Vec<Crossing> = alert
        .rising
        .iter()
        .map(|crossing| Crossing {
            line: crossing.line.clone(),
            since: later(crossing.since, now),
        })
        .collect();
    let is_same = state == alert.state && rising == alert.rising;
    (!is_same).then(|| Alert {
        state,
        rising,
        ..alert.clone()
    })
}

/// A moment, as much later as time went by since the decision before.
fn later(since: Observed, now: Now) -> Observed {
    Observed(since.0 + now.elapsed)
}

fn milliseconds(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(0)
}
