//! `[rule_defaults]`: what every rule has that does not say otherwise. It is laid under the rules before they are read, so
//! that whatever is wrong in it is told where it stands.

use crate::config::events::MEANINGLESS;
use crate::config::near::nearest;
use crate::config::problem::{Problem, Problems};
use crate::config::tree::{Node, Table, Value};

const SECTION: &str = "rule_defaults";
/// A rule's name, what it watches, for whom, and its limit are its own.
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

/// Takes the section out of the tree and gives its values to every rule that has none of its own. Labels are joined.
pub fn lay_under_rules(root: &mut Table, problems: &Problems) {
    let Some(node) = root.remove(SECTION) else {
        return;
    };
    let Value::Table(defaults) = node.value else {
        let message = format!(
            "is {}, it must be a table, `[{SECTION}]`",
            node.value.kind()
        );
        problems.add(Problem::new(node.place, SECTION, message));
        return;
    };
    let mut fitting = Table::new();
    for (key, node) in defaults {
        if KEYS.contains(&key.as_str()) {
            fitting.insert(key, node);
        } else {
            let hint = match nearest(&key, KEYS.into_iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there is {}", KEYS.join(", ")),
            };
            let message = format!("is no default of rules; {hint}");
            problems.add(Problem::new(
                node.place,
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
            lay_under(rule, &fitting);
        }
    }
}

fn lay_under(rule: &mut Table, defaults: &Table) {
    let is = |key: &str, word: &str| matches!(rule.get(key).map(|node| &node.value), Some(Value::Text(text)) if text == word);
    let (has_no_period, has_windows) = (is("watch", "data_age"), is("watch", "burn_rate"));
    let is_of_events = is("watch", "lifecycle");
    for (key, default) in defaults {
        let has_no_meaning = match key.as_str() {
            key if is_of_events => MEANINGLESS.contains(&key),
            "period" => has_no_period,
            "windows" => !has_windows,
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
    use crate::config::read;
    use crate::config::source::Environment;

    #[test]
    fn a_rule_has_what_it_does_not_say_itself() {
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
        let told: Vec<String> = config
            .rules
            .iter()
            .map(|rule| {
                let minutes = rule.hold.as_mins();
                let (labels, inactive) = (&rule.labels, rule.inactive.len());
                format!("{} {minutes} {labels:?} {inactive}", rule.period)
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"day 1 {"cost_center": "platform", "tier": "2"} 1"#,
                r#"month 10 {"cost_center": "platform", "tier": "1"} 0"#,
            ]
        );
    }
}
