//! Mail: text and HTML in one message, one copy and one transaction for each recipient.
//!
//! Message-ID and thread are made of ids that never change, so that a repeat is recognized and the messages about one
//! alert stand together. The subject holds no figure for the same reason.

use std::path::{Path, PathBuf};
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

use crate::notify::advice::Advice;
use crate::notify::digest::{self, Bar, Letter, Report, Section};
use crate::notify::envelope::Envelope;
use crate::notify::message::{self, Body, Detail, MAX_LINES, Message, Roundup};
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::smtp::{self, Server, Tls};
use crate::secret::Secret;

/// For everything before the content, and again for the content: a minute in all.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What an email notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mail server's name or address.
    pub host: String,
    /// 25, 465, 587.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// With a password, or not at all.
    pub username: Option<String>,
    /// Sent only over an encrypted connection.
    pub password: Option<Secret>,
    /// `spendwatch@example.com`, or with a name before it.
    pub from: String,
    /// Certificates to trust besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The name in EHLO; `None` for the host's full name, or an address literal.
    pub helo: Option<String>,
}

/// A mail server and a sender. To whom is in each envelope.
#[derive(Debug, Clone)]
pub struct Email {
    server: Server,
    from: Mailbox,
    settings: Vec<Secret>,
    password: Option<Secret>,
    time_limit: Duration,
}

impl Email {
    /// Checks the settings and reads the file of certificates.
    pub fn new(settings: Settings) -> Result<Email, SettingsError> {
        let from = mailbox(&settings.from)?;
        let marked = marked(&settings);
        let credentials = match (settings.username, &settings.password) {
            (Some(username), Some(password)) => {
                Some(Credentials::new(username, password.expose().to_owned()))
            }
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(SettingsError::HalfLogin),
        };
        let parameters = match settings.tls {
            Tls::None if credentials.is_some() => return Err(SettingsError::ClearTextLogin),
            Tls::None => None,
            Tls::Implicit | Tls::StartTlsRequired | Tls::StartTlsOpportunistic => {
                Some(tls_parameters(&settings.host, settings.ca_file.as_deref())?)
            }
        };
        let server = Server {
            host: settings.host,
            port: settings.port,
            tls: settings.tls,
            parameters,
            credentials,
            helo: settings.helo,
        };
        Ok(Email {
            server,
            from,
            settings: marked,
            password: settings.password,
            time_limit: TIME_LIMIT,
        })
    }

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        self.settings.iter().map(Secret::expose).collect()
    }

    /// With another patience: for everything before the content, and again for the content.
    #[must_use]
    pub fn with_time_limit(self, time_limit: Duration) -> Email {
        Email { time_limit, ..self }
    }

    /// Sends the envelope's copy once.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.mail(envelope.recipient, |to| payload(envelope, &self.from, to))
            .await
    }

    /// Sends a digest's copy once.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        self.mail(letter.recipient, |to| {
            digest_payload(letter, &self.from, to)
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
            Err(error) => return Delivery::drop_message(format!("no mail can be made: {error}")),
        };
        let (from, to) = (&self.from.email, &to.email);
        let delivery = smtp::transact(&self.server, from, to, &mail, self.time_limit).await;
        match &self.password {
            Some(password) => delivery.retold(|error| password.scrub(error)),
            None => delivery,
        }
    }
}

