//! What Microsoft Teams refuses in a card, or shows otherwise than it was meant.

use serde_json::Value;

/// Why the card would not be seen as it is; `None` for one that would.
pub(crate) fn complaint(message: &Value) -> Option<&'static str> {
    let attachments = message["attachments"].as_array();
    let attachment = &message["attachments"][0];
    let card = &attachment["content"];
    let body = card["body"].as_array();
    let actions = card["actions"].as_array();
    [
        (message["type"] == "message", "no message"),
        (
            attachments.is_some_and(|all| all.len() == 1),
            "not one card",
        ),
        (
            attachment["contentType"] == "application/vnd.microsoft.card.adaptive",
            "no adaptive card",
        ),
        (
            card["type"] == "AdaptiveCard" && card["version"] == "1.2",
            "another version",
        ),
        (
            body.is_some_and(|body| !body.is_empty() && body.iter().all(is_element)),
            "an element is wrong",
        ),
        (
            actions.is_some_and(|actions| actions.len() <= 6 && actions.iter().all(is_action)),
            "an action is wrong",
        ),
        (message.to_string().len() <= 18 * 1024, "too large"),
    ]
    .into_iter()
    .find_map(|(is_good, complaint)| (!is_good).then_some(complaint))
}

fn is_element(element: &Value) -> bool {
    match element["type"].as_str() {
        Some("TextBlock") => element["text"]
            .as_str()
            .is_some_and(|text| !text.is_empty() && is_dead(text, "*_[]`~<{}")),
        Some("FactSet") => element["facts"]
            .as_array()
            .is_some_and(|facts| !facts.is_empty() && facts.iter().all(is_fact)),
        _ => false,
    }
}

fn is_fact(fact: &Value) -> bool {
    let (title, value) = (fact["title"].as_str(), fact["value"].as_str());
    title.is_some_and(|title| !title.is_empty())
        && value.is_some_and(|value| !value.is_empty() && is_dead(value, "[]{}"))
}

fn is_action(action: &Value) -> bool {
    let url = action["url"].as_str().unwrap_or_default();
    action["type"] == "Action.OpenUrl" && action["title"].is_string() && url.starts_with("https://")
}

/// On one line, and each of these signs behind a backslash.
fn is_dead(text: &str, signs: &str) -> bool {
    let mut is_escaped = false;
    for c in text.chars() {
        if c.is_control() || (signs.contains(c) && !is_escaped) {
            return false;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    true
}
