//! Settings of the organization, a requested change, and the differences.

use crate::admin::network::{Network, is_narrower};
use crate::units::money::Usd;

/// The organization as reported by the API; `None` where not reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrganizationDetails {
    pub id: String,
    /// The id if there is no name.
    pub name: String,
    pub plan: Option<String>,
    /// Provider limit on monthly spend.
    pub usage_limit: Option<Usd>,
    /// Month-to-date spend as stated by Anthropic.
    pub month_usage: Option<Usd>,
    pub settings: OrganizationSettings,
}

/// Settings that can be changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrganizationSettings {
    /// Used for requests without a model.
    pub default_model: Option<String>,
    pub require_mfa: Option<bool>,
    /// CIDR blocks that users may connect from, as reported; empty allows all addresses.
    pub allowed_ip_ranges: Option<Vec<String>>,
}

/// A requested change; `None` keeps a setting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsChange {
    pub default_model: Option<String>,
    pub require_mfa: Option<bool>,
    /// CIDR blocks that users may connect from; empty allows all addresses.
    pub allowed_ip_ranges: Option<Vec<Network>>,
}

/// A setting before and after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDifference {
    pub setting: &'static str,
    /// As text; `None` if not reported.
    pub old: Option<String>,
    pub new: String,
    /// Whether access becomes more restricted, which may lock out the caller.
    pub narrows: bool,
}

impl SettingsChange {
    /// Drops settings that already have the requested value.
    #[must_use]
    pub fn without_unchanged(mut self, now: &OrganizationSettings) -> SettingsChange {
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

    /// Returns whether nothing would change.
    pub fn is_empty(&self) -> bool {
        *self == SettingsChange::default()
    }

    /// Returns the differences by setting. A restriction of an unknown or unreadable old value counts as narrowing.
    pub fn differences(&self, now: &OrganizationSettings) -> Vec<SettingDifference> {
        let mut differences = Vec::new();
        if let Some(model) = &self.default_model {
            differences.push(SettingDifference {
                setting: "default_model",
                old: now.default_model.clone(),
                new: model.clone(),
                narrows: false,
            });
        }
        if let Some(require) = self.require_mfa {
            differences.push(SettingDifference {
                setting: "require_mfa",
                old: now.require_mfa.map(|is_so| is_so.to_string()),
                new: require.to_string(),
                narrows: require && now.require_mfa != Some(true),
            });
        }
        if let Some(ranges) = &self.allowed_ip_ranges {
            let old = now.allowed_ip_ranges.as_deref();
            let new: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            differences.push(SettingDifference {
                setting: "allowed_ip_ranges",
                old: old.map(ranges_text),
                new: ranges_text(&new),
                narrows: narrows(old, ranges),
            });
        }
        differences
    }
}

/// Returns whether a reported list consists of these blocks, in any order.
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

/// Formats a list of CIDR blocks.
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

    fn now() -> OrganizationSettings {
        OrganizationSettings {
            default_model: Some("claude-sonnet-4-5".to_owned()),
            require_mfa: Some(false),
            allowed_ip_ranges: Some(vec!["10.0.0.0/8".to_owned(), "192.0.2.0/24".to_owned()]),
        }
    }

    #[test]
    fn unchanged_settings_are_dropped() {
        let asked = SettingsChange {
            default_model: Some("claude-sonnet-4-5".to_owned()),
            require_mfa: Some(true),
            allowed_ip_ranges: Some(vec![
                "192.0.2.0/24".parse().unwrap(),
                "10.0.0.0/8".parse().unwrap(),
            ]),
        };
        let left = asked.without_unchanged(&now());
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
                    .without_unchanged(&OrganizationSettings {
                        require_mfa: Some(true),
                        ..now()
                    })
                    .is_empty()
        );
    }

    #[test]
    fn narrowing_changes_are_detected() {
        let check = |old: Option<Vec<&str>>, new: &[&str], expected: bool| {
            let now = OrganizationSettings {
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
