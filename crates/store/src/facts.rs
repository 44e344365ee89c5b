//! Stored form of a message's facts. They do not change after the first attempt, so every later version must read them: a
//! new field needs a default.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::StoreErrorCause;
use crate::json::{AsText, from_json, to_json};
use crate::shapes::{IdentityShape, SpanShape, ThresholdShape};
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{Contributor, Fact, NamedKey, Reason, Reconciled};
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;

pub(super) fn facts_to_json(facts: &[Fact]) -> String {
    to_json(&facts.iter().map(FactShape::from).collect::<Vec<_>>())
}

pub(super) fn facts_from_json(text: &str) -> Result<Vec<Fact>, StoreErrorCause> {
    let shapes: Vec<FactShape> = from_json(text, "the facts of a message")?;
    Ok(shapes.into_iter().map(Fact::from).collect())
}

#[derive(Debug, Serialize, Deserialize)]
struct ContributorShape {
    workspace_id: String,
    workspace: String,
    /// Empty for all models.
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_key: Option<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    value: AsText<Quantity>,
    before: Option<AsText<Quantity>>,
}

impl From<&Contributor> for ContributorShape {
    fn from(contributor: &Contributor) -> ContributorShape {
        ContributorShape {
            workspace_id: contributor.workspace_id.to_string(),
            workspace: contributor.workspace.clone(),
            model: contributor
                .model
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            api_key: contributor
                .api_key
                .as_ref()
                .map(|key| (key.id.to_string(), key.name.clone())),
            person: contributor.person.clone(),
            value: AsText(contributor.value),
            before: contributor.before.map(AsText),
        }
    }
}

impl From<ContributorShape> for Contributor {
    fn from(shape: ContributorShape) -> Contributor {
        Contributor {
            workspace_id: shape.workspace_id.as_str().into(),
            workspace: shape.workspace,
            model: (!shape.model.is_empty()).then(|| shape.model.as_str().into()),
            api_key: shape.api_key.map(|(id, name)| NamedKey {
                id: id.as_str().into(),
                name,
            }),
            person: shape.person,
            value: shape.value.0,
            before: shape.before.map(|before| before.0),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ReconciledShape {
    billed: AsText<Usd>,
    estimated: AsText<Usd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncertain: Option<AsText<Usd>>,
    unpriced: Vec<String>,
}

impl From<&Reconciled> for ReconciledShape {
    fn from(reconciled: &Reconciled) -> ReconciledShape {
        ReconciledShape {
            billed: AsText(reconciled.billed),
            estimated: AsText(reconciled.estimated),
            uncertain: (reconciled.uncertain != Usd::ZERO).then_some(AsText(reconciled.uncertain)),
            unpriced: reconciled
                .unpriced
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl From<ReconciledShape> for Reconciled {
    fn from(shape: ReconciledShape) -> Reconciled {
        Reconciled {
            billed: shape.billed.0,
            estimated: shape.estimated.0,
            uncertain: shape.uncertain.map_or(Usd::ZERO, |uncertain| uncertain.0),
            unpriced: shape
                .unpriced
                .iter()
                .map(|model| model.as_str().into())
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FactShape {
    identity: IdentityShape,
    sequence: u64,
    reason: AsText<Reason>,
    ended_by: Option<AsText<EndedBy>>,
    #[serde(default)]
    in_place_of: Option<String>,
    is_late: bool,
    is_fired_and_resolved: bool,
    subject_name: String,
    watch: AsText<Watch>,
    span: SpanShape,
    zone_name: String,
    value: AsText<Quantity>,
    is_lower_bound: bool,
    limit: Option<AsText<Quantity>>,
    line: ThresholdShape,
    firing_since: AsText<Timestamp>,
    ended_at: Option<AsText<Timestamp>>,
    decided_at: AsText<Timestamp>,
    as_of: Option<AsText<Timestamp>>,
    labels: BTreeMap<String, String>,
    top: Vec<ContributorShape>,
    forecast: Option<AsText<Usd>>,
    #[serde(default)]
    reconciled: Option<ReconciledShape>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maker: Option<String>,
}

impl From<&Fact> for FactShape {
    fn from(fact: &Fact) -> FactShape {
        FactShape {
            identity: (&fact.identity).into(),
            sequence: fact.sequence,
            reason: AsText(fact.reason),
            ended_by: fact.ended_by.map(AsText),
            in_place_of: fact.in_place_of.as_ref().map(ToString::to_string),
            is_late: fact.is_late,
            is_fired_and_resolved: fact.is_fired_and_resolved,
            subject_name: fact.subject_name.clone(),
            watch: AsText(fact.watch),
            span: fact.span.into(),
            zone_name: fact.zone_name.clone(),
            value: AsText(fact.value),
            is_lower_bound: fact.is_lower_bound,
            limit: fact.limit.map(AsText),
            line: (&fact.threshold).into(),
            firing_since: AsText(fact.firing_since),
            ended_at: fact.ended_at.map(AsText),
            decided_at: AsText(fact.decided_at),
            as_of: fact.as_of.map(AsText),
            labels: fact.labels.clone(),
            top: fact.top.iter().map(Into::into).collect(),
            forecast: fact.forecast.map(AsText),
            reconciled: fact.reconciled.as_ref().map(Into::into),
            maker: fact.creator.clone(),
        }
    }
}

impl From<FactShape> for Fact {
    fn from(shape: FactShape) -> Fact {
        Fact {
            identity: shape.identity.into(),
            sequence: shape.sequence,
            reason: shape.reason.0,
            ended_by: shape.ended_by.map(|by| by.0),
            in_place_of: shape.in_place_of.map(NotifierName::new),
            is_late: shape.is_late,
            is_fired_and_resolved: shape.is_fired_and_resolved,
            subject_name: shape.subject_name,
            watch: shape.watch.0,
            span: shape.span.into(),
            zone_name: shape.zone_name,
            value: shape.value.0,
            is_lower_bound: shape.is_lower_bound,
            limit: shape.limit.map(|limit| limit.0),
            threshold: shape.line.into(),
            firing_since: shape.firing_since.0,
            ended_at: shape.ended_at.map(|at| at.0),
            decided_at: shape.decided_at.0,
            as_of: shape.as_of.map(|at| at.0),
            labels: shape.labels,
            top: shape.top.into_iter().map(Into::into).collect(),
            forecast: shape.forecast.map(|forecast| forecast.0),
            reconciled: shape.reconciled.map(Into::into),
            creator: shape.maker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, fact};
    use proptest::prelude::*;
    use spendwatch_domain::org::events::Event;
    use spendwatch_domain::units::ids::{ModelName, WorkspaceId};

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
            prop_assert_eq!(facts_from_json(&facts_to_json(&all)).unwrap(), all);
        }
    }

    #[test]
    fn facts_of_older_versions_are_read() {
        let stored = fact("w", 1, Reason::First);
        let text = facts_to_json(std::slice::from_ref(&stored));
        let older = text.replace(",\"reconciled\":null", "");
        assert!(older.len() < text.len(), "{text}");
        assert!(!text.contains("event") && !text.contains("maker"), "{text}");
        assert_eq!(facts_from_json(&older).unwrap(), [stored]);
    }

    #[test]
    fn unreadable_facts_are_an_error_with_the_cause() {
        let good = facts_to_json(&[fact("w", 1, Reason::First)]);
        let bad = good.replace("\"first\"", "\"foremost\"");
        let Err(StoreErrorCause::Corrupt(detail)) = facts_from_json(&bad) else {
            panic!("no such reason");
        };
        assert!(detail.contains("unknown value `foremost`"), "{detail}");
    }
}
