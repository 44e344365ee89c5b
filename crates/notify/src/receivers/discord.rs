//! Discord's webhooks: one embed within all size limits, because Discord rejects a message with one text too long.
//!
//! `wait=true` makes Discord respond after saving the message; without it, failures are not reported. Mentions are disabled
//! for the whole message.

use serde_json::{Value, json};

use crate::envelope::Envelope;
use crate::post::{PostResponse, ReceiverEndpoint, ResponseClass};
use crate::receivers::chat::{ChatFormat, ChatWebhook};
use crate::wording::advice::Advice;
use crate::wording::digest::{self, DigestEnvelope};
use crate::wording::fit::{self, utf16_len};
use crate::wording::message::{Highlight, Message};
use crate::wording::tables::{self, ChartBar, DigestRow};
use spendwatch_domain::rules::rule::Severity;

const MAX_TITLE_CHARS: usize = 256;
const MAX_DESCRIPTION_CHARS: usize = 4096;
const MAX_VALUE_CHARS: usize = 1024;
/// Over all texts of an embed. All limits apply after escaping.
const MAX_TOTAL_CHARS: usize = 6000;
/// Characters with a meaning in Discord's markdown.
const MARKDOWN: [char; 10] = ['\\', '`', '*', '_', '~', '|', '[', ']', '<', '@'];

/// Returns the webhook of a channel.
pub fn webhook(endpoint: ReceiverEndpoint) -> ChatWebhook {
    ChatWebhook {
        endpoint: endpoint.with_query("wait", "true"),
        format: ChatFormat {
            name: "discord",
            payload,
            digest_payload,
            classify,
        },
    }
}

/// A deleted webhook (404) never returns, and Discord blocks clients that keep trying.
fn classify(response: &PostResponse) -> ResponseClass {
    match response.status {
        200 | 204 if response.is_page() => ResponseClass::Retry,
        200 | 204 => ResponseClass::Delivered,
        408 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        404 => ResponseClass::ParkForGood,
        413 => ResponseClass::Drop,
        400 if is_about_the_message(&response.body) => ResponseClass::Drop,
        _ => ResponseClass::Park,
    }
}

/// Returns whether the body of a 400 is about the message. A forum that requires a thread, an archived thread and unknown
/// codes are not.
fn is_about_the_message(body: &str) -> bool {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return body.contains("Invalid Form Body");
    };
    match json["code"].as_u64() {
        // An invalid form body, except in the parameters of the webhook URL.
        Some(50035) => match json["errors"].as_object() {
            Some(errors) if !errors.is_empty() => errors
                .keys()
                .any(|name| !PARAMETERS.contains(&name.as_str())),
            Some(_) | None => true,
        },
        // Empty, too large, not JSON, or blocked by content rules.
        Some(50006 | 40005 | 50109 | 200_000 | 200_001 | 240_000) => true,
        Some(_) | None => false,
    }
}

/// Parameters of the webhook URL.
const PARAMETERS: [&str; 4] = ["thread_id", "thread_name", "webhook_id", "wait"];

/// Returns the JSON body.
pub fn payload(envelope: &Envelope<'_>) -> Value {
    webhook_body(fit::fit(envelope, Embed::new, Embed::fits))
}

/// Returns the JSON body of a digest, with fewer rows when names are long.
pub fn digest_payload(envelope: &DigestEnvelope<'_>) -> Value {
    webhook_body(digest::fit(envelope, Embed::new, Embed::fits))
}

fn webhook_body(embed: Embed) -> Value {
    json!({ "allowed_mentions": { "parse": [] }, "embeds": [embed.json()] })
}

/// An embed with escaped texts.
struct Embed {
    title: String,
    page: Option<String>,
    color: u32,
    description: String,
    fields: Vec<(&'static str, String)>,
}

impl Embed {
    fn new(message: &Message) -> Embed {
        let mut lines = vec![escape(&message.summary)];
        let notes = message.notes.iter();
        lines.extend(notes.map(|note| format!("*{}*", escape(note))));
        lines.extend(list("Top contributors", &escape_all(&message.top)));
        for group in &message.groups {
            let mut lines_of_group = escape_all(&group.lines);
            lines_of_group.extend(group.more.iter().map(|more| escape(more)));
            lines.extend(list(&escape(&group.title), &lines_of_group));
        }
        lines.extend(message.more.iter().map(|more| escape(more)));
        lines.extend(message.chart.iter().map(bar));
        for section in &message.sections {
            let rows: Vec<String> = section.rows.iter().map(DigestRow::line).collect();
            lines.extend(list(section.title, &escape_all(&rows)));
        }
        let advice: Vec<String> = message.advice.iter().map(advice_line).collect();
        lines.extend(list(message.advice_title(), &advice));
        let fields = message.fields.iter();
        Embed {
            title: fit::cut(&message.title, MAX_TITLE_CHARS, escape),
            page: message.page.clone(),
            color: color(message.highlight),
            description: lines.join("\n"),
            fields: fields
                .map(|field| (field.name, escape(&field.value)))
                .collect(),
        }
    }

