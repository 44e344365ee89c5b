//! `[[notifiers]]`: the receivers of notifications. Each type has its own file.

mod alertmanager;
mod command;
mod discord;
mod email;
mod pagerduty;
mod slack;
mod teams;
mod webhook;

use std::time::Duration;

use crate::durations;
use crate::near::nearest;
use crate::reader::SectionReader;
use crate::source::SecretSource;
use crate::terms::read_severity;
use spendwatch_base::receiver::ReceiverSettings;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::ids::NotifierName;

/// Type of a receiver, with its settings and the sources of its secrets.
pub type NotifierKind = ReceiverSettings<SecretSource>;

/// A receiver, and which alerts are sent to it when.
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

/// Reads the settings of one type.
type Read = fn(&SectionReader<'_>) -> Option<NotifierKind>;

/// Each `type`, whether it is reached over HTTP, and its settings.
const TYPES: [(&str, bool, Read); 9] = [
    ("slack", true, slack::read),
    ("email", false, email::read),
    ("webhook", true, webhook::read),
    ("pagerduty", true, pagerduty::read),
    ("teams", true, teams::read),
    ("discord", true, discord::read),
    ("alertmanager", true, alertmanager::read),
    ("command", false, command::read),
    ("console", false, |_| Some(NotifierKind::Console)),
];

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
    check_fallbacks(root, &names, &notifiers);
    (notifiers, names)
}

fn is_resent(kind: &NotifierKind) -> bool {
    kind.capabilities().resend_interval.is_some()
}

/// Checks that each `fallback` exists, sends messages itself, and does not lead back to its own notifier.
fn check_fallbacks(root: &SectionReader<'_>, names: &[String], notifiers: &[NotifierConfig]) {
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
        if of(&fallback.value).is_none() {
            let hint = nearest(&fallback.value, names.iter().map(String::as_str)).map_or_else(
                || format!("configured: {}", names.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("is `{}`, which is not a notifier; {hint}", fallback.value);
            section.problem_at(&fallback, message);
            continue;
        }
        let mut others = notifiers.iter();
        let other = others.find(|other| other.name.as_str() == fallback.value);
        if other.is_some_and(|other| is_resent(&other.kind)) {
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
        let words = TYPES.map(|(word, ..)| word);
        let [others @ .., last] = &words;
        let message = format!("is missing; use {} or {last}", others.join(", "));
        section.problem("type", message);
        return None;
    }
    let types = TYPES.map(|(word, is_http, read)| (word, Some((is_http, read))));
    let (is_http, read) = section.choice("type", &types, &[], None)?;
    let allow_http = is_http && section.bool("allow_http", false);
    let kind = read(section);
    let default = NotifierConfig::new("", NotifierKind::Console);
    let mut notifier = NotifierConfig {
        send_resolved: section.bool("send_resolved", default.send_resolved),
        min_severity: read_severity(section, "min_severity", default.min_severity),
        allow_http,
        ..default
    };
    if !kind.as_ref().is_some_and(is_resent) {
        notifier.tell_period_end = section.bool("tell_period_end", notifier.tell_period_end);
        notifier.group_wait = durations::read_delay(section, "group_wait", notifier.group_wait);
        notifier.group_interval =
            durations::read_delay(section, "group_interval", notifier.group_interval);
        notifier.max_age = durations::read_wait(section, "max_age", notifier.max_age);
        let fallback = section.text("fallback");
        notifier.fallback = fallback.map(|text| NotifierName::new(text.value));
    }
    section.finish();
    Some(NotifierConfig {
        name: NotifierName::new(name?),
        kind: kind?,
        ..notifier
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defines the words of all receivers; the compiler requires a line for each.
    macro_rules! types {
        ($($pattern:pat => $word:literal,)+) => {
            const WORDS: &[&str] = &[$($word),+];

            fn type_of(kind: &NotifierKind) -> &'static str {
                match kind {
                    $($pattern => $word,)+
                }
            }
        };
    }

    types! {
        ReceiverSettings::Console => "console",
        ReceiverSettings::Slack { .. } | ReceiverSettings::SlackApi(_) => "slack",
        ReceiverSettings::Webhook(_) => "webhook",
        ReceiverSettings::Command(_) => "command",
        ReceiverSettings::PagerDuty(_) => "pagerduty",
        ReceiverSettings::Teams { .. } => "teams",
        ReceiverSettings::Discord { .. } => "discord",
        ReceiverSettings::Email(_) => "email",
        ReceiverSettings::Alertmanager(_) => "alertmanager",
    }

    #[test]
    fn every_receiver_can_be_configured_and_is_documented() {
        assert_eq!(type_of(&NotifierKind::Console), "console");
        let documentation = include_str!("../../../../docs/configuration.md");
        let mut lines = documentation.lines();
        let row = lines.find(|line| line.starts_with("| `type` | `slack`"));
        for word in WORDS {
            let is_known = TYPES.iter().any(|(known, ..)| known == word);
            assert!(is_known, "add `{word}` to `TYPES`");
            let is_documented = row.unwrap().contains(&format!("`{word}`"));
            assert!(is_documented, "add `{word}` to docs/configuration.md");
        }
    }
}
