//! What a receiver is told that keeps alerts itself and forgets what is not told again, as Alertmanager does: everything that
//! fires, and what ended lately. Grouping, repeating and silencing are the receiver's own.
//!
//! It knows an alert by its labels. Whatever stands with a label set that is not right any more (another severity, another
//! label of the rule, a rule that is gone) ends in the same breath in which the new one begins.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::{Alert, EndedBy, Line, State};
use crate::domain::event::Event;
use crate::domain::ids::NotifierName;
use crate::domain::matcher::Team;
use crate::domain::notification::{Fact, Reason};
use crate::domain::rule::{Rule, Severity, Watch};
use crate::domain::tell;

/// By what a receiver knows an alert. Nothing in it is a name or an amount, as these may change.
pub type Labels = BTreeMap<String, String>;

/// How a receiver wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: NotifierName,
    /// Whether it hears of the end of an alert; else it is left to forget.
    pub send_resolved: bool,
    /// The mildest severity that it hears of.
    pub min_severity: Severity,
    /// How long it believes that an alert fires without being told again.
    pub lasts: SignedDuration,
}

/// An alert as it was decided last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub alert: Alert,
    /// When it became what it is.
    pub at: Timestamp,
    pub subject_name: String,
    /// The team that it belongs to now.
    pub team: Option<Team>,
}

/// One alert as it is told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// By what it is known.
    pub labels: Labels,
    /// What there is to say.
    pub fact: Fact,
    /// When it ended; of what fires, up to when that is to be believed.
    pub ends_at: Timestamp,
}

/// What a receiver was told, and may still believe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent(BTreeMap<Labels, Fact>);

impl Sent {
    /// What is to be told now; the next time goes on from there. Of each alert, old and new label sets follow one another.
    pub fn follow(
        &mut self,
        standing: BTreeMap<Labels, Fact>,
        listener: &Listener,
        now: Timestamp,
    ) -> Vec<Posting> {
        let before = std::mem::replace(&mut self.0, standing);
        for (labels, mut fact) in before {
            let ended_at = *fact.ended_at.get_or_insert(now);
            if listener.send_resolved && listener.may_believe(ended_at, now) {
                self.0.entry(labels).or_insert(fact);
            }
        }
        let mut postings: Vec<Posting> = self
            .0
            .iter()
            .map(|(labels, fact)| Posting {
                labels: labels.clone(),
                fact: fact.clone(),
                ends_at: fact.ended_at.unwrap_or(now + listener.lasts),
            })
            .collect();
        postings.sort_by(|one, other| one.fact.identity.slot.cmp(&other.fact.identity.slot));
        postings
    }
}

impl Listener {
    /// Whether what ended at a moment may still be taken for firing by who was not told.
    fn may_believe(&self, ended_at: Timestamp, now: Timestamp) -> bool {
        now.duration_since(ended_at) < self.lasts
    }
}

/// What fires and is addressed to a receiver, and what ended while it may still believe that it fires.
pub fn standing(
    decided: &[Decided],
    rules: &[Rule],
    listener: &Listener,
    now: Timestamp,
) -> BTreeMap<Labels, Fact> {
    let mut standing: BTreeMap<Labels, Fact> = BTreeMap::new();
    let end = |fact: &Fact| fact.ended_at.unwrap_or(Timestamp::MAX);
    for decided in decided {
        let rule = rules
            .iter()
            .find(|rule| rule.name == decided.alert.identity.slot.rule);
        let Some(fact) = rule.and_then(|rule| fact(decided, rule, listener, now)) else {
            continue;
        };
        let labels = labels(&fact);
        // Without a calendar period, an alert has the labels of the one before it, which has ended.
        let is_newest = |other: &Fact| end(other) < end(&fact);
        if standing.get(&labels).is_none_or(is_newest) {
            standing.insert(labels, fact);
        }
    }
    standing
}

/// `None` where there is nothing to tell this receiver.
fn fact(decided: &Decided, rule: &Rule, listener: &Listener, now: Timestamp) -> Option<Fact> {
    let alert = &decided.alert;
    let (line, ended): (&Line, Option<(EndedBy, Timestamp)>) = match &alert.state {
        State::Pending { .. } => return None,
        State::Firing { line, .. } => (line, None),
        // A later time was recorded by a wrong clock.
        State::Ended { by, at, line } => (line, Some((*by, (*at).min(now)))),
    };
    let addressees = tell::addressees(rule, decided.team.as_ref());
    let is_addressed =
        addressees.contains(&listener.name) && line.severity >= listener.min_severity;
    let is_heard =
        ended.is_none_or(|(_, at)| listener.send_resolved && listener.may_believe(at, now));
    // What ended without having fired was never told.
    let firing_since = alert.firing_since.filter(|_| is_addressed && is_heard)?;
    Some(Fact {
        identity: alert.identity.clone(),
        sequence: alert.sequence,
        reason: ended.map_or(Reason::First, |_| Reason::Resolved),
        ended_by: ended.map(|(by, _)| by),
        is_late: alert.is_late,
        in_place_of: None,
        is_fired_and_resolved: false,
        subject_name: decided.subject_name.clone(),
        watch: alert.watch,
        span: alert.span,
        zone_name: rule.zone.name.to_string(),
        value: alert.value,
        is_lower_bound: false,
        limit: alert.limit,
        line: line.clone(),
        firing_since,
        ended_at: ended.map(|(_, at)| at),
        decided_at: decided.at,
        as_of: Some(decided.at),
        labels: rule.labels.clone(),
        top: Vec::new(),
        forecast: None,
        reconciled: None,
        maker: None,
    })
}

