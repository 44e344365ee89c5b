//! Digests as they are stored: frozen in the outbox, so all versions must read them; and up to which slot each was done.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use crate::domain::digest::{
    Anchor, Breakdown, Digest, Forecast, IdleKey, LimitUse, Line, Listed, Missing, OpenAlert, Rest,
};
use crate::domain::event::Event;
use crate::domain::ids::OrganizationName;
use crate::domain::money::Usd;
use crate::domain::rule::Severity;
use crate::domain::subject::{Subject, SubjectKind};
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::json::{AsText, from_json, to_json};
use crate::store::names;
use crate::store::shapes::SpanShape;
use crate::store::values::At;

/// Up to where one digest was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub name: String,
    /// The schedule that the slot is of, with its zone.
    pub schedule: String,
    /// The newest slot that was done, or from when on slots count.
    pub last_slot: Timestamp,
}

impl Store {
    /// The marks of an organization, by the digest's name.
    pub async fn digest_marks(
        &self,
        organization: &OrganizationName,
    ) -> Result<BTreeMap<String, Mark>, StoreError> {
        let name = organization.clone();
        self.read(move |db| {
            let Some(organization) = names::find_organization(db, &name)? else {
                return Ok(BTreeMap::new());
            };
            let mut statement = db.prepare_cached(
                "SELECT name, schedule, last_slot FROM digests WHERE organization_id = ?1",
            )?;
            let rows = statement.query_map([organization], |row| {
                let mark = Mark {
                    name: row.get(0)?,
                    schedule: row.get(1)?,
                    last_slot: row.get::<_, At>(2)?.0,
                };
                Ok((mark.name.clone(), mark))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

pub(super) fn save_mark(tx: &Transaction<'_>, organization: i64, mark: &Mark) -> Result<(), Cause> {
    tx.prepare_cached(
        "INSERT INTO digests (organization_id, name, schedule, last_slot) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (organization_id, name) DO UPDATE SET schedule = excluded.schedule, last_slot = excluded.last_slot",
    )?
    .execute(params![
        organization,
        mark.name,
        mark.schedule,
        At(mark.last_slot)
    ])?;
    Ok(())
}

pub(super) fn digest_to_json(digest: &Digest) -> String {
    to_json(&DigestShape::from(digest))
}

pub(super) fn digest_from_json(text: &str) -> Result<Digest, Cause> {
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
    alerts: Vec<AlertShape>,
    n_more_alerts: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_keys: Option<IdleKeysShape>,
    gaps: Vec<GapShape>,
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
    lines: Vec<LineShape>,
    rest: Option<RestShape>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LineShape {
    name: String,
    spend: AsText<Usd>,
    before: Option<AsText<Usd>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RestShape {
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
struct AlertShape {
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
enum GapShape {
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
            made_at: AsText(digest.made_at),
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
            made_at: shape.made_at.0,
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
            limits: Listed {
                first: shape.limits.into_iter().map(Into::into).collect(),
                n_more: shape.n_more_limits,
            },
            alerts: Listed {
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
            audit: shape.audit.map(|anchor| Anchor {
                entry: anchor.entry,
                hash: anchor.hash,
            }),
        }
    }
}

impl From<&Breakdown> for BreakdownShape {
    fn from(breakdown: &Breakdown) -> BreakdownShape {
        let line = |line: &Line| LineShape {
            name: line.name.clone(),
            spend: AsText(line.spend),
            before: line.before.map(AsText),
        };
        BreakdownShape {
            lines: breakdown.lines.iter().map(line).collect(),
            rest: breakdown.rest.map(|rest| RestShape {
                n: rest.n,
                spend: AsText(rest.spend),
                before: rest.before.map(AsText),
            }),
        }
    }
}

impl From<BreakdownShape> for Breakdown {
    fn from(shape: BreakdownShape) -> Breakdown {
        let line = |line: LineShape| Line {
            name: line.name,
            spend: line.spend.0,
            before: line.before.map(|before| before.0),
        };
        Breakdown {
            lines: shape.lines.into_iter().map(line).collect(),
            rest: shape.rest.map(|rest| Rest {
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

impl From<&OpenAlert> for AlertShape {
    fn from(alert: &OpenAlert) -> AlertShape {
        AlertShape {
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

impl From<AlertShape> for OpenAlert {
    fn from(shape: AlertShape) -> OpenAlert {
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

impl From<&Listed<IdleKey>> for IdleKeysShape {
    fn from(keys: &Listed<IdleKey>) -> IdleKeysShape {
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

impl From<IdleKeysShape> for Listed<IdleKey> {
    fn from(shape: IdleKeysShape) -> Listed<IdleKey> {
        let key = |key: IdleKeyShape| IdleKey {
            id: key.id.as_str().into(),
            name: key.name,
            workspace: key.workspace,
            since: key.since.0,
        };
        Listed {
            first: shape.first.into_iter().map(key).collect(),
            n_more: shape.n_more,
        }
    }
}

impl From<&Missing> for GapShape {
    fn from(gap: &Missing) -> GapShape {
        match gap {
            Missing::Unread { n, n_all } => GapShape::Unread {
                n: *n,
                n_all: *n_all,
            },
            Missing::Stale { name, as_of } => GapShape::Stale {
                name: name.clone(),
                as_of: AsText(*as_of),
            },
            Missing::MoreStale { n } => GapShape::MoreStale { n: *n },
            Missing::KnownFrom { at } => GapShape::KnownFrom { at: AsText(*at) },
            Missing::Estimated { spend } => GapShape::Estimated {
                spend: AsText(*spend),
            },
            Missing::Unpriced { n_tokens } => GapShape::Unpriced {
                n_tokens: *n_tokens,
            },
        }
    }
}

impl From<GapShape> for Missing {
    fn from(shape: GapShape) -> Missing {
        match shape {
            GapShape::Unread { n, n_all } => Missing::Unread { n, n_all },
            GapShape::Stale { name, as_of } => Missing::Stale {
                name,
                as_of: as_of.0,
            },
            GapShape::MoreStale { n } => Missing::MoreStale { n },
            GapShape::KnownFrom { at } => Missing::KnownFrom { at: at.0 },
            GapShape::Estimated { spend } => Missing::Estimated { spend: spend.0 },
            GapShape::Unpriced { n_tokens } => Missing::Unpriced { n_tokens },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{at, digest};

    #[test]
    fn a_digest_comes_back_as_it_was() {
        let mut made = digest("weekly");
        made.gaps = vec![
            Missing::Unread { n: 1, n_all: 3 },
            Missing::Stale {
                name: "Search".to_owned(),
                as_of: at(7),
            },
            Missing::MoreStale { n: 2 },
            Missing::KnownFrom { at: at(0) },
            Missing::Estimated {
                spend: Usd::from_pico(1),
            },
            Missing::Unpriced { n_tokens: 5 },
        ];
        made.alerts.first[0].event = Some(Event::KeyIdle);
        made.idle_keys = Some(Listed {
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
    fn a_digest_of_before_there_were_events_is_read() {
        let plain = digest("weekly");
        let text = digest_to_json(&plain);
        assert!(
            !text.contains("event") && !text.contains("idle_keys"),
            "{text}"
        );
        assert_eq!(digest_from_json(&text).unwrap(), plain);
    }
}
