//! `[[rules]]`: what to watch, for whom, against which limit, and whom to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;

use crate::config::amounts::{read_count, read_usd};
use crate::config::organizations::Organization;
use crate::config::reader::Section;
use crate::config::terms::{read_glob, read_notify, read_period, read_zone};
use crate::config::{budgets, durations, events, thresholds};
use crate::domain::dialect::Dialect;
use crate::domain::ids::{NotifierName, RuleName, UNASSIGNED};
use crate::domain::matcher::{Glob, Matcher, Team};
use crate::domain::money::{Percent, Usd};
use crate::domain::period::Period;
use crate::domain::rule::{EventRule, Gap, Limit, Quantity, Rule, Threshold, Watch, Windows};
use crate::domain::subject::SubjectKind;
use crate::domain::weekly::Window;

const WATCHES: [(&str, Watch); 7] = [
    ("spend", Watch::Spend),
    ("burn_rate", Watch::BurnRate),
    ("tokens", Watch::Tokens),
    ("requests", Watch::Requests),
    ("data_age", Watch::DataAge),
    ("reconciliation", Watch::Reconciliation(Gap::Usd)),
    ("lifecycle", Watch::Lifecycle),
];
/// The longest window of a pace, in hours.
const MAX_WINDOW: u32 = 31 * 24;
const LATER_WATCHES: [&str; 3] = ["forecast", "anomaly", "runway"];

/// Whom rules may tell.
#[derive(Debug)]
pub struct Audience<'a> {
    pub names: &'a [String],
    pub of_teams: BTreeSet<&'a str>,
    /// Those that are told in the place of another.
    pub fallbacks: BTreeSet<&'a str>,
}

/// Reads the enabled ones.
pub fn read(root: &Section<'_>, audience: &Audience<'_>) -> Vec<Rule> {
    let mut names: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for section in root.sections("rules") {
        let is_enabled = section.bool("enabled", true);
        let name = section.name("name").map(|name| name.value);
        if let Some(name) = &name {
            if names.contains(name) {
                section.problem("name", format!("`{name}` is used twice"));
            }
            names.push(name.clone());
        }
        let rule = read_one(&section, name, audience);
        section.finish();
        rules.extend(rule.filter(|_| is_enabled));
    }
    rules
}

