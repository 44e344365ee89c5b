//! What Alertmanager's API v2 refuses in a request with alerts, as its source has it.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Why Alertmanager would answer with status 400; `None` for a request that it would take whole.
pub(crate) fn complaint(body: &Value) -> Option<&'static str> {
    match body.as_array() {
        Some(alerts) => alerts.iter().find_map(complaint_of_one),
        None => Some("cannot unmarshal object into []models.PostableAlert"),
    }
}

fn complaint_of_one(alert: &Value) -> Option<&'static str> {
    let (labels, annotations) = (alert["labels"].as_object(), &alert["annotations"]);
    let time = |name: &str| match &alert[name] {
        Value::String(text) => text.parse::<Timestamp>().ok(),
        _ => None,
    };
    [
        (
            labels.is_some_and(|labels| labels.values().any(|value| value != "")),
            "at least one label pair required",
        ),
        (labels.is_some_and(is_label_set), "invalid label set"),
        (
            labels.is_some_and(|labels| labels.contains_key("alertname")),
            "it is taken, but shown without a name",
        ),
        (
            annotations.as_object().is_none_or(is_label_set),
            "invalid annotation set",
        ),
        (
            matches!((time("startsAt"), time("endsAt")), (Some(start), Some(end)) if start <= end),
            "start time must be before end time",
        ),
        (
            alert["generatorURL"].is_null()
                || alert["generatorURL"]
                    .as_str()
                    .is_some_and(|url| url.starts_with("http")),
            "generatorURL in body must be of type uri",
        ),
    ]
    .into_iter()
    .find_map(|(is_good, complaint)| (!is_good).then_some(complaint))
}

fn is_label_set(set: &Map<String, Value>) -> bool {
    set.iter().all(|(name, value)| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        value.is_string()
            && name.chars().all(is_word)
            && name.starts_with(|c: char| !c.is_ascii_digit())
    })
}
