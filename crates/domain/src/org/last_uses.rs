//! Last use of API keys and users by the ledger: loaded once, then updated with each recorded change.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::units::ids::{ActorId, ApiKeyId};
use crate::usage::bucket::UsageKeyFields;

/// Last use of API keys and users by the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastUses {
    /// End of the newest hour or day with usage, because its last moment may have been used.
    pub keys: BTreeMap<ApiKeyId, Timestamp>,
    pub users: BTreeMap<ActorId, Timestamp>,
    /// Start of usage by API key; `None` if there never was any.
    pub by_key_since: Option<Timestamp>,
    /// How much of the most recent time is not known yet.
    pub lag: SignedDuration,
}

impl LastUses {
    /// Records usage of a key in an hour or day from `start` to `end`.
    pub fn record(&mut self, usage_key: &UsageKeyFields, start: Timestamp, end: Timestamp) {
        let later = |known: &mut Timestamp| *known = end.max(*known);
        if let Some(key) = &usage_key.api_key {
            self.keys
                .entry(key.clone())
                .and_modify(later)
                .or_insert(end);
            let since = self.by_key_since.map_or(start, |since| since.min(start));
            self.by_key_since = Some(since);
        }
        if let Some(user) = &usage_key.user {
            let known = self.users.entry(user.clone());
            known.and_modify(later).or_insert(end);
        }
    }

    /// Restricts the last uses to the span in which all usage is known without a gap. Earlier uses move to its start,
    /// because the gap may contain later ones; the time after its end is not known yet.
    #[must_use]
    pub fn restrict_to(
        self,
        from_until: Option<(Timestamp, Timestamp)>,
        at: Timestamp,
    ) -> LastUses {
        let Some((from, until)) = from_until else {
            return LastUses::default();
        };
        LastUses {
            keys: not_before(self.keys, from),
            users: not_before(self.users, from),
            by_key_since: self.by_key_since.map(|since| since.max(from)),
            lag: at.duration_since(until).max(SignedDuration::ZERO),
        }
    }

    /// Adds the lag to the last use: a key unused up to the end of the known data may have been used since.
    pub fn idle_since(&self, last: Timestamp, at: Timestamp) -> Timestamp {
        last.checked_add(self.lag).map_or(at, |since| since.min(at))
    }
}

fn not_before<Id: Ord>(uses: BTreeMap<Id, Timestamp>, from: Timestamp) -> BTreeMap<Id, Timestamp> {
    let uses = uses.into_iter();
    uses.map(|(id, last)| (id, last.max(from))).collect()
}