/// What a rule is narrowed to is told when no organization or team has such a name: the rule would watch nothing. So would
/// one about keys or people where all organizations are known to speak the guide dialect.
pub fn check_names(root: &Section<'_>, organizations: &[Organization], teams: &[Team]) {
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
        let warn_unless = |key, is_known: &dyn Fn(&Glob) -> bool| {
            let Some(text) = section.text(key) else {
                return;
            };
            if Glob::new(&text.value).is_ok_and(|glob| !is_known(&glob)) {
                let message = format!("is `{}`, which matches none that is configured", text.value);
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

const NO_KEYS: &str = "asks who used it: the guide dialect tells no usage by API key or person, so the rule has no subject";

fn read_one(section: &Section<'_>, name: Option<String>, audience: &Audience<'_>) -> Option<Rule> {
    let watch = read_watch(section);
    let is_of_events = watch == Watch::Lifecycle;
    let events = if is_of_events {
        events::read(section)
    } else {
        if section.has("events") {
            section.problem("events", "belongs to `watch = \"lifecycle\"`");
        }
        Vec::new()
    };
    let measured = if is_of_events {
        of_events(&events)
    } else {
        read_measured(section, watch)
    };
    let matcher = read_matcher(section, watch, &events);
    let hold = durations::read(section, "for").unwrap_or(SignedDuration::ZERO);
    let keep_firing = durations::read(section, "keep_firing_for").unwrap_or(SignedDuration::ZERO);
    let inactive = read_inactive(section);
    let labels = read_labels(section);
    let zone = read_zone(section);
    let repeat_interval = read_repeat(section);
    let notify = read_notify(section, audience.names).unwrap_or_else(|| audience.everyone());
    if notify.is_empty() {
        section.warn(
            "notify",
            "is empty: nobody is told; leave it out to tell everyone",
        );
    }
    Some(Rule {
        name: RuleName::new(name?),
        limit: measured.limit?,
        min_usd: measured.min_usd,
        windows: measured.windows,
        inactive,
        watch,
        for_each: measured.for_each,
        matcher,
        period: measured.period,
        zone,
        events,
        thresholds: measured.thresholds,
        hold,
        keep_firing,
        clear_below: measured.clear_below,
        repeat_interval,
        tells_by_default: !section.has("notify") && !audience.of_teams.is_empty(),
        notify,
        labels,
    })
}

/// What is measured for whom, against what.
struct Measured {
    for_each: SubjectKind,
    period: Period,
    limit: Option<Limit>,
    min_usd: Usd,
    windows: Windows,
    thresholds: Vec<Threshold>,
    clear_below: Percent,
}

/// Events measure nothing: each stands or does not, and is as bad as it says.
fn of_events(events: &[EventRule]) -> Measured {
    Measured {
        for_each: SubjectKind::Organization,
        period: Period::Month,
        limit: Some(Limit::Fixed(0)),
        min_usd: Usd::ZERO,
        windows: Windows::default(),
        thresholds: events::thresholds(events),
        clear_below: Percent::HUNDRED,
    }
}

fn read_measured(section: &Section<'_>, watch: Watch) -> Measured {
    let subjects = SubjectKind::ALL.map(|kind| (kind.as_str(), kind));
    let for_each = section.word("for_each", &subjects, &[], SubjectKind::Organization);
    if watch == Watch::DataAge && section.has("period") {
        section.problem("period", "has no meaning for the age of data; leave it out");
    }
    if let Some(message) = why_not(watch, for_each) {
        section.problem("for_each", message);
    }
    let limit = read_limit(section, watch, for_each);
    if watch == Watch::BurnRate && limit == Some(Limit::Fixed(0)) {
        section.problem("limit_usd", "is 0: a pace needs a limit above it");
    }
    let min_usd = read_usd(section, "min_usd").unwrap_or_default();
    Measured {
        for_each,
        period: read_period(section, Period::Month),
        min_usd: Usd::from_pico(min_usd),
        windows: read_windows(section, watch),
        thresholds: thresholds::read(section, watch, limit.as_ref()),
        clear_below: read_clear_below(section),
        limit,
    }
}

/// The key of its limit tells in which unit a gap is measured.
fn read_watch(section: &Section<'_>) -> Watch {
    match section.word("watch", &WATCHES, &LATER_WATCHES, Watch::Spend) {
        Watch::Reconciliation(Gap::Usd) if section.has("limit_percent") => {
            Watch::Reconciliation(Gap::Percent)
        }
        watch @ (Watch::Spend
        | Watch::BurnRate
        | Watch::Tokens
        | Watch::Requests
        | Watch::DataAge
        | Watch::Reconciliation(Gap::Usd | Gap::Percent)
        | Watch::Lifecycle) => watch,
    }
}

/// Why a watch has no meaning for each of a kind; `None` where it has.
fn why_not(watch: Watch, for_each: SubjectKind) -> Option<&'static str> {
    let is_of_age = match watch {
        Watch::Spend | Watch::BurnRate | Watch::Tokens | Watch::Requests | Watch::Lifecycle => {
            return None;
        }
        Watch::DataAge => true,
        Watch::Reconciliation(Gap::Usd | Gap::Percent) => false,
    };
    match for_each {
        SubjectKind::Organization | SubjectKind::Workspace => None,
        SubjectKind::Model if !is_of_age => None,
        SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
            Some(if is_of_age {
                "must be organization or workspace for the age of data"
            } else {
                "must be organization, workspace or model for reconciliation: nothing else is billed by itself"
            })
        }
    }
}

impl Audience<'_> {
    /// Whoever is of no team and stands in for nobody hears of everything; where there is none, all do. Without any notifier in
    /// the file there is the console.
    fn everyone(&self) -> Vec<NotifierName> {
        if self.names.is_empty() {
            return vec![NotifierName::new("console")];
        }
        let has_a_task = |name: &str| self.of_teams.contains(name) || self.fallbacks.contains(name);
        let all = || {
            self.names
                .iter()
                .map(|name| NotifierName::from(name.as_str()))
        };
        let others: Vec<NotifierName> = all().filter(|name| !has_a_task(name.as_str())).collect();
        if others.is_empty() {
            all().collect()
        } else {
            others
        }
    }
}

