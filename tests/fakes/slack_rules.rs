//! What Slack refuses in the body of an incoming webhook, as its documentation and its users report it.

use serde_json::Value;

/// The word that Slack would answer with status 400; `None` for a message that it would show.
pub(crate) fn complaint(message: &Value) -> Option<&'static str> {
    let text = message["text"].as_str().unwrap_or_default();
    let mut blocks: Vec<&Value> = message["blocks"].as_array().into_iter().flatten().collect();
    let attachments = message["attachments"].as_array();
    for attachment in attachments.into_iter().flatten() {
        blocks.extend(attachment["blocks"].as_array().into_iter().flatten());
    }
    if text.is_empty() {
        return Some("no_text");
    }
    if attachments.is_some_and(|attachments| attachments.len() > 100) {
        return Some("too_many_attachments");
    }
    if text.chars().count() > 40_000 || !is_escaped(text) {
        return Some("invalid_payload");
    }
    if blocks.len() > 50 || !blocks.iter().all(|block| is_block(block)) {
        return Some("invalid_blocks");
    }
    let sum: usize = blocks.iter().map(|block| count(block)).sum();
    (sum > 13_200).then_some("msg_blocks_too_long")
}

fn is_block(block: &Value) -> bool {
    match block["type"].as_str() {
        Some("header") => is_text(&block["text"], 150) && block["text"]["type"] == "plain_text",
        Some("section") => {
            let fields = block["fields"].as_array();
            let has_fields = fields.is_some_and(|fields| {
                (1..=10).contains(&fields.len()) && fields.iter().all(|field| is_text(field, 2000))
            });
            has_fields || is_text(&block["text"], 3000)
        }
        Some("context") => block["elements"].as_array().is_some_and(|elements| {
            (1..=10).contains(&elements.len()) && elements.iter().all(|text| is_text(text, 2000))
        }),
        _ => false,
    }
}

/// Counted in UTF-16 units, the strictest way.
fn is_text(text: &Value, limit: usize) -> bool {
    let Some(content) = text["text"].as_str() else {
        return false;
    };
    let n_units = content.encode_utf16().count();
    let is_safe = match text["type"].as_str() {
        Some("plain_text") => true,
        Some("mrkdwn") => is_escaped(content),
        _ => false,
    };
    (1..=limit).contains(&n_units) && is_safe
}

/// Every `&` begins one of the three escapes, and every `<…>` is a link to somewhere: no mention, no command.
fn is_escaped(text: &str) -> bool {
    let is_entity = |rest: &str| {
        ["&amp;", "&lt;", "&gt;"]
            .iter()
            .any(|entity| rest.starts_with(entity))
    };
    let has_entities = text
        .match_indices('&')
        .all(|(at, _)| is_entity(&text[at..]));
    let mut is_closed = true;
    for (at, bracket) in text.match_indices(['<', '>']) {
        let opens = bracket == "<";
        let rest = &text[at + 1..];
        if opens != is_closed
            || (opens && !rest.starts_with("http://") && !rest.starts_with("https://"))
        {
            return false;
        }
        is_closed = !opens;
    }
    has_entities && is_closed
}

fn count(value: &Value) -> usize {
    match value {
        Value::String(text) => text.encode_utf16().count(),
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}
