//! Slack's incoming webhooks: Block Kit within all size limits, because Slack rejects a message with one block too long.
//!
//! In mrkdwn exactly `&`, `<` and `>` are escaped; otherwise a name could ping everyone. The colored bar is an attachment,
//! the only element with a color.

use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::envelope::Envelope;
use crate::outcome::{Delivery, SettingsError};
use crate::post::{self, Address, PostResponse, ResponseClass};
use crate::wording::advice::Advice;
use crate::wording::digest::{self, DigestEnvelope, DigestMessage};
use crate::wording::fit::{self, utf16_len};
use crate::wording::message::{self, AlertDetail, AlertList, Message, MessageBody};
use spendwatch_base::secret::Secret;
use spendwatch_domain::rules::rule::Severity;

const MAX_HEADER_CHARS: usize = 150;
const MAX_SECTION_CHARS: usize = 3000;
const MAX_FIELD_CHARS: usize = 2000;
/// Text shown by notifications.
const MAX_TEXT_CHARS: usize = 4000;
/// Over all blocks. Slack's own limit is about 13,200 and undocumented.
const MAX_TOTAL_CHARS: usize = 10_000;
const MAX_BLOCKS: usize = 50;

/// An incoming webhook of Slack.
#[derive(Debug, Clone)]
pub struct Slack {
    client: Client,
    address: Address,
}

impl Slack {
    /// Validates the address. The client must not follow redirects and must have timeouts.
    pub fn new(client: Client, url: Secret) -> Result<Slack, SettingsError> {
        let address = Address::new(url)?;
        Ok(Slack { client, address })
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        vec!["slack", self.address.secret().expose()]
    }

    /// Sends one post about alerts and classifies the response.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.post(&payload(envelope), envelope.now).await
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        self.post(&digest_payload(envelope), envelope.now).await
    }

    async fn post(&self, payload: &Value, now: Timestamp) -> Delivery {
        post::post_json(&self.client, &self.address, payload, now, classify).await
    }
}

/// A 200 only counts with the body `ok`, because proxies return 200 with an HTML page.
fn classify(response: &PostResponse) -> ResponseClass {
    let body = response.body.trim();
    let is_page = response.media_type == "text/html" || body.starts_with('<');
    match response.status {
        200 if !response.is_whole => ResponseClass::Retry,
        200 if body == "ok" => ResponseClass::Delivered,
        200 if is_page || body.is_empty() => ResponseClass::Retry,
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
    digest::fit(envelope, render_digest, |payload| {
        size(payload) <= MAX_TOTAL_CHARS
    })
}

fn render_digest(message: &DigestMessage) -> Value {
    let mut lead = vec![escape(&message.summary)];
    let notes = message.notes.iter();
    lead.extend(notes.map(|note| format!("_{}_", escape(note))));
    let mut blocks = vec![header(&message.title), section(&lead.join("\n"))];
    blocks.extend(chart_block(message));
    for table in &message.sections {
        let lines: Vec<String> = table.rows.iter().map(|row| escape(&row.line())).collect();
        blocks.extend(list(table.title, &lines));
    }
    blocks.extend(page_block(message.page.as_deref()));
    blocks.truncate(MAX_BLOCKS);
    let fallback = format!("{}: {}", message.title, message.summary);
    json!({
        "text": cut_escaped(&fallback, MAX_TEXT_CHARS),
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

/// A code block, or nothing if it is too long for a section.
fn chart_block(message: &DigestMessage) -> Option<Value> {
    let text = format!("```{}```", digest::bars(&message.chart).join("\n"));
    (!message.chart.is_empty() && utf16_len(&text) <= MAX_SECTION_CHARS).then(|| section(&text))
}

fn header(title: &str) -> Value {
    json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(title, MAX_HEADER_CHARS), "emoji": false },
    })
}

fn render(message: &Message) -> Value {
    let fallback = format!("{}: {}", message.title, message.summary);
    let mut blocks = match &message.body {
        MessageBody::One(detail) => detail_blocks(detail),
        MessageBody::Many(roundup) => roundup_blocks(roundup),
    };
    blocks.extend(page_block(message.page.as_deref()));
    blocks.truncate(MAX_BLOCKS - 2);
    let mut lead = vec![escape(&message.summary)];
    lead.extend(
        message
            .notes
            .iter()
            .map(|note| format!("_{}_", escape(note))),
    );
    json!({
        "text": cut_escaped(&fallback, MAX_TEXT_CHARS),
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [
            header(&message.title),
            section(&lead.join("\n")),
        ],
        "attachments": [{ "color": color(message.severity), "blocks": blocks }],
    })
}

fn color(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "#c0392b",
        Some(Severity::Warning) => "#e67e22",
        Some(Severity::Info) => "#2e86c1",
        None => "#27ae60",
    }
}

fn detail_blocks(detail: &AlertDetail) -> Vec<Value> {
    let fields: Vec<Value> = detail
        .fields
        .iter()
        .take(10)
        .map(|figure| {
            let name = escape(figure.name);
            let limit = MAX_FIELD_CHARS - utf16_len(&name) - 3;
            mrkdwn(&format!("*{name}*\n{}", cut_escaped(&figure.value, limit)))
        })
        .collect();
    let mut blocks = vec![json!({ "type": "section", "fields": fields })];
    blocks.extend(list("Top contributors", &escape_all(&detail.top)));
    blocks.extend(list("Next steps", &advice_lines(&detail.advice)));
    blocks
}

fn roundup_blocks(roundup: &AlertList) -> Vec<Value> {
    let mut blocks = Vec::new();
    for group in &roundup.groups {
        let mut lines = escape_all(&group.lines);
        lines.extend(group.more.iter().map(|more| escape(more)));
        if lines.is_empty() {
            lines.push("not listed".to_owned());
        }
        blocks.extend(list(&escape(&group.title), &lines));
    }
    blocks.extend(roundup.more.iter().map(|more| section(&escape(more))));
    blocks.extend(list(
        "Next steps for the first alert",
        &advice_lines(&roundup.advice),
    ));
    blocks
}

fn page_block(page: Option<&str>) -> Option<Value> {
    let link = link(page?, "spendwatch");
    Some(json!({ "type": "context", "elements": [mrkdwn(&link)] }))
}

fn escape_all(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| escape(line)).collect()
}

fn advice_lines(advice: &[Advice]) -> Vec<String> {
    advice
        .iter()
        .map(|advice| match &advice.link {
            Some(url) => format!("{} ({})", escape(&advice.text), link(url, "open")),
            None => escape(&advice.text),
        })
        .collect()
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