/// What an alert says of itself; a rule's label of that name would be lost.
const OWN_LABELS: [&str; 7] = [
    "alertname",
    "organization",
    "subject_kind",
    "subject_id",
    "event",
    "period",
    "severity",
];

fn read_labels(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (label, text) in section.text_map("labels") {
        let is_name = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && label
                .bytes()
                .next()
                .is_some_and(|first| !first.is_ascii_digit());
        if !is_name {
            section.problem_at(
                &text,
                "is no name of a label: letters, digits and `_`, not a digit first",
            );
        } else if OWN_LABELS.contains(&label.as_str()) {
            section.problem_at(
                &text,
                "is a label that every alert has of its own; take another name",
            );
        }
        labels.insert(label, text.value);
    }
    labels
}

fn read_matcher(rule: &Section<'_>, watch: Watch, events: &[EventRule]) -> Matcher {
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
        user: glob("user"),
    };
    let is_by_whom = match watch {
        Watch::Spend | Watch::BurnRate | Watch::Tokens | Watch::Requests | Watch::Lifecycle => true,
        Watch::DataAge | Watch::Reconciliation(Gap::Usd | Gap::Percent) => false,
    };
    for key in ["api_key", "user"] {
        if !is_by_whom && section.has(key) {
            section.problem(
                key,
                format!(
                    "does not fit `watch = \"{}\"`; leave it out",
                    watch.as_str()
                ),
            );
        }
    }
    if watch == Watch::Lifecycle {
        events::check_match(&section, events);
    }
    section.finish();
    matcher
}

/// Exactly one limit, the one that fits the watch.
fn read_limit(section: &Section<'_>, watch: Watch, for_each: SubjectKind) -> Option<Limit> {
    let fitting = match watch {
        Watch::Spend | Watch::BurnRate => "limit_usd",
        Watch::Tokens => "limit_tokens",
        Watch::Requests => "limit_requests",
        Watch::DataAge => "limit_age",
        Watch::Reconciliation(Gap::Usd) => "limit_usd",
        Watch::Reconciliation(Gap::Percent) => "limit_percent",
        Watch::Lifecycle => return None,
    };
    let given = [
        ("limit_usd", read_usd(section, "limit_usd")),
        ("limit_tokens", read_count(section, "limit_tokens")),
        ("limit_requests", read_count(section, "limit_requests")),
        ("limit_age", read_age(section)),
        ("limit_percent", read_percent(section)),
    ];
    for (key, _) in given
        .iter()
        .filter(|(key, _)| *key != fitting && section.has(key))
    {
        let message = match (watch, *key) {
            (Watch::Reconciliation(Gap::Percent), "limit_usd") => {
                format!("and `{fitting}` are two limits; keep one")
            }
            (watch, _) => format!(
                "does not fit `watch = \"{}\"`; use `{fitting}`",
                watch.as_str()
            ),
        };
        section.problem(key, message);
    }
    if section.has("limits_usd") || section.has("limits_file") {
        return read_budget(section, watch);
    }
    if section.has("limit") {
        if section.has(fitting) {
            section.problem("limit", format!("and `{fitting}` are two limits; keep one"));
        }
        return read_server_limit(section, watch, for_each, fitting);
    }
    let limit = given
        .into_iter()
        .find(|(key, _)| *key == fitting)
        .and_then(|(_, limit)| limit);
    if !section.has(fitting) {
        let message = match watch {
            Watch::Reconciliation(Gap::Usd | Gap::Percent) => {
                "is missing: a rule needs a limit, this or `limit_percent`"
            }
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::DataAge
            | Watch::Lifecycle => "is missing: a rule needs a limit",
        };
        section.problem(fitting, message);
    }
    limit.map(Limit::Fixed)
}

