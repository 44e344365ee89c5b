//! Whom to tell what about one alert: what it is now against what each notifier was last told. Compare first, then decide
//! whether to speak: a silence or a severity never makes the record wrong.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::domain::alert::{Alert, EndedBy, Line, Now, State, Told};
use crate::domain::ids::NotifierName;
use crate::domain::lines::Lines;
use crate::domain::matcher::Team;
use crate::domain::notification::Reason;
use crate::domain::policy::{Manners, Policy};
use crate::domain::rule::{Rule, Severity};
use crate::domain::silence::Acknowledgement;

/// One thing to say to one notifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub notifier: NotifierName,
    pub reason: Reason,
    /// Why the alert ended, where it did.
    pub ended_by: Option<EndedBy>,
    /// The threshold that is told.
    pub line: Line,
    /// Whom it would have been for, where that one is parked.
    pub in_place_of: Option<NotifierName>,
}

/// What keeps an alert quiet.
#[derive(Debug, Clone, Copy)]
pub struct Hush<'a> {
    pub is_silenced: bool,
    /// Somebody has taken it up.
    pub acknowledged: Option<&'a Acknowledgement>,
    pub parked: &'a BTreeSet<NotifierName>,
    /// Fallbacks that have a copy of a dead letter about this firing of the alert.
    pub passed_on: &'a BTreeSet<NotifierName>,
}

/// What to say, and the alert with that said; `None` where nothing of it changes. `rule` is `None` where the rule is no
/// more.
pub fn tell(
    alert: &Alert,
    rule: Option<&Rule>,
    team: Option<&Team>,
    policy: &Policy,
    hush: Hush<'_>,
    now: Now,
) -> (Option<Alert>, Vec<Word>) {
    let is_silenced = hush.is_silenced;
    let mut told: Vec<(NotifierName, Told)> = Vec::new();
    let mut words = Vec::new();
    if !is_silenced {
        let asked = rule.map_or(Cow::Borrowed(&[][..]), |rule| addressees(rule, team));
        let fallbacks = fallbacks(&asked, alert, policy, hush);
        let listeners: BTreeSet<&NotifierName> = asked
            .iter()
            .chain(alert.told.keys())
            .chain(fallbacks.keys().copied())
            .collect();
        for notifier in listeners {
            let Some(manners) = policy.notifiers.get(notifier) else {
                continue;
            };
            if let Some(adopted) = adopt(alert, notifier, &asked, hush, now) {
                told.push((notifier.clone(), adopted));
                continue;
            }
            let moment = Moment {
                alert,
                rule,
                manners,
                is_asked: asked.contains(notifier) || fallbacks.contains_key(notifier),
                acknowledged: hush.acknowledged,
                now,
            };
            let Some(spoken) = moment.speak(alert.told.get(notifier)) else {
                continue;
            };
            let in_place_of = fallbacks.get(notifier).copied();
            words.extend(spoken.word.map(|word| word.to(notifier, in_place_of)));
            told.push((notifier.clone(), spoken.told));
        }
    }
    let is_same = told.is_empty() && alert.is_silenced == is_silenced;
    let after = (!is_same).then(|| {
        let mut after = alert.clone();
        after.is_silenced = is_silenced;
        after.told.extend(told);
        after
    });
    (after, words)
}

/// Who hears of a rule's alerts, and from which severity on, where that is the same for all of them: nothing is silenced,
/// nothing repeated, and no team has notifiers of its own.
pub struct Listeners<'a>(Vec<(&'a NotifierName, Severity)>);

