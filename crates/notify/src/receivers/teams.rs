//! Microsoft Teams: an adaptive card for a workflow with a webhook trigger.
//!
//! A workflow responds before it posts, so a card that Teams rejects only appears in the workflow's history. Cards stay far
//! below the limit of 28 KB, which Teams applies after expanding them. Clients differ in their markdown: each line is its own
//! block, and texts with names are facts where possible.

use serde_json::{Value, json};

use crate::envelope::Envelope;
use crate::post::{PostResponse, ResponseClass};
use crate::receivers::chat::ChatFormat;
use crate::wording::advice::Advice;
use crate::wording::digest::{self, DigestEnvelope};
use crate::wording::fit;
use crate::wording::message::{Highlight, Message};
use crate::wording::tables::DigestRow;
use spendwatch_domain::rules::rule::Severity;

/// Maximum bytes of a post. A body of 24,453 bytes was rejected once.
const MAX_BYTES: usize = 18_000;
/// Characters with a meaning in a text block.
const TEXT_MARKDOWN: [char; 10] = ['\\', '`', '*', '_', '~', '[', ']', '<', '{', '}'];
/// Characters that could form a link or a function in a fact. Clients without markdown show the backslashes, so only these are
/// escaped.
const FACT_MARKDOWN: [char; 5] = ['\\', '[', ']', '{', '}'];

/// A workflow of Microsoft Teams.
pub const FORMAT: ChatFormat = ChatFormat {
    name: "teams",
    payload,
    digest_payload,
    classify,
};

fn classify(response: &PostResponse) -> ResponseClass {
    match response.status {
        200 | 202 if response.is_page() => ResponseClass::Retry,
        200 | 202 => ResponseClass::Delivered,
        408 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        300..=399 | 401..=405 | 407 | 410 | 451 => ResponseClass::Park,
        400 if is_about_the_flow(&response.body) => ResponseClass::Park,
        _ => ResponseClass::Drop,
    }
}

/// Power Automate also returns 400 if the flow is off, suspended or of another kind.
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

/// Returns the JSON body.
pub fn payload(envelope: &Envelope<'_>) -> Value {
    fit::fit(envelope, render, is_small)
}

/// Returns the JSON body of a digest, with fewer rows when names are long.
pub fn digest_payload(envelope: &DigestEnvelope<'_>) -> Value {
    digest::fit(envelope, render, is_small)
}

fn is_small(payload: &Value) -> bool {
    payload.to_string().len() <= MAX_BYTES
}

fn render(message: &Message) -> Value {
    let mut title = title(&message.title);
    if let Some(color) = color(message.highlight) {
        title["color"] = color.into();
    }
    let mut body = vec![title, text(&message.summary)];
    body.extend(message.notes.iter().map(|note| subtle(note)));
    let fields = message.fields.iter();
    body.extend(facts(fields.map(|field| fact(field.name, &field.value))));
    body.extend(list("Top contributors", &message.top));
    for group in &message.groups {
        body.push(heading(&group.title));
        body.extend(numbered(&group.lines));
        body.extend(group.more.iter().map(|more| text(more)));
    }
    body.extend(message.more.iter().map(|more| text(more)));
    let bars = message.chart.iter();
    body.extend(facts(bars.map(|bar| fact(&bar.label, &bar.value))));
    for section in &message.sections {
        let lines: Vec<String> = section.rows.iter().map(DigestRow::line).collect();
        body.extend(list(section.title, &lines));
    }
    let advice = message.advice.iter().map(|advice| advice.text.clone());
    body.extend(list(message.advice_title(), &advice.collect::<Vec<_>>()));
    card(&body, &actions(&message.advice, message.page.as_deref()))
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

fn list(title: &str, lines: &[String]) -> Vec<Value> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![heading(title)];
    blocks.extend(numbered(lines));
    blocks
}

/// Renders lines as facts, which are safe for names.
fn numbered(lines: &[String]) -> Option<Value> {
    let numbered = lines.iter().enumerate();
    facts(numbered.map(|(index, line)| fact(&(index + 1).to_string(), line)))
}

fn facts(facts: impl Iterator<Item = Value>) -> Option<Value> {
    let facts: Vec<Value> = facts.collect();
    (!facts.is_empty()).then(|| json!({ "type": "FactSet", "facts": facts }))
}

fn fact(title: &str, value: &str) -> Value {
    json!({ "title": title, "value": escape_entities(&fit::escape_with_backslash(value, &FACT_MARKDOWN)) })
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

/// A leading `-`, `+`, `#` or `>` would start a list, a heading or a quotation.
fn escape(text: &str) -> String {
    let escaped = escape_entities(&fit::escape_with_backslash(text, &TEXT_MARKDOWN));
    if escaped.starts_with(['-', '+', '#', '>']) {
        format!("\\{escaped}")
    } else {
        escaped
    }
}

/// Escapes each `&` that begins an entity: `&#8238;` in a name would reverse the text.
fn escape_entities(text: &str) -> String {
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

fn color(highlight: Highlight) -> Option<&'static str> {
    match highlight {
        Highlight::Firing(Severity::Critical) => Some("Attention"),
        Highlight::Firing(Severity::Warning) => Some("Warning"),
        Highlight::Firing(Severity::Info) => Some("Accent"),
        Highlight::Resolved => Some("Good"),
        Highlight::Digest => None,
    }
}

fn actions(advice: &[Advice], page: Option<&str>) -> Vec<Value> {
    let mut actions: Vec<Value> = advice
        .iter()
        .filter_map(|advice| advice.link.as_deref())
        .map(|link| action(&format!("Open {}", last_segment(link)), link))
        .collect();
    actions.extend(page.map(|page| action("Open spendwatch", page)));
    actions
}

fn last_segment(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or(link)
}

fn action(title: &str, url: &str) -> Value {
    json!({ "type": "Action.OpenUrl", "title": title, "url": url })
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
        check(&[200, 202], "", ResponseClass::Delivered);
        check(
            &[200, 202],
            "<html>Please log in</html>",
            ResponseClass::Retry,
        );
        check(&[408, 429, 500, 502, 503, 504], "", ResponseClass::Retry);
        check(&[302, 401, 403, 404, 405, 410], "", ResponseClass::Park);
        check(&[204, 400, 413, 422], "", ResponseClass::Drop);
        let off =
            r#"{"error":{"code":"WorkflowTriggerIsNotEnabled","message":"state 'Disabled'"}}"#;
        check(&[400, 402, 451], off, ResponseClass::Park);
    }

    #[test]
    fn markdown_is_escaped() {
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
