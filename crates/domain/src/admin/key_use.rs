//! Which API keys are in use, and their recent spend: what revoking them would affect.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::admin::selection::KeyDetails;
use crate::units::ids::ApiKeyId;
use crate::units::money::Usd;

/// A key used within this time is in use. Spend is summed over the same time.
pub const IN_USE_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Maximum data age for "not in use" to be certain.
const MAX_LAG: SignedDuration = SignedDuration::from_hours(24);

/// Usage by API key, recorded or just read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecentUsage {
    /// Spend within [`IN_USE_WITHIN`]; `None` if usage by key is unknown. A key without an entry spent nothing.
    pub spend: Option<BTreeMap<ApiKeyId, Usd>>,
    /// End of the newest hour or day with usage.
    pub last_used: BTreeMap<ApiKeyId, Timestamp>,
    /// Start and end of the span in which usage by key is known without a gap.
    pub known: Option<(Timestamp, Timestamp)>,
}

/// Whether a key is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InUse {
    /// Used within [`IN_USE_WITHIN`].
    Yes,
    No,
    /// No source reports its use.
    Unknown,
}

/// How a key was used lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    pub in_use: InUse,
    /// `None` if never used or unknown.
    pub last_used_at: Option<Timestamp>,
    /// Within [`IN_USE_WITHIN`]; `None` if unknown.
    pub spend: Option<Usd>,
    /// Part of the usage is unknown, so `spend` is a lower bound.
    pub is_lower_bound: bool,
}

impl RecentUsage {
    /// Returns whether usage is known for all of [`IN_USE_WITHIN`].
    pub fn is_complete(&self, max_lag: SignedDuration, now: Timestamp) -> bool {
        self.known.is_some_and(|(from, until)| {
            now.duration_since(from) >= IN_USE_WITHIN && now.duration_since(until) <= max_lag
        })
    }

    /// Returns how a key was used, by its listed last use and by recorded usage.
    pub fn key_use(&self, key: &KeyDetails, now: Timestamp) -> KeyUse {
        let id = &key.listed.id;
        let last_used_at = key
            .listed
            .last_used_at
            .max(self.last_used.get(id).copied())
            .map(|at| at.min(now));
        let spends = self.spend.as_ref();
        let spend = spends.map(|spends| spends.get(id).copied().unwrap_or_default());
        let is_recent = last_used_at.is_some_and(|at| now.duration_since(at) <= IN_USE_WITHIN);
        let is_complete = self.is_complete(MAX_LAG, now) || self.knows_all_of(key, now);
        let in_use = if is_recent || spend.is_some_and(|usd| usd > Usd::ZERO) {
            InUse::Yes
        } else if is_complete || self.is_listed_as_unused(key) {
            InUse::No
        } else {
            InUse::Unknown
        };
        KeyUse {
            in_use,
            last_used_at,
            spend,
            is_lower_bound: spend.is_some() && !is_complete,
        }
    }

    /// A list with last uses implies that keys without one were never used.
    fn is_listed_as_unused(&self, key: &KeyDetails) -> bool {
        self.known.is_none() && key.idle_since.is_some()
    }

    /// A key that was created after usage was first recorded has no earlier usage.
    fn knows_all_of(&self, key: &KeyDetails, now: Timestamp) -> bool {
        let created_at = key.listed.created_at;
        self.known.is_some_and(|(from, until)| {
            created_at.is_some_and(|at| at >= from) && now.duration_since(until) <= MAX_LAG
        })
    }
}

/// What revoking several keys affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RevocationImpact {
    pub n_keys: usize,
    pub n_in_use: usize,
    /// Number of keys whose use is unknown.
    pub n_unknown: usize,
    /// `None` if the spend of no key is known.
    pub spend: Option<Usd>,
    /// Whether the spend of some key is missing or partial.
    pub is_lower_bound: bool,
}

