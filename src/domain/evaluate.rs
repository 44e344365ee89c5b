//! One step of one alert: its state before and a measurement give its state after. Nothing is told here.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::domain::alert::{Alert, EndedBy, Identity, Line, Now, Observed, Slot, State};
use crate::domain::ids::OrganizationName;
use crate::domain::measure::{Figure, Measurement};
use crate::domain::money::Percent;
use crate::domain::rule::{At, Quantity, Rule};

/// Millionths of a percent in the whole.
const WHOLE: i128 = 100_000_000;

/// The lines of a rule against a limit, lowest first.
pub fn lines(rule: &Rule, limit: Quantity) -> Vec<Line> {
    let mut lines: Vec<Line> = rule
        .thresholds
        .iter()
        .map(|threshold| Line {
            quantity: match threshold.at {
                At::Share(percent) => share_rounded_up(limit, percent),
                At::Quantity(quantity) => quantity,
            },
            severity: threshold.severity,
            text: threshold.text.clone(),
        })
        .collect();
    lines.sort();
    lines
}

/// The alert after one measurement; `None` where nothing of it changes.
pub fn step(
    organization: &OrganizationName,
    rule: &Rule,
    measurement: &Measurement,
    before: Option<&Alert>,
    now: Now,
) -> Option<Alert> {
    let Some(limit) = measurement.limit else {
        return before.and_then(|alert| end(alert, EndedBy::LimitChanged, None, now));
    };
    let (value, is_complete) = match measurement.figure {
        Figure::Known(value) => (value, true),
        Figure::AtLeast(value) => (value, false),
        Figure::Stale(_) | Figure::Unknown => return before.and_then(|alert| pause(alert, now)),
    };
    let lines = lines(rule, limit);
    let held = before.and_then(held_line);
    let line = if is_complete {
        highest_held(&lines, held, rule.clear_below, value)
    } else {
        // A lower bound may raise, never lower.
        let crossed = highest_crossed(&lines, value);
        crossed.max(held.cloned())
    };
    let step = Step {
        organization,
        rule,
        measurement,
        limit,
        value,
        is_complete,
        now,
    };
    match before {
        Some(alert) if measurement.is_closed => step.of_closed(alert, line, &lines),
        Some(alert) => step.of_open(alert, line, &lines),
        None => line.map(|line| step.begin(line)),
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

struct Step<'a> {
    organization: &'a OrganizationName,
    rule: &'a Rule,
    measurement: &'a Measurement,
    limit: Quantity,
    value: Quantity,
    is_complete: bool,
    now: Now,
}

impl Step<'_> {
    fn begin(&self, line: Line) -> Alert {
        let slot = Slot {
            rule: self.rule.name.clone(),
            subject: self.measurement.subject.clone(),
            period: self.measurement.label.clone(),
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
                line: line.clone(),
                since: self.now.observed,
            },
            sequence: 0,
            firing_since: None,
            is_late: self.measurement.is_closed,
            is_silenced: false,
            value: self.value,
            limit: Some(self.limit),
            told: BTreeMap::new(),
        };
        self.raise(&alert, line, self.now.observed)
    }

    /// Pending until `for` is over, then firing. A period that is over does not wait.
    fn raise(&self, alert: &Alert, line: Line, since: Observed) -> Alert {
        let is_held_long_enough = self.measurement.is_closed
            || self.now.observed.since(since) >= milliseconds(self.rule.hold);
        if is_held_long_enough {
            let is_new = !alert.is_firing();
            return Alert {
                firing_since: if is_new {
                    Some(self.now.at)
                } else {
                    alert.firing_since
                },
                ..self.with(
                    alert,
                    State::Firing {
                        line,
                        clearing_since: None,
                    },
                )
            };
        }
        self.with(alert, State::Pending { line, since })
    }

    fn with(&self, alert: &Alert, state: State) -> Alert {
        Alert {
            state,
            span: self.measurement.span,
            sequence: alert.sequence + 1,
            value: self.value,
            limit: Some(self.limit),
            is_late: self.measurement.is_closed && !alert.is_firing(),
            ..alert.clone()
        }
    }

    fn of_open(&self, alert: &Alert, line: Option<Line>, lines: &[Line]) -> Option<Alert> {
        match (&alert.state, line) {
            (State::Ended { .. }, None) => None,
            (State::Ended { .. }, Some(line)) => Some(self.raise(alert, line, self.now.observed)),
            (State::Pending { .. }, None) => Some(self.ended(alert, EndedBy::Cleared)),
            (State::Pending { line: held, since }, Some(line)) => {
                let is_over = self.now.observed.since(*since) >= milliseconds(self.rule.hold);
                (is_over || *held != line).then(|| self.raise(alert, line, *since))
            }
            (
                State::Firing {
                    line: held,
                    clearing_since,
                },
                Some(line),
            ) => {
                let is_same =
                    *held == line && clearing_since.is_none() && alert.limit == Some(self.limit);
                (!is_same).then(|| {
                    self.with(
                        alert,
                        State::Firing {
                            line,
                            clearing_since: None,
                        },
                    )
                })
            }
            (
                State::Firing {
                    line: held,
                    clearing_since,
                },
                None,
            ) => {
                let since = clearing_since.unwrap_or(self.now.observed);
                if self.now.observed.since(since) >= milliseconds(self.rule.keep_firing) {
                    return Some(self.ended(alert, self.why_it_ended(held, lines)));
                }
                let keeps = State::Firing {
                    line: held.clone(),
                    clearing_since: Some(since),
                };
                clearing_since.is_none().then(|| self.with(alert, keeps))
            }
        }
    }

    /// A period that is over: once its figures are complete the alert ends. Until then, and by late data or corrections
    /// even after, it may still rise.
    fn of_closed(&self, alert: &Alert, line: Option<Line>, lines: &[Line]) -> Option<Alert> {
        match (&alert.state, line) {
            (State::Pending { .. }, None) => Some(self.ended(alert, EndedBy::Cleared)),
            (State::Pending { .. }, Some(line)) => Some(self.raise(alert, line, self.now.observed)),
            (State::Firing { line: held, .. }, Some(line)) if line > *held => Some(Alert {
                is_late: true,
                ..self.with(
                    alert,
                    State::Firing {
                        line,
                        clearing_since: None,
                    },
                )
            }),
            (State::Firing { line: held, .. }, line) if self.is_complete => {
                let has_fallen = line.is_none() && self.measurement.fell;
                Some(self.ended(
                    alert,
                    if has_fallen {
                        self.why_it_ended(held, lines)
                    } else {
                        EndedBy::PeriodOver
                    },
                ))
            }
            (State::Firing { .. }, _) | (State::Ended { .. }, None) => None,
            (State::Ended { by, line: last, .. }, Some(line)) => {
                let is_over_for_good = match by {
                    EndedBy::PeriodOver | EndedBy::RuleRemoved => line <= *last,
                    EndedBy::SubjectGone => true,
                    EndedBy::Cleared | EndedBy::Corrected | EndedBy::LimitChanged => false,
                };
                (!is_over_for_good).then(|| self.raise(alert, line, self.now.observed))
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
            ..self.with(alert, state)
        }
    }

    fn why_it_ended(&self, held: &Line, lines: &[Line]) -> EndedBy {
        let is_line_gone = !lines.contains(held);
        if is_line_gone && is_held(held, self.rule.clear_below, self.value) {
            EndedBy::LimitChanged
        } else if self.measurement.fell {
            EndedBy::Corrected
        } else {
            EndedBy::Cleared
        }
    }
}