/// `windows = ["24h", "3h"]`: the long one and the short one.
fn read_windows(section: &Section<'_>, watch: Watch) -> Windows {
    let Some(given) = section.texts("windows") else {
        return Windows::default();
    };
    if watch != Watch::BurnRate {
        section.problem("windows", "belongs to `watch = \"burn_rate\"`");
        return Windows::default();
    }
    let hours: Vec<Option<u32>> = given
        .iter()
        .map(|text| match Period::parse(&text.value) {
            Some(Period::Rolling(hours)) if hours <= MAX_WINDOW => Some(hours),
            Some(_) | None => None,
        })
        .collect();
    match hours.as_slice() {
        [Some(long), Some(short)] if short < long => Windows {
            long: *long,
            short: *short,
        },
        _ => {
            let message = "must be a long and a short span of whole hours up to 31 days, like `[\"24h\", \"3h\"]`";
            section.problem("windows", message);
            Windows::default()
        }
    }
}

fn read_inactive(section: &Section<'_>) -> Vec<Window> {
    let mut windows = Vec::new();
    for text in section.texts("inactive_during").unwrap_or_default() {
        match Window::parse(&text.value) {
            Some(window) => windows.push(window),
            None => {
                let message = format!(
                    "is `{}`, it must be days and perhaps a part of each, like `Sat-Sun` or `Mon-Fri 18:00-08:00`",
                    text.value
                );
                section.problem_at(&text, message);
            }
        }
    }
    windows
}

/// Limits by subject, in place of one for all.
fn read_budget(section: &Section<'_>, watch: Watch) -> Option<Limit> {
    let key = if section.has("limits_file") {
        "limits_file"
    } else {
        "limits_usd"
    };
    let budget = budgets::read(section);
    if !watch.is_money() {
        section.problem(key, "belongs to `watch = \"spend\"`");
        return None;
    }
    for other in ["limit_usd", "limit"] {
        if section.has(other) {
            section.problem(other, format!("and `{key}` are two limits; keep one"));
        }
    }
    budget.map(|budget| Limit::Budget(Arc::new(budget)))
}

fn read_age(section: &Section<'_>) -> Option<Quantity> {
    let age = durations::read(section, "limit_age")?;
    if age.is_zero() {
        section.problem(
            "limit_age",
            "is no time at all: data always has an age; write it like `2h`",
        );
        return None;
    }
    Some(Quantity::from(age.as_secs()))
}

/// A percentage of the estimate. 0 would be told of every rounding.
fn read_percent(section: &Section<'_>) -> Option<Quantity> {
    let digits = section.digits("limit_percent")?.value;
    let percent = Percent::parse(&format!("{digits}%"));
    if percent.is_none() {
        let message = format!("is {digits}, it must be a percentage above 0, like 5 or 2.5");
        section.problem("limit_percent", message);
    }
    percent.map(|percent| Quantity::from(percent.millionths()))
}

fn read_server_limit(
    section: &Section<'_>,
    watch: Watch,
    for_each: SubjectKind,
    fitting: &str,
) -> Option<Limit> {
    let words = [
        ("workspace", Some(Limit::Workspace)),
        ("organization", Some(Limit::Organization)),
    ];
    let limit = section.word("limit", &words, &[], None)?;
    if !watch.is_money() {
        let message = format!("is of spend alone: the service tells no other; use `{fitting}`");
        section.problem("limit", message);
        return None;
    }
    let needed = match limit {
        Limit::Workspace => SubjectKind::Workspace,
        Limit::Organization | Limit::Fixed(_) | Limit::Budget(_) => SubjectKind::Organization,
    };
    if for_each != needed {
        section.problem("limit", format!("needs `for_each = \"{needed}\"`"));
        return None;
    }
    Some(limit)
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
        durations::parse(&text.value).filter(|interval| *interval >= SignedDuration::from_mins(1));
    if interval.is_none() {
        let message = "it must be `never` or a duration of at least a minute, like `24h`";
        section.problem("repeat_interval", format!("is `{}`; {message}", text.value));
    }
    interval
}
