//! The events of a rule with `watch = "lifecycle"`: words, or tables that say more.

use jiff::SignedDuration;

use crate::config::durations;
use crate::config::near::nearest;
use crate::config::problem::Problem;
use crate::config::reader::Section;
use crate::config::tree::{Node, Value};
use crate::domain::event::Event;
use crate::domain::rule::{EventRule, Severity, Threshold};
use crate::domain::subject::SubjectKind;

/// What a rule on events has no use for.
pub const MEANINGLESS: [&str; 14] = [
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

/// In the order of the file; none where the rule watches something else.
pub fn read(rule: &Section<'_>) -> Vec<EventRule> {
    for key in MEANINGLESS {
        if rule.has(key) {
            let hint = match key {
                "thresholds" => "; each event has a `severity` of its own",
                "limit_age" => "; each event has an `age` or a `lead` of its own",
                _ => "",
            };
            let message = format!("has no meaning for `watch = \"lifecycle\"`; leave it out{hint}");
            rule.problem(key, message);
        }
    }
    let Some(node) = rule.node("events") else {
        let message = format!("is missing: which of {}", known().join(", "));
        rule.problem("events", message);
        return Vec::new();
    };
    let Value::List(items) = &node.value else {
        let message = format!(
            "is {}, it must be a list of events, like `[\"key_idle\"]`",
            node.value.kind()
        );
        rule.problem("events", message);
        return Vec::new();
    };
    if items.is_empty() {
        let message = format!("is empty; there is {}", known().join(", "));
        rule.problem("events", message);
    }
    let mut events: Vec<EventRule> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let key = format!("{}[{place}]", rule.key("events"));
        let Some(of) = read_one(rule, item, &key) else {
            continue;
        };
        if events.iter().any(|other| other.event == of.event) {
            let message = format!("names `{}` twice", of.event);
            rule.problem_elsewhere(Problem::new(item.place.clone(), key, message));
        } else {
            events.push(of);
        }
    }
    events
}

/// One for each severity that an event has.
pub fn thresholds(events: &[EventRule]) -> Vec<Threshold> {
    let is_used = |severity: &Severity| events.iter().any(|of| of.severity == *severity);
    let used = Severity::ALL.into_iter().filter(is_used);
    used.map(Threshold::of_event).collect()
}

/// What a rule is narrowed to may be something that an event's subject never has.
pub fn check_match(section: &Section<'_>, events: &[EventRule]) {
    if section.has("model") {
        section.problem(
            "model",
            "does not fit `watch = \"lifecycle\"`; leave it out",
        );
    }
    let is_of = |event: Event, kinds: &[SubjectKind]| kinds.iter().any(|kind| event.is_of(*kind));
    let (workspace, key, user) = (
        SubjectKind::Workspace,
        SubjectKind::ApiKey,
        SubjectKind::User,
    );
    let fitting: [(&'static str, &[SubjectKind]); 4] = [
        ("workspace", &[workspace, key]),
        ("team", &[workspace, key]),
        ("api_key", &[key]),
        ("user", &[key, user]),
    ];
    for (narrowed, kinds) in fitting {
        let untold: Vec<&str> = events
            .iter()
            .filter(|of| !is_of(of.event, kinds))
            .map(|of| of.event.as_str())
            .collect();
        if section.has(narrowed) && !untold.is_empty() {
            let message = format!(
                "leaves out {}: there it has nothing to match",
                untold.join(", ")
            );
            section.warn(narrowed, message);
        }
    }
}

fn known() -> Vec<&'static str> {
    Event::ALL.map(Event::as_str).to_vec()
}

fn read_one(rule: &Section<'_>, item: &Node, key: &str) -> Option<EventRule> {
    let problem = |message: String| {
        rule.problem_elsewhere(Problem::new(item.place.clone(), key, message));
    };
    match &item.value {
        Value::Text(word) => match parse(word) {
            Ok(event) => Some(EventRule {
                event,
                time: event.timing().duration(),
                severity: severity(event),
            }),
            Err(message) => {
                problem(message);
                None
            }
        },
        Value::Table(table) => {
            let section = rule.below(table, key.to_owned(), item);
            let of = read_table(&section);
            section.finish();
            of
        }
        Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::List(_) => {
            problem(format!(
                "is {}, it must be an event, like `\"key_idle\"` or `{{ event = \"key_idle\", age = \"90d\" }}`",
                item.value.kind()
            ));
            None
        }
    }
}

fn parse(word: &str) -> Result<Event, String> {
    Event::parse(word).ok_or_else(|| {
        let hint = match nearest(word, known().into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", known().join(", ")),
        };
        format!("is `{word}`, which is no event; {hint}")
    })
}

fn read_table(section: &Section<'_>) -> Option<EventRule> {
    let word = section.required_text("event");
    let severities = Severity::ALL.map(|severity| (severity.as_str(), severity));
    let event = word.and_then(|word| match parse(&word.value) {
        Ok(event) => Some(event),
        Err(message) => {
            section.problem_at(&word, message);
            None
        }
    });
    let default = event.map_or(Severity::Warning, severity);
    let severity = section.word("severity", &severities, &[], default);
    let time = match event {
        Some(event) => read_time(section, event),
        // Which of the two it has is not known.
        None => {
            for key in ["age", "lead"] {
                durations::read(section, key);
            }
            None
        }
    };
    let event = event?;
    Some(EventRule {
        event,
        time: time.unwrap_or(event.timing().duration()),
        severity,
    })
}

fn read_time(section: &Section<'_>, event: Event) -> Option<SignedDuration> {
    let own = event.timing().key();
    for other in ["age", "lead"] {
        if Some(other) != own && section.has(other) {
            let hint = match own {
                Some(own) => format!("use `{own}`"),
                None => "when somebody was removed is not known; the rule's `for` makes it wait"
                    .to_owned(),
            };
            section.problem(other, format!("does not fit `{event}`; {hint}"));
        }
    }
    let key = own.filter(|key| section.has(key))?;
    let time = durations::read(section, key)?;
    if time.is_zero() {
        section.problem(key, "is no time at all; write it like `24h` or `90d`");
        return None;
    }
    Some(time)
}

/// What is new is good to know, what nobody uses is to be looked at, and what nobody answers for is at once.
fn severity(event: Event) -> Severity {
    match event {
        Event::WorkspaceCreated | Event::KeyCreated => Severity::Info,
        Event::KeyIdle | Event::KeyExpiring | Event::UserIdle | Event::LimitRemoved => {
            Severity::Warning
        }
        Event::KeyOfRemovedUser => Severity::Critical,
    }
}
