//! Stored form of digests.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stored::{Stored, stored_by};
use spendwatch_domain::digest::{
    AuditAnchor, DataGap, Digest, Forecast, IdleKey, LimitUse, OpenAlert, OtherSubjects,
    SpendBreakdown, SubjectSpend, Truncated,
};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::ids::{ApiKeyId, OrganizationName, RuleName};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

stored_by! {
    AuditAnchor: AnchorShape;
    Forecast: ForecastShape;
    SpendBreakdown: BreakdownShape;
    SubjectSpend: SubjectSpendShape;
    OtherSubjects: OtherSubjectsShape;
    LimitUse: LimitShape;
    OpenAlert: OpenAlertShape;
    Truncated<IdleKey>: IdleKeysShape;
    IdleKey: IdleKeyShape;
    DataGap: DataGapShape;
    Digest: DigestShape;
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Digest")]
struct DigestShape {
    #[serde(with = "Stored")]
    organization: OrganizationName,
    name: String,
    label: Option<String>,
    #[serde(with = "Stored")]
    span: Span,
    zone_name: String,
    #[serde(with = "Stored", rename = "made_at")]
    created_at: Timestamp,
    #[serde(with = "Stored", default, skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
    #[serde(with = "Stored")]
    spend: Usd,
    #[serde(with = "Stored", default)]
    before: Option<Usd>,
    #[serde(with = "Stored")]
    series: Vec<(String, Usd)>,
    #[serde(with = "Stored")]
    workspaces: SpendBreakdown,
    #[serde(with = "Stored")]
    movers: SpendBreakdown,
    #[serde(with = "Stored")]
    teams: SpendBreakdown,
    #[serde(with = "Stored")]
    models: SpendBreakdown,
    #[serde(flatten, with = "LimitsShape")]
    limits: Truncated<LimitUse>,
    #[serde(flatten, with = "OpenAlertsShape")]
    alerts: Truncated<OpenAlert>,
    #[serde(with = "Stored", default, skip_serializing_if = "Option::is_none")]
    idle_keys: Option<Truncated<IdleKey>>,
    #[serde(with = "Stored")]
    gaps: Vec<DataGap>,
    #[serde(with = "Stored", default, skip_serializing_if = "Option::is_none")]
    audit: Option<AuditAnchor>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AuditAnchor")]
struct AnchorShape {
    entry: u64,
    hash: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Forecast")]
struct ForecastShape {
    label: String,
    #[serde(with = "Stored")]
    spend: Usd,
    #[serde(with = "Stored")]
    so_far: Usd,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SpendBreakdown")]
struct BreakdownShape {
    #[serde(with = "Stored")]
    lines: Vec<SubjectSpend>,
    #[serde(with = "Stored", default)]
    rest: Option<OtherSubjects>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "SubjectSpend")]
struct SubjectSpendShape {
    name: String,
    #[serde(with = "Stored")]
    spend: Usd,
    #[serde(with = "Stored", default)]
    before: Option<Usd>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OtherSubjects")]
struct OtherSubjectsShape {
    n: usize,
    #[serde(with = "Stored")]
    spend: Usd,
    #[serde(with = "Stored", default)]
    before: Option<Usd>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Truncated<LimitUse>")]
struct LimitsShape {
    #[serde(with = "Stored", rename = "limits")]
    first: Vec<LimitUse>,
    #[serde(rename = "n_more_limits")]
    n_more: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LimitUse")]
struct LimitShape {
    #[serde(with = "Stored")]
    rule: RuleName,
    #[serde(flatten, with = "SubjectShape")]
    subject: Subject,
    name: String,
    #[serde(with = "Stored")]
    value: Usd,
    is_lower_bound: bool,
    #[serde(with = "Stored")]
    limit: Usd,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Subject")]
struct SubjectShape {
    #[serde(with = "Stored", rename = "subject_kind")]
    kind: SubjectKind,
    #[serde(with = "Stored", rename = "subject_id")]
    id: std::sync::Arc<str>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Truncated<OpenAlert>")]
struct OpenAlertsShape {
    #[serde(with = "Stored", rename = "alerts")]
    first: Vec<OpenAlert>,
    #[serde(rename = "n_more_alerts")]
    n_more: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OpenAlert")]
struct OpenAlertShape {
    #[serde(with = "Stored")]
    rule: RuleName,
    #[serde(flatten, with = "SubjectShape")]
    subject: Subject,
    name: String,
    #[serde(with = "Stored")]
    severity: Severity,
    threshold: String,
    #[serde(with = "Stored", default, skip_serializing_if = "Option::is_none")]
    event: Option<Event>,
    #[serde(with = "Stored", default)]
    since: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Truncated<IdleKey>")]
struct IdleKeysShape {
    #[serde(with = "Stored")]
    first: Vec<IdleKey>,
    n_more: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IdleKey")]
struct IdleKeyShape {
    #[serde(with = "Stored")]
    id: ApiKeyId,
    name: String,
    workspace: Option<String>,
    #[serde(with = "Stored")]
    since: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DataGap", tag = "kind", rename_all = "snake_case")]
enum DataGapShape {
    Unread {
        n: usize,
        n_all: usize,
    },
    Stale {
        name: String,
        #[serde(with = "Stored")]
        as_of: Timestamp,
    },
    MoreStale {
        n: usize,
    },
    KnownFrom {
        #[serde(with = "Stored")]
        at: Timestamp,
    },
    Estimated {
        #[serde(with = "Stored")]
        spend: Usd,
    },
    Unpriced {
        n_tokens: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, digest};
    use crate::stored::{AsStored, digest_from_json, to_json};

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
        assert_eq!(digest_from_json(&to_json(&AsStored(&made))).unwrap(), made);
    }

    #[test]
    fn digests_stored_without_events_are_read() {
        let plain = digest("weekly");
        let text = to_json(&AsStored(&plain));
        assert!(
            !text.contains("event") && !text.contains("idle_keys"),
            "{text}"
        );
        assert_eq!(digest_from_json(&text).unwrap(), plain);
    }
}