/// Reads a mail address, with or without a name: the check that configuration uses for its recipients, too.
pub fn mailbox(text: &str) -> Result<Mailbox, SettingsError> {
    let refused = || SettingsError::Address {
        address: text.escape_debug().to_string(),
    };
    if text.chars().any(char::is_control) {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

fn marked(settings: &Settings) -> Vec<Secret> {
    let text = |text: &str| Secret::new(text.to_owned());
    let mut marked = vec![
        text("email"),
        text(&settings.host),
        text(&settings.port.to_string()),
        text(&format!("{:?} {:?}", settings.tls, settings.ca_file)),
        text(&settings.from),
    ];
    let helo = settings.helo.as_ref();
    marked.extend(helo.map(|helo| text(&format!("helo {helo}"))));
    marked.extend(settings.username.as_deref().map(text));
    marked.extend(settings.password.clone());
    marked
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

/// The whole mail as bytes, the same for the same envelope but for `Date` and notes on time.
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
    Content {
        id: envelope.id,
        now: envelope.now,
        subject: &message.subject,
        thread,
        text: message::plain_text(&message),
        html: html(&message),
    }
    .formatted(from, to)
}

/// The whole mail of a digest. Those of one digest stand together.
pub fn digest_payload(
    letter: &Letter<'_>,
    from: &Mailbox,
    to: &Mailbox,
) -> Result<Vec<u8>, lettre::error::Error> {
    let report = digest::render(letter);
    let digest = letter.digest;
    let of = format!("{} {}", digest.organization, digest.name);
    Content {
        id: letter.id,
        now: letter.now,
        subject: &report.subject,
        thread: Some(format!("digest.{}", short_hash(&of))),
        text: digest::plain_text(&report),
        html: digest_html(&report),
    }
    .formatted(from, to)
}

/// What one mail is made of.
struct Content<'a> {
    id: &'a str,
    now: Timestamp,
    subject: &'a str,
    /// The mail that it seems to answer: mail programs show all that do together.
    thread: Option<String>,
    text: String,
    html: String,
}

impl Content<'_> {
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

/// A subject that shows as it is. Mail programs decode what looks like an encoded word (RFC 2047) even where it is plain
/// ASCII, so a subject with one in it is encoded, as is one beyond ASCII; then as a whole, because white space between
/// encoded words is not shown.
fn subject(text: &str) -> HeaderValue {
    let name = HeaderName::new_from_ascii_str("Subject");
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(is_plain) && !text.contains("=?") {
        return HeaderValue::new(name, text.to_owned());
    }
    HeaderValue::dangerous_new_pre_encoded(name, text.to_owned(), encoded_words(text))
}

/// Bytes of text in one encoded word, which has at most 75 characters.
const MAX_ENCODED: usize = 45;

fn encoded_words(text: &str) -> String {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        match pieces.last_mut() {
            Some(piece) if piece.len() + c.len_utf8() <= MAX_ENCODED => piece.push(c),
            Some(_) | None => pieces.push(c.to_string()),
        }
    }
    let words: Vec<String> = pieces
        .iter()
        .map(|piece| format!("=?utf-8?b?{}?=", BASE64.encode(piece)))
        .collect();
    words.join("\r\n ")
}

/// Of the message's id and the recipient, so that each copy has its own.
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

/// No images, no styles from elsewhere: every name is escaped.
fn html(message: &Message) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n<body style=\"font-family: sans-serif\">\n<h2>{}</h2>\n<p>{}</p>\n",
        escape(&message.title),
        escape(&message.summary)
    );
    for note in &message.notes {
        html.push_str(&format!("<p><i>{}</i></p>\n", escape(note)));
    }
    match &message.body {
        Body::One(detail) => html.push_str(&detail_html(detail)),
        Body::Many(roundup) => html.push_str(&roundup_html(roundup)),
    }
    if let Some(page) = &message.page {
        html.push_str(&format!("<p>{}</p>\n", link(page, "spendwatch")));
    }
    html.push_str("</body></html>\n");
    html
}

/// The chart is a table whose cells have colours: many mail programs show neither an SVG nor an image from elsewhere.
fn digest_html(report: &Report) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n<body style=\"font-family: sans-serif\">\n<h2>{}</h2>\n<p>{}</p>\n",
        escape(&report.title),
        escape(&report.summary)
    );
    for note in &report.notes {
        html.push_str(&format!("<p><i>{}</i></p>\n", escape(note)));
    }
    if !report.chart.is_empty() {
        let bars: String = report.chart.iter().map(bar_html).collect();
        html.push_str(&format!(
            "<table cellpadding=\"2\" cellspacing=\"0\" width=\"600\">\n{bars}</table>\n"
        ));
    }
    html.extend(report.sections.iter().map(section_html));
    if let Some(page) = &report.page {
        html.push_str(&format!("<p>{}</p>\n", link(page, "spendwatch")));
    }
    html.push_str("</body></html>\n");
    html
}

/// A bar and its rest are two cells of a row, which together are as wide as the longest bar.
fn bar_html(bar: &Bar) -> String {
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

fn section_html(section: &Section) -> String {
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

fn detail_html(detail: &Detail) -> String {
    let rows: String = detail
        .figures
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
        list("What to do", &advice_items(&detail.advice))
    )
}

fn roundup_html(roundup: &Roundup) -> String {
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
    html + &list("What to do about the first", &advice_items(&roundup.advice))
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

    /// As a mail program decodes it: encoded words anywhere, nothing else.
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
        let mail = Content {
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
    fn a_subject_that_looks_like_an_encoded_word_is_encoded() {
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
    fn a_subject_beyond_ascii_keeps_each_space_and_a_plain_one_stays_as_it_is() {
        let text = "[spendwatch] Süche  Söhne: ä  ö, workspace 日本 👩\u{200d}💻, November 2026";
        assert_eq!(decoded(&header_of(text)), text);
        assert_eq!(header_of("[spendwatch] month"), "[spendwatch] month");
    }
}