    fn fits(&self) -> bool {
        let description = utf16_len(&self.description);
        let values = || self.fields.iter().map(|(_, value)| utf16_len(value));
        let names: usize = self.fields.iter().map(|(name, _)| utf16_len(name)).sum();
        let sum = utf16_len(&self.title) + description + names + values().sum::<usize>();
        description <= MAX_DESCRIPTION_CHARS
            && values().all(|value| value <= MAX_VALUE_CHARS)
            && sum <= MAX_TOTAL_CHARS
    }

    fn json(self) -> Value {
        let fields: Vec<Value> = self
            .fields
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value, "inline": true }))
            .collect();
        let mut embed = json!({
            "title": self.title,
            "color": self.color,
            "description": self.description,
            "fields": fields,
        });
        if let Some(page) = self.page {
            embed["url"] = page.into();
        }
        embed
    }
}

/// The bars come last, so that they need no fixed-width font.
fn bar(bar: &ChartBar) -> String {
    let text = format!("{}: {} {}", bar.label, bar.value, tables::blocks(bar));
    escape(text.trim_end())
}

/// Renders a title and lines, both already escaped.
fn list(title: &str, lines: &[String]) -> Vec<String> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut list = vec![String::new(), format!("**{title}**")];
    list.extend(lines.iter().map(|line| format!("• {line}")));
    list
}

fn advice_line(advice: &Advice) -> String {
    let text = escape(&advice.text);
    match &advice.link {
        Some(url) => format!("{text} ([open](<{url}>))"),
        None => text,
    }
}

fn escape_all(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| escape(line)).collect()
}

fn escape(text: &str) -> String {
    fit::escape_with_backslash(text, &MARKDOWN)
}

fn color(highlight: Highlight) -> u32 {
    match highlight {
        Highlight::Firing(Severity::Critical) => 0x00c0_392b,
        Highlight::Firing(Severity::Warning) => 0x00e6_7e22,
        Highlight::Firing(Severity::Info) | Highlight::Digest => 0x002e_86c1,
        Highlight::Resolved => 0x0027_ae60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statuses: &[u16], body: &str, expected: ResponseClass) {
        for status in statuses {
            let answer = PostResponse {
                status: *status,
                media_type: String::new(),
                body: body.to_owned(),
                is_whole: true,
            };
            assert_eq!(classify(&answer), expected, "{status} {body}");
        }
    }

    #[test]
    fn responses_are_classified() {
        check(&[200, 204], "{}", ResponseClass::Delivered);
        check(&[200], "<html>Please log in</html>", ResponseClass::Retry);
        check(&[408, 429, 500, 502, 503, 504], "", ResponseClass::Retry);
        check(&[302, 401, 403, 405], "", ResponseClass::Park);
        check(&[404], "Unknown Webhook", ResponseClass::ParkForGood);
        check(&[400, 413], "Invalid Form Body", ResponseClass::Drop);
        let invalid = r#"{"message":"Invalid Form Body","code":50035,"errors":{"embeds":{}}}"#;
        check(&[400], invalid, ResponseClass::Drop);
        check(
            &[400],
            r#"{"code":50006,"message":"empty"}"#,
            ResponseClass::Drop,
        );
        for body in [
            "",
            r#"{"code":220001,"message":"a forum wants a thread"}"#,
            r#"{"code":50083,"message":"the thread is archived"}"#,
            r#"{"code":50035,"errors":{"thread_id":{}}}"#,
            r#"{"code":999999}"#,
        ] {
            check(&[400, 402, 451], body, ResponseClass::Park);
        }
    }

    #[test]
    fn markdown_is_escaped() {
        let escaped = "\\<\\@123> \\*b\\* \\[a\\](b) \\@everyone";
        assert_eq!(escape("<@123> *b* [a](b) @everyone"), escaped);
    }
}
