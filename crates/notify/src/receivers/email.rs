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
use minijinja::value::Serde;
use minijinja::{Value, context};
use sha2::{Digest, Sha256};

use crate::envelope::Envelope;
use crate::outcome::{Delivery, SettingsError};
use crate::receivers::smtp::{self, SmtpServer};
use crate::wording::digest::{self, DigestEnvelope};
use crate::wording::message::{self, MAX_LINES, Message};
use spendwatch_base::receiver::{EmailSettings, MailTls};
use spendwatch_base::secret::Secret;
use spendwatch_base::template::html_environment;

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
        payload: impl Fn(&Mailbox) -> Result<Vec<u8>, MailError>,
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

/// Why a mail cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error(transparent)]
    Mail(#[from] lettre::error::Error),
    #[error(transparent)]
    Template(#[from] minijinja::Error),
}

/// Returns the whole mail. Only `Date` and notes on time differ between attempts.
pub fn payload(
    envelope: &Envelope<'_>,
    from: &Mailbox,
    to: &Mailbox,
) -> Result<Vec<u8>, MailError> {
    let thread = match envelope.facts {
        [fact] => Some(format!("alert.{}", fact.identity.fingerprint())),
        [] | [_, ..] => None,
    };
    MailContent {
        id: envelope.id,
        now: envelope.now,
        thread,
        message: message::render(envelope, MAX_LINES),
    }
    .formatted(from, to)
}

/// Returns the whole mail of a digest; all mails of one digest form a thread.
pub fn digest_payload(
    envelope: &DigestEnvelope<'_>,
    from: &Mailbox,
    to: &Mailbox,
) -> Result<Vec<u8>, MailError> {
    let digest = envelope.digest;
    let name = format!("{} {}", digest.organization, digest.name);
    MailContent {
        id: envelope.id,
        now: envelope.now,
        thread: Some(format!("digest.{}", short_hash(&name))),
        message: digest::render(envelope),
    }
    .formatted(from, to)
}

struct MailContent<'a> {
    id: &'a str,
    now: Timestamp,
    /// Root of the thread, a message that does not exist.
    thread: Option<String>,
    message: Message,
}

impl MailContent<'_> {
    fn formatted(self, from: &Mailbox, to: &Mailbox) -> Result<Vec<u8>, MailError> {
        let domain = from.email.domain();
        let mut mail = Mail::builder()
            .date(SystemTime::from(self.now))
            .from(from.clone())
            .to(to.clone())
            .raw_header(subject(&self.message.subject))
            .message_id(Some(message_id(self.id, &to.email, domain)));
        if let Some(thread) = self.thread {
            let root = format!("<{thread}@{domain}>");
            mail = mail.in_reply_to(root.clone()).references(root);
        }
        let body = MultiPart::alternative()
            .boundary(format!("spendwatch.{}", short_hash(self.id)))
            .singlepart(part(
                ContentType::TEXT_PLAIN,
                message::plain_text(&self.message),
            ))
            .singlepart(part(ContentType::TEXT_HTML, html(&self.message)?));
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
fn html(message: &Message) -> Result<String, minijinja::Error> {
    let mut environment = html_environment();
    // Escapes no slashes, unlike the default, so that links stay readable in the source.
    environment.set_formatter(|output, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => Ok(output.write_str(&escape(text))?),
        _ => minijinja::escape_formatter(output, state, value),
    });
    let context = context! {
        advice_title => message.advice_title(),
        ..Value::from(Serde(message))
    };
    let html = environment.render_str(include_str!("email.html"), context)?;
    // The engine drops the last line end.
    Ok(html + "\n")
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
    use crate::samples::{fact, with_envelope};
    use spendwatch_domain::alerts::notification::Reason;

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
            thread: None,
            message: Message {
                subject: text.to_owned(),
                ..with_envelope(&[fact(Reason::First)], |envelope| {
                    message::render(&envelope, 1)
                })
            },
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
