//! Reads the lists of API keys and users once an hour, if names or rules need them, and in each cycle while a rule waits for
//! them or an entry is missing. Figures are complete without them.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::cycle::plan;
use crate::cycle::state::Watcher;
use spendwatch_anthropic::endpoint::Endpoint;
use spendwatch_anthropic::error::FetchError;
use spendwatch_domain::ledger::coverage::Coverage;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::org::inventory::LastUseSource;
use spendwatch_domain::org::last_uses::LastUses;
use spendwatch_domain::org::listing::{self, ListStatus, ListedKey, ListedUser};
use spendwatch_domain::units::span::Day;
use spendwatch_domain::usage::bucket::Part;
use spendwatch_store::error::StoreError;

/// Maximum age of a list.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// Age at which a list is no longer used.
const EXPIRY: SignedDuration = SignedDuration::from_hours(24);

impl Watcher {
    /// Reads lists that are due.
    pub(in crate::cycle) async fn read_lists(&mut self) -> Result<(), StoreError> {
        let needs = self.settings.needs;
        let is_due = |is_needed, asking: &ListStatus| {
            (is_needed || self.has_usage_by_key())
                && plan::is_old(asking.requested_at, INTERVAL, self.polled_at)
        };
        let keys_due = is_due(needs.keys, &self.listings.keys) || self.waits_for_keys();
        let people_due = is_due(needs.users, &self.listings.people) || self.waits_for_people();
        let is_counting = (keys_due && needs.keys) || (people_due && needs.users);
        let uses = if is_counting {
            self.last_uses().await?
        } else {
            None
        };
        let source = uses
            .as_ref()
            .map_or(LastUseSource::List, LastUseSource::Ledger);
        if keys_due {
            let keys = self.api.keys(self.server(), None, &|_| {});
            match self.before_deadline(keys).await {
                Some(answer) => self.apply_keys(answer, source).await?,
                None => self.warn_timeout("the API keys were listed"),
            }
        }
        if people_due {
            let users = self.api.users(self.server(), &|_| {});
            match self.before_deadline(users).await {
                Some(answer) => self.apply_users(answer, source).await?,
                None => self.warn_timeout("the users were listed"),
            }
        }
        Ok(())
    }

    /// Drops lists that are too old, whatever the reason.
    pub(in crate::cycle) fn drop_expired_lists(&mut self) {
        if is_too_old(&self.listings.keys, self.polled_at) {
            self.inventory.keys = None;
        }
        if is_too_old(&self.listings.people, self.polled_at) {
            self.inventory.users = None;
        }
    }

    /// Logs that there was no time to read a list.
    fn warn_timeout(&self, what: &str) {
        tracing::warn!(
            organization.name = %self.settings.organization,
            "{}, retrying in the next cycle", self.timeout_message(what)
        );
    }

    /// Returns whether usage is reported by key and user; `guide` servers do not.
    fn has_usage_by_key(&self) -> bool {
        self.reports().is_some()
    }

    /// Returns whether a rule waits for keys: they were not read yet, or one is missing. A forbidden list is not awaited.
    fn waits_for_keys(&self) -> bool {
        let is_open = self.inventory.keys.is_none() || self.inventory.has_missing_keys();
        self.settings.needs.keys && !self.listings.keys.is_refused && is_open
    }

    /// Returns whether a rule waits for users.
    fn waits_for_people(&self) -> bool {
        let is_open = self.inventory.users.is_none() || self.inventory.has_missing_users();
        self.settings.needs.users && !self.listings.people.is_refused && is_open
    }

    async fn apply_keys(
        &mut self,
        answer: Result<Vec<ListedKey>, FetchError>,
        source: LastUseSource<'_>,
    ) -> Result<(), StoreError> {
        note(&mut self.listings.keys, &answer, self.polled_at);
        if self.listings.keys.is_refused {
            self.inventory.keys = None;
        }
        let keys = match answer {
            Ok(keys) => keys,
            Err(error) => {
                let again = retry_time(self.waits_for_keys());
                self.warn_unreadable_list("the list of API keys", &error, again);
                return Ok(());
            }
        };
        let is_odd = self.note_lists([Endpoint::ApiKeys, Endpoint::OrganizationApiKeys]);
        let mut directory = self.directory.clone();
        let names = keys.iter().map(|key| (key.id.clone(), key.name.clone()));
        directory.keys.extend(names);
        if self.settings.needs.keys {
            let inventory = std::mem::take(&mut self.inventory);
            let known = inventory.keys.clone().filter(|_| is_odd);
            self.inventory =
                inventory.with_keys(keys, source, &self.known_directory(), self.polled_at);
            self.inventory.keep_missing_keys(known);
        }
        self.save_directory(directory).await
    }

    async fn apply_users(
        &mut self,
        answer: Result<Vec<ListedUser>, FetchError>,
        source: LastUseSource<'_>,
    ) -> Result<(), StoreError> {
        note(&mut self.listings.people, &answer, self.polled_at);
        if self.listings.people.is_refused {
            self.inventory.users = None;
        }
        let people = match answer {
            Ok(people) => people,
            Err(error) => {
                let again = retry_time(self.waits_for_people());
                self.warn_unreadable_list("the list of users", &error, again);
                return Ok(());
            }
        };
        let is_odd = self.note_lists([Endpoint::Users, Endpoint::OrganizationUsers]);
        let mut directory = self.directory.clone();
        let names = people.iter().cloned().map(listing::person);
        directory.users.extend(names);
        if self.settings.needs.users {
            let inventory = std::mem::take(&mut self.inventory);
            let known = inventory.users.clone().filter(|_| is_odd);
            self.inventory =
                inventory.with_users(people, source, &self.known_directory(), self.polled_at);
            self.inventory.keep_missing_users(known);
        }
        self.save_directory(directory).await
    }

    /// Returns the directory against which missing entries are noticed; an empty one if a single list is trusted.
    fn known_directory(&self) -> Cow<'_, Directory> {
        if self.trusts_single_list {
            Cow::Owned(Directory {
                default_workspace: self.directory.default_workspace.clone(),
                ..Directory::default()
            })
        } else {
            Cow::Borrowed(&self.directory)
        }
    }

    /// Returns the last uses from the ledger if the lists do not state them. The ledger is read once; later changes are
    /// applied as they are recorded.
    async fn last_uses(&mut self) -> Result<Option<LastUses>, StoreError> {
        if !self.has_usage_by_key() {
            return Ok(None);
        }
        let uses = match self.uses.take() {
            Some(uses) => uses,
            None => self.store.last_uses(&self.settings.organization).await?,
        };
        self.uses = Some(uses.clone());
        let whole = self.coverages.get(&Part::Whole);
        let from = whole.and_then(Coverage::known_from).map(Day::start);
        let known = from.zip(whole.and_then(|whole| whole.as_of));
        Ok(Some(uses.restrict_to(known, self.polled_at)))
    }
}

fn note<T>(asking: &mut ListStatus, answer: &Result<T, FetchError>, at: Timestamp) {
    asking.requested_at = Some(at);
    match answer {
        Ok(_) => {
            asking.read_at = Some(at);
            asking.is_refused = false;
        }
        Err(error) => asking.is_refused = error.is_forbidden_or_not_found(),
    }
}

/// Returns when a list is read again, for a message.
fn retry_time(is_awaited: bool) -> &'static str {
    if is_awaited {
        "in the next cycle"
    } else {
        "in an hour"
    }
}

fn is_too_old(asking: &ListStatus, now: Timestamp) -> bool {
    asking
        .read_at
        .is_none_or(|read| now.duration_since(read) > EXPIRY)
}
