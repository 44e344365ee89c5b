//! `[[notifiers]]`: the receivers of notifications.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::de::IgnoredAny;

use crate::near::nearest;
use crate::problem::redacted_address;
use crate::reader::{Located, SectionReader};
use crate::source::SecretSource;
use crate::{credentials, durations};
use spendwatch_base::outbound;
use spendwatch_base::secret::Secret;
use spendwatch_base::template::Template;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::ids::NotifierName;

/// One configured receiver.
#[derive(Debug, Clone)]
pub struct NotifierConfig {
    pub name: NotifierName,
    pub kind: NotifierKind,
    /// Whether resolved alerts are sent.
    pub send_resolved: bool,
    /// Whether alerts that end with their period are sent.
    pub tell_period_end: bool,
    /// How long a message waits for further alerts.
    pub group_wait: Duration,
    /// Minimum time between two messages.
    pub group_interval: Duration,
    /// Lowest severity that is sent.
    pub min_severity: Severity,
    /// Age at which an undelivered message becomes a dead letter.
    pub max_age: Duration,
    /// Notifier used while this one is parked.
    pub fallback: Option<NotifierName>,
    /// Allows `http://` to hosts other than loopback.
    pub allow_http: bool,
}

/// Type of a receiver, with its settings.
#[derive(Debug, Clone)]
pub enum NotifierKind {
    Console,
    Slack {
        url: SecretSource,
    },
    /// Slack with a bot token.
    SlackApi {
        token: SecretSource,
        /// Id, or name with `#`.
        channel: String,
        api_url: String,
    },
    /// JSON in the format of Alertmanager's webhook, version 4.
    Webhook {
        url: SecretSource,
        signing_secrets: Vec<SecretSource>,
        headers: Vec<(String, SecretSource)>,
        template: Option<Template>,
    },
    /// A program that receives the webhook's body on standard input.
    Command {
        argv: Vec<String>,
        /// Time after which it is killed.
        timeout: Duration,
    },
    /// PagerDuty's Events API v2.
    PagerDuty {
        url: SecretSource,
        routing_key: SecretSource,
    },
    Teams {
        url: SecretSource,
    },
    Discord {
        url: SecretSource,
    },
    Email(Box<EmailConfig>),
    /// Prometheus Alertmanager, to which firing alerts are resent regularly.
    Alertmanager {
        /// All members of the cluster, at least one.
        urls: Vec<SecretSource>,
        headers: Vec<(String, SecretSource)>,
        resend_interval: Duration,
    },
}

impl NotifierKind {
    /// Returns the sources of all its secrets.
    pub fn secrets(&self) -> Vec<&SecretSource> {
        fn values(headers: &[(String, SecretSource)]) -> impl Iterator<Item = &SecretSource> {
            headers.iter().map(|(_, source)| source)
        }
        match self {
            NotifierKind::Console | NotifierKind::Command { .. } => Vec::new(),
            NotifierKind::Slack { url }
            | NotifierKind::Teams { url }
            | NotifierKind::Discord { url } => vec![url],
            NotifierKind::SlackApi { token, .. } => vec![token],
            NotifierKind::Webhook {
                url,
                signing_secrets,
                headers,
                ..
            } => {
                let first = std::iter::once(url).chain(signing_secrets);
                first.chain(values(headers)).collect()
            }
            NotifierKind::PagerDuty { url, routing_key } => vec![url, routing_key],
            NotifierKind::Email(email) => email.password.iter().collect(),
            NotifierKind::Alertmanager { urls, headers, .. } => {
                urls.iter().chain(values(headers)).collect()
            }
        }
    }

    /// Returns whether it can receive digests. Receivers of incidents or alerts alone cannot.
    pub fn accepts_digests(&self) -> bool {
        match self {
            NotifierKind::PagerDuty { .. } | NotifierKind::Alertmanager { .. } => false,
            NotifierKind::Console
            | NotifierKind::Slack { .. }
            | NotifierKind::SlackApi { .. }
            | NotifierKind::Webhook { .. }
            | NotifierKind::Command { .. }
            | NotifierKind::Teams { .. }
            | NotifierKind::Discord { .. }
            | NotifierKind::Email(_) => true,
        }
    }
}

