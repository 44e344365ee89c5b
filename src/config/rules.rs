//! `[[rules]]`: what to watch, for whom, against which limit, and whom to tell.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::config::reader::{Section, parse_duration};
use crate::config::sections::{read_glob, read_notify, read_period, read_zone};
use crate::domain::ids::{NotifierName, RuleName};
use crate::domain::matcher::Matcher;
use crate::domain::money::{Percent, Usd};
use crate::domain::period::Period;
use crate::domain::rule::{At, Limit, Quantity, Rule, Severity, Threshold, Watch};
use crate::domain::subject::SubjectKind;

const WATCHES: [(&str, Watch); 4] = [
    ("spend", Watch::Spend),
    ("tokens", Watch::Tokens),
    ("requests", Watch::Requests),
    ("data_age", Watch::DataAge),
];
const LATER_WATCHES: [&str; 6] = [
    "forecast",
    "burn_rate",
    "anomaly",
    "reconciliation",
    "lifecycle",
    "runway",
];
const SUBJECTS: [(&str, SubjectKind); 4] = [
    ("organization", SubjectKind::Organization),
    ("workspace", SubjectKind::Workspace),
    ("model", SubjectKind::Model),
    ("team", SubjectKind::Team),
];
const SEVERITIES: [(&str, Severity); 3] = [
    ("info", Severity::Info),
    ("warning", Severity::Warning),
    ("critical", Severity::Critical),
];

/// Reads the enabled ones. `notifiers` are the names that exist.
pub fn read(root: &Section<'_>, notifiers: &[String]) -> Vec<Rule> {
    let mut names: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for section in root.sections("rules") {
        let is_enabled = section.bool("enabled", true);
        let rule = read_one(&section, notifiers);
        section.finish();
        let Some(rule) = rule else { continue };
        if names.iter().any(|name| *name == rule.name.as_str()) {
            section.problem("name", format!("`{}` is used twice", rule.name));
        }
        names.push(rule.name.to_string());
        if is_enabled {
            rules.push(rule);
        }
    }
    rules
}

fn read_one(section: &Section<'_>, notifiers: &[String]) -> Option<Rule> {
    let name = section.name("name");
    let watch = section.word("watch", &WATCHES, &LATER_WATCHES, Watch::Spend);
    let for_each = section.word(
        "for_each",
        &SUBJECTS,
        &["api_key", "user"],
        SubjectKind::Organization,
    );
    let is_of_age = watch == Watch::DataAge;
    if is_of_age && section.has("period") {
        section.problem("period", "has no meaning for the age of data");
    }
    if is_of_age && matches!(for_each, SubjectKind::Model | SubjectKind::Team) {
        section.problem(
            "for_each",
            "must be organization or workspace for the age of data",
        );
    }
    let matcher = read_matcher(section);
    let limit = read_limit(section, watch, for_each);
    let hold = section.duration("for").unwrap_or(SignedDuration::ZERO);
    let keep_firing = section
        .duration("keep_firing_for")
        .unwrap_or(SignedDuration::ZERO);
    let _checked_only = read_usd(section, "min_usd");
    let labels = section
        .text_map("labels")
        .into_iter()
        .map(|(label, text)| (label, text.value))
        .collect();
    let everyone = || notifiers_or_console(notifiers);
    let period = read_period(section, Period::Month);
    let zone = read_zone(section);
    let thresholds = read_thresholds(section, watch);
    let clear_below = read_clear_below(section);
    let repeat_interval = read_repeat(section);
    let notify = read_notify(section, notifiers).unwrap_or_else(everyone);
    Some(Rule {
        name: RuleName::new(name?.value),
        limit: limit?,
        watch,
        for_each,
        matcher,
        period,
        zone,
        thresholds,
        hold,
        keep_firing,
        clear_below,
        repeat_interval,
        notify,
        labels,
    })
}

/// Without any notifier in the file there is the console.
fn notifiers_or_console(notifiers: &[String]) -> Vec<NotifierName> {
    if notifiers.is_empty() {
        vec![NotifierName::new("console")]
    } else {
        notifiers
            .iter()
            .map(|name| NotifierName::from(name.as_str()))
            .collect()
    }
}

fn read_matcher(rule: &Section<'_>) -> Matcher {
    let Some(section) = rule.section("match") else {
        return Matcher::default();
    };
    let glob = |key| {
        section
            .text(key)
            .and_then(|text| read_glob(&section, &text))
    };
    let matcher = Matcher {
        organization: glob("organization"),
        workspace: glob("workspace"),
        model: glob("model"),
        team: glob("team"),
        api_key: glob("api_key"),
    };
    section.finish();
    if matcher.api_key.is_some() {
        rule.warn("match", "asks for an API key: the guide dialect tells no usage by key, so the rule has no subject");
    }
    matcher
}

