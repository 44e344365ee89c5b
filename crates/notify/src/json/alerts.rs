//! The alerts of a message.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::envelope::{Envelope, Links};
use crate::json::figures::figures;
use crate::wording::advice::Advice;
use crate::wording::details::{self, MessageField};
use crate::wording::watches::advise;
use crate::wording::{contributors, headline};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::alerts::resend;
use spendwatch_domain::units::subject::SubjectKind;

const MAX_LABEL_CHARS: usize = 1024;
/// Alertmanager's `endsAt` of an alert that has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// Returns the JSON body for some facts of an envelope.
pub fn payload(envelope: &Envelope<'_>, facts: &[Fact]) -> Value {
    let is_firing = facts.iter().any(|fact| fact.reason != Reason::Resolved);
    let labels: Vec<Texts> = facts.iter().map(labels).collect();
    let links = envelope.links;
    let annotations: Vec<Texts> = facts.iter().map(|fact| annotations(fact, links)).collect();
    let common_labels = common(&labels);
    let mut group_labels = common_labels.clone();
    group_labels.retain(|name, _| matches!(name.as_str(), "alertname" | "organization"));
    let texts = labels.iter().zip(&annotations);
    let alerts: Vec<Value> = facts
        .iter()
        .zip(texts)
        .map(|(fact, (labels, annotations))| alert(fact, labels, annotations, links))
        .collect();
    json!({
        "version": "4",
        "groupKey": group_key(&group_labels),
        "truncatedAlerts": 0,
        "status": status(is_firing),
        "receiver": envelope.notifier.as_str(),
        "groupLabels": group_labels,
        "commonLabels": common_labels,
        "commonAnnotations": common(&annotations),
        "externalURL": links.external_url.as_deref().unwrap_or_default(),
        "alerts": alerts,
        "spendwatch": {
            "id": envelope.id,
            "created_at": envelope.created_at.to_string(),
            "is_replay": envelope.is_replay,
        },
    })
}

type Texts = BTreeMap<String, String>;

fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

fn group_key(labels: &Texts) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{{}}:{{{}}}", labels.join(", "))
}

/// Returns the entries that all maps share.
fn common(all: &[Texts]) -> Texts {
    let Some((first, rest)) = all.split_first() else {
        return Texts::new();
    };
    let mut common = first.clone();
    common.retain(|name, value| rest.iter().all(|texts| texts.get(name) == Some(value)));
    common
}

fn alert(fact: &Fact, labels: &Texts, annotations: &Texts, links: &Links) -> Value {
    let is_firing = fact.reason != Reason::Resolved;
    let ended_at = match fact.ended_at {
        _ if is_firing => NOT_ENDED.to_owned(),
        Some(at) => at.to_string(),
        None => fact.decided_at.to_string(),
    };
    json!({
        "status": status(is_firing),
        "labels": labels,
        "annotations": annotations,
        "startsAt": fact.firing_since.to_string(),
        "endsAt": ended_at,
        "generatorURL": links.alert_page(&fact.identity).unwrap_or_default(),
        "fingerprint": fact.identity.fingerprint(),
        "spendwatch": figures(fact),
    })
}

/// The rule's labels never replace ours. Empty labels are omitted, as in Alertmanager.
fn labels(fact: &Fact) -> Texts {
    let id = &*fact.identity.slot.subject.id;
    let name = &*fact.subject_name;
    let subject: &[(&str, &str)] = match fact.identity.slot.subject.kind {
        SubjectKind::Organization => &[],
        SubjectKind::Workspace => &[("workspace_id", id), ("workspace", name)],
        SubjectKind::Model => &[("model", id)],
        SubjectKind::ApiKey => &[("api_key_id", id), ("api_key", name)],
        SubjectKind::User => &[("user_id", id), ("user", name)],
        SubjectKind::Team => &[("team", id)],
    };
    let mut labels = resend::labels(fact);
    let subject = subject.iter().copied();
    labels.extend(subject.map(|(label, text)| (label.to_owned(), text.to_owned())));
    labels.retain(|_, value| !value.is_empty());
    for (label, value) in &mut labels {
        if fact.labels.get(label) != Some(value) {
            *value = value.chars().take(MAX_LABEL_CHARS).collect();
        }
    }
    labels
}

/// Returns the texts for people: summary, description and advice.
pub fn annotations(fact: &Fact, links: &Links) -> Texts {
    let fields = details::fields(fact);
    let mut description: Vec<String> = fields.iter().map(MessageField::line).collect();
    description.extend(contributors::lines(fact));
    let advice: Vec<String> = advise(fact, links).iter().map(Advice::line).collect();
    let summary = format!("{}: {}", headline::title(fact), headline::summary(fact));
    let texts = [
        ("summary", summary),
        ("description", description.join("\n")),
        ("advice", advice.join("\n")),
    ];
    texts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{fact, with_envelope};

    #[test]
    fn below_minimum_severity_is_resolved_with_reason_lowered() {
        let mut below = fact(Reason::Resolved);
        below.ended_by = None;
        let facts = [below];
        with_envelope(&facts, |envelope| {
            let body = payload(&envelope, &facts);
            let alert = &body["alerts"][0];
            assert_eq!(
                (&body["status"], &alert["status"]),
                (&"resolved".into(), &"resolved".into())
            );
            assert_eq!(alert["spendwatch"]["reason"], "lowered");
            assert_eq!(alert["spendwatch"]["ended_by"], Value::Null);
            let summary = alert["annotations"]["summary"].as_str().unwrap();
            assert!(
                summary.starts_with("No longer critical: workspace Search dropped"),
                "{summary}"
            );
        });
    }

    #[test]
    fn rule_labels_never_replace_ours() {
        let mut fact = fact(Reason::First);
        fact.labels
            .insert("alertname".to_owned(), "mine".to_owned());
        fact.labels.insert("severity".to_owned(), "none".to_owned());
        fact.labels.insert("empty".to_owned(), String::new());
        let labels = labels(&fact);
        assert_eq!(labels["alertname"], "workspace-month");
        assert_eq!(labels["severity"], "critical");
        assert!(!labels.contains_key("empty"));
    }
}
