//! Slack's incoming webhooks: Block Kit within all size limits, because Slack rejects a message with one block too long.
//!
//! In mrkdwn exactly `&`, `<` and `>` are escaped; otherwise a name could ping everyone. The colored bar is an attachment,
//! the only element with a color.

use serde_json::{Value, json};

use crate::envelope::Envelope;
use crate::post::{PostResponse, ResponseClass};
use crate::receivers::chat::ChatFormat;
use crate::wording::advice::Advice;
use crate::wording::details::MessageField;
use crate::wording::digest::{self, DigestEnvelope};
use crate::wording::fit::{self, utf16_len};
use crate::wording::message::{self, Highlight, Message, RuleGroup};
use crate::wording::tables::{self, ChartBar, DigestRow};
use spendwatch_domain::rules::rule::Severity;

const MAX_HEADER_CHARS: usize = 150;
const MAX_SECTION_CHARS: usize = 3000;
const MAX_FIELD_CHARS: usize = 2000;
/// Text shown by notifications.
const MAX_TEXT_CHARS: usize = 4000;
/// Over all blocks. Slack's own limit is about 13,200 and undocumented.
const MAX_TOTAL_CHARS: usize = 10_000;
const MAX_BLOCKS: usize = 50;

/// Slack's incoming webhooks.
pub const FORMAT: ChatFormat = ChatFormat {
    name: "slack",
    payload,
    digest_payload,
    classify,
};

/// A 200 only counts with the body `ok`, because proxies return 200 with an HTML page.
fn classify(response: &PostResponse) -> ResponseClass {
    let body = response.body.trim();
    match response.status {
        200 if !response.is_whole => ResponseClass::Retry,
        200 if body == "ok" => ResponseClass::Delivered,
        200 if response.is_page() || body.is_empty() => ResponseClass::Retry,
        408 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        413 => ResponseClass::Drop,
        // For 200 and 400 alike, only an error about the message drops it.
        _ if is_about_the_message(body) => ResponseClass::Drop,
        _ => ResponseClass::Park,
    }
}

/// The body is a documented error code, or JSON with one from a workflow's webhook.
fn is_about_the_message(body: &str) -> bool {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let word = json.as_ref().and_then(|json| json["error"].as_str());
    MESSAGE_ERRORS.contains(&word.unwrap_or(body))
}

/// Error codes that are about the message alone. Others are about the webhook, the channel, the workspace or a user, or are
/// unknown.
const MESSAGE_ERRORS: [&str; 11] = [
    "invalid_attachments",
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_payload",
    "missing_text_or_fallback_or_attachments",
    "msg_blocks_too_long",
    "msg_too_long",
    "no_text",
    "too_many_attachments",
    "too_many_blocks",
    "too_many_contact_cards",
];

/// Returns the JSON body, with fewer lines when names are long.
pub fn payload(envelope: &Envelope<'_>) -> Value {
    let fitting = [message::MAX_LINES, 10, 5, 2]
        .into_iter()
        .map(|n_lines| render(&message::render(envelope, n_lines)))
        .find(|payload| size(payload) <= MAX_TOTAL_CHARS);
    fitting.unwrap_or_else(|| render(&message::render(envelope, 0)))
}

/// Returns the JSON body of a digest, with fewer rows when names are long.
pub fn digest_payload(envelope: &DigestEnvelope<'_>) -> Value {
    digest::fit(envelope, render, |payload| size(payload) <= MAX_TOTAL_CHARS)
}

/// A code block, or nothing if it is too long for a section.
fn chart_block(chart: &[ChartBar]) -> Option<Value> {
    let text = format!("```{}```", tables::bars(chart).join("\n"));
    (!chart.is_empty() && utf16_len(&text) <= MAX_SECTION_CHARS).then(|| section(&text))
}

fn header(title: &str) -> Value {
    json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(title, MAX_HEADER_CHARS), "emoji": false },
    })
}

fn render(message: &Message) -> Value {
    let fallback = format!("{}: {}", message.title, message.summary);
    let mut lead = vec![escape(&message.summary)];
    let notes = message.notes.iter();
    lead.extend(notes.map(|note| format!("_{}_", escape(note))));
    let mut blocks = details(message);
    blocks.truncate(MAX_BLOCKS - 2);
    let mut payload = json!({
        "text": cut_escaped(&fallback, MAX_TEXT_CHARS),
        "unfurl_links": false,
        "unfurl_media": false,
    });
    let mut lead = vec![header(&message.title), section(&lead.join("\n"))];
    match color(message.highlight) {
        Some(color) => payload["attachments"] = json!([{ "color": color, "blocks": blocks }]),
        None => lead.extend(blocks),
    }
    payload["blocks"] = lead.into();
    payload
}

fn color(highlight: Highlight) -> Option<&'static str> {
    match highlight {
        Highlight::Firing(Severity::Critical) => Some("#c0392b"),
        Highlight::Firing(Severity::Warning) => Some("#e67e22"),
        Highlight::Firing(Severity::Info) => Some("#2e86c1"),
        Highlight::Resolved => Some("#27ae60"),
        Highlight::Digest => None,
    }
}

