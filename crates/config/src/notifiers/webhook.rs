//! `type = "webhook"`.

use serde::de::IgnoredAny;

use crate::credentials;
use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;
use spendwatch_base::receiver::WebhookSettings;
use spendwatch_base::template::Template;

/// Sample body for two workspaces, one of which has a name that must be escaped in JSON.
const SAMPLE: &str = include_str!("webhook_sample.json");

/// Reads URL, secrets, headers and template.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let url = credentials::required_encrypted_url(section, "url");
    let signing_secrets = credentials::read_list(section, "signing_secrets");
    let headers = credentials::read_map(section, "headers");
    let is_json = !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let template = read_template(section, is_json);
    if !is_json && !section.has("template") {
        let message =
            "sets `Content-Type`, but the body is JSON; add a `template`, or remove the header";
        section.problem("headers", message);
    }
    Some(NotifierKind::Webhook(WebhookSettings {
        url: url?,
        signing_secrets,
        headers,
        template,
    }))
}

/// Reads a template and renders a sample message with it, to find errors at startup.
fn read_template(section: &SectionReader<'_>, is_json: bool) -> Option<Template> {
    let text = section.text("template")?;
    let refuse = |message: String| {
        section.problem("template", message);
        None
    };
    let template = match Template::new(text.value) {
        Ok(template) => template,
        Err(error) => return refuse(format!("is not a valid template: {error}")),
    };
    let sample = serde_json::from_str(SAMPLE).expect("the sample is JSON");
    let body = match template.render(&sample) {
        Ok(body) => body,
        Err(error) => return refuse(format!("cannot be rendered: {error}")),
    };
    match serde_json::from_str::<IgnoredAny>(&body) {
        Err(error) if is_json => refuse(format!(
            "does not produce JSON: {error}; insert values with `{{{{ … | tojson }}}}`, or set another `Content-Type` in \
             `headers`"
        )),
        Ok(_) | Err(_) => Some(template),
    }
}
