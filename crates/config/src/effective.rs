//! The effective configuration, recorded while it is read. Its TOML parses to the same configuration, except for secrets in
//! plain text, which are hidden.

use std::fmt::{Display, Write};

/// Replacement for secrets in plain text.
pub const HIDDEN: &str = "[hidden]";

/// Sections in the order of the reference.
const SECTIONS: [&str; 15] = [
    "organizations",
    "poll",
    "store",
    "http",
    "metrics",
    "prices",
    "privacy",
    "log",
    "heartbeat",
    "teams",
    "rules",
    "notifiers",
    "digests",
    "secret_to_command",
    "audit",
];

/// Keys with their values as TOML, defaults included.
pub type Values = Vec<(&'static str, String)>;

/// All sections by path, such as `rules[2]`.
#[derive(Debug, Clone, Default)]
pub struct EffectiveConfig {
    pub sections: Vec<(String, Values)>,
}

impl EffectiveConfig {
    /// Formats all values as TOML.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for name in SECTIONS {
            for (path, values) in &self.sections {
                if path.split('[').next() != Some(name) || values.is_empty() {
                    continue;
                }
                let gap = if text.is_empty() { "" } else { "\n" };
                let heading = if path == name {
                    format!("[{name}]")
                } else {
                    format!("[[{name}]]")
                };
                writeln!(text, "{gap}{heading}").expect("writing to memory");
                for (key, value) in values {
                    writeln!(text, "{key} = {value}").expect("writing to memory");
                }
            }
        }
        text
    }
}

/// Formats a TOML string.
pub fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

/// Formats a TOML list of values that are TOML already.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(", "))
}

/// Formats a TOML inline table of values that are TOML already.
pub fn table<K: Display>(entries: impl IntoIterator<Item = (K, String)>) -> String {
    let entries = entries.into_iter();
    let entries: Vec<String> = entries
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    if entries.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", entries.join(", "))
    }
}
