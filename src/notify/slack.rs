//! Slack's incoming webhooks: Block Kit within all of its limits, one block too long being the end of a message.
//!
//! In mrkdwn exactly `&`, `<` and `>` are escaped; a name that kept them could ping everyone. The coloured bar is an
//! attachment's, the only thing there that has a colour.

use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::domain::rule::Severity;
use crate::notify::advice::Advice;
use crate::notify::digest::{self, Letter, Report};
use crate::notify::envelope::Envelope;
use crate::notify::fit::{self, units};
use crate::notify::message::{self, Body, Detail, Message, Roundup};
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Verdict};
use crate::secret::Secret;

/// Characters of a header.
const MAX_HEADER: usize = 150;
/// Characters of a section's text, after escaping.
const MAX_SECTION: usize = 3000;
/// Characters of a field, after escaping.
const MAX_FIELD: usize = 2000;
/// Characters of the text that notifications show.
const MAX_TEXT: usize = 4000;
/// Characters over all blocks. Slack's own limit is about 13,200 and written nowhere.
const MAX_SUM: usize = 10_000;
/// Blocks over all.
const MAX_BLOCKS: usize = 50;

/// What a Slack notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The webhook's address, which is the only credential.
    pub url: Secret,
}

/// An incoming webhook.
#[derive(Debug, Clone)]
pub struct Slack {
    client: Client,
    address: Address,
}

impl Slack {
    /// Checks the address. The client must follow no redirects and have time limits.
    pub fn new(client: Client, settings: Settings) -> Result<Slack, SettingsError> {
        let address = Address::new(settings.url)?;
        Ok(Slack { client, address })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        vec!["slack", self.address.secret().expose()]
    }

    /// Sends once.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.post(&payload(envelope), envelope.now).await
    }

    /// Sends a digest once.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        self.post(&digest_payload(letter), letter.now).await
    }

    async fn post(&self, payload: &Value, now: Timestamp) -> Delivery {
        post::post_json(&self.client, &self.address, payload, now, judge).await
    }
}

/// A 200 is only a yes together with the word `ok`; a proxy in between likes to answer 200 with a page.
fn judge(answer: &Answer) -> Verdict {
    let body = answer.body.trim();
    let is_page = answer.media_type == "text/html" || body.starts_with('<');
    match answer.status {
        200 if !answer.is_whole => Verdict::Retry,
        200 if body == "ok" => Verdict::Delivered,
        200 if is_page || body.is_empty() => Verdict::Retry,
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        413 => Verdict::Drop,
        // 200 and 400 alike: only a word about the message is its end.
        _ if is_about_the_message(body) => Verdict::Drop,
        _ => Verdict::Park,
    }
}

/// A word of the documentation or, of a workflow's webhook, the word in its JSON.
fn is_about_the_message(body: &str) -> bool {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let word = json.as_ref().and_then(|json| json["error"].as_str());
    MESSAGE_ERRORS.contains(&word.unwrap_or(body))
}

/// Every answer to an incoming webhook that is about the message alone. Others are about the webhook, the channel, the
/// workspace or a user, or are not known.
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

/// The JSON to post. With fewer lines when names are long.
pub fn payload(envelope: &Envelope<'_>) -> Value {
    let fitting = [message::MAX_LINES, 10, 5, 2]
        .into_iter()
        .map(|n_lines| render(&message::render(envelope, n_lines)))
        .find(|payload| size(payload) <= MAX_SUM);
    fitting.unwrap_or_else(|| render(&message::render(envelope, 0)))
}

/// The JSON to post of a digest. With fewer rows when names are long.
pub fn digest_payload(letter: &Letter<'_>) -> Value {
    digest::fit(letter, render_digest, |payload| size(payload) <= MAX_SUM)
}

fn render_digest(report: &Report) -> Value {
    let mut lead = vec![escape(&report.summary)];
    let notes = report.notes.iter();
    lead.extend(notes.map(|note| format!("_{}_", escape(note))));
    let mut blocks = vec![header(&report.title), section(&lead.join("\n"))];
    blocks.extend(chart_block(report));
    for table in &report.sections {
        let lines: Vec<String> = table.rows.iter().map(|row| escape(&row.line())).collect();
        blocks.extend(list(table.title, &lines));
    }
    blocks.extend(page_block(report.page.as_deref()));
    blocks.truncate(MAX_BLOCKS);
    let fallback = format!("{}: {}", report.title, report.summary);
    json!({
        "text": cut_escaped(&fallback, MAX_TEXT),
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": blocks,
    })
}