/// The rule's own labels never replace ours. What is empty is left out.
pub fn labels(fact: &Fact) -> Labels {
    let slot = &fact.identity.slot;
    let period = match (fact.watch, &slot.period) {
        (Watch::DataAge | Watch::Lifecycle, _) => String::new(),
        (
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::Reconciliation(_),
            Some(label),
        ) => label.to_string(),
        (
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::Reconciliation(_),
            None,
        ) => format!("{}h", fact.span.duration().as_hours()),
    };
    let own = [
        ("alertname", slot.rule.as_str()),
        ("organization", fact.identity.organization.as_str()),
        ("subject_kind", slot.subject.kind.as_str()),
        ("subject_id", &*slot.subject.id),
        ("event", slot.event.map_or("", Event::as_str)),
        ("period", &period),
        ("severity", fact.line.severity.as_str()),
    ];
    let mut labels = fact.labels.clone();
    labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels.retain(|_, value| !value.is_empty());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Identity, Observed, Slot};
    use crate::domain::matcher::Matcher;
    use crate::domain::money::{Percent, Usd};
    use crate::domain::period::{Period, Zone};
    use crate::domain::rule::{Limit, Windows};
    use crate::domain::span::Span;
    use crate::domain::subject::{Subject, SubjectKind};

    /// So many minutes after noon.
    fn at(minute: i64) -> Timestamp {
        let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        noon + SignedDuration::from_mins(minute)
    }

    fn listener() -> Listener {
        Listener {
            name: "am".into(),
            send_resolved: true,
            min_severity: Severity::Info,
            lasts: SignedDuration::from_mins(15),
        }
    }

    fn rule(name: &str) -> Rule {
        Rule {
            name: name.into(),
            watch: Watch::Spend,
            for_each: SubjectKind::Workspace,
            matcher: Matcher::default(),
            period: Period::Month,
            zone: Zone::utc(),
            limit: Limit::Fixed(100),
            min_usd: Usd::ZERO,
            windows: Windows::default(),
            inactive: Vec::new(),
            tells_by_default: false,
            events: Vec::new(),
            thresholds: Vec::new(),
            hold: SignedDuration::ZERO,
            keep_firing: SignedDuration::ZERO,
            clear_below: Percent::HUNDRED,
            repeat_interval: None,
            notify: vec!["am".into()],
            labels: BTreeMap::from([("cost_center".to_owned(), "7".to_owned())]),
        }
    }

    fn line(severity: Severity) -> Line {
        Line {
            quantity: 100,
            severity,
            text: "100%".into(),
        }
    }

    fn firing(severity: Severity) -> State {
        State::Firing {
            line: line(severity),
            clearing_since: None,
        }
    }

    fn ended(minute: i64) -> State {
        State::Ended {
            by: EndedBy::Corrected,
            at: at(minute),
            line: line(Severity::Warning),
        }
    }

    /// Since noon.
    fn decided(workspace: &str, state: State) -> Decided {
        let alert = Alert {
            identity: Identity {
                organization: "acme".into(),
                slot: Slot {
                    rule: "month".into(),
                    subject: Subject::new(SubjectKind::Workspace, workspace),
                    period: Some("2026-11".into()),
                    event: None,
                },
                started_at: at(0),
            },
            watch: Watch::Spend,
            span: Span {
                start: at(0),
                end: at(24 * 60),
            },
            state,
            rising: Vec::new(),
            sequence: 1,
            firing_since: Some(at(0)),
            is_late: false,
            is_silenced: false,
            value: 120,
            limit: Some(100),
            told: BTreeMap::new(),
        };
        Decided {
            team: None,
            alert,
            at: at(0),
            subject_name: "Search".to_owned(),
        }
    }

    /// What is told, as `subject severity start-end` in minutes after noon.
    fn told(postings: &[Posting]) -> Vec<String> {
        let minute = |time: Timestamp| time.duration_since(at(0)).as_mins();
        let word = |posting: &Posting| {
            format!(
                "{} {} {}-{}",
                posting.labels["subject_id"],
                posting.labels["severity"],
                minute(posting.fact.firing_since),
                minute(posting.ends_at)
            )
        };
        postings.iter().map(word).collect()
    }

    fn follow(
        sent: &mut Sent,
        decided: &[Decided],
        rules: &[Rule],
        listener: &Listener,
        minute: i64,
    ) -> Vec<String> {
        let standing = standing(decided, rules, listener, at(minute));
        told(&sent.follow(standing, listener, at(minute)))
    }

    #[track_caller]
    fn check(decided: &[Decided], listener: &Listener, minute: i64, expected: &[&str]) {
        let rules = [rule("month")];
        let found = follow(&mut Sent::default(), decided, &rules, listener, minute);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_fires_and_what_ended_lately_is_told() {
        let pending = State::Pending {
            line: line(Severity::Warning),
            since: Observed(0),
        };
        let mut never_fired = decided("never", ended(29));
        never_fired.alert.firing_since = None;
        let mut silenced = decided("silenced", firing(Severity::Info));
        silenced.alert.is_silenced = true;
        let all = [
            decided("fires", firing(Severity::Critical)),
            decided("pending", pending),
            decided("lately", ended(16)),
            decided("long ago", ended(15)),
            never_fired,
            silenced,
        ];
        check(
            &all,
            &listener(),
            30,
            &[
                "fires critical 0-45",
                "lately warning 0-16",
                "silenced info 0-45",
            ],
        );
        let deaf_to_ends = Listener {
            send_resolved: false,
            min_severity: Severity::Warning,
            ..listener()
        };
        check(&all, &deaf_to_ends, 30, &["fires critical 0-45"]);
        let another = Listener {
            name: "other".into(),
            ..listener()
        };
        check(&all, &another, 30, &[]);
    }

    #[test]
    fn another_severity_ends_the_label_set_of_the_old_one() {
        let (mut sent, rules, listener) = (Sent::default(), [rule("month")], listener());
        let mut tell = |severity, minute| {
            let decided = [
                decided("a", firing(severity)),
                decided("b", firing(Severity::Info)),
            ];
            follow(&mut sent, &decided, &rules, &listener, minute)
        };
        let b = |end: i64| format!("b info 0-{end}");
        assert_eq!(
            tell(Severity::Warning, 1),
            ["a warning 0-16".to_owned(), b(16)]
        );
        let both = ["a critical 0-17", "a warning 0-2"];
        assert_eq!(tell(Severity::Critical, 2)[..2], both);
        // The end stays where it was, and is told until nobody can believe otherwise.
        assert_eq!(
            tell(Severity::Critical, 16)[..2],
            ["a critical 0-31", "a warning 0-2"]
        );
        assert_eq!(
            tell(Severity::Critical, 17),
            ["a critical 0-32".to_owned(), b(32)]
        );
        // Back to where it was: nothing of the old end is left.
        let back = ["a critical 0-18", "a warning 0-33"];
        assert_eq!(tell(Severity::Warning, 18)[..2], back);
    }

    #[test]
    fn what_the_configuration_takes_away_ends() {
        let (mut sent, listener) = (Sent::default(), listener());
        let all = [decided("a", firing(Severity::Warning))];
        let mut other_label = rule("month");
        other_label.labels = BTreeMap::new();
        let mut for_others = rule("month");
        for_others.notify = Vec::new();
        let mut tell = |rules: &[Rule], minute| follow(&mut sent, &all, rules, &listener, minute);
        assert_eq!(tell(&[rule("month")], 1), ["a warning 0-16"]);
        let relabelled = tell(&[other_label], 2);
        assert_eq!(relabelled, ["a warning 0-2", "a warning 0-17"]);
        let taken_away = ["a warning 0-2", "a warning 0-3"];
        let mut found = tell(&[for_others], 3);
        found.sort();
        assert_eq!(found, taken_away);
        let mut found = tell(&[], 4);
        found.sort();
        assert_eq!(found, taken_away);
    }

    #[test]
    fn without_a_period_the_alert_that_fires_replaces_the_one_that_ended() {
        let rolling = |state, since| {
            let mut decided = decided("a", state);
            decided.alert.identity.slot.period = None;
            decided.alert.firing_since = Some(at(since));
            decided
        };
        let all = [
            rolling(ended(5), 3),
            rolling(firing(Severity::Warning), 8),
            rolling(ended(2), 0),
        ];
        check(&all, &listener(), 10, &["a warning 8-25"]);
        check(&all[..1], &listener(), 10, &["a warning 3-5"]);
    }

    #[test]
    fn labels_hold_neither_names_nor_amounts_and_the_rules_replace_none_of_ours() {
        let mut rule = rule("month");
        rule.labels = [("period", "mine"), ("cost_center", "7"), ("empty", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let all = [decided("workspace_01", firing(Severity::Critical))];
        let standing = standing(&all, &[rule], &listener(), at(1));
        let (labels, fact) = standing.first_key_value().unwrap();
        let words: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = "alertname=month cost_center=7 organization=acme period=2026-11 severity=critical \
                        subject_id=workspace_01 subject_kind=workspace";
        assert_eq!(words.join(" "), expected);
        assert_eq!(fact.subject_name, "Search");
        let with = |watch, period: Option<&str>| {
            let mut fact = fact.clone();
            fact.watch = watch;
            fact.identity.slot.period = period.map(Into::into);
            super::labels(&fact).remove("period")
        };
        assert_eq!(with(Watch::Tokens, None).as_deref(), Some("24h"));
        assert_eq!(with(Watch::DataAge, None), None);
    }
}