/// Exactly one limit, the one that fits the watch.
fn read_limit(section: &Section<'_>, watch: Watch, for_each: SubjectKind) -> Option<Limit> {
    let fitting = match watch {
        Watch::Spend => "limit_usd",
        Watch::Tokens => "limit_tokens",
        Watch::Requests => "limit_requests",
        Watch::DataAge => "limit_age",
    };
    let given = [
        ("limit_usd", read_usd(section, "limit_usd")),
        ("limit_tokens", read_count(section, "limit_tokens")),
        ("limit_requests", read_count(section, "limit_requests")),
        (
            "limit_age",
            section
                .duration("limit_age")
                .map(|age| Quantity::from(age.as_secs())),
        ),
    ];
    for (key, _) in given
        .iter()
        .filter(|(key, _)| *key != fitting && section.has(key))
    {
        section.problem(
            key,
            format!(
                "does not fit `watch = \"{}\"`; use `{fitting}`",
                watch.as_str()
            ),
        );
    }
    if section.has("limits_usd") {
        section.problem("limits_usd", "is not in this version");
        return None;
    }
    if section.has("limit") {
        if section.has(fitting) {
            section.problem("limit", format!("and `{fitting}` are two limits; keep one"));
        }
        return read_server_limit(section, watch, for_each);
    }
    let limit = given
        .into_iter()
        .find(|(key, _)| *key == fitting)
        .and_then(|(_, limit)| limit);
    if !section.has(fitting) {
        section.problem(fitting, "is missing: a rule needs a limit");
    }
    limit.map(Limit::Fixed)
}

fn read_server_limit(section: &Section<'_>, watch: Watch, for_each: SubjectKind) -> Option<Limit> {
    let words = [
        ("workspace", Limit::Workspace),
        ("organization", Limit::Organization),
    ];
    let limit = section.word("limit", &words, &[], Limit::Organization);
    if watch != Watch::Spend {
        section.problem("limit", "the service's own limits are of spend alone");
        return None;
    }
    let needed = if limit == Limit::Workspace {
        SubjectKind::Workspace
    } else {
        SubjectKind::Organization
    };
    if for_each != needed {
        section.problem("limit", format!("needs `for_each = \"{needed}\"`"));
        return None;
    }
    Some(limit)
}

fn read_usd(section: &Section<'_>, key: &'static str) -> Option<Quantity> {
    let digits = section.digits(key)?;
    match Usd::parse(&digits.value) {
        Ok(usd) if usd >= Usd::ZERO && usd <= Usd::from_dollars(1_000_000_000_000) => {
            Some(usd.pico())
        }
        Ok(_) | Err(_) => {
            section.problem(
                key,
                format!(
                    "is {}, it must be an amount from 0 to 10^12 USD",
                    digits.value
                ),
            );
            None
        }
    }
}

fn read_count(section: &Section<'_>, key: &'static str) -> Option<Quantity> {
    section
        .integer(key, (0, 1_000_000_000_000_000_000))
        .map(Quantity::from)
}

/// All of the limit, critical, where none is given.
fn read_thresholds(rule: &Section<'_>, watch: Watch) -> Vec<Threshold> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    for section in rule.sections("thresholds") {
        let severity = section.word("severity", &SEVERITIES, &[], Severity::Critical);
        let share = section.text("at");
        let usd = read_usd(&section, "at_usd");
        let at = match (&share, usd) {
            (Some(share), None) => {
                let percent = Percent::parse(&share.value);
                if percent.is_none() {
                    section.problem(
                        "at",
                        format!("is `{}`, it must be a share like `80%`", share.value),
                    );
                }
                percent.map(|percent| (At::Share(percent), percent.to_string()))
            }
            (None, Some(pico)) if watch == Watch::Spend && pico > 0 => Some((
                At::Quantity(pico),
                format!("${}", Usd::from_pico(pico).grouped()),
            )),
            (None, Some(_)) => {
                section.problem(
                    "at_usd",
                    "must be above 0, and belongs to `watch = \"spend\"`",
                );
                None
            }
            _ => {
                section.problem(
                    "at",
                    "is missing: a threshold is either `at = \"80%\"` or `at_usd = 4000`",
                );
                None
            }
        };
        section.finish();
        let Some((at, text)) = at else { continue };
        if thresholds.iter().any(|other| other.at == at) {
            section.problem("at", format!("`{text}` stands twice"));
        }
        thresholds.push(Threshold {
            at,
            severity,
            text: Arc::from(text),
        });
    }
    if thresholds.is_empty() {
        let at = At::Share(Percent::HUNDRED);
        thresholds.push(Threshold {
            at,
            severity: Severity::Critical,
            text: "100%".into(),
        });
    }
    thresholds
}

fn read_clear_below(section: &Section<'_>) -> Percent {
    let Some(text) = section.text("clear_below") else {
        return Percent::HUNDRED;
    };
    match Percent::parse(&text.value).filter(|percent| *percent <= Percent::HUNDRED) {
        Some(percent) => percent,
        None => {
            section.problem(
                "clear_below",
                format!("is `{}`, it must be a share up to `100%`", text.value),
            );
            Percent::HUNDRED
        }
    }
}

fn read_repeat(section: &Section<'_>) -> Option<SignedDuration> {
    let text = section.text("repeat_interval")?;
    if text.value == "never" {
        return None;
    }
    let interval =
        parse_duration(&text.value).filter(|interval| *interval >= SignedDuration::from_mins(1));
    if interval.is_none() {
        let message = "it must be `never` or a duration of at least a minute, like `24h`";
        section.problem("repeat_interval", format!("is `{}`; {message}", text.value));
    }
    interval
}
