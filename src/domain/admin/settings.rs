//! Settings of the organization: what stands, what is asked for, and what of it is a change.

use crate::domain::admin::network::{Network, is_narrower};
use crate::domain::money::Usd;

/// The organization as the service tells it. What it does not tell is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Organization {
    pub id: String,
    /// As it is; the id where there is none.
    pub name: String,
    pub plan: Option<String>,
    /// The most that may be spent in a month.
    pub usage_limit: Option<Usd>,
    /// What the service says was spent in this month.
    pub month_usage: Option<Usd>,
    pub settings: Settings,
}

/// What can be changed of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Used where a request names none.
    pub default_model: Option<String>,
    /// Whether people need a second factor.
    pub require_mfa: Option<bool>,
    /// From where people may come, as the service writes it; empty is from everywhere.
    pub allowed_ip_ranges: Option<Vec<String>>,
}

/// What is asked for; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    pub default_model: Option<String>,
    /// Whether people need a second factor from now on.
    pub require_mfa: Option<bool>,
    /// From where people may come from now on; empty is from everywhere.
    pub allowed_ip_ranges: Option<Vec<Network>>,
}

/// One setting before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As the API names it.
    pub setting: &'static str,
    /// In words; `None` where it is not told.
    pub old: Option<String>,
    pub new: String,
    /// Fewer may enter than before: whoever asks for it may be locked out.
    pub narrows: bool,
}

impl SettingsChange {
    /// Without what is so already.
    #[must_use]
    pub fn minus(mut self, now: &Settings) -> SettingsChange {
        if self.default_model == now.default_model {
            self.default_model = None;
        }
        if self.require_mfa == now.require_mfa {
            self.require_mfa = None;
        }
        if let (Some(new), Some(old)) = (&self.allowed_ip_ranges, &now.allowed_ip_ranges)
            && is_same(old, new)
        {
            self.allowed_ip_ranges = None;
        }
        self
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == SettingsChange::default()
    }

    /// Setting by setting. Where the old value is not told, or not understood, a restriction counts as a narrower one.
    pub fn differences(&self, now: &Settings) -> Vec<Difference> {
        let mut told = Vec::new();
        if let Some(model) = &self.default_model {
            told.push(Difference {
                setting: "default_model",
                old: now.default_model.clone(),
                new: model.clone(),
                narrows: false,
            });
        }
        if let Some(require) = self.require_mfa {
            told.push(Difference {
                setting: "require_mfa",
                old: now.require_mfa.map(|is_so| is_so.to_string()),
                new: require.to_string(),
                narrows: require && now.require_mfa != Some(true),
            });
        }
        if let Some(ranges) = &self.allowed_ip_ranges {
            let old = now.allowed_ip_ranges.as_deref();
            let new: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            told.push(Difference {
                setting: "allowed_ip_ranges",
                old: old.map(ranges_text),
                new: ranges_text(&new),
                narrows: narrows(old, ranges),
            });
        }
        told
    }
}

/// Whether a list as the service writes it has just these blocks, in whatever order.
fn is_same(old: &[String], new: &[Network]) -> bool {
    let (Some(mut old), mut new) = (parsed(old), new.to_vec()) else {
        return false;
    };
    old.sort_unstable();
    new.sort_unstable();
    old == new
}

fn narrows(old: Option<&[String]>, new: &[Network]) -> bool {
    match old.and_then(parsed) {
        Some(old) => is_narrower(&old, new),
        None => !new.is_empty(),
    }
}

fn parsed(texts: &[String]) -> Option<Vec<Network>> {
    texts.iter().map(|text| text.parse().ok()).collect()
}

/// In words.
pub fn ranges_text(ranges: &[String]) -> String {
    if ranges.is_empty() {
        "everywhere".to_owned()
    } else {
        ranges.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Settings {
        Settings {
            default_model: Some("claude-sonnet-4-5".to_owned()),
            require_mfa: Some(false),
            allowed_ip_ranges: Some(vec!["10.0.0.0/8".to_owned(), "192.0.2.0/24".to_owned()]),
        }
    }

    #[test]
    fn only_what_changes_is_left() {
        let asked = SettingsChange {
            default_model: Some("claude-sonnet-4-5".to_owned()),
            require_mfa: Some(true),
            allowed_ip_ranges: Some(vec![
                "192.0.2.0/24".parse().unwrap(),
                "10.0.0.0/8".parse().unwrap(),
            ]),
        };
        let left = asked.minus(&now());
        assert_eq!(
            left,
            SettingsChange {
                require_mfa: Some(true),
                ..SettingsChange::default()
            }
        );
        assert!(left.differences(&now())[0].narrows);
        assert!(
            !left.is_empty()
                && left
                    .minus(&Settings {
                        require_mfa: Some(true),
                        ..now()
                    })
                    .is_empty()
        );
    }

    #[test]
    fn what_may_lock_somebody_out_is_told() {
        let check = |old: Option<Vec<&str>>, new: &[&str], expected: bool| {
            let now = Settings {
                allowed_ip_ranges: old.map(|old| old.into_iter().map(str::to_owned).collect()),
                ..now()
            };
            let asked = SettingsChange {
                allowed_ip_ranges: Some(new.iter().map(|text| text.parse().unwrap()).collect()),
                ..SettingsChange::default()
            };
            assert_eq!(asked.differences(&now)[0].narrows, expected);
        };
        check(Some(vec![]), &["10.0.0.0/8"], true);
        check(None, &["10.0.0.0/8"], true);
        check(None, &[], false);
        check(Some(vec!["what?"]), &["10.0.0.0/8"], true);
        check(Some(vec!["10.0.0.0/8"]), &["10.0.0.0/8", "::/0"], false);
    }
}
