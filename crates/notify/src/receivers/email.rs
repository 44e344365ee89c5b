//! Mail with text and HTML; each recipient gets an own copy in an own SMTP transaction.
//!
//! Message-ID and References are derived from stable ids, so that duplicates are recognized and messages about one alert
//! form a thread although their subjects differ.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::{Address, Message as Mail};
use sha2::{Digest, Sha256};

use crate::envelope::Envelope;
use crate::outcome::{Delivery, SettingsError};
use crate::receivers::smtp::{self, SmtpServer};
use crate::wording::advice::Advice;
use crate::wording::digest::{self, ChartBar, DigestEnvelope, DigestMessage, DigestSection};
use crate::wording::message::{self, AlertDetail, AlertList, MAX_LINES, Message, MessageBody};
use spendwatch_base::receiver::{EmailSettings, MailTls};
use spendwatch_base::secret::Secret;

/// Limit for everything before the content, and again for the content: one minute in total.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A mail server and a sender; the recipient is in each envelope.
#[derive(Debug, Clone)]
pub struct EmailNotifier {
    server: SmtpServer,
    from: Mailbox,
    settings: Vec<Secret>,
    password: Option<Secret>,
    time_limit: Duration,
}

impl EmailNotifier {
    /// Validates the settings. `ca_file` has certificates, in PEM, to trust in addition to the system's.
    pub fn new(
        settings: EmailSettings<Secret>,
        ca_file: Option<&Path>,
    ) -> Result<EmailNotifier, SettingsError> {
        let from = mailbox(&settings.from)?;
        let settings_list = settings_list(&settings, ca_file);
        let credentials = match (settings.username, &settings.password) {
            (Some(username), Some(password)) => {
                Some(Credentials::new(username, password.expose().to_owned()))
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(SettingsError::IncompleteLogin),
        };
        let parameters = match settings.tls {
            MailTls::None if credentials.is_some() => return Err(SettingsError::ClearTextLogin),
            MailTls::None => None,
            MailTls::Implicit | MailTls::StartTlsRequired | MailTls::StartTlsOpportunistic => {
                Some(tls_parameters(&settings.host, ca_file)?)
            }
        };
        let server = SmtpServer {
            host: settings.host,
            port: settings.port,
            tls: settings.tls,
            parameters,
            credentials,
            helo: settings.helo,
        };
        Ok(EmailNotifier {
            server,
            from,
            settings: settings_list,
            password: settings.password,
            time_limit: TIME_LIMIT,
        })
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        self.settings.iter().map(Secret::expose).collect()
    }

    /// Sets the limit for everything before the content, and again for the content.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> EmailNotifier {
        EmailNotifier { time_limit, ..self }
    }

    /// Sends the copy of the envelope's recipient.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.mail(envelope.recipient, |to| payload(envelope, &self.from, to))
            .await
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        self.mail(envelope.recipient, |to| {
            digest_payload(envelope, &self.from, to)
        })
        .await
    }

    async fn mail(
        &self,
        recipient: Option<&str>,
        payload: impl Fn(&Mailbox) -> Result<Vec<u8>, lettre::error::Error>,
    ) -> Delivery {
        let Some(recipient) = recipient else {
            return Delivery::drop_message("the message has no recipient");
        };
        let to = match mailbox(recipient) {
            Ok(to) => to,
            Err(error) => return Delivery::drop_message(error.to_string()),
        };
        let mail = match payload(&to) {
            Ok(mail) => mail,
            Err(error) => return Delivery::drop_message(format!("cannot build the mail: {error}")),
        };
        let (from, to) = (&self.from.email, &to.email);
        let delivery = smtp::send(&self.server, from, to, &mail, self.time_limit).await;
        match &self.password {
            Some(password) => delivery.map_error(|error| password.redact(error)),
            None => delivery,
        }
    }
}

