//! `type = "email"`.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::credentials;
use crate::effective::quoted;
use crate::notifiers::NotifierKind;
use crate::problem::redacted_address;
use crate::reader::{Located, SectionReader};
use spendwatch_base::receiver::{EmailSettings, MailTls};

/// Reads relay, login and addresses.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let smtp = section.required_text("smtp");
    let choices = [
        ("required", MailTls::StartTlsRequired),
        ("opportunistic", MailTls::StartTlsOpportunistic),
        ("none", MailTls::None),
    ];
    let starttls = section.choice("starttls", &choices, &[], MailTls::StartTlsRequired);
    let helo = read_helo(section);
    let username = section.text("username").map(|name| name.value);
    let password = credentials::read(section, "password");
    for (one, other) in [("username", "password"), ("password", "username")] {
        if section.has(one) && !section.has(other) {
            section.problem(
                other,
                format!("is missing, but `{one}` is set; set both or neither"),
            );
        }
    }
    let (from, to) = read_addresses(section);
    let relay = smtp.and_then(|smtp| read_relay(section, &smtp.value));
    let tls = match &relay {
        Some((_, _, true)) => MailTls::Implicit,
        Some(_) | None => starttls,
    };
    if tls == MailTls::None && password.is_some() {
        section.problem(
            "starttls",
            "is none, which sends the password in clear text; remove it, or use `smtps://`",
        );
    }
    let (host, port, _) = relay?;
    Some(NotifierKind::Email(Box::new(EmailSettings {
        host,
        port,
        tls,
        helo,
        username,
        password,
        from: from?.value,
        to: to.into_iter().map(|address| address.value).collect(),
    })))
}

/// Reads the name sent in EHLO.
fn read_helo(section: &SectionReader<'_>) -> Option<String> {
    let helo = section.text("helo")?;
    if !is_helo(&helo.value) {
        let message = format!(
            "is {}, expected a host name or an address literal, for example `spendwatch.example.com` or `[192.0.2.1]`",
            redacted_address(&helo.value.escape_debug().to_string())
        );
        section.problem_at(&helo, message);
    } else if !helo.value.contains(['.', '[']) {
        let message = "has no domain, so many mail servers reject it; use a full name, for example `spendwatch.example.com`";
        section.warn_at(&helo, message);
    }
    Some(helo.value)
}

/// Returns whether a text is a host name or an address literal (RFC 5321, 4.1.3).
fn is_helo(text: &str) -> bool {
    if let Some(literal) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return match literal.strip_prefix("IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => literal.parse::<Ipv4Addr>().is_ok(),
        };
    }
    let is_label = |label: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_good)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.split('.').all(is_label)
}

fn read_addresses(section: &SectionReader<'_>) -> (Option<Located<String>>, Vec<Located<String>>) {
    let from = section.required_text("from");
    let to = section.texts("to").unwrap_or_default();
    if to.is_empty() {
        section.problem(
            "to",
            "is missing; list at least one address, for example `[\"cfo@example.com\"]`",
        );
    }
    for address in from.iter().chain(&to) {
        if address.value.parse::<lettre::message::Mailbox>().is_err() {
            let expected =
                "expected a mail address, for example `cfo@example.com` or `CFO <cfo@example.com>`";
            section.problem_at(address, format!("is `{}`, {expected}", address.value));
        }
    }
    for (index, address) in to.iter().enumerate() {
        if to[..index].iter().any(|other| other.value == address.value) {
            section.problem_at(address, format!("lists `{}` twice", address.value));
        }
    }
    (from, to)
}

/// Returns host, port, and whether the relay is encrypted from the first byte.
fn read_relay(section: &SectionReader<'_>, text: &str) -> Option<(String, u16, bool)> {
    let (rest, is_implicit) = match (text.strip_prefix("smtp://"), text.strip_prefix("smtps://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => {
            section.problem(
                "smtp",
                format!(
                    "is {}, expected a relay, for example `smtp://mail.example.com:587`",
                    redacted_address(text)
                ),
            );
            return None;
        }
    };
    let (host, port) = rest
        .rsplit_once(':')
        .unwrap_or((rest, if is_implicit { "465" } else { "587" }));
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
    match port.filter(|_| is_host) {
        Some(port) => {
            let scheme = if is_implicit { "smtps" } else { "smtp" };
            section.record("smtp", quoted(format_args!("{scheme}://{host}:{port}")));
            Some((host.to_owned(), port, is_implicit))
        }
        None => {
            section.problem(
                "smtp",
                format!(
                    "is {}, expected a host and a port; put a login into `username` and `password`",
                    redacted_address(text)
                ),
            );
            None
        }
    }
}
