//! `events` of a rule with `watch = "lifecycle"`: names, or tables with further settings.

use jiff::SignedDuration;

use crate::durations;
use crate::effective::{self, quoted};
use crate::near::nearest;
use crate::problem::ConfigProblem;
use crate::reader::SectionReader;
use crate::terms::{read_severity, reject};
use crate::tree::{Node, Value};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::{EventRule, Severity};
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::subject::SubjectKind;

/// Keys that do not apply to a rule on events.
pub const NOT_FOR_EVENTS: [&str; 14] = [
    "for_each",
    "period",
    "limit",
    "limit_usd",
    "limit_tokens",
    "limit_requests",
    "limit_age",
    "limit_percent",
    "limits_usd",
    "limits_file",
    "thresholds",
    "clear_below",
    "min_usd",
    "windows",
];

/// Reads the events in the order of the file.
pub fn read(rule: &SectionReader<'_>) -> Vec<EventRule> {
    for key in NOT_FOR_EVENTS {
        if rule.has(key) {
            let hint = match key {
                "thresholds" => " and use the `severity` of each event",
                "limit_age" => " and use the `age` or `lead` of each event",
                _ => "",
            };
            let message = format!("does not apply to `watch = \"lifecycle\"`; remove it{hint}");
            rule.problem(key, message);
        }
    }
    let Some(node) = rule.node("events") else {
        let message = format!("is missing; list some of {}", known().join(", "));
        rule.problem("events", message);
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        let message = format!(
            "is {}, expected a list of events, for example `[\"key_idle\"]`",
            node.value.kind()
        );
        rule.problem("events", message);
        return Vec::new();
    };
    if items.is_empty() {
        let message = format!("is empty; list some of {}", known().join(", "));
        rule.problem("events", message);
    }
    let mut events: Vec<EventRule> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("{}[{index}]", rule.key("events"));
        let Some(event_rule) = read_one(rule, item, &key) else {
            continue;
        };
        if events.iter().any(|other| other.event == event_rule.event) {
            let message = format!("lists `{}` twice", event_rule.event);
            rule.problem_elsewhere(ConfigProblem::new(item.location.clone(), key, message));
        } else {
            events.push(event_rule);
        }
    }
    rule.record("events", effective::list(events.iter().map(shown)));
    events
}

fn shown(of: &EventRule) -> String {
    let time = of.event.timing().config_key();
    let time = time.map(|key| (key, quoted(durations::text(of.time))));
    let event = [("event", quoted(of.event))];
    let severity = [("severity", quoted(of.severity))];
    effective::table(event.into_iter().chain(time).chain(severity))
}

/// Checks that the subjects of the events have what `match` filters by.
pub fn check_match(section: &SectionReader<'_>, events: &[EventRule]) {
    reject(section, "model", Watch::Lifecycle);
    let is_of =
        |event: Event, kinds: &[SubjectKind]| kinds.iter().any(|kind| event.applies_to(*kind));
    let fitting: [(&'static str, &[SubjectKind]); 4] = [
        ("workspace", &[SubjectKind::Workspace, SubjectKind::ApiKey]),
        ("team", &[SubjectKind::Workspace, SubjectKind::ApiKey]),
        ("api_key", &[SubjectKind::ApiKey]),
        ("user", &[SubjectKind::ApiKey, SubjectKind::User]),
    ];
    for (filter, kinds) in fitting {
        let excluded: Vec<&str> = events
            .iter()
            .filter(|event_rule| !is_of(event_rule.event, kinds))
            .map(|event_rule| event_rule.event.as_str())
            .collect();
        if section.has(filter) && !excluded.is_empty() {
            let message = format!(
                "excludes {}, which cannot be matched by {filter}",
                excluded.join(", ")
            );
            section.warn(filter, message);
        }
    }
}

fn known() -> Vec<&'static str> {
    Event::ALL.map(Event::as_str).to_vec()
}

fn read_one(rule: &SectionReader<'_>, item: &Node, key: &str) -> Option<EventRule> {
    let event_rule = match &item.value {
        Value::Text(name) => parse(name).map(EventRule::new),
        Value::Table(table) => {
            let section = rule.subsection(table, key.to_owned(), &item.location);
            let event_rule = read_table(&section);
            section.finish();
            return event_rule;
        }
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) => Err(format!(
            "is {}, expected an event, for example `\"key_idle\"` or `{{ event = \"key_idle\", age = \"90d\" }}`",
            item.value.kind()
        )),
    };
    let problem = |message| ConfigProblem::new(item.location.clone(), key, message);
    event_rule
        .map_err(|message| rule.problem_elsewhere(problem(message)))
        .ok()
}

fn parse(name: &str) -> Result<Event, String> {
    Event::parse(name).ok_or_else(|| {
        let hint = match nearest(name, known().into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", known().join(", ")),
        };
        format!("is `{name}`, which is not an event; {hint}")
    })
}

fn read_table(section: &SectionReader<'_>) -> Option<EventRule> {
    let name = section.required_text("event");
    let event = name.and_then(|name| {
        let event = parse(&name.value);
        event
            .map_err(|message| section.problem_at(&name, message))
            .ok()
    });
    let default = event.map(EventRule::new);
    let severity = default.map_or(Severity::Warning, |default| default.severity);
    let severity = read_severity(section, "severity", severity);
    let Some(default) = default else {
        // An unknown event may have either.
        for key in ["age", "lead"] {
            durations::read(section, key);
        }
        return None;
    };
    Some(EventRule {
        severity,
        time: read_time(section, default.event).unwrap_or(default.time),
        ..default
    })
}

fn read_time(section: &SectionReader<'_>, event: Event) -> Option<SignedDuration> {
    let own = event.timing().config_key();
    for other in ["age", "lead"] {
        if Some(other) != own && section.has(other) {
            let hint = match own {
                Some(own) => format!("use `{own}`"),
                None => "use the rule's `for`, as the time of removal is not known".to_owned(),
            };
            section.problem(other, format!("does not apply to `{event}`; {hint}"));
        }
    }
    let key = own.filter(|key| section.has(key))?;
    let time = durations::read(section, key)?;
    if time.is_zero() {
        section.problem(key, "must be above zero, for example `24h` or `90d`");
        return None;
    }
    Some(time)
}
