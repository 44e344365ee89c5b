//! `[[rules]]`: what to watch, for which subjects, against which limit, and which notifiers to use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;

use crate::amounts::{read_count, read_usd};
use crate::effective::{self, quoted};
use crate::organizations::OrganizationConfig;
use crate::reader::SectionReader;
use crate::terms::{read_glob, read_notify, read_period, read_zone};
use crate::{budgets, durations, events, thresholds};
use spendwatch_domain::rules::rule::{EventRule, GapUnit, Limit, Quantity, Rule, Watch, Windows};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{NotifierName, RuleName, UNASSIGNED};
use spendwatch_domain::units::matcher::{Glob, Matcher, Team};
use spendwatch_domain::units::money::{Percent, Usd};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::units::weekly::WeeklyWindow;

const WATCHES: [(&str, Watch); 7] = [
    ("spend", Watch::Spend),
    ("burn_rate", Watch::BurnRate),
    ("tokens", Watch::Tokens),
    ("requests", Watch::Requests),
    ("data_age", Watch::DataAge),
    ("reconciliation", Watch::Reconciliation(GapUnit::Usd)),
    ("lifecycle", Watch::Lifecycle),
];
/// Longest window of a burn rate, in hours.
const MAX_WINDOW: u32 = 31 * 24;
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
        let rule = read_one(&section, name, audience);
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
    name: Option<String>,
    audience: &NotifierNames<'_>,
) -> Option<Rule> {
    let watch = read_watch(section);
    let is_of_events = watch == Watch::Lifecycle;
    let events = if is_of_events {
        events::read(section)
    } else {
        if section.has("events") {
            section.problem("events", "applies only to `watch = \"lifecycle\"`");
        }
        Vec::new()
    };
    let for_each = if is_of_events {
        SubjectKind::Organization
    } else {
        read_for_each(section, watch)
    };
    let matcher = read_matcher(section, watch, &events);
    let period = match watch {
        Watch::Lifecycle | Watch::DataAge => Period::Month,
        Watch::Spend
        | Watch::BurnRate
        | Watch::Tokens
        | Watch::Requests
        | Watch::Reconciliation(_) => read_period(section, Period::Month),
    };
    let zone = read_zone(section);
    let (limit, windows, thresholds) = if is_of_events {
        let thresholds = events::thresholds(&events);
        (Some(Limit::Fixed(0)), Windows::default(), thresholds)
    } else {
        let limit = read_limit(section, watch, for_each);
        let windows = read_windows(section, watch);
        let thresholds = thresholds::read(section, watch, limit.as_ref());
        (limit, windows, thresholds)
    };
    let for_duration = durations::read_or(section, "for", SignedDuration::ZERO);
    let keep_firing_for = durations::read_or(section, "keep_firing_for", SignedDuration::ZERO);
    let clear_below = if is_of_events {
        Percent::HUNDRED
    } else {
        read_clear_below(section)
    };
    let repeat_interval = read_repeat(section);
    let min_usd = if is_of_events {
        Usd::ZERO
    } else {
        read_min_usd(section)
    };
    let inactive = read_inactive(section);
    // A team's notifiers replace default notifiers, but not listed ones.
    let uses_default_notifiers = !section.has("notify") && !audience.of_teams.is_empty();
    let notify = read_notify(section, audience.names).unwrap_or_else(|| audience.everyone());
    if !uses_default_notifiers {
        section.record("notify", effective::list(notify.iter().map(quoted)));
    }
    if notify.is_empty() {
        section.warn(
            "notify",
            "is empty, so nobody is notified; remove it to use all notifiers",
        );
    }
    let labels = read_labels(section);
    Some(Rule {
        name: RuleName::new(name?),
        limit: limit?,
        min_usd,
        windows,
        inactive,
        watch,
        for_each,
        matcher,
        period,
        zone,
        events,
        thresholds,
        for_duration,
        keep_firing_for,
        clear_below,
        repeat_interval,
        uses_default_notifiers,
        notify,
        labels,
    })
}