impl<'a> Listeners<'a> {
    /// Of a rule.
    pub fn of(rule: &'a Rule, policy: &Policy) -> Listeners<'a> {
        let configured = rule.notify.iter().filter_map(|name| {
            let manners = policy.notifiers.get(name)?;
            Some((name, manners.min_severity))
        });
        Listeners(configured.collect())
    }

    /// Whether each knows that an alert fires, and by which line, and nobody else was told of it: then [`tell`] has nothing to
    /// say.
    pub fn have_heard(&self, alert: &Alert) -> bool {
        let State::Firing { line, .. } = &alert.state else {
            return false;
        };
        let mut n_asked = 0;
        let is_known = self
            .0
            .iter()
            .filter(|(_, least)| line.severity >= *least)
            .all(|(name, _)| {
                n_asked += 1;
                let told = alert.told.get(*name);
                told.is_some_and(|told| told.showing.as_ref() == Some(line))
            });
        is_known && n_asked == alert.told.len() && !alert.is_silenced
    }
}

/// Whom a rule tells of a subject. A team's own notifiers are told beside those that the rule names, and in the place of those
/// that hear of everything.
pub fn addressees<'a>(rule: &'a Rule, team: Option<&'a Team>) -> Cow<'a, [NotifierName]> {
    match team.map(|team| &team.notify).filter(|own| !own.is_empty()) {
        None => Cow::Borrowed(&rule.notify),
        Some(own) if rule.tells_by_default => Cow::Borrowed(own),
        Some(own) => {
            let named = rule.notify.iter();
            let others = own.iter().filter(|name| !rule.notify.contains(name));
            Cow::Owned(named.chain(others).cloned().collect())
        }
    }
}

/// Who is told in the place of whom: the fallback of each that would hear and is parked, and of that one where it is parked, too.
/// Whoever was told hears of the alert to its end, also when the other can be reached again.
fn fallbacks<'a>(
    asked: &[NotifierName],
    alert: &Alert,
    policy: &'a Policy,
    hush: Hush<'_>,
) -> BTreeMap<&'a NotifierName, &'a NotifierName> {
    let mut found = BTreeMap::new();
    if policy.fallbacks.is_empty() {
        return found;
    }
    let would_hear = |name: &NotifierName| {
        let manners = policy.notifiers.get(name);
        manners.is_some_and(|manners| alert.line().severity >= manners.min_severity)
    };
    for name in asked {
        let mut next = policy.fallbacks.get_key_value(name);
        while let Some((absent, fallback)) = next.take() {
            let has_heard = alert
                .told
                .get(fallback)
                .is_some_and(|told| told.showing.is_some());
            let is_needed = has_heard
                || hush.passed_on.contains(fallback)
                || (hush.parked.contains(absent) && would_hear(absent));
            if is_needed && !asked.contains(fallback) && !found.contains_key(fallback) {
                found.insert(fallback, absent);
                next = policy.fallbacks.get_key_value(fallback);
            }
        }
    }
    found
}

/// Records that a fallback was told of an alert by the copy of a dead letter, so that it is told of all that follows.
fn adopt(
    alert: &Alert,
    fallback: &NotifierName,
    asked: &[NotifierName],
    hush: Hush<'_>,
    now: Now,
) -> Option<Told> {
    let State::Firing { line, .. } = &alert.state else {
        return None;
    };
    let is_new = alert
        .told
        .get(fallback)
        .is_none_or(|told| told.showing.is_none() && told.raised.is_empty());
    let is_adopted = is_new && hush.passed_on.contains(fallback) && !asked.contains(fallback);
    is_adopted.then(|| Told {
        showing: Some(line.clone()),
        raised: vec![line.clone()],
        at: now.observed,
        ..Told::default()
    })
}

fn ended_by(alert: &Alert) -> Option<EndedBy> {
    match &alert.state {
        State::Ended { by, .. } => Some(*by),
        State::Pending { .. } | State::Firing { .. } => None,
    }
}

/// What changes for one notifier.
struct Spoken {
    told: Told,
    word: Option<Said>,
}

struct Said {
    reason: Reason,
    line: Line,
    ended_by: Option<EndedBy>,
}

impl Said {
    fn to(self, notifier: &NotifierName, in_place_of: Option<&NotifierName>) -> Word {
        Word {
            notifier: notifier.clone(),
            reason: self.reason,
            ended_by: self.ended_by,
            line: self.line,
            in_place_of: in_place_of.cloned(),
        }
    }
}

struct Moment<'a> {
    alert: &'a Alert,
    rule: Option<&'a Rule>,
    manners: &'a Manners,
    is_asked: bool,
    acknowledged: Option<&'a Acknowledgement>,
    now: Now,
}

