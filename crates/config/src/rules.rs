//! `[[rules]]`: what to watch, for which subjects, against which limit, and which notifiers to use.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use crate::effective::{self, quoted};
use crate::organizations::OrganizationConfig;
use crate::reader::SectionReader;
use crate::terms::{read_glob, read_notify, read_period, read_zone, reject};
use crate::{durations, events, limits, thresholds};
use spendwatch_domain::alerts::resend;
use spendwatch_domain::rules::rule::{
    Condition, EventRule, GapUnit, Limit, PeriodLimit, Rule, Windows,
};
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{NotifierName, UNASSIGNED};
use spendwatch_domain::units::matcher::{Glob, Matcher, Team};
use spendwatch_domain::units::money::{Percent, Usd};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::units::weekly::WeeklyWindow;

const LATER_WATCHES: [&str; 3] = ["forecast", "anomaly", "runway"];

/// Names of notifiers, for the default of `notify`.
#[derive(Debug)]
pub struct NotifierNames<'a> {
    pub names: &'a [String],
    pub of_teams: BTreeSet<&'a str>,
    pub fallbacks: BTreeSet<&'a str>,
}

/// Reads all rules and returns the enabled ones.
pub fn read(root: &SectionReader<'_>, audience: &NotifierNames<'_>) -> Vec<Rule> {
    let mut names: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for section in root.sections("rules") {
        let name = section.name("name").map(|name| name.value);
        let is_enabled = section.bool("enabled", true);
        if let Some(name) = &name {
            if names.contains(name) {
                let message = format!("duplicates the name `{name}` of an earlier rule");
                section.problem("name", message);
            }
            names.push(name.clone());
        }
        let rule = read_one(&section, name.as_deref(), audience);
        section.finish();
        rules.extend(rule.filter(|_| is_enabled));
    }
    rules
}

/// Warns about rules that have no subjects: their `match` fits no organization or team, or they need usage by API key or
/// user although every organization uses the guide dialect.
pub fn check_names(root: &SectionReader<'_>, organizations: &[OrganizationConfig], teams: &[Team]) {
    let is_without_keys = !organizations.is_empty()
        && organizations
            .iter()
            .all(|organization| organization.dialect == Some(Dialect::Guide));
    for rule in root.sections("rules") {
        let for_each = rule.text("for_each").map(|text| text.value);
        let kind = for_each.as_deref().and_then(SubjectKind::parse);
        if is_without_keys && matches!(kind, Some(SubjectKind::ApiKey | SubjectKind::User)) {
            rule.warn("for_each", NO_KEYS);
        }
        let Some(section) = rule.section("match") else {
            continue;
        };
        let is_of_events = rule
            .text("watch")
            .is_some_and(|text| text.value == Watch::Lifecycle.as_str());
        for key in ["api_key", "user"] {
            if is_without_keys && !is_of_events && section.has(key) {
                section.warn(key, NO_KEYS);
            }
        }
        let warn_unless = |key: &'static str, is_known: &dyn Fn(&Glob) -> bool| {
            let Some(text) = section.text(key) else {
                return;
            };
            if Glob::new(&text.value).is_ok_and(|glob| !is_known(&glob)) {
                let message = format!("is `{}`, which matches no configured {key}", text.value);
                section.warn(key, message);
            }
        };
        warn_unless("organization", &|glob| {
            organizations
                .iter()
                .any(|organization| glob.matches(organization.name.as_str()))
        });
        warn_unless("team", &|glob| {
            glob.matches(UNASSIGNED) || teams.iter().any(|team| glob.matches(team.name.as_str()))
        });
    }
}

const NO_KEYS: &str = "has no effect: `guide` servers report no usage by API key or user, so the rule has no subjects";

