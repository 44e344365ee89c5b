//! Stored form of a message's facts, which do not change after the first attempt.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::stored::{Stored, stored_by};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, EndedBy, Identity};
use spendwatch_domain::alerts::notification::{Contributor, Fact, NamedKey, Reason, Reconciled};
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::{ModelName, NotifierName, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Span;

stored_by! {
    Contributor: ContributorShape;
    Reconciled: ReconciledShape;
    Fact: FactShape;
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Contributor")]
struct ContributorShape {
    #[serde(with = "Stored")]
    workspace_id: WorkspaceId,
    workspace: String,
    #[serde(with = "model_or_all")]
    model: Option<ModelName>,
    #[serde(with = "Stored", default, skip_serializing_if = "Option::is_none")]
    api_key: Option<NamedKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    #[serde(with = "Stored")]
    value: Quantity,
    #[serde(with = "Stored", default)]
    before: Option<Quantity>,
}

/// All models are stored as an empty name.
mod model_or_all {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        model: &Option<ModelName>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(model.as_ref().map_or("", ModelName::as_str))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ModelName>, D::Error> {
        let name = <String as Deserialize>::deserialize(deserializer)?;
        Ok((!name.is_empty()).then(|| ModelName::new(name)))
    }
}

/// A pair of id and name.
impl Stored for NamedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(&(self.id.as_str(), &self.name), serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NamedKey, D::Error> {
        let (id, name) = Stored::deserialize(deserializer)?;
        Ok(NamedKey { id, name })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Reconciled")]
struct ReconciledShape {
    #[serde(with = "Stored")]
    billed: Usd,
    #[serde(with = "Stored")]
    estimated: Usd,
    #[serde(with = "Stored", default, skip_serializing_if = "is_zero")]
    uncertain: Usd,
    #[serde(with = "Stored")]
    unpriced: Vec<ModelName>,
}

fn is_zero(amount: &Usd) -> bool {
    *amount == Usd::ZERO
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Fact")]
struct FactShape {
    #[serde(with = "Stored")]
    identity: Identity,
    sequence: u64,
    #[serde(with = "Stored")]
    reason: Reason,
    #[serde(with = "Stored", default)]
    ended_by: Option<EndedBy>,
    #[serde(with = "Stored", default)]
    in_place_of: Option<NotifierName>,
    is_late: bool,
    is_fired_and_resolved: bool,
    subject_name: String,
    #[serde(with = "Stored")]
    watch: Watch,
    #[serde(with = "Stored")]
    span: Span,
    zone_name: String,
    #[serde(with = "Stored")]
    value: Quantity,
    is_lower_bound: bool,
    #[serde(with = "Stored", default)]
    limit: Option<Quantity>,
    #[serde(with = "Stored", rename = "line")]
    threshold: AbsoluteThreshold,
    #[serde(with = "Stored")]
    firing_since: Timestamp,
    #[serde(with = "Stored", default)]
    ended_at: Option<Timestamp>,
    #[serde(with = "Stored")]
    decided_at: Timestamp,
    #[serde(with = "Stored", default)]
    as_of: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    #[serde(with = "Stored")]
    top: Vec<Contributor>,
    #[serde(with = "Stored", default)]
    forecast: Option<Usd>,
    #[serde(with = "Stored", default)]
    reconciled: Option<Reconciled>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "maker")]
    creator: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreErrorCause;
    use crate::samples::{at, fact};
    use crate::stored::{AsStored, facts_from_json, to_json};
    use proptest::prelude::*;
    use spendwatch_domain::org::events::Event;

    fn contributor() -> impl Strategy<Value = Contributor> {
        (".*", ".*", any::<i128>(), any::<Option<i128>>()).prop_map(|(id, name, value, before)| {
            Contributor {
                workspace_id: WorkspaceId::new(id.as_str()),
                workspace: name.clone(),
                model: (!name.is_empty()).then(|| ModelName::new(name.as_str())),
                api_key: Some(NamedKey {
                    id: "apikey_1".into(),
                    name: "ci \"blue\"".to_owned(),
                }),
                person: Some("ada@example.com".to_owned()),
                value,
                before,
            }
        })
    }

    proptest! {
        #[test]
        fn facts_round_trip(
            reason in prop::sample::select(Reason::ALL.to_vec()),
            watch in prop::sample::select(Watch::ALL.to_vec()),
            ended_by in prop::option::of(prop::sample::select(EndedBy::ALL.to_vec())),
            quantities in (any::<i128>(), any::<Option<i128>>(), any::<i128>()),
            flags in any::<[bool; 3]>(),
            texts in (".*", ".*", ".*"),
            top in prop::collection::vec(contributor(), 0..5),
            labels in prop::collection::btree_map(".*", ".*", 0..3),
            sequence in any::<u64>(),
            minutes in (0i64..100_000, prop::option::of(0i64..100_000), prop::option::of(0i64..100_000)),
        ) {
            let mut stored = fact(&texts.0, sequence, reason);
            stored.identity.slot.period = flags[2].then(|| texts.2.as_str().into());
            stored.ended_by = ended_by;
            (stored.value, stored.limit) = (quantities.0, quantities.1);
            stored.threshold.quantity = quantities.2;
            stored.threshold.text = texts.1.as_str().into();
            [stored.is_late, stored.is_fired_and_resolved, stored.is_lower_bound] = flags;
            stored.zone_name = texts.2;
            stored.firing_since = at(minutes.0) + jiff::SignedDuration::from_nanos(1);
            stored.ended_at = minutes.1.map(at);
            stored.as_of = minutes.2.map(at);
            stored.labels = labels;
            stored.top = top;
            stored.forecast = quantities.1.map(Usd::from_pico);
            stored.watch = watch;
            stored.identity.slot.event = flags[0].then_some(Event::KeyOfRemovedUser);
            stored.creator = flags[1].then(|| stored.zone_name.clone());
            stored.reconciled = stored.forecast.map(|billed| Reconciled {
                billed,
                estimated: Usd::from_pico(quantities.2),
                uncertain: Usd::from_pico(quantities.2),
                unpriced: vec![ModelName::new(stored.zone_name.as_str())],
            });
            let all = vec![stored.clone(), stored];
            prop_assert_eq!(facts_from_json(&to_json(&AsStored(&all))).unwrap(), all);
        }
    }

    #[test]
    fn facts_of_older_versions_are_read() {
        let stored = fact("w", 1, Reason::First);
        let text = to_json(&AsStored(&vec![stored.clone()]));
        let older = text.replace(",\"reconciled\":null", "");
        assert!(older.len() < text.len(), "{text}");
        assert!(!text.contains("event") && !text.contains("maker"), "{text}");
        assert_eq!(facts_from_json(&older).unwrap(), [stored]);
    }

    #[test]
    fn unreadable_facts_are_an_error_with_the_cause() {
        let good = to_json(&AsStored(&vec![fact("w", 1, Reason::First)]));
        let bad = good.replace("\"first\"", "\"foremost\"");
        let Err(StoreErrorCause::Corrupt(detail)) = facts_from_json(&bad) else {
            panic!("no such reason");
        };
        assert!(detail.contains("unknown value `foremost`"), "{detail}");
    }
}
