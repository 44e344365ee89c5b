//! Resending for receivers such as Alertmanager, which keep alerts themselves and expire those that are not sent again: all
//! firing alerts and those that ended recently. The receiver groups, repeats and silences.
//!
//! The receiver identifies alerts by label set. When the label set of an alert changes (severity, labels of the rule, or the
//! rule is removed), the old one ends in the same request in which the new one starts.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::{Alert, State};
use crate::alerts::notices;
use crate::alerts::notification::Fact;
use crate::org::events::Event;
use crate::rules::rule::{Rule, Severity};
use crate::units::ids::NotifierName;
use crate::units::matcher::Team;

/// Labels that identify an alert to the receiver. They contain no display names or amounts, because those may change.
pub type LabelSet = BTreeMap<String, String>;

/// Settings of a receiver that needs resending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResendTarget {
    pub name: NotifierName,
    /// Otherwise ended alerts are left to expire.
    pub send_resolved: bool,
    pub min_severity: Severity,
    /// Time after which the receiver expires an alert that is not sent again.
    pub valid_for: SignedDuration,
}

/// An alert as last decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedAlert {
    pub alert: Alert,
    /// Time of the last change.
    pub at: Timestamp,
    pub subject_name: String,
    pub team: Option<Team>,
}

/// One alert to send now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResentAlert {
    pub labels: LabelSet,
    pub fact: Fact,
    /// When it ended; for a firing alert, when the receiver expires it.
    pub ends_at: Timestamp,
}

/// What a receiver was sent and may still show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResendState(BTreeMap<LabelSet, Fact>);

impl ResendState {
    /// Returns what to send now and remembers it for the next call. Old and new label sets of an alert are adjacent.
    pub fn update(
        &mut self,
        current: BTreeMap<LabelSet, Fact>,
        target: &ResendTarget,
        now: Timestamp,
    ) -> Vec<ResentAlert> {
        let before = std::mem::replace(&mut self.0, current);
        for (labels, mut fact) in before {
            let ended_at = *fact.ended_at.get_or_insert(now);
            if target.send_resolved && target.may_show_firing(ended_at, now) {
                self.0.entry(labels).or_insert(fact);
            }
        }
        let mut alerts: Vec<ResentAlert> = self
            .0
            .iter()
            .map(|(labels, fact)| ResentAlert {
                labels: labels.clone(),
                fact: fact.clone(),
                ends_at: fact.ended_at.unwrap_or(now + target.valid_for),
            })
            .collect();
        alerts.sort_by(|one, other| one.fact.identity.slot.cmp(&other.fact.identity.slot));
        alerts
    }
}

impl ResendTarget {
    /// Returns whether a receiver that was not sent the end at `ended_at` may still show the alert as firing.
    fn may_show_firing(&self, ended_at: Timestamp, now: Timestamp) -> bool {
        now.duration_since(ended_at) < self.valid_for
    }
}

/// Returns the firing alerts of a receiver, and those that ended while it may still show them as firing.
pub fn current_facts(
    decided: &[DecidedAlert],
    rules: &[Rule],
    target: &ResendTarget,
    now: Timestamp,
) -> BTreeMap<LabelSet, Fact> {
    let mut current: BTreeMap<LabelSet, Fact> = BTreeMap::new();
    let end = |fact: &Fact| fact.ended_at.unwrap_or(Timestamp::MAX);
    for decided in decided {
        let rule = rules
            .iter()
            .find(|rule| rule.name == decided.alert.identity.slot.rule);
        let Some(fact) = rule.and_then(|rule| fact(decided, rule, target, now)) else {
            continue;
        };
        let labels = labels(&fact);
        // Without a calendar period, an alert has the same labels as the ended one before it.
        let is_newest = |other: &Fact| end(other) < end(&fact);
        if current.get(&labels).is_none_or(is_newest) {
            current.insert(labels, fact);
        }
    }
    current
}