fn read_one(
    section: &SectionReader<'_>,
    name: Option<&str>,
    audience: &NotifierNames<'_>,
) -> Option<Rule> {
    let watch = read_watch(section);
    let is_of_events = watch == Watch::Lifecycle;
    let (events, for_each) = if is_of_events {
        (events::read(section), SubjectKind::Organization)
    } else {
        if section.has("events") {
            section.problem("events", "applies only to `watch = \"lifecycle\"`");
        }
        (Vec::new(), read_for_each(section, watch))
    };
    let matcher = read_matcher(section, watch, &events);
    let period = if watch.info().has_period {
        read_period(section, Period::Month)
    } else {
        Period::Month
    };
    let zone = read_zone(section);
    let (limit, windows) = if is_of_events {
        (Some(Limit::Fixed(0)), Windows::default())
    } else {
        let limit = limits::read(section, watch, for_each);
        (limit, limits::read_windows(section, watch))
    };
    let is_complete = name.is_some() && limit.is_some();
    // A stand-in lets the other keys of an incomplete rule be checked.
    let limit = PeriodLimit {
        for_each,
        period,
        limit: limit.unwrap_or(Limit::Fixed(0)),
    };
    let min_usd = Usd::ZERO;
    let condition = match watch {
        Watch::Spend => Condition::Spend(limit),
        Watch::Tokens => Condition::Tokens(limit),
        Watch::Requests => Condition::Requests(limit),
        Watch::BurnRate => Condition::BurnRate {
            limit,
            windows,
            min_usd,
        },
        Watch::DataAge => Condition::DataAge {
            for_each,
            limit: limit.limit.fixed().unwrap_or_default(),
        },
        Watch::ReconciliationUsd => Condition::Reconciliation {
            limit,
            unit: GapUnit::Usd,
        },
        Watch::ReconciliationPercent => Condition::Reconciliation {
            limit,
            unit: GapUnit::Percent { min_usd },
        },
        Watch::Lifecycle => Condition::Lifecycle(events),
    };
    let mut rule = Rule::new(name.unwrap_or_default(), condition);
    rule.matcher = matcher;
    rule.zone = zone;
    if !is_of_events {
        rule.thresholds = thresholds::read(section, &rule);
    }
    rule.for_duration = durations::read_or(section, "for", rule.for_duration);
    rule.keep_firing_for = durations::read_or(section, "keep_firing_for", rule.keep_firing_for);
    if !is_of_events {
        rule.clear_below = read_clear_below(section, rule.clear_below);
    }
    rule.repeat_interval = read_repeat(section);
    if !is_of_events {
        let given = limits::read_min_usd(section);
        if let Condition::BurnRate { min_usd, .. }
        | Condition::Reconciliation {
            unit: GapUnit::Percent { min_usd },
            ..
        } = &mut rule.condition
        {
            *min_usd = given;
        }
    }
    rule.inactive = read_inactive(section);
    // A team's notifiers replace default notifiers, but not listed ones.
    rule.uses_default_notifiers = !section.has("notify") && !audience.of_teams.is_empty();
    rule.notify = read_notify(section, audience.names).unwrap_or_else(|| audience.everyone());
    if !rule.uses_default_notifiers {
        section.record("notify", effective::list(rule.notify.iter().map(quoted)));
    }
    if rule.notify.is_empty() {
        section.warn(
            "notify",
            "is empty, so nobody is notified; remove it to use all notifiers",
        );
    }
    rule.labels = read_labels(section);
    is_complete.then_some(rule)
}

fn read_for_each(section: &SectionReader<'_>, watch: Watch) -> SubjectKind {
    let kinds = SubjectKind::ALL.map(|kind| (kind.as_str(), kind));
    let for_each = section.choice("for_each", &kinds, &[], SubjectKind::Organization);
    let info = watch.info();
    if !info.has_period {
        reject(section, "period", watch);
    }
    if !info.subjects.contains(&for_each)
        && let Some((last, first)) = info.subjects.split_last()
    {
        let first: Vec<&str> = first.iter().map(|kind| kind.as_str()).collect();
        let reason = if limits::is_gap(watch) {
            ", because nothing else is billed separately"
        } else {
            ""
        };
        let message = format!(
            "must be {} or {last} for `watch = \"{}\"`{reason}",
            first.join(", "),
            info.word
        );
        section.problem("for_each", message);
    }
    for_each
}

