//! Microsoft Teams: an adaptive card for a workflow that waits for webhook requests.
//!
//! A workflow answers before it has posted: a card that Teams refuses is seen in the workflow's own history alone. So cards
//! stay far below its limit of 28 KB, which is measured after Teams has made more of them. Clients differ in what they take
//! for markdown: each line is a block of its own, and what has names in it is a fact wherever it can be.

use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::domain::rule::Severity;
use crate::notify::advice::Advice;
use crate::notify::digest::{self, Letter, Report, Row};
use crate::notify::envelope::Envelope;
use crate::notify::fit;
use crate::notify::message::{Body, Detail, Message, Roundup};
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Verdict};
use crate::secret::Secret;

/// Bytes of a post. A body of 24,453 bytes was refused once.
const MAX_BYTES: usize = 18_000;
/// What is live in a block of text.
const LIVE_IN_TEXT: [char; 10] = ['\\', '`', '*', '_', '~', '[', ']', '<', '{', '}'];
/// What could become a link or a function in a fact. Where facts are no markdown the backslash shows, so it is no more
/// than these.
const LIVE_IN_FACTS: [char; 5] = ['\\', '[', ']', '{', '}'];

/// What a Teams notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The workflow's address, which is the only credential.
    pub url: Secret,
}

/// A workflow.
#[derive(Debug, Clone)]
pub struct Teams {
    client: Client,
    address: Address,
}

impl Teams {
    /// Checks the address. The client must follow no redirects and have time limits.
    pub fn new(client: Client, settings: Settings) -> Result<Teams, SettingsError> {
        let address = Address::new(settings.url)?;
        Ok(Teams { client, address })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        vec!["teams", self.address.secret().expose()]
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

fn judge(answer: &Answer) -> Verdict {
    match answer.status {
        200 | 202 if answer.is_page() => Verdict::Retry,
        200 | 202 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => Verdict::Retry,
        300..=399 | 401..=405 | 407 | 410 | 451 => Verdict::Park,
        400 if is_about_the_flow(&answer.body) => Verdict::Park,
        _ => Verdict::Drop,
    }
}

/// Power Automate answers 400 also where the flow is off, suspended or of another kind.
fn is_about_the_flow(body: &str) -> bool {
    let body = body.to_lowercase();
    [
        "workflow",
        "trigger",
        "flow is",
        "authoriz",
        "subscription",
        "license",
    ]
    .iter()
    .any(|part| body.contains(part))
}

/// The JSON to post.
pub fn payload(envelope: &Envelope<'_>) -> Value {
    fit::fit(envelope, render, |payload| {
        payload.to_string().len() <= MAX_BYTES
    })
}

/// The JSON to post of a digest. With fewer rows when names are long.
pub fn digest_payload(letter: &Letter<'_>) -> Value {
    digest::fit(letter, render_digest, |payload| {
        payload.to_string().len() <= MAX_BYTES
    })
}

fn render_digest(report: &Report) -> Value {
    let mut body = vec![title(&report.title), text(&report.summary)];
    body.extend(report.notes.iter().map(|note| subtle(note)));
    let bars = report.chart.iter();
    let bars: Vec<Value> = bars.map(|bar| fact(&bar.label, &bar.value)).collect();
    if !bars.is_empty() {
        body.push(facts(&bars));
    }
    for section in &report.sections {
        let lines: Vec<String> = section.rows.iter().map(Row::line).collect();
        body.extend(list(section.title, &lines));
    }
    card(&body, &actions(&[], report.page.as_deref()))
}

fn render(message: &Message) -> Value {
    let mut title = title(&message.title);
    title["color"] = color(message.severity).into();
    let mut body = vec![title, text(&message.summary)];
    body.extend(message.notes.iter().map(|note| subtle(note)));
    let advice = match &message.body {
        Body::One(detail) => {
            body.extend(detail_blocks(detail));
            &detail.advice
        }
        Body::Many(roundup) => {
            body.extend(roundup_blocks(roundup));
            &roundup.advice
        }
    };
    card(&body, &actions(advice, message.page.as_deref()))
}

fn card(body: &[Value], actions: &[Value]) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "msteams": { "width": "full" },
                "body": body,
                "actions": actions,
            },
        }],
    })
}

fn detail_blocks(detail: &Detail) -> Vec<Value> {
    let figures: Vec<Value> = detail
        .figures
        .iter()
        .map(|figure| fact(figure.name, &figure.value))
        .collect();
    let mut blocks = vec![facts(&figures)];
    blocks.extend(list("Top contributors", &detail.top));
    blocks.extend(list("What to do", &advice_texts(&detail.advice)));
    blocks
}

