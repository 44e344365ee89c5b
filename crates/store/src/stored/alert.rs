//! Stored form of alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::stored::{Stored, stored_by};
use spendwatch_domain::alerts::alert::{
    AbsoluteThreshold, Alert, Crossing, EndedBy, Identity, NotifiedState, Observed, Slot, State,
};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::{NotifierName, OrganizationName, RuleName};
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

stored_by! {
    Span: SpanShape;
    AbsoluteThreshold: ThresholdShape;
    Observed: ObservedShape;
    Crossing: CrossingShape;
    State: StateShape;
    NotifiedState: NotifiedShape;
    Alert: AlertShape;
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Span")]
struct SpanShape {
    #[serde(with = "Stored")]
    start: Timestamp,
    #[serde(with = "Stored")]
    end: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AbsoluteThreshold")]
struct ThresholdShape {
    #[serde(with = "Stored")]
    quantity: Quantity,
    #[serde(with = "Stored")]
    severity: Severity,
    #[serde(with = "Stored")]
    text: Arc<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Observed")]
struct ObservedShape(u64);

/// An identity without the nesting of its slot.
#[derive(Serialize, Deserialize)]
struct FlatIdentity {
    #[serde(with = "Stored")]
    organization: OrganizationName,
    #[serde(with = "Stored")]
    rule: RuleName,
    #[serde(with = "Stored")]
    subject_kind: SubjectKind,
    #[serde(with = "Stored")]
    subject_id: Arc<str>,
    #[serde(with = "Stored", default)]
    period: Option<Arc<str>>,
    #[serde(with = "Stored")]
    started_at: Timestamp,
    #[serde(with = "Stored", default, skip_serializing_if = "Option::is_none")]
    event: Option<Event>,
}

impl Stored for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let slot = self.slot.clone();
        let flat = FlatIdentity {
            organization: self.organization.clone(),
            rule: slot.rule,
            subject_kind: slot.subject.kind,
            subject_id: slot.subject.id,
            period: slot.period,
            started_at: self.started_at,
            event: slot.event,
        };
        Serialize::serialize(&flat, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Identity, D::Error> {
        let flat: FlatIdentity = Deserialize::deserialize(deserializer)?;
        Ok(Identity {
            organization: flat.organization,
            slot: Slot {
                rule: flat.rule,
                subject: Subject::new(flat.subject_kind, flat.subject_id),
                period: flat.period,
                event: flat.event,
            },
            started_at: flat.started_at,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "State", tag = "phase", rename_all = "snake_case")]
enum StateShape {
    Pending {
        #[serde(with = "Stored", rename = "line")]
        threshold: AbsoluteThreshold,
        #[serde(with = "Stored")]
        since: Observed,
    },
    Firing {
        #[serde(with = "Stored", rename = "line")]
        threshold: AbsoluteThreshold,
        #[serde(with = "Stored", default)]
        clearing_since: Option<Observed>,
    },
    Ended {
        #[serde(with = "Stored")]
        by: EndedBy,
        #[serde(with = "Stored")]
        at: Timestamp,
        #[serde(with = "Stored", rename = "line")]
        threshold: AbsoluteThreshold,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Crossing")]
struct CrossingShape {
    #[serde(with = "Stored", rename = "line")]
    threshold: AbsoluteThreshold,
    #[serde(with = "Stored")]
    since: Observed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "NotifiedState")]
struct NotifiedShape {
    #[serde(with = "Stored", default, rename = "showing")]
    shown: Option<AbsoluteThreshold>,
    #[serde(with = "Stored")]
    raised: Vec<AbsoluteThreshold>,
    #[serde(with = "Stored")]
    lowered: Vec<AbsoluteThreshold>,
    #[serde(with = "Stored")]
    at: Observed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Alert")]
struct AlertShape {
    #[serde(with = "Stored")]
    identity: Identity,
    #[serde(with = "Stored")]
    watch: Watch,
    #[serde(with = "Stored")]
    span: Span,
    #[serde(with = "Stored")]
    state: State,
    #[serde(with = "Stored", default, skip_serializing_if = "Vec::is_empty")]
    rising: Vec<Crossing>,
    sequence: u64,
    #[serde(with = "Stored", default)]
    firing_since: Option<Timestamp>,
    is_late: bool,
    is_silenced: bool,
    #[serde(with = "Stored")]
    value: Quantity,
    #[serde(with = "Stored", default)]
    limit: Option<Quantity>,
    #[serde(with = "Stored", rename = "told")]
    notified: BTreeMap<NotifierName, NotifiedState>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{alert, at, line};
    use crate::stored::{AsStored, alert_from_json, to_json};
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
            let back = alert_from_json(&to_json(&AsStored(&shown))).unwrap();
            prop_assert_eq!(back.identity.fingerprint(), shown.identity.fingerprint());
            prop_assert_eq!(back, shown);
        }
    }

    #[test]
    fn alerts_stored_without_rising_thresholds_are_read() {
        let plain = alert("w", 1);
        let text = to_json(&AsStored(&plain));
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
        let again = to_json(&AsStored(&read));
        assert!(!again.contains("event"), "{again}");
        assert_eq!(alert_from_json(&again).unwrap(), read);
    }

    #[test]
    fn thresholds_are_stored_as_text() {
        assert_eq!(
            to_json(&AsStored(&line())),
            r#"{"quantity":"80","severity":"warning","text":"80%"}"#
        );
    }
}