/// Parses a mail address with or without a display name; the configuration uses it to check recipients.
pub fn mailbox(text: &str) -> Result<Mailbox, SettingsError> {
    let refused = || SettingsError::Address {
        address: text.escape_debug().to_string(),
    };
    if text.chars().any(char::is_control) {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

fn settings_list(settings: &EmailSettings<Secret>, ca_file: Option<&Path>) -> Vec<Secret> {
    let text = |text: &str| Secret::new(text.to_owned());
    let mut settings_list = vec![
        text("email"),
        text(&settings.host),
        text(&settings.port.to_string()),
        text(&format!("{:?} {ca_file:?}", settings.tls)),
        text(&settings.from),
    ];
    let helo = settings.helo.as_ref();
    settings_list.extend(helo.map(|helo| text(&format!("helo {helo}"))));
    settings_list.extend(settings.username.as_deref().map(text));
    settings_list.extend(settings.password.clone());
    settings_list
}

fn tls_parameters(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, SettingsError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca_file {
        let refused = |reason: String| SettingsError::CaFile {
            path: path.to_owned(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|error| refused(error.to_string()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| SettingsError::Tls {
        reason: error.to_string(),
    })
}

/// Returns the whole mail. Only `Date` and notes on time differ between attempts.
pub fn payload(
    envelope: &Envelope<'_>,
    from: &Mailbox,
    to: &Mailbox,
) -> Result<Vec<u8>, lettre::error::Error> {
    let message = message::render(envelope, MAX_LINES);
    let thread = match envelope.facts {
        [fact] => Some(format!("alert.{}", fact.identity.fingerprint())),
        [] | [_, ..] => None,
    };
    MailContent {
        id: envelope.id,
        now: envelope.now,
        subject: &message.subject,
        thread,
        text: message::plain_text(&message),
        html: html(&message),
    }
    .formatted(from, to)
}

/// Returns the whole mail of a digest; all mails of one digest form a thread.
pub fn digest_payload(
    envelope: &DigestEnvelope<'_>,
    from: &Mailbox,
    to: &Mailbox,
) -> Result<Vec<u8>, lettre::error::Error> {
    let message = digest::render(envelope);
    let digest = envelope.digest;
    let name = format!("{} {}", digest.organization, digest.name);
    MailContent {
        id: envelope.id,
        now: envelope.now,
        subject: &message.subject,
        thread: Some(format!("digest.{}", short_hash(&name))),
        text: digest::plain_text(&message),
        html: digest_html(&message),
    }
    .formatted(from, to)
}

struct MailContent<'a> {
    id: &'a str,
    now: Timestamp,
    subject: &'a str,
    /// Root of the thread, a message that does not exist.
    thread: Option<String>,
    text: String,
    html: String,
}

impl MailContent<'_> {
    fn formatted(self, from: &Mailbox, to: &Mailbox) -> Result<Vec<u8>, lettre::error::Error> {
        let domain = from.email.domain();
        let mut mail = Mail::builder()
            .date(SystemTime::from(self.now))
            .from(from.clone())
            .to(to.clone())
            .raw_header(subject(self.subject))
            .message_id(Some(message_id(self.id, &to.email, domain)));
        if let Some(thread) = self.thread {
            let root = format!("<{thread}@{domain}>");
            mail = mail.in_reply_to(root.clone()).references(root);
        }
        let body = MultiPart::alternative()
            .boundary(format!("spendwatch.{}", short_hash(self.id)))
            .singlepart(part(ContentType::TEXT_PLAIN, self.text))
            .singlepart(part(ContentType::TEXT_HTML, self.html));
        let list = format!("spendwatch <spendwatch.{domain}>");
        let mail = mail
            .raw_header(header("List-Id", list))
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("X-Auto-Response-Suppress", "All".to_owned()))
            .multipart(body)?;
        Ok(mail.formatted())
    }
}

fn part(content_type: ContentType, text: String) -> SinglePart {
    SinglePart::builder().header(content_type).body(text)
}

fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Encodes a subject that is not ASCII or that contains something like an encoded word (RFC 2047), which mail programs
/// would decode. The whole subject is encoded, because white space between encoded words is not shown.
fn subject(text: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(is_plain) && !text.contains("=?") {
        return HeaderValue::new(name, text.to_owned());
    }
    HeaderValue::dangerous_new_pre_encoded(name, text.to_owned(), encoded_words(text))
}

/// Bytes of text per encoded word, which may have 75 characters.
const MAX_ENCODED_BYTES: usize = 45;

fn encoded_words(text: &str) -> String {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        match pieces.last_mut() {
            Some(piece) if piece.len() + c.len_utf8() <= MAX_ENCODED_BYTES => piece.push(c),
            Some(_) | None => pieces.push(c.to_string()),
        }
    }
    let words: Vec<String> = pieces
        .iter()
        .map(|piece| format!("=?utf-8?b?{}?=", BASE64.encode(piece)))
        .collect();
    words.join("\r\n ")
}

/// Derived from message id and recipient, so that each copy has its own.
fn message_id(id: &str, to: &Address, domain: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let id = if !id.is_empty() && id.chars().all(is_plain) {
        id.to_owned()
    } else {
        short_hash(id)
    };
    format!("<{id}.{}@{domain}>", short_hash(to.as_ref()))
}

fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Contains no images or external styles; all texts are escaped.
fn html(message: &Message) -> String {
    let body = match &message.body {
        MessageBody::One(detail) => alert_html(detail),
        MessageBody::Many(roundup) => list_html(roundup),
    };
    let page = message.page.as_deref();
    whole_html(
        &message.title,
        &message.summary,
        &message.notes,
        &body,
        page,
    )
}

/// The chart is a table with colored cells, because many mail programs show neither SVG nor remote images.
fn digest_html(message: &DigestMessage) -> String {
    let mut body = String::new();
    if !message.chart.is_empty() {
        let bars: String = message.chart.iter().map(bar_html).collect();
        body =
            format!("<table cellpadding=\"2\" cellspacing=\"0\" width=\"600\">\n{bars}</table>\n");
    }
    body.extend(message.sections.iter().map(section_html));
    let page = message.page.as_deref();
    whole_html(
        &message.title,
        &message.summary,
        &message.notes,
        &body,
        page,
    )
}

/// `body` is HTML.
fn whole_html(
    title: &str,
    summary: &str,
    notes: &[String],
    body: &str,
    page: Option<&str>,
) -> String {
    let (title, summary) = (escape(title), escape(summary));
    let note = |note: &String| format!("<p><i>{}</i></p>\n", escape(note));
    let notes: String = notes.iter().map(note).collect();
    let page = page.map_or(String::new(), |page| {
        format!("<p>{}</p>\n", link(page, "spendwatch"))
    });
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n<body style=\"font-family: sans-serif\">\n\
         <h2>{title}</h2>\n<p>{summary}</p>\n{notes}{body}{page}</body></html>\n"
    )
}