fn details(message: &Message) -> Vec<Value> {
    let fields: Vec<Value> = message.fields.iter().take(10).map(field).collect();
    let mut blocks = Vec::new();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    blocks.extend(list("Top contributors", &escape_all(&message.top)));
    blocks.extend(message.groups.iter().flat_map(group));
    blocks.extend(message.more.iter().map(|more| section(&escape(more))));
    blocks.extend(chart_block(&message.chart));
    for table in &message.sections {
        let lines: Vec<String> = table.rows.iter().map(DigestRow::line).collect();
        blocks.extend(list(table.title, &escape_all(&lines)));
    }
    let advice: Vec<String> = message.advice.iter().map(advice_line).collect();
    blocks.extend(list(message.advice_title(), &advice));
    blocks.extend(page_block(message.page.as_deref()));
    blocks
}

fn field(field: &MessageField) -> Value {
    let name = escape(field.name);
    let limit = MAX_FIELD_CHARS - utf16_len(&name) - 3;
    mrkdwn(&format!("*{name}*\n{}", cut_escaped(&field.value, limit)))
}

fn group(group: &RuleGroup) -> Vec<Value> {
    let mut lines = escape_all(&group.lines);
    lines.extend(group.more.iter().map(|more| escape(more)));
    if lines.is_empty() {
        lines.push("not listed".to_owned());
    }
    list(&escape(&group.title), &lines)
}

fn page_block(page: Option<&str>) -> Option<Value> {
    let link = link(page?, "spendwatch");
    Some(json!({ "type": "context", "elements": [mrkdwn(&link)] }))
}

fn escape_all(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| escape(line)).collect()
}

fn advice_line(advice: &Advice) -> String {
    let text = escape(&advice.text);
    match &advice.link {
        Some(url) => format!("{text} ({})", link(url, "open")),
        None => text,
    }
}

/// Renders a title and escaped lines in as many sections as needed, without splitting a line.
fn list(title: &str, lines: &[String]) -> Vec<Value> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut sections = Vec::new();
    let mut text = format!("*{title}*");
    for line in lines {
        if utf16_len(&text) + utf16_len(line) + 3 > MAX_SECTION_CHARS {
            sections.push(section(&text));
            text = format!("• {line}");
        } else {
            text = format!("{text}\n• {line}");
        }
    }
    sections.push(section(&text));
    sections
}

/// `text` is already escaped and within the limit.
fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// `verbatim` prevents Slack from turning names into links.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn link(url: &str, text: &str) -> String {
    let url: String = url.chars().map(link_char).collect();
    format!("<{}|{}>", escape(&url), escape(text))
}

fn link_char(c: char) -> String {
    match c {
        '<' => "%3C".to_owned(),
        '>' => "%3E".to_owned(),
        '|' => "%7C".to_owned(),
        c if c.is_whitespace() || c.is_control() => "%20".to_owned(),
        c => c.to_string(),
    }
}

/// Escapes exactly the three characters that Slack requires.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn cut(text: &str, limit: usize) -> String {
    fit::cut(text, limit, str::to_owned)
}

fn cut_escaped(text: &str, limit: usize) -> String {
    fit::cut(text, limit, escape)
}

/// Returns the characters of all texts in all blocks.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => utf16_len(text),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, media_type: &str, body: &str, expected: ResponseClass) {
        let answer = PostResponse {
            status,
            media_type: media_type.to_owned(),
            body: body.to_owned(),
            is_whole: true,
        };
        assert_eq!(classify(&answer), expected, "{status} {body}");
    }

    #[test]
    fn case_22_200_is_delivered_only_with_ok() {
        check(200, "text/plain", "ok", ResponseClass::Delivered);
        check(200, "text/plain", "ok\n", ResponseClass::Delivered);
        check(200, "text/plain", "invalid_blocks", ResponseClass::Drop);
        check(
            200,
            "text/html",
            "<html>Please log in</html>",
            ResponseClass::Retry,
        );
        check(200, "", "<!DOCTYPE html>", ResponseClass::Retry);
        check(200, "", "", ResponseClass::Retry);
    }

    #[test]
    fn other_responses() {
        for status in [429, 500, 502, 503] {
            check(status, "text/plain", "rollup_error", ResponseClass::Retry);
        }
        for status in [302, 403, 404, 410] {
            check(status, "text/plain", "no_service", ResponseClass::Park);
        }
        for status in [400, 413] {
            check(status, "text/plain", "invalid_payload", ResponseClass::Drop);
        }
        let json = r#"{"ok":false,"error":"invalid_blocks"}"#;
        check(400, "application/json", json, ResponseClass::Drop);
        for word in [
            "user_not_found",
            "channel_not_found",
            "no_team",
            "team_disabled",
            "invalid_token",
            "two_factor_setup_required",
            "a_word_of_tomorrow",
            "",
        ] {
            check(400, "text/plain", word, ResponseClass::Park);
        }
        check(200, "text/plain", "team_disabled", ResponseClass::Park);
        check(
            400,
            "text/html",
            "<html>bad request</html>",
            ResponseClass::Park,
        );
    }

    #[test]
    fn escape_sequences_are_not_split() {
        assert_eq!(cut_escaped("a&b", 7), "a&amp;b");
        assert_eq!(cut_escaped("a&bc", 7), "a&amp;…");
        assert_eq!(cut_escaped("a&bc", 6), "a…");
        assert_eq!(cut("😀😀😀", 5), "😀😀…");
    }
}