/// While a figure is not known, the time does not count for `for` and `keep_firing_for`.
fn pause(alert: &Alert, now: Now) -> Option<Alert> {
    let shift = |since: Observed| Observed(since.0 + now.elapsed);
    let state = match &alert.state {
        State::Pending { line, since } => State::Pending {
            line: line.clone(),
            since: shift(*since),
        },
        State::Firing {
            line,
            clearing_since: Some(since),
        } => State::Firing {
            line: line.clone(),
            clearing_since: Some(shift(*since)),
        },
        State::Firing {
            clearing_since: None,
            ..
        }
        | State::Ended { .. } => return None,
    };
    (now.elapsed > 0).then(|| Alert {
        state,
        ..alert.clone()
    })
}

fn held_line(alert: &Alert) -> Option<&Line> {
    match &alert.state {
        State::Pending { line, .. } | State::Firing { line, .. } => Some(line),
        State::Ended { .. } => None,
    }
}

fn highest_crossed(lines: &[Line], value: Quantity) -> Option<Line> {
    lines
        .iter()
        .rev()
        .find(|line| is_crossed(line, value))
        .cloned()
}

/// The highest line that is crossed, or was held and has not been cleared.
fn highest_held(
    lines: &[Line],
    held: Option<&Line>,
    clear_below: Percent,
    value: Quantity,
) -> Option<Line> {
    let was_held = |line: &Line| held.is_some_and(|held| line <= held);
    lines
        .iter()
        .rev()
        .find(|line| {
            is_crossed(line, value) || (was_held(line) && is_held(line, clear_below, value))
        })
        .cloned()
}

/// At or above, and above zero.
fn is_crossed(line: &Line, value: Quantity) -> bool {
    value > 0 && value >= line.quantity
}

fn is_held(line: &Line, clear_below: Percent, value: Quantity) -> bool {
    value > 0 && value >= share_rounded_up(line.quantity, clear_below)
}

/// The least whole quantity that has reached a share of a limit.
fn share_rounded_up(limit: Quantity, percent: Percent) -> Quantity {
    let product = limit * i128::from(percent.millionths());
    product.div_euclid(WHOLE) + i128::from(product.rem_euclid(WHOLE) != 0)
}

fn milliseconds(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(0)
}
