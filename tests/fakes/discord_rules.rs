//! What Discord refuses in the body of a webhook, and what in it would be live.

use serde_json::Value;

/// Why Discord would answer with status 400, code 50035; `None` for a message that it would show, with nobody mentioned.
pub(crate) fn complaint(message: &Value) -> Option<&'static str> {
    let embeds = message["embeds"].as_array();
    let sum: usize = embeds.into_iter().flatten().map(count).sum();
    [
        (
            message["allowed_mentions"]["parse"] == Value::Array(Vec::new()),
            "mentions are live",
        ),
        (has_length(&message["content"], 0, 2000), "content"),
        (
            embeds.is_some_and(|all| (1..=10).contains(&all.len())),
            "embeds",
        ),
        (embeds.into_iter().flatten().all(is_embed), "embeds.0"),
        (sum <= 6000, "embeds: MAX_EMBED_SIZE_EXCEEDED"),
    ]
    .into_iter()
    .find_map(|(is_good, complaint)| (!is_good).then_some(complaint))
}

fn is_embed(embed: &Value) -> bool {
    let fields = embed["fields"].as_array();
    let is_url = embed["url"].is_null()
        || embed["url"]
            .as_str()
            .is_some_and(|url| url.starts_with("https://"));
    has_length(&embed["title"], 1, 256)
        && has_length(&embed["description"], 1, 4096)
        && embed["color"]
            .as_u64()
            .is_some_and(|color| color <= 0x00ff_ffff)
        && fields.is_none_or(|fields| fields.len() <= 25 && fields.iter().all(is_field))
        && is_url
        && texts(embed).all(is_dead)
}

fn is_field(field: &Value) -> bool {
    has_length(&field["name"], 1, 256) && has_length(&field["value"], 1, 1024)
}

fn texts(embed: &Value) -> impl Iterator<Item = &str> {
    let values = embed["fields"].as_array().into_iter().flatten();
    let values = values.filter_map(|field| field["value"].as_str());
    let others = [&embed["title"], &embed["description"]];
    others.into_iter().filter_map(Value::as_str).chain(values)
}

/// Counted in UTF-16 units, the strictest way.
fn has_length(value: &Value, least: usize, most: usize) -> bool {
    match value {
        Value::String(text) => (least..=most).contains(&text.encode_utf16().count()),
        Value::Null => least == 0,
        _ => false,
    }
}

fn count(embed: &Value) -> usize {
    let names = embed["fields"].as_array().into_iter().flatten();
    let names = names.filter_map(|field| field["name"].as_str());
    texts(embed)
        .chain(names)
        .map(|text| text.encode_utf16().count())
        .sum()
}

/// But for links of our own, no bracket, mention, code or spoiler is live.
fn is_dead(text: &str) -> bool {
    let mut is_escaped = false;
    let own = text.replace("[open](<https://", "").replace(">)", "");
    for c in own.chars() {
        if (c.is_control() && c != '\n') || ("[]<`|@~_".contains(c) && !is_escaped) {
            return false;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    true
}
