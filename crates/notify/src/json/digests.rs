//! The figures of a digest.

use serde_json::{Value, json};

use crate::wording::digest::{self, DigestEnvelope};
use spendwatch_domain::digest::{
    DataGap, Digest, IdleKey, LimitUse, OpenAlert, SpendBreakdown, SubjectSpend, Truncated,
};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::units::money::Usd;

/// Returns the JSON body of a digest: status `digest`, no alerts, and the figures.
pub fn payload(envelope: &DigestEnvelope<'_>) -> Value {
    let report = digest::render(envelope);
    json!({
        "version": "4",
        "status": "digest",
        "receiver": envelope.notifier.as_str(),
        "externalURL": envelope.links.external_url.as_deref().unwrap_or_default(),
        "alerts": [],
        "digest": digest_figures(envelope.digest),
        "title": report.title,
        "summary": report.summary,
        "notes": report.notes,
        "spendwatch": {
            "id": envelope.id,
            "created_at": envelope.created_at.to_string(),
            "is_replay": envelope.is_replay,
        },
    })
}

fn digest_figures(digest: &Digest) -> Value {
    let piece =
        |(label, spend): &(String, Usd)| json!({ "label": label, "spend_usd": spend.to_string() });
    json!({
        "organization": digest.organization.as_str(),
        "name": digest.name,
        "period": digest.label,
        "starts_at": digest.span.start.to_string(),
        "ends_at": digest.span.end.to_string(),
        "time_zone": digest.zone_name,
        "made_at": digest.created_at.to_string(),
        "spend_usd": (!digest::is_spend_unknown(digest)).then(|| digest.spend.to_string()),
        "before_usd": digest.before.map(|usd| usd.to_string()),
        "series": digest.series.iter().map(piece).collect::<Vec<_>>(),
        "workspaces": breakdown_figures(&digest.workspaces),
        "movers": breakdown_figures(&digest.movers),
        "teams": breakdown_figures(&digest.teams),
        "models": breakdown_figures(&digest.models),
        "limits": digest.limits.first.iter().map(limit_figures).collect::<Vec<_>>(),
        "n_more_limits": digest.limits.n_more,
        "open_alerts": digest.alerts.first.iter().map(open_figures).collect::<Vec<_>>(),
        "n_more_open_alerts": digest.alerts.n_more,
        "forecast": digest.forecast.as_ref().map(|forecast| json!({
            "period": forecast.label,
            "spend_usd": forecast.spend.to_string(),
            "so_far_usd": forecast.so_far.to_string(),
        })),
        "idle_keys": digest.idle_keys.as_ref().map(idle_figures),
        "n_more_idle_keys": digest.idle_keys.as_ref().map(|keys| keys.n_more),
        "gaps": digest.gaps.iter().map(gap_figures).collect::<Vec<_>>(),
        "audit": digest.audit.as_ref().map(|anchor| json!({
            "entry": anchor.entry,
            "hash": anchor.hash,
        })),
    })
}

fn breakdown_figures(breakdown: &SpendBreakdown) -> Value {
    let text = |usd: Usd| usd.to_string();
    let line = |line: &SubjectSpend| {
        json!({
            "name": line.name,
            "spend_usd": text(line.spend),
            "before_usd": line.before.map(text),
        })
    };
    json!({
        "lines": breakdown.lines.iter().map(line).collect::<Vec<_>>(),
        "rest": breakdown.rest.map(|rest| json!({
            "n": rest.n,
            "spend_usd": text(rest.spend),
            "before_usd": rest.before.map(text),
        })),
    })
}

fn limit_figures(used: &LimitUse) -> Value {
    json!({
        "rule": used.rule.as_str(),
        "subject_kind": used.subject.kind.as_str(),
        "subject_id": &*used.subject.id,
        "name": used.name,
        "spend_usd": used.value.to_string(),
        "is_lower_bound": used.is_lower_bound,
        "limit_usd": used.limit.to_string(),
    })
}

fn open_figures(alert: &OpenAlert) -> Value {
    json!({
        "rule": alert.rule.as_str(),
        "subject_kind": alert.subject.kind.as_str(),
        "subject_id": &*alert.subject.id,
        "name": alert.name,
        "severity": alert.severity.as_str(),
        "threshold": alert.threshold,
        "event": alert.event.map(Event::as_str),
        "firing_since": alert.since.map(|at| at.to_string()),
    })
}

fn idle_figures(keys: &Truncated<IdleKey>) -> Value {
    let key = |key: &IdleKey| {
        json!({
            "api_key_id": key.id.as_str(),
            "api_key": key.name,
            "workspace": key.workspace,
            "idle_since": key.since.to_string(),
        })
    };
    keys.first.iter().map(key).collect()
}

fn gap_figures(gap: &DataGap) -> Value {
    match gap {
        DataGap::Unread { n, n_all } => json!({ "kind": "unread", "n": n, "n_all": n_all }),
        DataGap::Stale { name, as_of } => {
            json!({ "kind": "stale", "name": name, "as_of": as_of.to_string() })
        }
        DataGap::MoreStale { n } => json!({ "kind": "more_stale", "n": n }),
        DataGap::KnownFrom { at } => json!({ "kind": "known_from", "at": at.to_string() }),
        DataGap::Estimated { spend } => {
            json!({ "kind": "estimated", "spend_usd": spend.to_string() })
        }
        DataGap::Unpriced { n_tokens } => json!({ "kind": "unpriced", "n_tokens": n_tokens }),
    }
}