/// Returns `None` if there is nothing to send to this receiver.
fn fact(
    decided: &DecidedAlert,
    rule: &Rule,
    target: &ResendTarget,
    now: Timestamp,
) -> Option<Fact> {
    let alert = &decided.alert;
    let ended_at = match &alert.state {
        State::Pending { .. } => return None,
        State::Firing { .. } => None,
        // A time in the future was recorded by a wrong clock.
        State::Ended { at, .. } => Some((*at).min(now)),
    };
    let notifiers = notices::notifiers_for(rule, decided.team.as_ref());
    let is_notified =
        notifiers.contains(&target.name) && alert.threshold().severity >= target.min_severity;
    let is_shown =
        ended_at.is_none_or(|at| target.send_resolved && target.may_show_firing(at, now));
    // An alert that ended without firing was never sent.
    let is_sent = alert.firing_since.is_some() && is_notified && is_shown;
    is_sent.then(|| Fact {
        ended_at,
        zone_name: rule.zone.name.to_string(),
        labels: rule.labels.clone(),
        ..Fact::of(alert, &decided.subject_name, decided.at)
    })
}

/// Labels that alerts set themselves, in the order of [`labels`]; a rule's label of that name is overwritten.
pub const OWN_LABELS: [&str; 7] = [
    "alertname",
    "organization",
    "subject_kind",
    "subject_id",
    "event",
    "period",
    "severity",
];