/// A bar and its remainder are two cells that together have the width of the longest bar.
fn bar_html(bar: &ChartBar) -> String {
    let cell = |percent: u32, color: &str| match percent {
        0 => String::new(),
        _ => format!("<td width=\"{percent}%\" height=\"14\"{color}>&nbsp;</td>\n"),
    };
    let filled = cell(
        bar.percent,
        " bgcolor=\"#2e86c1\" style=\"background-color: #2e86c1\"",
    );
    let rest = cell(100 - bar.percent.min(100), "");
    format!(
        "<tr><td width=\"110\" nowrap>{}</td>\n<td>\n<table cellpadding=\"0\" cellspacing=\"0\" width=\"100%\"><tr>\n{filled}{rest}</tr></table>\n</td>\n<td width=\"110\" align=\"right\" nowrap>{}</td></tr>\n",
        escape(&bar.label),
        escape(&bar.value)
    )
}

fn section_html(section: &DigestSection) -> String {
    let rows: String = section
        .rows
        .iter()
        .map(|row| {
            format!(
                "<tr><td>{}</td>\n<td align=\"right\" nowrap>{}</td>\n<td>{}</td></tr>\n",
                escape(&row.name),
                escape(&row.value),
                escape(&row.note)
            )
        })
        .collect();
    format!(
        "<h3>{}</h3>\n<table cellpadding=\"4\">\n{rows}</table>\n",
        escape(section.title)
    )
}

