//! Stored form of digests, which every later version must read from the outbox, and the last completed slot of each digest.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StoreError, StoreErrorCause};
use crate::json::{AsText, from_json, to_json};
use crate::row_ids;
use crate::shapes::SpanShape;
use crate::values::StoredTime;
use spendwatch_domain::digest::{
    AuditAnchor, DataGap, Digest, Forecast, IdleKey, LimitUse, OpenAlert, OtherSubjects,
    SpendBreakdown, SubjectSpend, Truncated,
};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

/// Last completed slot of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestProgress {
    pub name: String,
    /// Schedule of the slot, with its time zone.
    pub schedule: String,
    /// The last completed slot, or the time after which slots are due.
    pub last_slot: Timestamp,
}

impl Store {
    /// Returns the progress of an organization's digests, by name.
    pub async fn digest_progress(
        &self,
        organization: &OrganizationName,
    ) -> Result<BTreeMap<String, DigestProgress>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let Some(organization) = row_ids::find_organization_id(db, &name)? else {
                return Ok(BTreeMap::new());
            };
            let mut statement = db.prepare_cached(
                "SELECT name, schedule, last_slot FROM digests WHERE organization_id = ?1",
            )?;
            let rows = statement.query_map([organization], |row| {
                let mark = DigestProgress {
                    name: row.get(0)?,
                    schedule: row.get(1)?,
                    last_slot: row.get::<_, StoredTime>(2)?.0,
                };
                Ok((mark.name.clone(), mark))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

pub(super) fn save_progress(
    tx: &Transaction<'_>,
    organization: i64,
    mark: &DigestProgress,
) -> Result<(), StoreErrorCause> {
    tx.prepare_cached(
        "INSERT INTO digests (organization_id, name, schedule, last_slot) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (organization_id, name) DO UPDATE SET schedule = excluded.schedule, last_slot = excluded.last_slot",
    )?
    .execute(params![
        organization,
        mark.name,
        mark.schedule,
        StoredTime(mark.last_slot)
    ])?;
    Ok(())
}

pub(super) fn digest_to_json(digest: &Digest) -> String {
    to_json(&DigestShape::from(digest))
}

pub(super) fn digest_from_json(text: &str) -> Result<Digest, StoreErrorCause> {
    let shape: DigestShape = from_json(text, "a digest")?;
    Ok(shape.into())
}

#[derive(Debug, Serialize, Deserialize)]
struct DigestShape {
    organization: String,
    name: String,
    label: Option<String>,
    span: SpanShape,
    zone_name: String,
    made_at: AsText<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastShape>,
    spend: AsText<Usd>,
    before: Option<AsText<Usd>>,
    series: Vec<(String, AsText<Usd>)>,
    workspaces: BreakdownShape,
    movers: BreakdownShape,
    teams: BreakdownShape,
    models: BreakdownShape,
    limits: Vec<LimitShape>,
    n_more_limits: usize,
    alerts: Vec<OpenAlertShape>,
    n_more_alerts: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_keys: Option<IdleKeysShape>,
    gaps: Vec<MissingDataShape>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit: Option<AnchorShape>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnchorShape {
    entry: u64,
    hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ForecastShape {
    label: String,
    spend: AsText<Usd>,
    so_far: AsText<Usd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BreakdownShape {
    lines: Vec<SubjectSpendShape>,
    rest: Option<RemainingShape>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubjectSpendShape {
    name: String,
    spend: AsText<Usd>,
    before: Option<AsText<Usd>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RemainingShape {
    n: usize,
    spend: AsText<Usd>,
    before: Option<AsText<Usd>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LimitShape {
    rule: String,
    subject_kind: AsText<SubjectKind>,
    subject_id: String,
    name: String,
    value: AsText<Usd>,
    is_lower_bound: bool,
    limit: AsText<Usd>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenAlertShape {
    rule: String,
    subject_kind: AsText<SubjectKind>,
    subject_id: String,
    name: String,
    severity: AsText<Severity>,
    threshold: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<AsText<Event>>,
    since: Option<AsText<Timestamp>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct IdleKeysShape {
    first: Vec<IdleKeyShape>,
    n_more: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct IdleKeyShape {
    id: String,
    name: String,
    workspace: Option<String>,
    since: AsText<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum MissingDataShape {
    Unread {
        n: usize,
        n_all: usize,
    },
    Stale {
        name: String,
        as_of: AsText<Timestamp>,
    },
    MoreStale {
        n: usize,
    },
    KnownFrom {
        at: AsText<Timestamp>,
    },
    Estimated {
        spend: AsText<Usd>,
    },
    Unpriced {
        n_tokens: i64,
    },
}

impl From<&Digest> for DigestShape {
    fn from(digest: &Digest) -> DigestShape {
        DigestShape {
            organization: digest.organization.to_string(),
            name: digest.name.clone(),
            label: digest.label.clone(),
            span: digest.span.into(),
            zone_name: digest.zone_name.clone(),
            made_at: AsText(digest.created_at),
            spend: AsText(digest.spend),
            before: digest.before.map(AsText),
            series: digest
                .series
                .iter()
                .map(|(label, spend)| (label.clone(), AsText(*spend)))
                .collect(),
            workspaces: (&digest.workspaces).into(),
            movers: (&digest.movers).into(),
            teams: (&digest.teams).into(),
            models: (&digest.models).into(),
            limits: digest.limits.first.iter().map(Into::into).collect(),
            n_more_limits: digest.limits.n_more,
            alerts: digest.alerts.first.iter().map(Into::into).collect(),
            n_more_alerts: digest.alerts.n_more,
            idle_keys: digest.idle_keys.as_ref().map(Into::into),
            forecast: digest.forecast.as_ref().map(|forecast| ForecastShape {
                label: forecast.label.clone(),
                spend: AsText(forecast.spend),
                so_far: AsText(forecast.so_far),
            }),
            gaps: digest.gaps.iter().map(Into::into).collect(),
            audit: digest.audit.as_ref().map(|anchor| AnchorShape {
                entry: anchor.entry,
                hash: anchor.hash.clone(),
            }),
        }
    }
}

impl From<DigestShape> for Digest {
    fn from(shape: DigestShape) -> Digest {
        Digest {
            organization: shape.organization.as_str().into(),
            name: shape.name,
            label: shape.label,
            span: shape.span.into(),
            zone_name: shape.zone_name,
            created_at: shape.made_at.0,
            spend: shape.spend.0,
            before: shape.before.map(|before| before.0),
            series: shape
                .series
                .into_iter()
                .map(|(label, spend)| (label, spend.0))
                .collect(),
            workspaces: shape.workspaces.into(),
            movers: shape.movers.into(),
            teams: shape.teams.into(),
            models: shape.models.into(),
            limits: Truncated {
                first: shape.limits.into_iter().map(Into::into).collect(),
                n_more: shape.n_more_limits,
            },
            alerts: Truncated {
                first: shape.alerts.into_iter().map(Into::into).collect(),
                n_more: shape.n_more_alerts,
            },
            idle_keys: shape.idle_keys.map(Into::into),
            forecast: shape.forecast.map(|forecast| Forecast {
                label: forecast.label,
                spend: forecast.spend.0,
                so_far: forecast.so_far.0,
            }),
            gaps: shape.gaps.into_iter().map(Into::into).collect(),
            audit: shape.audit.map(|anchor| AuditAnchor {
                entry: anchor.entry,
                hash: anchor.hash,
            }),
        }
    }
}

impl From<&SpendBreakdown> for BreakdownShape {
    fn from(breakdown: &SpendBreakdown) -> BreakdownShape {
        let line = |line: &SubjectSpend| SubjectSpendShape {
            name: line.name.clone(),
            spend: AsText(line.spend),
            before: line.before.map(AsText),
        };
        BreakdownShape {
            lines: breakdown.lines.iter().map(line).collect(),
            rest: breakdown.rest.map(|rest| RemainingShape {
                n: rest.n,
                spend: AsText(rest.spend),
                before: rest.before.map(AsText),
            }),
        }
    }
}

impl From<BreakdownShape> for SpendBreakdown {
    fn from(shape: BreakdownShape) -> SpendBreakdown {
        let line = |line: SubjectSpendShape| SubjectSpend {
            name: line.name,
            spend: line.spend.0,
            before: line.before.map(|before| before.0),
        };
        SpendBreakdown {
            lines: shape.lines.into_iter().map(line).collect(),
            rest: shape.rest.map(|rest| OtherSubjects {
                n: rest.n,
                spend: rest.spend.0,
                before: rest.before.map(|before| before.0),
            }),
        }
    }
}

impl From<&LimitUse> for LimitShape {
    fn from(used: &LimitUse) -> LimitShape {
        LimitShape {
            rule: used.rule.to_string(),
            subject_kind: AsText(used.subject.kind),
            subject_id: used.subject.id.to_string(),
            name: used.name.clone(),
            value: AsText(used.value),
            is_lower_bound: used.is_lower_bound,
            limit: AsText(used.limit),
        }
    }
}

impl From<LimitShape> for LimitUse {
    fn from(shape: LimitShape) -> LimitUse {
        LimitUse {
            rule: shape.rule.as_str().into(),
            subject: Subject::new(shape.subject_kind.0, shape.subject_id),
            name: shape.name,
            value: shape.value.0,
            is_lower_bound: shape.is_lower_bound,
            limit: shape.limit.0,
        }
    }
}

impl From<&OpenAlert> for OpenAlertShape {
    fn from(alert: &OpenAlert) -> OpenAlertShape {
        OpenAlertShape {
            rule: alert.rule.to_string(),
            subject_kind: AsText(alert.subject.kind),
            subject_id: alert.subject.id.to_string(),
            name: alert.name.clone(),
            severity: AsText(alert.severity),
            threshold: alert.threshold.clone(),
            event: alert.event.map(AsText),
            since: alert.since.map(AsText),
        }
    }
}

impl From<OpenAlertShape> for OpenAlert {
    fn from(shape: OpenAlertShape) -> OpenAlert {
        OpenAlert {
            rule: shape.rule.as_str().into(),
            subject: Subject::new(shape.subject_kind.0, shape.subject_id),
            name: shape.name,
            severity: shape.severity.0,
            threshold: shape.threshold,
            event: shape.event.map(|event| event.0),
            since: shape.since.map(|since| since.0),
        }
    }
}

impl From<&Truncated<IdleKey>> for IdleKeysShape {
    fn from(keys: &Truncated<IdleKey>) -> IdleKeysShape {
        let key = |key: &IdleKey| IdleKeyShape {
            id: key.id.to_string(),
            name: key.name.clone(),
            workspace: key.workspace.clone(),
            since: AsText(key.since),
        };
        IdleKeysShape {
            first: keys.first.iter().map(key).collect(),
            n_more: keys.n_more,
        }
    }
}

impl From<IdleKeysShape> for Truncated<IdleKey> {
    fn from(shape: IdleKeysShape) -> Truncated<IdleKey> {
        let key = |key: IdleKeyShape| IdleKey {
            id: key.id.as_str().into(),
            name: key.name,
            workspace: key.workspace,
            since: key.since.0,
        };
        Truncated {
            first: shape.first.into_iter().map(key).collect(),
            n_more: shape.n_more,
        }
    }
}

impl From<&DataGap> for MissingDataShape {
    fn from(gap: &DataGap) -> MissingDataShape {
        match gap {
            DataGap::Unread { n, n_all } => MissingDataShape::Unread {
                n: *n,
                n_all: *n_all,
            },
            DataGap::Stale { name, as_of } => MissingDataShape::Stale {
                name: name.clone(),
                as_of: AsText(*as_of),
            },
            DataGap::MoreStale { n } => MissingDataShape::MoreStale { n: *n },
            DataGap::KnownFrom { at } => MissingDataShape::KnownFrom { at: AsText(*at) },
            DataGap::Estimated { spend } => MissingDataShape::Estimated {
                spend: AsText(*spend),
            },
            DataGap::Unpriced { n_tokens } => MissingDataShape::Unpriced {
                n_tokens: *n_tokens,
            },
        }
    }
}

impl From<MissingDataShape> for DataGap {
    fn from(shape: MissingDataShape) -> DataGap {
        match shape {
            MissingDataShape::Unread { n, n_all } => DataGap::Unread { n, n_all },
            MissingDataShape::Stale { name, as_of } => DataGap::Stale {
                name,
                as_of: as_of.0,
            },
            MissingDataShape::MoreStale { n } => DataGap::MoreStale { n },
            MissingDataShape::KnownFrom { at } => DataGap::KnownFrom { at: at.0 },
            MissingDataShape::Estimated { spend } => DataGap::Estimated { spend: spend.0 },
            MissingDataShape::Unpriced { n_tokens } => DataGap::Unpriced { n_tokens },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, digest};

    #[test]
    fn digests_round_trip() {
        let mut made = digest("weekly");
        made.gaps = vec![
            DataGap::Unread { n: 1, n_all: 3 },
            DataGap::Stale {
                name: "Search".to_owned(),
                as_of: at(7),
            },
            DataGap::MoreStale { n: 2 },
            DataGap::KnownFrom { at: at(0) },
            DataGap::Estimated {
                spend: Usd::from_pico(1),
            },
            DataGap::Unpriced { n_tokens: 5 },
        ];
        made.alerts.first[0].event = Some(Event::KeyIdle);
        made.idle_keys = Some(Truncated {
            first: vec![IdleKey {
                id: "apikey_01".into(),
                name: "ci".to_owned(),
                workspace: Some("Search".to_owned()),
                since: at(0),
            }],
            n_more: 3,
        });
        assert_eq!(digest_from_json(&digest_to_json(&made)).unwrap(), made);
    }

    #[test]
    fn digests_stored_without_events_are_read() {
        let plain = digest("weekly");
        let text = digest_to_json(&plain);
        assert!(
            !text.contains("event") && !text.contains("idle_keys"),
            "{text}"
        );
        assert_eq!(digest_from_json(&text).unwrap(), plain);
    }
}
