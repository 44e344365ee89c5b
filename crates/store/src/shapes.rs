//! JSON shapes of stored alerts and their history.
//!
//! A new field needs a default, so that rows of older versions can be read. `old_rows` checks that names do not change.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StoreErrorCause;
use crate::json::{AsText, from_json, to_json};
use spendwatch_domain::alerts::alert::{
    AbsoluteThreshold, Alert, Crossing, EndedBy, Identity, NotifiedState, Observed, Slot, State,
};
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ThresholdShape {
    quantity: AsText<Quantity>,
    severity: AsText<Severity>,
    text: String,
}

impl ThresholdShape {
    pub(super) fn severity(&self) -> Severity {
        self.severity.0
    }
}

impl From<&AbsoluteThreshold> for ThresholdShape {
    fn from(line: &AbsoluteThreshold) -> ThresholdShape {
        ThresholdShape {
            quantity: AsText(line.quantity),
            severity: AsText(line.severity),
            text: line.text.to_string(),
        }
    }
}

impl From<ThresholdShape> for AbsoluteThreshold {
    fn from(shape: ThresholdShape) -> AbsoluteThreshold {
        AbsoluteThreshold {
            quantity: shape.quantity.0,
            severity: shape.severity.0,
            text: shape.text.into(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SpanShape {
    start: AsText<Timestamp>,
    end: AsText<Timestamp>,
}

impl From<Span> for SpanShape {
    fn from(span: Span) -> SpanShape {
        SpanShape {
            start: AsText(span.start),
            end: AsText(span.end),
        }
    }
}

impl From<SpanShape> for Span {
    fn from(shape: SpanShape) -> Span {
        Span {
            start: shape.start.0,
            end: shape.end.0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct IdentityShape {
    organization: String,
    rule: String,
    subject_kind: AsText<SubjectKind>,
    subject_id: String,
    period: Option<String>,
    started_at: AsText<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<AsText<Event>>,
}

impl From<&Identity> for IdentityShape {
    fn from(identity: &Identity) -> IdentityShape {
        let slot = &identity.slot;
        IdentityShape {
            organization: identity.organization.to_string(),
            rule: slot.rule.to_string(),
            subject_kind: AsText(slot.subject.kind),
            subject_id: slot.subject.id.to_string(),
            period: slot.period.as_deref().map(str::to_owned),
            started_at: AsText(identity.started_at),
            event: slot.event.map(AsText),
        }
    }
}

impl From<IdentityShape> for Identity {
    fn from(shape: IdentityShape) -> Identity {
        Identity {
            organization: shape.organization.as_str().into(),
            slot: Slot {
                rule: shape.rule.as_str().into(),
                subject: Subject::new(shape.subject_kind.0, shape.subject_id),
                period: shape.period.map(Into::into),
                event: shape.event.map(|event| event.0),
            },
            started_at: shape.started_at.0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
enum StateShape {
    Pending {
        line: ThresholdShape,
        since: u64,
    },
    Firing {
        line: ThresholdShape,
        clearing_since: Option<u64>,
    },
    Ended {
        by: AsText<EndedBy>,
        at: AsText<Timestamp>,
        line: ThresholdShape,
    },
}

impl From<&State> for StateShape {
    fn from(state: &State) -> StateShape {
        match state {
            State::Pending {
                threshold: line,
                since,
            } => StateShape::Pending {
                line: line.into(),
                since: since.0,
            },
            State::Firing {
                threshold: line,
                clearing_since,
            } => StateShape::Firing {
                line: line.into(),
                clearing_since: clearing_since.map(|since| since.0),
            },
            State::Ended {
                by,
                at,
                threshold: line,
            } => StateShape::Ended {
                by: AsText(*by),
                at: AsText(*at),
                line: line.into(),
            },
        }
    }
}

impl From<StateShape> for State {
    fn from(shape: StateShape) -> State {
        match shape {
            StateShape::Pending { line, since } => State::Pending {
                threshold: line.into(),
                since: Observed(since),
            },
            StateShape::Firing {
                line,
                clearing_since,
            } => State::Firing {
                threshold: line.into(),
                clearing_since: clearing_since.map(Observed),
            },
            StateShape::Ended { by, at, line } => State::Ended {
                by: by.0,
                at: at.0,
                threshold: line.into(),
            },
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct CrossingShape {
    line: ThresholdShape,
    since: u64,
}

impl From<&Crossing> for CrossingShape {
    fn from(crossing: &Crossing) -> CrossingShape {
        CrossingShape {
            line: (&crossing.threshold).into(),
            since: crossing.since.0,
        }
    }
}

impl From<CrossingShape> for Crossing {
    fn from(shape: CrossingShape) -> Crossing {
        Crossing {
            threshold: shape.line.into(),
            since: Observed(shape.since),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct NotifiedShape {
    showing: Option<ThresholdShape>,
    raised: Vec<ThresholdShape>,
    lowered: Vec<ThresholdShape>,
    at: u64,
}

impl From<&NotifiedState> for NotifiedShape {
    fn from(notified: &NotifiedState) -> NotifiedShape {
        NotifiedShape {
            showing: notified.shown.as_ref().map(Into::into),
            raised: notified.raised.iter().map(Into::into).collect(),
            lowered: notified.lowered.iter().map(Into::into).collect(),
            at: notified.at.0,
        }
    }
}

impl From<NotifiedShape> for NotifiedState {
    fn from(shape: NotifiedShape) -> NotifiedState {
        NotifiedState {
            shown: shape.showing.map(Into::into),
            raised: shape.raised.into_iter().map(Into::into).collect(),
            lowered: shape.lowered.into_iter().map(Into::into).collect(),
            at: Observed(shape.at),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AlertShape {
    identity: IdentityShape,
    watch: AsText<Watch>,
    span: SpanShape,
    state: StateShape,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rising: Vec<CrossingShape>,
    sequence: u64,
    firing_since: Option<AsText<Timestamp>>,
    is_late: bool,
    is_silenced: bool,
    value: AsText<Quantity>,
    limit: Option<AsText<Quantity>>,
    told: BTreeMap<String, NotifiedShape>,
}

impl From<&Alert> for AlertShape {
    fn from(alert: &Alert) -> AlertShape {
        AlertShape {
            identity: (&alert.identity).into(),
            watch: AsText(alert.watch),
            span: alert.span.into(),
            state: (&alert.state).into(),
            rising: alert.rising.iter().map(Into::into).collect(),
            sequence: alert.sequence,
            firing_since: alert.firing_since.map(AsText),
            is_late: alert.is_late,
            is_silenced: alert.is_silenced,
            value: AsText(alert.value),
            limit: alert.limit.map(AsText),
            told: alert
                .notified
                .iter()
                .map(|(notifier, state)| (notifier.to_string(), state.into()))
                .collect(),
        }
    }
}

impl From<AlertShape> for Alert {
    fn from(shape: AlertShape) -> Alert {
        let notified = shape.told.into_iter();
        Alert {
            identity: shape.identity.into(),
            watch: shape.watch.0,
            span: shape.span.into(),
            state: shape.state.into(),
            rising: shape.rising.into_iter().map(Into::into).collect(),
            sequence: shape.sequence,
            firing_since: shape.firing_since.map(|at| at.0),
            is_late: shape.is_late,
            is_silenced: shape.is_silenced,
            value: shape.value.0,
            limit: shape.limit.map(|limit| limit.0),
            notified: notified
                .map(|(notifier, state)| (NotifierName::new(notifier), state.into()))
                .collect(),
        }
    }
}

/// An entry of an alert's history.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChangeShape {
    pub(super) sequence: u64,
    pub(super) phase: String,
    ended_by: Option<AsText<EndedBy>>,
    pub(super) line: ThresholdShape,
    value: AsText<Quantity>,
    limit: Option<AsText<Quantity>>,
    told: Vec<(String, AsText<Reason>)>,
}

impl ChangeShape {
    /// Describes the current state of an alert, and the messages sent about it.
    pub(super) fn new(
        alert: &Alert,
        phase: &str,
        notified: &[(NotifierName, Reason)],
    ) -> ChangeShape {
        let ended_by = match &alert.state {
            State::Ended { by, .. } => Some(AsText(*by)),
            State::Pending { .. } | State::Firing { .. } => None,
        };
        ChangeShape {
            sequence: alert.sequence,
            phase: phase.to_owned(),
            ended_by,
            line: alert.threshold().into(),
            value: AsText(alert.value),
            limit: alert.limit.map(AsText),
            told: notified
                .iter()
                .map(|(notifier, reason)| (notifier.to_string(), AsText(*reason)))
                .collect(),
        }
    }

    /// Returns why the alert ended, its value and its limit.
    pub(super) fn figures(&self) -> (Option<EndedBy>, Quantity, Option<Quantity>) {
        let limit = self.limit.as_ref().map(|limit| limit.0);
        (self.ended_by.as_ref().map(|by| by.0), self.value.0, limit)
    }

    /// Returns the notifiers that were sent a message, and why.
    pub(super) fn notified(&self) -> Vec<(NotifierName, Reason)> {
        self.told
            .iter()
            .map(|(notifier, reason)| (notifier.as_str().into(), reason.0))
            .collect()
    }
}

pub(super) fn alert_to_json(alert: &Alert) -> String {
    to_json(&AlertShape::from(alert))
}

pub(super) fn alert_from_json(text: &str) -> Result<Alert, StoreErrorCause> {
    from_json::<AlertShape>(text, "an alert").map(Alert::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{alert, at, line};
    use proptest::prelude::*;

    fn any_line() -> impl Strategy<Value = AbsoluteThreshold> {
        (
            any::<i128>(),
            prop::sample::select(Severity::ALL.to_vec()),
            ".*",
        )
            .prop_map(|(quantity, severity, text)| AbsoluteThreshold {
                quantity,
                severity,
                text: text.into(),
            })
    }

    fn any_state() -> impl Strategy<Value = State> {
        let by = prop::sample::select(EndedBy::ALL.to_vec());
        prop_oneof![
            (any_line(), any::<u64>()).prop_map(|(threshold, since)| State::Pending {
                threshold,
                since: Observed(since)
            }),
            (any_line(), any::<Option<u64>>()).prop_map(|(threshold, since)| State::Firing {
                threshold,
                clearing_since: since.map(Observed)
            }),
            (any_line(), by, 0i64..100_000).prop_map(|(threshold, by, minute)| State::Ended {
                by,
                at: at(minute),
                threshold
            }),
        ]
    }

    fn any_notified() -> impl Strategy<Value = NotifiedState> {
        let lines = || prop::collection::vec(any_line(), 0..3);
        (prop::option::of(any_line()), lines(), lines(), any::<u64>()).prop_map(
            |(showing, raised, lowered, at)| NotifiedState {
                shown: showing,
                raised,
                lowered,
                at: Observed(at),
            },
        )
    }

    proptest! {
        #[test]
        fn alerts_round_trip(
            state in any_state(),
            notified in prop::collection::btree_map(".*", any_notified(), 0..3),
            sequence in any::<u64>(),
            quantities in (any::<i128>(), any::<Option<i128>>()),
            rising in prop::collection::vec((any_line(), any::<u64>()), 0..3),
            flags in any::<[bool; 3]>(),
            nanosecond in 0i32..1_000_000_000,
        ) {
            let mut shown = alert("w", sequence);
            shown.state = state;
            let rising = rising.into_iter();
            shown.rising = rising.map(|(threshold, since)| Crossing { threshold, since: Observed(since) }).collect();
            shown.notified = notified.into_iter().map(|(name, state)| (NotifierName::new(name), state)).collect();
            (shown.value, shown.limit) = quantities;
            [shown.is_late, shown.is_silenced, _] = flags;
            shown.firing_since = flags[2].then(|| at(3));
            // Without a period, the exact start is part of the identity.
            shown.identity.slot.period = None;
            shown.identity.slot.event = flags[0].then_some(Event::KeyIdle);
            shown.identity.started_at = Timestamp::new(at(0).as_second(), nanosecond).unwrap();
            let back = alert_from_json(&alert_to_json(&shown)).unwrap();
            prop_assert_eq!(back.identity.fingerprint(), shown.identity.fingerprint());
            prop_assert_eq!(back, shown);
        }
    }

    #[test]
    fn alerts_stored_without_rising_thresholds_are_read() {
        let plain = alert("w", 1);
        let text = alert_to_json(&plain);
        assert!(!text.contains("rising"), "{text}");
        assert_eq!(alert_from_json(&text).unwrap(), plain);
    }

    #[test]
    fn alerts_stored_without_an_event_are_read() {
        let older = r#"{"identity":{"organization":"acme","rule":"rule","subject_kind":"workspace","subject_id":"w",
            "period":"2024-10","started_at":"2024-10-01T00:00:00Z"},"watch":"spend",
            "span":{"start":"2024-10-01T00:00:00Z","end":"2024-11-01T00:00:00Z"},
            "state":{"phase":"firing","line":{"quantity":"80","severity":"warning","text":"80%"},"clearing_since":null},
            "sequence":1,"firing_since":"2024-10-01T00:01:00Z","is_late":false,"is_silenced":false,"value":"81","limit":"100",
            "told":{}}"#;
        let read = alert_from_json(older).unwrap();
        assert_eq!(read.identity.slot.event, None);
        assert_eq!(read.identity.fingerprint(), "5007af9f7c0e237c");
        let again = alert_to_json(&read);
        assert!(!again.contains("event"), "{again}");
        assert_eq!(alert_from_json(&again).unwrap(), read);
    }

    #[test]
    fn thresholds_are_stored_as_text() {
        let shape = ThresholdShape::from(&line());
        assert_eq!(
            to_json(&shape),
            r#"{"quantity":"80","severity":"warning","text":"80%"}"#
        );
    }
}