/// Returns the label set of a fact. Labels of the rule never replace ours; empty ones are omitted.
pub fn labels(fact: &Fact) -> LabelSet {
    let slot = &fact.identity.slot;
    let period = match &slot.period {
        _ if !fact.watch.info().has_period => String::new(),
        Some(label) => label.to_string(),
        None => format!("{}h", fact.span.duration().as_hours()),
    };
    let own = [
        slot.rule.as_str(),
        fact.identity.organization.as_str(),
        slot.subject.kind.as_str(),
        &*slot.subject.id,
        slot.event.map_or("", Event::as_str),
        &period,
        fact.threshold.severity.as_str(),
    ];
    let mut labels = fact.labels.clone();
    labels.extend(
        OWN_LABELS
            .map(str::to_owned)
            .into_iter()
            .zip(own.map(str::to_owned)),
    );
    labels.retain(|_, value| !value.is_empty());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::alert::{AbsoluteThreshold, EndedBy, Identity, Observed, Slot};
    use crate::rules::rule::{Condition, Limit, PeriodLimit};
    use crate::rules::watch::Watch;
    use crate::units::period::Period;
    use crate::units::span::Span;
    use crate::units::subject::{Subject, SubjectKind};

    fn at(minute: i64) -> Timestamp {
        let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        noon + SignedDuration::from_mins(minute)
    }

    fn target() -> ResendTarget {
        ResendTarget {
            name: "am".into(),
            send_resolved: true,
            min_severity: Severity::Info,
            valid_for: SignedDuration::from_mins(15),
        }
    }

    fn rule(name: &str) -> Rule {
        let limit = PeriodLimit {
            for_each: SubjectKind::Workspace,
            period: Period::Month,
            limit: Limit::Fixed(100),
        };
        Rule {
            notify: vec!["am".into()],
            labels: BTreeMap::from([("cost_center".to_owned(), "7".to_owned())]),
            ..Rule::new(name, Condition::Spend(limit))
        }
    }

    fn threshold(severity: Severity) -> AbsoluteThreshold {
        AbsoluteThreshold {
            quantity: 100,
            severity,
            text: "100%".into(),
        }
    }

    fn firing(severity: Severity) -> State {
        State::Firing {
            threshold: threshold(severity),
            clearing_since: None,
        }
    }

    fn ended(minute: i64) -> State {
        State::Ended {
            by: EndedBy::Corrected,
            at: at(minute),
            threshold: threshold(Severity::Warning),
        }
    }

    /// An alert that has been firing since noon.
    fn decided(workspace: &str, state: State) -> DecidedAlert {
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
            notified: BTreeMap::new(),
        };
        DecidedAlert {
            team: None,
            alert,
            at: at(0),
            subject_name: "Search".to_owned(),
        }
    }

    /// Formats `subject severity start-end`, in minutes after noon.
    fn describe(alerts: &[ResentAlert]) -> Vec<String> {
        let minute = |time: Timestamp| time.duration_since(at(0)).as_mins();
        let text = |alert: &ResentAlert| {
            format!(
                "{} {} {}-{}",
                alert.labels["subject_id"],
                alert.labels["severity"],
                minute(alert.fact.firing_since),
                minute(alert.ends_at)
            )
        };
        alerts.iter().map(text).collect()
    }

    fn send(
        sent: &mut ResendState,
        decided: &[DecidedAlert],
        rules: &[Rule],
        target: &ResendTarget,
        minute: i64,
    ) -> Vec<String> {
        let current = current_facts(decided, rules, target, at(minute));
        describe(&sent.update(current, target, at(minute)))
    }

    #[track_caller]
    fn check(decided: &[DecidedAlert], target: &ResendTarget, minute: i64, expected: &[&str]) {
        let rules = [rule("month")];
        let found = send(&mut ResendState::default(), decided, &rules, target, minute);
        assert_eq!(found, expected);
    }

    #[test]
    fn firing_and_recently_ended_alerts_are_sent() {
        let pending = State::Pending {
            threshold: threshold(Severity::Warning),
            since: Observed(0),
        };
        let mut never_fired = decided("never", ended(29));
        never_fired.alert.firing_since = None;
        let mut silenced = decided("silenced", firing(Severity::Info));
        silenced.alert.is_silenced = true;
        let all = [
            decided("fires", firing(Severity::Critical)),
            decided("pending", pending),
            decided("recent", ended(16)),
            decided("old", ended(15)),
            never_fired,
            silenced,
        ];
        check(
            &all,
            &target(),
            30,
            &[
                "fires critical 0-45",
                "recent warning 0-16",
                "silenced info 0-45",
            ],
        );
        let without_resolved = ResendTarget {
            send_resolved: false,
            min_severity: Severity::Warning,
            ..target()
        };
        check(&all, &without_resolved, 30, &["fires critical 0-45"]);
        let another = ResendTarget {
            name: "other".into(),
            ..target()
        };
        check(&all, &another, 30, &[]);
    }

    #[test]
    fn a_changed_severity_ends_the_old_label_set() {
        let (mut sent, rules, target) = (ResendState::default(), [rule("month")], target());
        let mut sent_at = |severity, minute| {
            let decided = [
                decided("a", firing(severity)),
                decided("b", firing(Severity::Info)),
            ];
            send(&mut sent, &decided, &rules, &target, minute)
        };
        let b = |end: i64| format!("b info 0-{end}");
        assert_eq!(
            sent_at(Severity::Warning, 1),
            ["a warning 0-16".to_owned(), b(16)]
        );
        let both = ["a critical 0-17", "a warning 0-2"];
        assert_eq!(sent_at(Severity::Critical, 2)[..2], both);
        // The end keeps its time and is sent until the receiver has expired the alert.
        assert_eq!(
            sent_at(Severity::Critical, 16)[..2],
            ["a critical 0-31", "a warning 0-2"]
        );
        assert_eq!(
            sent_at(Severity::Critical, 17),
            ["a critical 0-32".to_owned(), b(32)]
        );
        // After changing back, the old end is no longer sent.
        let back = ["a critical 0-18", "a warning 0-33"];
        assert_eq!(sent_at(Severity::Warning, 18)[..2], back);
    }

    #[test]
    fn alerts_removed_by_configuration_end() {
        let (mut sent, target) = (ResendState::default(), target());
        let all = [decided("a", firing(Severity::Warning))];
        let mut other_label = rule("month");
        other_label.labels = BTreeMap::new();
        let mut without_notifier = rule("month");
        without_notifier.notify = Vec::new();
        let mut sent_at = |rules: &[Rule], minute| send(&mut sent, &all, rules, &target, minute);
        assert_eq!(sent_at(&[rule("month")], 1), ["a warning 0-16"]);
        let relabeled = sent_at(&[other_label], 2);
        assert_eq!(relabeled, ["a warning 0-2", "a warning 0-17"]);
        let ended = ["a warning 0-2", "a warning 0-3"];
        let mut found = sent_at(&[without_notifier], 3);
        found.sort();
        assert_eq!(found, ended);
        let mut found = sent_at(&[], 4);
        found.sort();
        assert_eq!(found, ended);
    }

    #[test]
    fn without_a_period_a_firing_alert_replaces_the_ended_one() {
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
        check(&all, &target(), 10, &["a warning 8-25"]);
        check(&all[..1], &target(), 10, &["a warning 3-5"]);
    }

    #[test]
    fn labels_contain_no_names_or_amounts_and_rule_labels_replace_none() {
        let mut rule = rule("month");
        rule.labels = [("period", "mine"), ("cost_center", "7"), ("empty", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let all = [decided("workspace_01", firing(Severity::Critical))];
        let current = current_facts(&all, &[rule], &target(), at(1));
        let (labels, fact) = current.first_key_value().unwrap();
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = "alertname=month cost_center=7 organization=acme period=2026-11 severity=critical \
                        subject_id=workspace_01 subject_kind=workspace";
        assert_eq!(pairs.join(" "), expected);
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
