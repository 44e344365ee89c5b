//! What PagerDuty's Events API v2 refuses in an event, as its documentation has it.

use serde_json::Value;

/// Why PagerDuty would answer with status 400; `None` for an event that it would take.
pub(crate) fn complaint(event: &Value) -> Option<&'static str> {
    if !has_length(&event["routing_key"], 32, 32) {
        return Some("Length of 'routing_key' is incorrect (should be 32 characters)");
    }
    if event.to_string().len() > 512_000 {
        return Some("Event is too large");
    }
    match event["event_action"].as_str() {
        Some("resolve" | "acknowledge") => {
            (!has_length(&event["dedup_key"], 1, 255)).then_some("'dedup_key' is missing or blank")
        }
        Some("trigger") => complaint_of_trigger(event),
        _ => Some("'event_action' is invalid"),
    }
}

fn complaint_of_trigger(event: &Value) -> Option<&'static str> {
    let payload = &event["payload"];
    let links = event["links"].as_array();
    let severities = ["critical", "error", "warning", "info"];
    let is_text = |name: &str| payload[name].is_null() || payload[name].is_string();
    let time = payload["timestamp"].as_str();
    [
        (
            has_length(&event["dedup_key"], 1, 255),
            "'dedup_key' is too long",
        ),
        (
            has_length(&payload["summary"], 1, 1024),
            "'payload.summary' is missing or too long",
        ),
        (
            has_length(&payload["source"], 1, 1024),
            "'payload.source' is missing or blank",
        ),
        (
            payload["severity"]
                .as_str()
                .is_some_and(|severity| severities.contains(&severity)),
            "'payload.severity' is invalid",
        ),
        (
            time.is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()),
            "'payload.timestamp' is invalid",
        ),
        (
            ["component", "group", "class"].into_iter().all(is_text),
            "'payload' has what is no text",
        ),
        (
            payload["custom_details"].is_object(),
            "'payload.custom_details' is no object",
        ),
        (
            links.is_some_and(|links| {
                links
                    .iter()
                    .all(|link| is_url(&link["href"]) && link["text"].is_string())
            }),
            "'links' are invalid",
        ),
        (
            event["client_url"].is_null() || is_url(&event["client_url"]),
            "'client_url' is invalid",
        ),
    ]
    .into_iter()
    .find_map(|(is_good, complaint)| (!is_good).then_some(complaint))
}

fn has_length(value: &Value, least: usize, most: usize) -> bool {
    value
        .as_str()
        .is_some_and(|text| (least..=most).contains(&text.chars().count()))
}

fn is_url(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|url| url.starts_with("https://"))
}