fn read_for_each(section: &SectionReader<'_>, watch: Watch) -> SubjectKind {
    let subjects = SubjectKind::ALL.map(|kind| (kind.as_str(), kind));
    let for_each = section.choice("for_each", &subjects, &[], SubjectKind::Organization);
    if watch == Watch::DataAge && section.has("period") {
        section.problem(
            "period",
            "does not apply to `watch = \"data_age\"`; remove it",
        );
    }
    if let Some(message) = why_not(watch, for_each) {
        section.problem("for_each", message);
    }
    for_each
}

fn read_min_usd(section: &SectionReader<'_>) -> Usd {
    if !section.has("min_usd") {
        section.record("min_usd", Usd::ZERO.to_string());
    }
    Usd::from_pico(read_usd(section, "min_usd").unwrap_or_default())
}

/// Reads `watch`. For reconciliation, the key of the limit decides whether the gap is measured in USD or percent.
fn read_watch(section: &SectionReader<'_>) -> Watch {
    match section.choice("watch", &WATCHES, &LATER_WATCHES, Watch::Spend) {
        Watch::Reconciliation(GapUnit::Usd) if section.has("limit_percent") => {
            Watch::Reconciliation(GapUnit::Percent)
        }
        watch @ (Watch::Spend
        | Watch::BurnRate
        | Watch::Tokens
        | Watch::Requests
        | Watch::DataAge
        | Watch::Reconciliation(GapUnit::Usd | GapUnit::Percent)
        | Watch::Lifecycle) => watch,
    }
}

/// Returns why a watch does not apply to a kind of subject; `None` if it does.
fn why_not(watch: Watch, for_each: SubjectKind) -> Option<&'static str> {
    let is_of_age = match watch {
        Watch::Spend | Watch::BurnRate | Watch::Tokens | Watch::Requests | Watch::Lifecycle => {
            return None;
        }
        Watch::DataAge => true,
        Watch::Reconciliation(GapUnit::Usd | GapUnit::Percent) => false,
    };
    match for_each {
        SubjectKind::Organization | SubjectKind::Workspace => None,
        SubjectKind::Model if !is_of_age => None,
        SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
            Some(if is_of_age {
                "must be organization or workspace for `watch = \"data_age\"`"
            } else {
                "must be organization, workspace or model for `watch = \"reconciliation\"`, because nothing else is billed separately"
            })
        }
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

/// Labels that alerts set themselves; a rule's label of that name would be overwritten.
const OWN_LABELS: [&str; 7] = [
    "alertname",
    "organization",
    "subject_kind",
    "subject_id",
    "event",
    "period",
    "severity",
];

fn read_labels(section: &SectionReader<'_>) -> BTreeMap<String, String> {
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
                "is not a valid label name; use letters, digits and `_`, and no digit first",
            );
        } else if OWN_LABELS.contains(&label.as_str()) {
            section.problem_at(
                &text,
                "is a label that alerts set themselves; use another name",
            );
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
    let is_by_whom = match watch {
        Watch::Spend | Watch::BurnRate | Watch::Tokens | Watch::Requests | Watch::Lifecycle => true,
        Watch::DataAge | Watch::Reconciliation(GapUnit::Usd | GapUnit::Percent) => false,
    };
    for key in ["api_key", "user"] {
        if !is_by_whom && section.has(key) {
            section.problem(
                key,
                format!(
                    "does not apply to `watch = \"{}\"`; remove it",
                    watch.as_str()
                ),
            );
        }
    }
    if watch == Watch::Lifecycle {
        events::check_match(&section, events);
    }
    section.finish();
    rule.record("match", section.recorded());
    matcher
}

/// Reads the limit. There must be exactly one, and it must fit the watch.
fn read_limit(section: &SectionReader<'_>, watch: Watch, for_each: SubjectKind) -> Option<Limit> {
    let fitting = match watch {
        Watch::Spend | Watch::BurnRate => "limit_usd",
        Watch::Tokens => "limit_tokens",
        Watch::Requests => "limit_requests",
        Watch::DataAge => "limit_age",
        Watch::Reconciliation(GapUnit::Usd) => "limit_usd",
        Watch::Reconciliation(GapUnit::Percent) => "limit_percent",
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
            (Watch::Reconciliation(GapUnit::Percent), "limit_usd") => {
                format!("and `{fitting}` are both set; keep one")
            }
            (watch, _) => format!(
                "does not apply to `watch = \"{}\"`; use `{fitting}`",
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
            section.problem("limit", format!("and `{fitting}` are both set; keep one"));
        }
        return read_server_limit(section, watch, for_each, fitting);
    }
    let limit = given
        .into_iter()
        .find(|(key, _)| *key == fitting)
        .and_then(|(_, limit)| limit);
    if !section.has(fitting) {
        let message = match watch {
            Watch::Reconciliation(GapUnit::Usd | GapUnit::Percent) => {
                "is missing; set it or `limit_percent`"
            }
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::DataAge
            | Watch::Lifecycle => "is missing; every rule needs a limit",
        };
        section.problem(fitting, message);
    }
    if watch == Watch::BurnRate && limit == Some(0) {
        section.problem(
            "limit_usd",
            "must be above zero for `watch = \"burn_rate\"`",
        );
    }
    limit.map(Limit::Fixed)
}