fn roundup_blocks(roundup: &Roundup) -> Vec<Value> {
    let mut blocks = Vec::new();
    for group in &roundup.groups {
        blocks.push(heading(&group.title));
        blocks.extend(numbered(&group.lines));
        blocks.extend(group.more.iter().map(|more| text(more)));
    }
    blocks.extend(roundup.more.iter().map(|more| text(more)));
    let advice = advice_texts(&roundup.advice);
    blocks.extend(list("What to do about the first", &advice));
    blocks
}

fn advice_texts(advice: &[Advice]) -> Vec<String> {
    advice.iter().map(|advice| advice.text.clone()).collect()
}

fn list(title: &str, lines: &[String]) -> Vec<Value> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![heading(title)];
    blocks.extend(numbered(lines));
    blocks
}

/// Lines with names in them; none for no line.
fn numbered(lines: &[String]) -> Option<Value> {
    let numbered: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(place, line)| fact(&(place + 1).to_string(), line))
        .collect();
    (!numbered.is_empty()).then(|| facts(&numbered))
}

fn facts(facts: &[Value]) -> Value {
    json!({ "type": "FactSet", "facts": facts })
}

fn fact(title: &str, value: &str) -> Value {
    json!({ "title": title, "value": without_entities(&fit::backslashed(value, &LIVE_IN_FACTS)) })
}

fn title(title: &str) -> Value {
    let mut block = text(title);
    block["size"] = "Large".into();
    block["weight"] = "Bolder".into();
    block
}

fn heading(title: &str) -> Value {
    let mut block = text(title);
    block["weight"] = "Bolder".into();
    block["separator"] = true.into();
    block
}

fn subtle(note: &str) -> Value {
    let mut block = text(note);
    block["isSubtle"] = true.into();
    block
}

fn text(text: &str) -> Value {
    json!({ "type": "TextBlock", "text": escape(text), "wrap": true })
}

/// A sign at the beginning would make a list, a heading or a quotation of the line.
fn escape(text: &str) -> String {
    let escaped = without_entities(&fit::backslashed(text, &LIVE_IN_TEXT));
    if escaped.starts_with(['-', '+', '#', '>']) {
        format!("\\{escaped}")
    } else {
        escaped
    }
}

/// A backslash before each `&` that begins an entity: `&#8238;` in a name would be decoded, and turn the text around.
fn without_entities(text: &str) -> String {
    let mut parts = text.split('&');
    let mut escaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.split_once(';').map(|(name, _)| name);
        let is_entity = name.is_some_and(|name| {
            let name = name.strip_prefix('#').unwrap_or(name);
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric())
        });
        escaped.push_str(if is_entity { "\\&" } else { "&" });
        escaped.push_str(part);
    }
    escaped
}

fn color(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "Attention",
        Some(Severity::Warning) => "Warning",
        Some(Severity::Info) => "Accent",
        None => "Good",
    }
}

fn actions(advice: &[Advice], page: Option<&str>) -> Vec<Value> {
    let mut actions: Vec<Value> = advice
        .iter()
        .filter_map(|advice| advice.link.as_deref())
        .map(|link| action(&format!("Open {}", last_part(link)), link))
        .collect();
    actions.extend(page.map(|page| action("Open spendwatch", page)));
    actions
}

/// `keys` of `https://console.anthropic.com/settings/keys`.
fn last_part(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or(link)
}

fn action(title: &str, url: &str) -> Value {
    json!({ "type": "Action.OpenUrl", "title": title, "url": url })
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
        check(&[200, 202], "", Verdict::Delivered);
        check(&[200, 202], "<html>Please log in</html>", Verdict::Retry);
        check(&[408, 429, 500, 502, 503, 504], "", Verdict::Retry);
        check(&[302, 401, 403, 404, 405, 410], "", Verdict::Park);
        check(&[204, 400, 413, 422], "", Verdict::Drop);
        let off =
            r#"{"error":{"code":"WorkflowTriggerIsNotEnabled","message":"state 'Disabled'"}}"#;
        check(&[400, 402, 451], off, Verdict::Park);
    }

    #[test]
    fn markdown_is_dead() {
        assert_eq!(escape("a_b *c* [d](e)"), "a\\_b \\*c\\* \\[d\\](e)");
        assert_eq!(escape("# a"), "\\# a");
        assert_eq!(
            escape("R&D &#8238;x &lt;b&gt;"),
            "R&D \\&#8238;x \\&lt;b\\&gt;"
        );
        let value = &fact("1", "workspace_01: \\[a\\](b)")["value"];
        assert_eq!(value, "workspace_01: \\\\\\[a\\\\\\](b)");
    }
}
