//! `[rule_defaults]`: defaults of all rules. They are copied into the rules before these are read, with their locations, so
//! that errors name the line in this section.

use crate::events::NOT_FOR_EVENTS;
use crate::near::nearest;
use crate::problem::{ConfigProblem, Problems};
use crate::tree::{Node, Table, Value};
use spendwatch_domain::rules::watch::Watch;

const SECTION: &str = "rule_defaults";
/// Keys that may have a default: all except a rule's name, watch, subject and limit.
const KEYS: [&str; 12] = [
    "period",
    "time_zone",
    "thresholds",
    "for",
    "keep_firing_for",
    "clear_below",
    "repeat_interval",
    "min_usd",
    "windows",
    "notify",
    "labels",
    "inactive_during",
];

/// Removes the section from the tree and adds its values to every rule that does not set them. Labels are merged.
pub fn apply_to_rules(root: &mut Table, problems: &Problems) {
    let Some(node) = root.remove(SECTION) else {
        return;
    };
    let Value::Table(defaults) = node.value else {
        let message = format!("is {}, expected a table, `[{SECTION}]`", node.value.kind());
        problems.add(ConfigProblem::new(node.location, SECTION, message));
        return;
    };
    let mut fitting = Table::new();
    for (key, node) in defaults {
        if KEYS.contains(&key.as_str()) {
            fitting.insert(key, node);
        } else {
            let hint = match nearest(&key, KEYS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use one of {}", KEYS.join(", ")),
            };
            let message = format!("cannot have a default for all rules; {hint}");
            problems.add(ConfigProblem::new(
                node.location,
                format!("{SECTION}.{key}"),
                message,
            ));
        }
    }
    let Some(Value::List(rules)) = root.get_mut("rules").map(|node| &mut node.value) else {
        return;
    };
    for rule in rules {
        if let Value::Table(rule) = &mut rule.value {
            fill_missing(rule, &fitting);
        }
    }
}

fn fill_missing(rule: &mut Table, defaults: &Table) {
    let word = rule.get("watch").map(|node| &node.value);
    let is_named =
        |watch: &Watch| matches!(word, Some(Value::Text(text)) if text == watch.as_str());
    let watch = Watch::ALL
        .into_iter()
        .find(is_named)
        .unwrap_or(Watch::Spend);
    for (key, default) in defaults {
        let has_no_meaning = match key.as_str() {
            key if watch == Watch::Lifecycle => NOT_FOR_EVENTS.contains(&key),
            "period" => !watch.info().has_period,
            "windows" => watch != Watch::BurnRate,
            _ => false,
        };
        if has_no_meaning {
            continue;
        }
        match (
            rule.get_mut(key).map(|node| &mut node.value),
            &default.value,
        ) {
            (None, _) => {
                rule.insert(key.clone(), default.clone());
            }
            (Some(Value::Table(own)), Value::Table(more)) if key == "labels" => join(own, more),
            (Some(_), _) => {}
        }
    }
}

fn join(own: &mut Table, more: &Table) {
    for (label, node) in more {
        let node: &Node = node;
        own.entry(label.clone()).or_insert_with(|| node.clone());
    }
}

#[cfg(test)]
mod tests {
    use crate::read;
    use crate::source::Environment;

    #[test]
    fn rules_inherit_defaults_that_they_do_not_set() {
        let text = r#"
            [[organizations]]
            admin_key = { env = "KEY" }
            [rule_defaults]
            period = "day"
            for = "10m"
            labels = { cost_center = "platform", tier = "1" }
            inactive_during = ["Sat-Sun"]
            [[rules]]
            name = "a"
            limit_usd = 5
            for = "1m"
            labels = { tier = "2" }
            [[rules]]
            name = "b"
            watch = "data_age"
            limit_age = "2h"
            inactive_during = []
        "#;
        let environment: Environment = [("KEY".to_owned(), "key".to_owned())].into();
        let config = read(text, None, &environment).unwrap();
        let rules: Vec<String> = config
            .rules
            .iter()
            .map(|rule| {
                let minutes = rule.for_duration.as_mins();
                let (labels, inactive) = (&rule.labels, rule.inactive.len());
                let period = rule
                    .period_limit()
                    .map_or("no period".to_owned(), |limit| limit.period.to_string());
                format!("{period} {minutes} {labels:?} {inactive}")
            })
            .collect();
        assert_eq!(
            rules,
            [
                r#"day 1 {"cost_center": "platform", "tier": "2"} 1"#,
                r#"no period 10 {"cost_center": "platform", "tier": "1"} 0"#,
            ]
        );
    }
}