/// Reads `windows`, such as `["24h", "3h"]`: the long one, then the short one.
fn read_windows(section: &SectionReader<'_>, watch: Watch) -> Windows {
    if watch != Watch::BurnRate {
        if section.has("windows") {
            section.problem("windows", "applies only to `watch = \"burn_rate\"`");
        }
        return Windows::default();
    }
    let Some(given) = section.texts("windows") else {
        let Windows { long, short } = Windows::default();
        let shown = [long, short].map(|hours| quoted(Period::Rolling(hours)));
        section.record("windows", effective::list(shown));
        return Windows::default();
    };
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
            let message = "must be a long and a short period of whole hours up to 31 days, for example `[\"24h\", \"3h\"]`";
            section.problem("windows", message);
            Windows::default()
        }
    }
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

/// Reads limits by subject.
fn read_budget(section: &SectionReader<'_>, watch: Watch) -> Option<Limit> {
    let key = if section.has("limits_file") {
        "limits_file"
    } else {
        "limits_usd"
    };
    let budget = budgets::read(section);
    if !watch.is_money() {
        section.problem(key, "applies only to `watch = \"spend\"`");
        return None;
    }
    for other in ["limit_usd", "limit"] {
        if section.has(other) {
            section.problem(other, format!("and `{key}` are both set; keep one"));
        }
    }
    budget.map(|budget| Limit::Budget(Arc::new(budget)))
}

fn read_age(section: &SectionReader<'_>) -> Option<Quantity> {
    let age = durations::read(section, "limit_age")?;
    if age.is_zero() {
        section.problem("limit_age", "must be above zero, for example `2h`");
        return None;
    }
    Some(Quantity::from(age.as_secs()))
}

/// Reads a percentage of the estimate. 0 is rejected, because every rounding would alert.
fn read_percent(section: &SectionReader<'_>) -> Option<Quantity> {
    let digits = section.digits("limit_percent")?.value;
    let percent = Percent::parse(&format!("{digits}%"));
    if percent.is_none() {
        let message = format!("is {digits}, expected a percentage above 0, for example 5 or 2.5");
        section.problem("limit_percent", message);
    }
    percent.map(|percent| Quantity::from(percent.millionths()))
}

fn read_server_limit(
    section: &SectionReader<'_>,
    watch: Watch,
    for_each: SubjectKind,
    fitting: &str,
) -> Option<Limit> {
    let choices = [
        ("workspace", Some(Limit::Workspace)),
        ("organization", Some(Limit::Organization)),
    ];
    let limit = section.choice("limit", &choices, &[], None)?;
    if !watch.is_money() {
        let message =
            format!("applies only to spend, because Anthropic has no other limit; use `{fitting}`");
        section.problem("limit", message);
        return None;
    }
    let needed = match limit {
        Limit::Workspace => SubjectKind::Workspace,
        Limit::Organization | Limit::Fixed(_) | Limit::Budget(_) => SubjectKind::Organization,
    };
    if for_each != needed {
        section.problem("limit", format!("requires `for_each = \"{needed}\"`"));
        return None;
    }
    Some(limit)
}

fn read_clear_below(section: &SectionReader<'_>) -> Percent {
    let text = section.text_or("clear_below", "100%");
    match Percent::parse(&text).filter(|percent| *percent <= Percent::HUNDRED) {
        Some(percent) => percent,
        None => {
            section.problem(
                "clear_below",
                format!("is `{text}`, expected a percentage up to `100%`"),
            );
            Percent::HUNDRED
        }
    }
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
