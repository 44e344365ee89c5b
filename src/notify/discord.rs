//! Discord's webhooks: one embed within all of its limits, one text too long being the end of a message.
//!
//! Without `wait=true` Discord answers before it has saved a message, and says nothing of one that it could not save.
//! Mentions are switched off for the whole message, whatever the names in it are.

use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::domain::rule::Severity;
use crate::notify::advice::Advice;
use crate::notify::digest::{self, Bar, Letter, Report};
use crate::notify::envelope::Envelope;
use crate::notify::fit::{self, units};
use crate::notify::message::{Body, Message, Roundup};
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Verdict};
use crate::notify::wording::Figure;
use crate::secret::Secret;

/// Characters of a title, after escaping.
const MAX_TITLE: usize = 256;
/// Characters of a description, after escaping.
const MAX_DESCRIPTION: usize = 4096;
/// Characters of a field's value, after escaping.
const MAX_VALUE: usize = 1024;
/// Characters over all texts of an embed.
const MAX_SUM: usize = 6000;
/// What is live in Discord's markdown.
const LIVE: [char; 10] = ['\\', '`', '*', '_', '~', '|', '[', ']', '<', '@'];

/// What a Discord notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The webhook's address, which is the only credential.
    pub url: Secret,
}

/// A webhook of a channel.
#[derive(Debug, Clone)]
pub struct Discord {
    client: Client,
    address: Address,
}

impl Discord {
    /// Checks the address. The client must follow no redirects and have time limits.
    pub fn new(client: Client, settings: Settings) -> Result<Discord, SettingsError> {
        let address = Address::new(settings.url)?.with_query("wait", "true");
        Ok(Discord { client, address })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        vec!["discord", self.address.secret().expose()]
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

/// Who goes on after a 404 is shut out: a webhook that was deleted never comes back.
fn judge(answer: &Answer) -> Verdict {
    match answer.status {
        200 | 204 if answer.is_page() => Verdict::Retry,
        200 | 204 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        404 => Verdict::ParkForGood,
        413 => Verdict::Drop,
        400 if is_about_the_message(&answer.body) => Verdict::Drop,
        _ => Verdict::Park,
    }
}

/// Whether the body of a 400 is about the message: a forum that wants a thread, an archived thread or a code that is not
/// known is not.
fn is_about_the_message(body: &str) -> bool {
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        return body.contains("Invalid Form Body");
    };
    match json["code"].as_u64() {
        // A form body that is wrong elsewhere than in the webhook's own parameters.
        Some(50035) => match json["errors"].as_object() {
            Some(errors) if !errors.is_empty() => errors
                .keys()
                .any(|name| !PARAMETERS.contains(&name.as_str())),
            Some(_) | None => true,
        },
        // Empty, too large, not JSON; blocked by a server's rules for content.
        Some(50006 | 40005 | 50109 | 200_000 | 200_001 | 240_000) => true,
        Some(_) | None => false,
    }
}

/// What stands in the webhook's address.
const PARAMETERS: [&str; 4] = ["thread_id", "thread_name", "webhook_id", "wait"];

/// The JSON to post.
pub fn payload(envelope: &Envelope<'_>) -> Value {
    post_of(fit::fit(envelope, Embed::new, Embed::fits))
}

/// The JSON to post of a digest. With fewer rows when names are long.
pub fn digest_payload(letter: &Letter<'_>) -> Value {
    post_of(digest::fit(letter, Embed::of_digest, Embed::fits))
}

fn post_of(embed: Embed) -> Value {
    json!({ "allowed_mentions": { "parse": [] }, "embeds": [embed.json()] })
}

/// All texts are escaped.
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
        let fields = match &message.body {
            Body::One(detail) => {
                lines.extend(list("Top contributors", &escape_all(&detail.top)));
                lines.extend(list("What to do", &advice_lines(&detail.advice)));
                detail.figures.iter().map(field).collect()
            }
            Body::Many(roundup) => {
                lines.extend(roundup_lines(roundup));
                Vec::new()
            }
        };
        Embed {
            title: fit::cut(&message.title, MAX_TITLE, escape),
            page: message.page.clone(),
            color: color(message.severity),
            description: lines.join("\n"),
            fields,
        }
    }

    fn of_digest(report: &Report) -> Embed {
        let mut lines = vec![escape(&report.summary)];
        let notes = report.notes.iter();
        lines.extend(notes.map(|note| format!("*{}*", escape(note))));
        lines.extend(report.chart.iter().map(bar));
        for section in &report.sections {
            let rows = section.rows.iter().map(|row| escape(&row.line()));
            lines.extend(list(section.title, &rows.collect::<Vec<_>>()));
        }
        Embed {
            title: fit::cut(&report.title, MAX_TITLE, escape),
            page: report.page.clone(),
            color: color(Some(Severity::Info)),
            description: lines.join("\n"),
            fields: Vec::new(),
        }
    }

    fn fits(&self) -> bool {
        let description = units(&self.description);
        let values = || self.fields.iter().map(|(_, value)| units(value));
        let names: usize = self.fields.iter().map(|(name, _)| units(name)).sum();
        let sum = units(&self.title) + description + names + values().sum::<usize>();
        description <= MAX_DESCRIPTION && values().all(|value| value <= MAX_VALUE) && sum <= MAX_SUM
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

/// Not in letters of equal width: the bars come last, and need none.
fn bar(bar: &Bar) -> String {
    let text = format!("{}: {} {}", bar.label, bar.value, digest::blocks(bar));
    escape(text.trim_end())
}

fn field(figure: &Figure) -> (&'static str, String) {
    (figure.name, escape(&figure.value))
}

fn roundup_lines(roundup: &Roundup) -> Vec<String> {
    let mut lines = Vec::new();
    for group in &roundup.groups {
        let mut of_group = escape_all(&group.lines);
        of_group.extend(group.more.iter().map(|more| escape(more)));
        lines.extend(list(&escape(&group.title), &of_group));
    }
    lines.extend(roundup.more.iter().map(|more| escape(more)));
    let advice = advice_lines(&roundup.advice);
    lines.extend(list("What to do about the first", &advice));
    lines
}

/// A title and lines that are escaped already; nothing for no line.
fn list(title: &str, lines: &[String]) -> Vec<String> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut list = vec![String::new(), format!("**{title}**")];
    list.extend(lines.iter().map(|line| format!("• {line}")));
    list
}

