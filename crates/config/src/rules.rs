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
use spendwatch_domain::alerts::resend;
use spendwatch_domain::rules::rule::{
    Condition, EventRule, GapUnit, Limit, PeriodLimit, Rule, Windows,
};
use spendwatch_domain::rules::watch::{Quantity, Unit, Watch};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{NotifierName, UNASSIGNED};
use spendwatch_domain::units::matcher::{Glob, Matcher, Team};
use spendwatch_domain::units::money::{Percent, Usd};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::units::weekly::WeeklyWindow;

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
        let limit = read_limit(section, watch, for_each);
        (limit, read_windows(section, watch))
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
    let mut rule = Rule::new(name.as_deref().unwrap_or_default(), condition);
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
        let given = read_min_usd(section);
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
        let reason = if is_gap(watch) {
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

/// Rejects a key that does not apply to a watch.
fn reject(section: &SectionReader<'_>, key: &'static str, watch: Watch) {
    if section.has(key) {
        let word = watch.as_str();
        let message = format!("does not apply to `watch = \"{word}\"`; remove it");
        section.problem(key, message);
    }
}

fn is_gap(watch: Watch) -> bool {
    matches!(
        watch,
        Watch::ReconciliationUsd | Watch::ReconciliationPercent
    )
}

fn read_min_usd(section: &SectionReader<'_>) -> Usd {
    if !section.has("min_usd") {
        section.record("min_usd", Usd::ZERO.to_string());
    }
    Usd::from_pico(read_usd(section, "min_usd").unwrap_or_default())
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
        } else if resend::OWN_LABELS.contains(&label.as_str()) {
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

/// Reads the limit. There must be exactly one, and it must fit the watch.
fn read_limit(section: &SectionReader<'_>, watch: Watch, for_each: SubjectKind) -> Option<Limit> {
    let given = [
        (Unit::Usd, "limit_usd", read_usd(section, "limit_usd")),
        (
            Unit::Tokens,
            "limit_tokens",
            read_count(section, "limit_tokens"),
        ),
        (
            Unit::Requests,
            "limit_requests",
            read_count(section, "limit_requests"),
        ),
        (Unit::Seconds, "limit_age", read_age(section)),
        (Unit::Percent, "limit_percent", read_percent(section)),
    ];
    let fits = |(unit, ..): &(Unit, &'static str, Option<Quantity>)| *unit == watch.unit();
    let (_, fitting, limit) = given.into_iter().find(fits)?;
    for (unit, key, _) in given {
        if unit == watch.unit() || !section.has(key) {
            continue;
        }
        let message = if watch == Watch::ReconciliationPercent && unit == Unit::Usd {
            format!("and `{fitting}` are both set; keep one")
        } else {
            let word = watch.as_str();
            format!("does not apply to `watch = \"{word}\"`; use `{fitting}`")
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
    if !section.has(fitting) {
        let message = if is_gap(watch) {
            "is missing; set it or `limit_percent`"
        } else {
            "is missing; every rule needs a limit"
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
    if !watch.info().is_spend {
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
    if !watch.info().is_spend {
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