/// SMTP relay and addresses.
#[derive(Debug, Clone)]
pub struct EmailConfig {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    /// Name in EHLO; `None` uses the host's full name, or an address literal.
    pub helo: Option<String>,
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    pub from: String,
    /// At least one; each has its own delivery.
    pub to: Vec<String>,
}

/// Encryption of a mail connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte, as with `smtps://`.
    Implicit,
    StartTlsRequired,
    /// STARTTLS if the relay offers it.
    StartTlsOpportunistic,
    None,
}

impl NotifierConfig {
    /// Creates a notifier with default settings.
    pub fn new(name: &str, kind: NotifierKind) -> NotifierConfig {
        NotifierConfig {
            name: NotifierName::from(name),
            kind,
            send_resolved: true,
            tell_period_end: false,
            group_wait: Duration::from_secs(10),
            group_interval: Duration::ZERO,
            min_severity: Severity::Info,
            max_age: Duration::from_hours(72),
            fallback: None,
            allow_http: false,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Slack,
    Email,
    Webhook,
    PagerDuty,
    Teams,
    Discord,
    Alertmanager,
    Command,
    Console,
}

const KINDS: [(&str, Kind); 9] = [
    ("slack", Kind::Slack),
    ("email", Kind::Email),
    ("webhook", Kind::Webhook),
    ("pagerduty", Kind::PagerDuty),
    ("teams", Kind::Teams),
    ("discord", Kind::Discord),
    ("alertmanager", Kind::Alertmanager),
    ("command", Kind::Command),
    ("console", Kind::Console),
];

const RESEND_INTERVAL: Duration = Duration::from_mins(1);
const MIN_RESEND_INTERVAL: Duration = Duration::from_secs(10);
/// Keys that do not apply to an Alertmanager, which has no outbox and receives every resolution.
const OF_MESSAGES: [&str; 5] = [
    "group_wait",
    "group_interval",
    "max_age",
    "tell_period_end",
    "fallback",
];
/// PagerDuty's Events API for accounts outside of its European region.
const EVENTS_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Length of a PagerDuty routing key, in characters.
const ROUTING_KEY_LENGTH: usize = 32;
/// Hosts that Microsoft has switched off, and what to use instead.
const DEAD_HOSTS: [(&str, &str); 2] = [
    (
        "webhook.office.com",
        "create a workflow with the trigger \"When a Teams webhook request is received\" and use its URL",
    ),
    (
        "logic.azure.com",
        "open the workflow and copy its URL again",
    ),
];
const SLACK_API_URL: &str = "https://slack.com/api";
/// Sample body for two workspaces, one of which has a name that must be escaped in JSON.
const WEBHOOK_SAMPLE: &str = include_str!("webhook_sample.json");
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_COMMAND_TIMEOUT: Duration = Duration::from_mins(1);

/// Reads all notifiers. Also returns all names, including those of invalid notifiers.
pub fn read(root: &SectionReader<'_>) -> (Vec<NotifierConfig>, Vec<String>) {
    let mut notifiers: Vec<NotifierConfig> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for section in root.sections("notifiers") {
        let name = section.name("name").map(|name| name.value);
        if let Some(name) = &name {
            if names.contains(name) {
                let message = format!("duplicates the name `{name}` of an earlier notifier");
                section.problem("name", message);
            }
            names.push(name.clone());
        }
        notifiers.extend(read_one(&section, name));
    }
    check_fallbacks(root, &names);
    (notifiers, names)
}

/// Checks that each `fallback` exists, sends messages itself, and does not lead back to its own notifier.
fn check_fallbacks(root: &SectionReader<'_>, names: &[String]) {
    let sections = root.sections("notifiers");
    let text = |section: &SectionReader<'_>, key| section.text(key).map(|text| text.value);
    let of = |name: &str| {
        let mut all = sections.iter();
        let section = all.find(|section| text(section, "name").as_deref() == Some(name))?;
        Some((section, text(section, "fallback")))
    };
    for section in &sections {
        let Some(fallback) = section.text("fallback") else {
            continue;
        };
        let Some((other, _)) = of(&fallback.value) else {
            let hint = nearest(&fallback.value, names.iter().map(String::as_str)).map_or_else(
                || format!("configured: {}", names.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("is `{}`, which is not a notifier; {hint}", fallback.value);
            section.problem_at(&fallback, message);
            continue;
        };
        if text(other, "type").as_deref() == Some("alertmanager") {
            let message = format!(
                "is `{}`, which is an Alertmanager and receives no messages; use a notifier of another type",
                fallback.value
            );
            section.problem_at(&fallback, message);
        }
        let own = text(section, "name").unwrap_or_default();
        let mut path = vec![own.clone()];
        let mut next = Some(fallback.value.clone());
        while let Some(name) = next.take() {
            if name == own {
                let message = format!(
                    "leads back to its own notifier ({}, {own})",
                    path.join(", ")
                );
                section.problem_at(&fallback, message);
            } else if !path.contains(&name) {
                next = of(&name).and_then(|(_, fallback)| fallback);
                path.push(name);
            }
        }
    }
}

fn read_one(section: &SectionReader<'_>, name: Option<String>) -> Option<NotifierConfig> {
    if !section.has("type") {
        let message = "is missing; use slack, email, webhook, pagerduty, teams, discord, alertmanager, command or console";
        section.problem("type", message);
        return None;
    }
    let kind = section.choice(
        "type",
        &KINDS.map(|(word, kind)| (word, Some(kind))),
        &[],
        None,
    )?;
    let allow_http = match kind {
        Kind::Slack
        | Kind::Webhook
        | Kind::PagerDuty
        | Kind::Teams
        | Kind::Discord
        | Kind::Alertmanager => section.bool("allow_http", false),
        Kind::Email | Kind::Command | Kind::Console => false,
    };
    let kind = match kind {
        Kind::Console => Some(NotifierKind::Console),
        Kind::Slack => read_slack(section),
        Kind::Webhook => read_webhook(section),
        Kind::PagerDuty => read_pagerduty(section),
        Kind::Teams => read_teams(section),
        Kind::Discord => credentials::required_encrypted_url(section, "url")
            .map(|url| NotifierKind::Discord { url }),
        Kind::Command => read_command(section),
        Kind::Alertmanager => read_alertmanager(section),
        Kind::Email => read_email(section).map(|email| NotifierKind::Email(Box::new(email))),
    };
    let severities = Severity::ALL.map(|severity| (severity.as_str(), severity));
    let group_interval =
        durations::read(section, "group_interval").and_then(|wait| Duration::try_from(wait).ok());
    let group_wait =
        durations::read(section, "group_wait").and_then(|wait| Duration::try_from(wait).ok());
    let send_resolved = section.bool("send_resolved", true);
    let tell_period_end = section.bool("tell_period_end", false);
    let min_severity = section.choice("min_severity", &severities, &[], Severity::Info);
    let max_age = durations::read_wait(section, "max_age", Duration::from_hours(72));
    let fallback = section.text("fallback");
    section.finish();
    Some(NotifierConfig {
        name: NotifierName::new(name?),
        kind: kind?,
        send_resolved,
        tell_period_end,
        group_wait: group_wait.unwrap_or(Duration::from_secs(10)),
        group_interval: group_interval.unwrap_or_default(),
        min_severity,
        max_age,
        fallback: fallback.map(|text| NotifierName::new(text.value)),
        allow_http,
    })
}

fn read_slack(section: &SectionReader<'_>) -> Option<NotifierKind> {
    if section.has("token") {
        return read_slack_api(section);
    }
    for key in ["channel", "api_url"] {
        if section.has(key) {
            section.problem(key, "applies only with `token`");
        }
    }
    credentials::required_encrypted_url(section, "url").map(|url| NotifierKind::Slack { url })
}

fn read_slack_api(section: &SectionReader<'_>) -> Option<NotifierKind> {
    if section.has("url") {
        let message =
            "and `token` are both set; use `url` for a webhook, or `token` and `channel` for a bot";
        section.problem("url", message);
    }
    let token = credentials::read(section, "token");
    let channel = section.name("channel");
    let api_url = section.text("api_url");
    if let Some(url) = &api_url
        && !is_api_url(&url.value, section.bool("allow_http", false))
    {
        let message = "is not a valid API URL; use `https://` (`http://` only to loopback, or with `allow_http = true`), for example `https://slack.com/api`";
        section.problem_at(url, message);
    }
    Some(NotifierKind::SlackApi {
        token: token?,
        channel: channel?.value,
        api_url: api_url.map_or_else(|| SLACK_API_URL.to_owned(), |url| url.value),
    })
}

/// Returns whether a URL is suitable for an API. The token must not be sent in clear text by accident.
fn is_api_url(text: &str, allow_http: bool) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        let is_safe = match url.scheme() {
            "https" => url.has_host(),
            "http" => outbound::is_loopback(&url) || allow_http && url.has_host(),
            _ => false,
        };
        is_safe && url.username().is_empty() && url.query().is_none() && url.fragment().is_none()
    })
}

fn read_webhook(section: &SectionReader<'_>) -> Option<NotifierKind> {
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
    let url = credentials::required_encrypted_url(section, "url")?;
    Some(NotifierKind::Webhook {
        url,
        signing_secrets,
        headers,
        template,
    })
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
    let sample = serde_json::from_str(WEBHOOK_SAMPLE).expect("the sample is JSON");
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

fn read_command(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let timeout = durations::read_wait(section, "timeout", COMMAND_TIMEOUT);
    if timeout > MAX_COMMAND_TIMEOUT {
        section.problem("timeout", "must be at most `60s`");
    }
    if !section.has("command") {
        let message = "is missing, for example `[\"/usr/local/bin/notify\", \"argument\"]`";
        section.problem("command", message);
    }
    let argv = section.texts("command")?;
    if argv.first().is_none_or(|program| program.value.is_empty()) {
        section.problem("command", "is empty; start it with the program");
    }
    credentials::check_runner(section, &argv);
    Some(NotifierKind::Command {
        argv: argv.into_iter().map(|argument| argument.value).collect(),
        timeout,
    })
}

fn read_pagerduty(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let url = if section.has("url") {
        credentials::encrypted_plain_url(section, "url")
    } else {
        Some(SecretSource::Literal(Secret::new(EVENTS_URL.to_owned())))
    };
    let routing_key = credentials::required(section, "routing_key")?;
    let known = credentials::known(section, &routing_key);
    if known.is_some_and(|key| key.expose().trim().chars().count() != ROUTING_KEY_LENGTH) {
        let message = format!(
            "is not a routing key; expected {ROUTING_KEY_LENGTH} characters (value not shown)"
        );
        credentials::problem_of(section, "routing_key", &routing_key, message);
    }
    Some(NotifierKind::PagerDuty {
        url: url?,
        routing_key,
    })
}

fn read_teams(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let url = credentials::required_encrypted_url(section, "url")?;
    let known = credentials::known(section, &url);
    let parsed = known.and_then(|known| reqwest::Url::parse(known.expose().trim()).ok());
    let host = parsed.as_ref().and_then(reqwest::Url::host_str);
    let dead = DEAD_HOSTS.iter().find(|(dead, _)| {
        let before = host.and_then(|host| host.strip_suffix(dead));
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    });
    if let Some((dead, instead)) = dead {
        let message = format!("uses `{dead}`, which Microsoft has switched off; {instead}");
        section.warn("url", message);
    }
    Some(NotifierKind::Teams { url })
}

fn read_alertmanager(section: &SectionReader<'_>) -> Option<NotifierKind> {
    for key in OF_MESSAGES {
        if section.has(key) {
            section.problem(
                key,
                "does not apply to `type = \"alertmanager\"`; remove it",
            );
        }
    }
    let headers = credentials::read_map(section, "headers");
    let urls = credentials::plain_urls(section, "urls", &headers);
    let resend_interval = durations::read_wait(section, "resend_interval", RESEND_INTERVAL);
    if resend_interval < MIN_RESEND_INTERVAL {
        section.problem("resend_interval", "must be at least `10s`");
    }
    if section.has("url") {
        section.problem(
            "url",
            "does not apply to `type = \"alertmanager\"`; use `urls` with every member, for example `[\"https://am-0:9093\"]`",
        );
    } else if !section.has("urls") {
        section.problem(
            "urls",
            "is missing; list every member, for example `[\"https://am-0:9093\"]`",
        );
    }
    (!urls.is_empty()).then_some(NotifierKind::Alertmanager {
        urls,
        headers,
        resend_interval,
    })
}

fn read_email(section: &SectionReader<'_>) -> Option<EmailConfig> {
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
    Some(EmailConfig {
        host,
        port,
        tls,
        helo,
        username,
        password,
        from: from?.value,
        to: to.into_iter().map(|address| address.value).collect(),
    })
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
        Some(port) => Some((host.to_owned(), port, is_implicit)),
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