fn advice_lines(advice: &[Advice]) -> Vec<String> {
    advice
        .iter()
        .map(|advice| match &advice.link {
            Some(url) => format!("{} ([open](<{url}>))", escape(&advice.text)),
            None => escape(&advice.text),
        })
        .collect()
}

fn escape_all(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| escape(line)).collect()
}

fn escape(text: &str) -> String {
    fit::backslashed(text, &LIVE)
}

fn color(severity: Option<Severity>) -> u32 {
    match severity {
        Some(Severity::Critical) => 0x00c0_392b,
        Some(Severity::Warning) => 0x00e6_7e22,
        Some(Severity::Info) => 0x002e_86c1,
        None => 0x0027_ae60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statuses: &[u16], body: &str, expected: Verdict) {
        for status in statuses {
            let answer = Answer {
                status: *status,
                media_type: String::new(),
                body: body.to_owned(),
                is_whole: true,
            };
            assert_eq!(judge(&answer), expected, "{status} {body}");
        }
    }

    #[test]
    fn answers() {
        check(&[200, 204], "{}", Verdict::Delivered);
        check(&[200], "<html>Please log in</html>", Verdict::Retry);
        check(&[408, 429, 500, 502, 503, 504], "", Verdict::Retry);
        check(&[302, 401, 403, 405], "", Verdict::Park);
        check(&[404], "Unknown Webhook", Verdict::ParkForGood);
        check(&[400, 413], "Invalid Form Body", Verdict::Drop);
        let invalid = r#"{"message":"Invalid Form Body","code":50035,"errors":{"embeds":{}}}"#;
        check(&[400], invalid, Verdict::Drop);
        check(&[400], r#"{"code":50006,"message":"empty"}"#, Verdict::Drop);
        for body in [
            "",
            r#"{"code":220001,"message":"a forum wants a thread"}"#,
            r#"{"code":50083,"message":"the thread is archived"}"#,
            r#"{"code":50035,"errors":{"thread_id":{}}}"#,
            r#"{"code":999999}"#,
        ] {
            check(&[400, 402, 451], body, Verdict::Park);
        }
    }

    #[test]
    fn markdown_is_dead() {
        let escaped = "\\<\\@123> \\*b\\* \\[a\\](b) \\@everyone";
        assert_eq!(escape("<@123> *b* [a](b) @everyone"), escaped);
    }
}