fn alert_html(detail: &AlertDetail) -> String {
    let rows: String = detail
        .fields
        .iter()
        .map(|figure| {
            let (name, value) = (escape(figure.name), escape(&figure.value));
            format!("<tr><th align=\"left\">{name}</th>\n<td>{value}</td></tr>\n")
        })
        .collect();
    let top: Vec<String> = detail.top.iter().map(|line| escape(line)).collect();
    format!(
        "<table cellpadding=\"4\">\n{rows}</table>\n{}{}",
        list("Top contributors", &top),
        list("Next steps", &advice_items(&detail.advice))
    )
}

fn list_html(roundup: &AlertList) -> String {
    let mut html = String::new();
    for group in &roundup.groups {
        let lines: Vec<String> = group.lines.iter().map(|line| escape(line)).collect();
        html.push_str(&format!(
            "<h3>{}</h3>\n{}",
            escape(&group.title),
            items(&lines)
        ));
        if let Some(more) = &group.more {
            html.push_str(&format!("<p>{}</p>\n", escape(more)));
        }
    }
    if let Some(more) = &roundup.more {
        html.push_str(&format!("<p>{}</p>\n", escape(more)));
    }
    html + &list(
        "Next steps for the first alert",
        &advice_items(&roundup.advice),
    )
}

fn advice_items(advice: &[Advice]) -> Vec<String> {
    advice
        .iter()
        .map(|advice| match &advice.link {
            Some(url) => format!("{} ({})", escape(&advice.text), link(url, url)),
            None => escape(&advice.text),
        })
        .collect()
}

/// `lines` are escaped already.
fn list(title: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        String::new()
    } else {
        format!("<h3>{}</h3>\n{}", escape(title), items(lines))
    }
}

fn items(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines
        .iter()
        .map(|line| format!("<li>{line}</li>\n"))
        .collect();
    format!("<ul>\n{items}</ul>\n")
}

fn link(url: &str, text: &str) -> String {
    format!("<a href=\"{}\">{}</a>", escape(url), escape(text))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes encoded words as a mail program does.
    fn decoded(raw: &str) -> String {
        let mut text = String::new();
        for word in raw.split("\r\n ") {
            match word
                .strip_prefix("=?utf-8?b?")
                .and_then(|rest| rest.strip_suffix("?="))
            {
                Some(encoded) => {
                    assert!(word.len() <= 75, "{word}");
                    let bytes = BASE64.decode(encoded).unwrap();
                    text.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                None => text.push_str(word),
            }
        }
        text
    }

    fn header_of(text: &str) -> String {
        let from: Mailbox = "spendwatch@example.com".parse().unwrap();
        let mail = MailContent {
            id: "id-000001",
            now: Timestamp::UNIX_EPOCH,
            subject: text,
            thread: None,
            text: String::new(),
            html: String::new(),
        };
        let mail = String::from_utf8(mail.formatted(&from, &from).unwrap()).unwrap();
        let (_, rest) = mail.split_once("Subject: ").unwrap();
        let mut lines = rest.split("\r\n");
        let mut header = lines.next().unwrap().to_owned();
        for line in lines.take_while(|line| line.starts_with(' ')) {
            header.push_str("\r\n");
            header.push_str(line);
        }
        header
    }

    #[test]
    fn subject_with_an_encoded_word_is_encoded() {
        for name in [
            "=?utf-8?q?=E2=80=AEevil?=",
            "=?UTF-8?B?4oCuZXZpbA==?=",
            "a=?iso-8859-1?q?x?=b",
            "=?utf-8?q?half",
        ] {
            let text = format!("[spendwatch] month: acme, workspace {name}, November 2026");
            let header = header_of(&text);
            assert!(!header.contains(name), "{header}");
            assert_eq!(decoded(&header), text);
        }
    }

    #[test]
    fn encoded_subject_keeps_spaces_and_plain_one_is_unchanged() {
        let text = "[spendwatch] Süche  Söhne: ä  ö, workspace 日本 👩\u{200d}💻, November 2026";
        assert_eq!(decoded(&header_of(text)), text);
        assert_eq!(header_of("[spendwatch] month"), "[spendwatch] month");
    }
}