/// In letters of equal width; none where it is too long for a section.
fn chart_block(report: &Report) -> Option<Value> {
    let text = format!("```{}```", digest::bars(&report.chart).join("\n"));
    (!report.chart.is_empty() && units(&text) <= MAX_SECTION).then(|| section(&text))
}

fn header(title: &str) -> Value {
    json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(title, MAX_HEADER), "emoji": false },
    })
}

fn render(message: &Message) -> Value {
    let fallback = format!("{}: {}", message.title, message.summary);
    let mut blocks = match &message.body {
        Body::One(detail) => detail_blocks(detail),
        Body::Many(roundup) => roundup_blocks(roundup),
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
        "text": cut_escaped(&fallback, MAX_TEXT),
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

fn detail_blocks(detail: &Detail) -> Vec<Value> {
    let fields: Vec<Value> = detail
        .figures
        .iter()
        .take(10)
        .map(|figure| {
            let name = escape(figure.name);
            let room = MAX_FIELD - units(&name) - 3;
            mrkdwn(&format!("*{name}*\n{}", cut_escaped(&figure.value, room)))
        })
        .collect();
    let mut blocks = vec![json!({ "type": "section", "fields": fields })];
    blocks.extend(list("Top contributors", &escape_all(&detail.top)));
    blocks.extend(list("What to do", &advice_lines(&detail.advice)));
    blocks
}

fn roundup_blocks(roundup: &Roundup) -> Vec<Value> {
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
        "What to do about the first",
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

/// A title and lines that are escaped already, in as many sections as they need; a line is never cut by a section's end.
fn list(title: &str, lines: &[String]) -> Vec<Value> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut sections = Vec::new();
    let mut text = format!("*{title}*");
    for line in lines {
        if units(&text) + units(line) + 3 > MAX_SECTION {
            sections.push(section(&text));
            text = format!("• {line}");
        } else {
            text = format!("{text}\n• {line}");
        }
    }
    sections.push(section(&text));
    sections
}

/// `text` is escaped already and within the limit.
fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// Verbatim: nothing but our own links becomes one.
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

/// Exactly the three characters that Slack asks for.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn cut(text: &str, limit: usize) -> String {
    fit::cut(text, limit, str::to_owned)
}

/// Escaped, and cut so that no escape is cut.
fn cut_escaped(text: &str, limit: usize) -> String {
    fit::cut(text, limit, escape)
}

/// Characters of all texts in all blocks.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => units(text),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(members) => members.values().map(size).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, media_type: &str, body: &str, expected: Verdict) {
        let answer = Answer {
            status,
            media_type: media_type.to_owned(),
            body: body.to_owned(),
            is_whole: true,
        };
        assert_eq!(judge(&answer), expected, "{status} {body}");
    }

    #[test]
    fn case_22_a_200_is_a_yes_only_with_ok() {
        check(200, "text/plain", "ok", Verdict::Delivered);
        check(200, "text/plain", "ok\n", Verdict::Delivered);
        check(200, "text/plain", "invalid_blocks", Verdict::Drop);
        check(
            200,
            "text/html",
            "<html>Please log in</html>",
            Verdict::Retry,
        );
        check(200, "", "<!DOCTYPE html>", Verdict::Retry);
        check(200, "", "", Verdict::Retry);
    }

    #[test]
    fn other_answers() {
        for status in [429, 500, 502, 503] {
            check(status, "text/plain", "rollup_error", Verdict::Retry);
        }
        for status in [302, 403, 404, 410] {
            check(status, "text/plain", "no_service", Verdict::Park);
        }
        for status in [400, 413] {
            check(status, "text/plain", "invalid_payload", Verdict::Drop);
        }
        let json = r#"{"ok":false,"error":"invalid_blocks"}"#;
        check(400, "application/json", json, Verdict::Drop);
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
            check(400, "text/plain", word, Verdict::Park);
        }
        check(200, "text/plain", "team_disabled", Verdict::Park);
        check(400, "text/html", "<html>bad request</html>", Verdict::Park);
    }

    #[test]
    fn nothing_is_cut_inside_an_escape() {
        assert_eq!(cut_escaped("a&b", 7), "a&amp;b");
        assert_eq!(cut_escaped("a&bc", 7), "a&amp;…");
        assert_eq!(cut_escaped("a&bc", 6), "a…");
        assert_eq!(cut("😀😀😀", 5), "😀😀…");
    }
}