impl Moment<'_> {
    /// `told` is `None` where nothing was ever told. Gives `None` where that stays as it is.
    fn speak(&self, told: Option<&Told>) -> Option<Spoken> {
        let firing = match &self.alert.state {
            State::Firing { line, .. } if self.is_asked => Some(line),
            State::Firing { .. } | State::Pending { .. } | State::Ended { .. } => None,
        };
        let heard = firing.filter(|line| line.severity >= self.manners.min_severity);
        let nothing = Told::default();
        let told = told.unwrap_or(&nothing);
        match (heard, &told.showing) {
            (Some(line), None) => self.begin(told, line),
            (Some(line), Some(showing)) => self.go_on(told, showing, line),
            (None, Some(showing)) => Some(self.resolve(told, showing)),
            (None, None) => None,
        }
    }

    fn begin(&self, told: &Told, line: &Line) -> Option<Spoken> {
        if self.is_end_of_silence() {
            return Some(self.say(told, Reason::Unsilenced, line));
        }
        // The same line speaks again only where "resolved" was told in between.
        (!told.raised.contains(line)).then(|| self.say(told, Reason::First, line))
    }

    fn go_on(&self, told: &Told, showing: &Line, line: &Line) -> Option<Spoken> {
        if self.is_end_of_silence() {
            return Some(self.say(told, Reason::Unsilenced, line));
        }
        if line == showing {
            return self.repeat(told, line);
        }
        Some(match self.lines().compare(line, showing) {
            Ordering::Greater => self.say_once(told, Reason::Escalated, line),
            Ordering::Less => self.say_once(told, Reason::Lowered, line),
            Ordering::Equal => {
                let moved = moved(told, showing, line);
                self.repeat(&moved, line).unwrap_or(Spoken {
                    told: moved,
                    word: None,
                })
            }
        })
    }

    /// Still the same threshold: only `repeat_interval` makes it speak, and not where somebody has taken it up.
    fn repeat(&self, told: &Told, line: &Line) -> Option<Spoken> {
        let covers = |by: &Acknowledgement| by.covers(self.alert, line, &self.lines());
        if self.acknowledged.is_some_and(covers) {
            return None;
        }
        let interval = self.rule?.repeat_interval?;
        let interval = u64::try_from(interval.as_millis()).ok()?;
        let is_due = self.now.observed.since(told.at) >= interval;
        is_due.then(|| self.say(told, Reason::Repeated, line))
    }

    /// Another line is told once in each direction; the receiver is known to see it either way.
    fn say_once(&self, told: &Told, reason: Reason, line: &Line) -> Spoken {
        let said = if reason == Reason::Lowered {
            &told.lowered
        } else {
            &told.raised
        };
        if !said.contains(line) {
            return self.say(told, reason, line);
        }
        let told = Told {
            showing: Some(line.clone()),
            ..told.clone()
        };
        Spoken { told, word: None }
    }

    /// The rule's lines against the limit of this moment.
    fn lines(&self) -> Lines {
        match (self.rule, self.alert.limit) {
            (Some(rule), Some(limit)) => Lines::of(rule, limit),
            (None, _) | (_, None) => Lines::default(),
        }
    }

    fn is_end_of_silence(&self) -> bool {
        self.alert.is_silenced
    }

    fn say(&self, told: &Told, reason: Reason, line: &Line) -> Spoken {
        let mut told = Told {
            showing: Some(line.clone()),
            at: self.now.observed,
            ..told.clone()
        };
        let said = if reason == Reason::Lowered {
            &mut told.lowered
        } else {
            &mut told.raised
        };
        if !said.contains(line) {
            said.push(line.clone());
        }
        let word = Some(Said {
            reason,
            line: line.clone(),
            ended_by: None,
        });
        Spoken { told, word }
    }

    /// Whether or not it is told, the record says that nothing is shown any more. Only a "resolved" that was told lets the
    /// same lines speak again.
    fn resolve(&self, told: &Told, showing: &Line) -> Spoken {
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
        if !is_told {
            let told = Told {
                showing: None,
                ..told.clone()
            };
            return Spoken { told, word: None };
        }
        let told = Told {
            at: self.now.observed,
            ..Told::default()
        };
        // Without an end it fell below the notifier's minimum severity, unless the rule does not notify it any more.
        let is_dropped = self.alert.is_firing() && !self.is_asked;
        let ended_by = ended_by(self.alert).or(is_dropped.then_some(EndedBy::RuleRemoved));
        let word = Some(Said {
            reason: Reason::Resolved,
            line: showing.clone(),
            ended_by,
        });
        Spoken { told, word }
    }
}

/// A limit that changed moves the line without crossing another one: what is shown and was said follows.
fn moved(told: &Told, showing: &Line, line: &Line) -> Told {
    let mut after = told.clone();
    for said in [&mut after.raised, &mut after.lowered] {
        if said.contains(showing) && !said.contains(line) {
            said.push(line.clone());
        }
    }
    after.showing = Some(line.clone());
    after
}