/// Reads `watch`. For reconciliation, the key of the limit decides whether the gap is measured in USD or percent.
fn read_watch(section: &SectionReader<'_>) -> Watch {
    let choices: Vec<(&str, Watch)> = Watch::ALL
        .into_iter()
        .filter(|watch| *watch != Watch::ReconciliationPercent)
        .map(|watch| (watch.as_str(), watch))
        .collect();
    let watch = section.choice("watch", &choices, &LATER_WATCHES, Watch::Spend);
    if watch == Watch::ReconciliationUsd && section.has("limit_percent") {
        Watch::ReconciliationPercent
    } else {
        watch
    }
}

impl NotifierNames<'_> {
    /// Returns the default of `notify`: all notifiers that are neither a team's nor a fallback, or all if there are none of
    /// these. Without any notifier in the file, it is the console.
    fn everyone(&self) -> Vec<NotifierName> {
        if self.names.is_empty() {
            return vec![NotifierName::new("console")];
        }
        let has_a_task = |name: &str| self.of_teams.contains(name) || self.fallbacks.contains(name);
        let all = self.names.iter().map(String::as_str);
        let mut names: Vec<&str> = all.clone().filter(|name| !has_a_task(name)).collect();
        if names.is_empty() {
            names.extend(all);
        }
        names.into_iter().map(NotifierName::from).collect()
    }
}

fn read_labels(section: &SectionReader<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (label, text) in section.text_map("labels") {
        let is_name = !label.is_empty()
            && !label.starts_with(|first: char| first.is_ascii_digit())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_own = resend::OWN_LABELS.contains(&label.as_str());
        if !is_name {
            let message =
                "is not a valid label name; use letters, digits and `_`, and no digit first";
            section.problem_at(&text, message);
        } else if is_own {
            let message = "is a label that alerts set themselves; use another name";
            section.problem_at(&text, message);
        }
        labels.insert(label, text.value);
    }
    labels
}

fn read_matcher(rule: &SectionReader<'_>, watch: Watch, events: &[EventRule]) -> Matcher {
    let section = rule.section_or_empty("match");
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
        user: glob("user"),
    };
    if !watch.info().is_by_user {
        reject(&section, "api_key", watch);
        reject(&section, "user", watch);
    }
    if watch == Watch::Lifecycle {
        events::check_match(&section, events);
    }
    section.finish();
    rule.record("match", section.recorded());
    matcher
}

fn read_inactive(section: &SectionReader<'_>) -> Vec<WeeklyWindow> {
    let mut windows = Vec::new();
    for text in section.texts_or_none("inactive_during") {
        match WeeklyWindow::parse(&text.value) {
            Some(window) => windows.push(window),
            None => {
                let message = format!(
                    "is `{}`, expected weekdays with an optional time of day, for example `Sat-Sun` or `Mon-Fri 18:00-08:00`",
                    text.value
                );
                section.problem_at(&text, message);
            }
        }
    }
    windows
}

fn read_clear_below(section: &SectionReader<'_>, default: Percent) -> Percent {
    let text = section.text_or("clear_below", &default.to_string());
    let percent = Percent::parse(&text).filter(|percent| *percent <= Percent::HUNDRED);
    percent.unwrap_or_else(|| {
        let message = format!("is `{text}`, expected a percentage up to `100%`");
        section.problem("clear_below", message);
        default
    })
}

fn read_repeat(section: &SectionReader<'_>) -> Option<SignedDuration> {
    let text = section.text_or("repeat_interval", "never");
    if text == "never" {
        return None;
    }
    let interval =
        durations::parse(&text).filter(|interval| *interval >= SignedDuration::from_mins(1));
    if interval.is_none() {
        let expected = "expected `never` or a duration of at least one minute, for example `24h`";
        section.problem("repeat_interval", format!("is `{text}`, {expected}"));
    }
    interval
}
