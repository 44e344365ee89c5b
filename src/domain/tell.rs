//! Whom to tell what about one alert: what it is now against what each notifier was last told. Compare first, then decide
//! whether to speak: a silence or a severity never makes the record wrong.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::domain::alert::{Alert, EndedBy, Line, Now, State, Told};
use crate::domain::ids::NotifierName;
use crate::domain::lines::Lines;
use crate::domain::notification::Reason;
use crate::domain::policy::{Manners, Policy};
use crate::domain::rule::Rule;

/// One thing to say to one notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// To whom.
    pub notifier: NotifierName,
    /// Why.
    pub reason: Reason,
    /// Why the alert ended, where it did.
    pub ended_by: Option<EndedBy>,
    /// The threshold that is told.
    pub line: Line,
}

/// What to say, and the alert with that said. `rule` is `None` where the rule is no more.
pub fn tell(
    alert: &Alert,
    rule: Option<&Rule>,
    policy: &Policy,
    is_silenced: bool,
    now: Now,
) -> (Alert, Vec<Word>) {
    let mut after = Alert {
        is_silenced,
        ..alert.clone()
    };
    if is_silenced {
        return (after, Vec::new());
    }
    let is_end_of_silence = alert.is_silenced;
    let asked = rule.map_or(&[][..], |rule| rule.notify.as_slice());
    let listeners: BTreeSet<&NotifierName> = asked.iter().chain(alert.told.keys()).collect();
    let mut words = Vec::new();
    for notifier in listeners {
        let Some(manners) = policy.notifiers.get(notifier) else {
            continue;
        };
        let told = alert.told.get(notifier).cloned().unwrap_or_default();
        let moment = Moment {
            alert,
            rule,
            manners,
            is_asked: asked.contains(notifier),
            is_end_of_silence,
            now,
        };
        let (told_after, word) = moment.speak(&told);
        if told_after != told {
            after.told.insert(notifier.clone(), told_after);
        }
        if let Some((reason, line)) = word {
            let ended_by = if reason == Reason::Resolved {
                ended_by(alert)
            } else {
                None
            };
            words.push(Word {
                notifier: notifier.clone(),
                reason,
                ended_by,
                line,
            });
        }
    }
    (after, words)
}

fn ended_by(alert: &Alert) -> Option<EndedBy> {
    match &alert.state {
        State::Ended { by, .. } => Some(*by),
        State::Pending { .. } | State::Firing { .. } => None,
    }
}

struct Moment<'a> {
    alert: &'a Alert,
    rule: Option<&'a Rule>,
    manners: &'a Manners,
    is_asked: bool,
    is_end_of_silence: bool,
    now: Now,
}

impl Moment<'_> {
    fn speak(&self, told: &Told) -> (Told, Option<(Reason, Line)>) {
        let firing = match &self.alert.state {
            State::Firing { line, .. } if self.is_asked => Some(line),
            State::Firing { .. } | State::Pending { .. } | State::Ended { .. } => None,
        };
        match (
            firing.filter(|line| line.severity >= self.manners.min_severity),
            &told.showing,
        ) {
            (Some(line), None) => self.begin(told, line),
            (Some(line), Some(showing)) => self.go_on(told, showing, line),
            (None, Some(showing)) => self.resolve(told, showing),
            (None, None) => (told.clone(), None),
        }
    }

    fn begin(&self, told: &Told, line: &Line) -> (Told, Option<(Reason, Line)>) {
        if self.is_end_of_silence {
            return self.say(told, Reason::Unsilenced, line);
        }
        // The same line speaks again only where "resolved" was told in between.
        if told.raised.contains(line) {
            (told.clone(), None)
        } else {
            self.say(told, Reason::First, line)
        }
    }

    fn go_on(&self, told: &Told, showing: &Line, line: &Line) -> (Told, Option<(Reason, Line)>) {
        if self.is_end_of_silence {
            return self.say(told, Reason::Unsilenced, line);
        }
        match self.lines().compare(line, showing) {
            Ordering::Greater => self.say_once(told, Reason::Escalated, line),
            Ordering::Less => self.say_once(told, Reason::Lowered, line),
            Ordering::Equal => self.stay(&moved(told, showing, line), line),
        }
    }

    /// Still the same threshold: only `repeat_interval` makes it speak.
    fn stay(&self, told: &Told, line: &Line) -> (Told, Option<(Reason, Line)>) {
        let interval = self.rule.and_then(|rule| rule.repeat_interval);
        let is_repeat_due = interval
            .and_then(|interval| u64::try_from(interval.as_millis()).ok())
            .is_some_and(|interval| self.now.observed.since(told.at) >= interval);
        if is_repeat_due {
            self.say(told, Reason::Repeated, line)
        } else {
            (told.clone(), None)
        }
    }

    /// Another line is told once in each direction; the receiver is known to see it either way.
    fn say_once(&self, told: &Told, reason: Reason, line: &Line) -> (Told, Option<(Reason, Line)>) {
        let said = if reason == Reason::Lowered {
            &told.lowered
        } else {
            &told.raised
        };
        if !said.contains(line) {
            return self.say(told, reason, line);
        }
        let after = Told {
            showing: Some(line.clone()),
            ..told.clone()
        };
        (after, None)
    }

    /// The rule's lines against the limit of this moment.
    fn lines(&self) -> Lines {
        match (self.rule, self.alert.limit) {
            (Some(rule), Some(limit)) => Lines::of(rule, limit),
            (None, _) | (_, None) => Lines::default(),
        }
    }

    fn say(&self, told: &Told, reason: Reason, line: &Line) -> (Told, Option<(Reason, Line)>) {
        let mut after = Told {
            showing: Some(line.clone()),
            at: self.now.observed,
            ..told.clone()
        };
        let said = if reason == Reason::Lowered {
            &mut after.lowered
        } else {
            &mut after.raised
        };
        if !said.contains(line) {
            said.push(line.clone());
        }
        (after, Some((reason, line.clone())))
    }

    /// Whether or not it is told, the record says that nothing is shown any more. Only a "resolved" that was told lets the
    /// same lines speak again.
    fn resolve(&self, told: &Told, showing: &Line) -> (Told, Option<(Reason, Line)>) {
        let is_quiet = match &self.alert.state {
            State::Ended {
                by: EndedBy::PeriodOver | EndedBy::RuleRemoved,
                ..
            } => true,
            State::Ended {
                by: EndedBy::LimitChanged,
                ..
            } => self.alert.limit.is_none(),
            State::Ended {
                by: EndedBy::Cleared | EndedBy::Corrected | EndedBy::SubjectGone,
                ..
            }
            | State::Firing { .. }
            | State::Pending { .. } => false,
        };
        let is_told = self.manners.send_resolved
            && (!is_quiet || self.manners.holds_state || self.manners.tells_period_end);
        if is_told {
            let after = Told {
                at: self.now.observed,
                ..Told::default()
            };
            (after, Some((Reason::Resolved, showing.clone())))
        } else {
            (
                Told {
                    showing: None,
                    ..told.clone()
                },
                None,
            )
        }
    }
}

/// A limit that changed moves the line without crossing another one: what is shown and was said follows, unless it is the
/// same line.
fn moved(told: &Told, showing: &Line, line: &Line) -> Told {
    let mut after = told.clone();
    if showing == line {
        return after;
    }
    for said in [&mut after.raised, &mut after.lowered] {
        if said.contains(showing) && !said.contains(line) {
            said.push(line.clone());
        }
    }
    after.showing = Some(line.clone());
    after
}