/// Sums the use of several keys.
pub fn revocation_impact(uses: impl IntoIterator<Item = KeyUse>) -> RevocationImpact {
    let (mut sum, mut is_partial) = (RevocationImpact::default(), false);
    for key in uses {
        sum.n_keys += 1;
        match key.in_use {
            InUse::Yes => sum.n_in_use += 1,
            InUse::Unknown => sum.n_unknown += 1,
            InUse::No => {}
        }
        if let Some(usd) = key.spend {
            sum.spend = Some(sum.spend.unwrap_or_default() + usd);
        }
        is_partial |= key.is_lower_bound || key.spend.is_none();
    }
    RevocationImpact {
        is_lower_bound: is_partial && sum.spend.is_some(),
        ..sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::selection::key_details;
    use crate::org::inventory::LastUseSource;
    use crate::org::listing::ListedKey;

    const NOW: &str = "2026-11-25T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn listed(id: &str, last_used_at: Option<&str>, created_at: &str) -> ListedKey {
        ListedKey {
            id: id.into(),
            name: id.to_owned(),
            status: None,
            workspace: None,
            created_by: None,
            created_at: Some(at(created_at)),
            expires_at: None,
            last_used_at: last_used_at.map(at),
            hint: None,
            creator_email: None,
        }
    }

    #[track_caller]
    fn check(keys: Vec<ListedKey>, usage: &RecentUsage, expected: &[(InUse, Option<&str>)]) {
        let keys = key_details(keys, LastUseSource::List, at(NOW));
        let found: Vec<_> = keys
            .iter()
            .map(|key| {
                let found = usage.key_use(key, at(NOW));
                (found.in_use, found.spend.map(Usd::grouped))
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(in_use, spend)| (*in_use, spend.map(str::to_owned)))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn listed_last_uses_take_precedence() {
        let keys = vec![
            listed(
                "fresh",
                Some("2026-11-25T11:00:00Z"),
                "2026-01-01T00:00:00Z",
            ),
            listed("old", Some("2026-11-18T11:59:59Z"), "2026-01-01T00:00:00Z"),
            listed("never", None, "2026-01-01T00:00:00Z"),
        ];
        let expected = [(InUse::Yes, None), (InUse::No, None), (InUse::No, None)];
        check(keys, &RecentUsage::default(), &expected);
    }

    #[test]
    fn without_a_source_use_is_unknown() {
        let keys = vec![listed("key", None, "2026-01-01T00:00:00Z")];
        check(keys, &RecentUsage::default(), &[(InUse::Unknown, None)]);
    }

    #[test]
    fn recorded_usage_counts_only_for_the_time_that_it_covers() {
        let keys = || {
            vec![
                listed("spent", None, "2026-01-01T00:00:00Z"),
                listed("used", None, "2026-01-01T00:00:00Z"),
                listed("quiet", None, "2026-01-01T00:00:00Z"),
                listed("new", None, "2026-11-24T00:00:00Z"),
            ]
        };
        let usage = |from: &str, until: &str| RecentUsage {
            spend: Some(BTreeMap::from([("spent".into(), Usd::from_dollars(12))])),
            last_used: BTreeMap::from([("used".into(), at("2026-11-24T00:00:00Z"))]),
            known: Some((at(from), at(until))),
        };
        let (yes, nothing) = (InUse::Yes, Some("0.00"));
        let expected = |quiet, new| {
            [
                (yes, Some("12.00")),
                (yes, nothing),
                (quiet, nothing),
                (new, nothing),
            ]
        };
        let whole = usage("2026-11-01T00:00:00Z", "2026-11-25T11:00:00Z");
        check(keys(), &whole, &expected(InUse::No, InUse::No));
        let begun = usage("2026-11-23T00:00:00Z", "2026-11-25T11:00:00Z");
        check(keys(), &begun, &expected(InUse::Unknown, InUse::No));
        let stopped = usage("2026-11-01T00:00:00Z", "2026-11-24T11:00:00Z");
        check(keys(), &stopped, &expected(InUse::Unknown, InUse::Unknown));
    }

    #[test]
    fn a_sum_with_a_missing_part_is_a_lower_bound() {
        let one = |in_use, spend| KeyUse {
            in_use,
            last_used_at: None,
            spend,
            is_lower_bound: false,
        };
        let (known, unknown) = (
            one(InUse::Yes, Some(Usd::from_dollars(5))),
            one(InUse::Unknown, None),
        );
        let all = revocation_impact([known, known]);
        assert_eq!(
            (all.n_keys, all.n_in_use, all.spend, all.is_lower_bound),
            (2, 2, Some(Usd::from_dollars(10)), false)
        );
        let part = revocation_impact([known, unknown]);
        assert_eq!(
            (part.n_unknown, part.spend, part.is_lower_bound),
            (1, Some(Usd::from_dollars(5)), true)
        );
        assert_eq!(revocation_impact([unknown]).spend, None);
    }
}
