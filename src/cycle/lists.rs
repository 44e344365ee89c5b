//! The lists of keys and people: read once an hour, and only where a name or a rule needs them; at once while a rule waits for
//! them, and in each cycle while anybody is missing. Where one cannot be read, figures are no less complete.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::anthropic::error::FetchError;
use crate::cycle::state::Watcher;
use crate::domain::census::ToldBy;
use crate::domain::coverage::Coverage;
use crate::domain::directory::Directory;
use crate::domain::listing::{self, Asking, ListedKey, ListedUser};
use crate::domain::span::Day;
use crate::domain::usage::Part;
use crate::domain::uses::LastUses;
use crate::metrics::requests::Endpoint;
use crate::store::error::StoreError;

/// How old a list may become.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// A list that was not read for so long says nothing of now.
const TOO_OLD: SignedDuration = SignedDuration::from_hours(24);

impl Watcher {
    /// Reads what is due.
    pub(in crate::cycle) async fn read_lists(
        &mut self,
        polled_at: Timestamp,
        deadline: Duration,
    ) -> Result<(), StoreError> {
        let needs = self.settings.needs;
        let is_due = |is_needed, asking: &Asking| {
            (is_needed || self.names_usage()) && is_old(asking.asked_at, polled_at)
        };
        let keys_due = is_due(needs.keys, &self.listings.keys) || self.waits_for_keys();
        let people_due = is_due(needs.people, &self.listings.people) || self.waits_for_people();
        let is_counting = (keys_due && needs.keys) || (people_due && needs.people);
        let uses = if is_counting {
            self.last_uses(polled_at).await?
        } else {
            None
        };
        let told_by = uses.as_ref().map_or(ToldBy::List, ToldBy::Ledger);
        if keys_due {
            match self.in_time(deadline, self.listed_keys()).await {
                Some(answer) => self.take_keys(answer, told_by, polled_at).await?,
                None => self.run_out("the list of API keys"),
            }
        }
        if people_due {
            match self.in_time(deadline, self.listed_users()).await {
                Some(answer) => self.take_people(answer, told_by, polled_at).await?,
                None => self.run_out("the list of people"),
            }
        }
        Ok(())
    }

    /// What was listed too long ago is unknown, whatever kept it from being read since.
    pub(in crate::cycle) fn forget_old_lists(&mut self, polled_at: Timestamp) {
        if is_too_old(&self.listings.keys, polled_at) {
            self.census.keys = None;
        }
        if is_too_old(&self.listings.people, polled_at) {
            self.census.people = None;
        }
    }

    /// What was not told in time counts as not asked for.
    fn run_out(&self, what: &str) {
        tracing::warn!(
            organization.name = %self.settings.organization,
            "{}; asking again in the next cycle", self.out_of_time(what)
        );
    }

    /// Whether usage is told by key and person, who have names. In the `guide` dialect it is not.
    fn names_usage(&self) -> bool {
        self.reports().is_some()
    }

    /// Whether a rule needs keys that were not read yet, or one of them is missing. A list that is refused is not waited for.
    fn waits_for_keys(&self) -> bool {
        let is_open = self.census.keys.is_none() || self.census.has_missing_keys();
        self.settings.needs.keys && !self.listings.keys.is_refused && is_open
    }

    /// The same of people.
    fn waits_for_people(&self) -> bool {
        let is_open = self.census.people.is_none() || self.census.has_missing_people();
        self.settings.needs.people && !self.listings.people.is_refused && is_open
    }

    async fn listed_keys(&self) -> Result<Vec<ListedKey>, FetchError> {
        match self.reports() {
            Some(_) => self.api.api_keys().await,
            None => self.api.guide_api_keys().await,
        }
    }

    async fn listed_users(&self) -> Result<Vec<ListedUser>, FetchError> {
        match self.reports() {
            Some(_) => self.api.users().await,
            None => self.api.guide_users().await,
        }
    }

    async fn take_keys(
        &mut self,
        answer: Result<Vec<ListedKey>, FetchError>,
        told_by: ToldBy<'_>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        note(&mut self.listings.keys, &answer, at);
        let keys = match answer {
            Ok(keys) => keys,
            Err(error) => {
                if self.listings.keys.is_refused {
                    self.census.keys = None;
                }
                self.miss("the list of API keys", &error, again(self.waits_for_keys()));
                return Ok(());
            }
        };
        let is_odd = self.note_lists([Endpoint::ApiKeys, Endpoint::OrganizationApiKeys]);
        let mut directory = self.directory.clone();
        let names = keys.iter().map(|key| (key.id.clone(), key.name.clone()));
        directory.keys.extend(names);
        if self.settings.needs.keys {
            let census = std::mem::take(&mut self.census);
            let known = census.keys.clone().filter(|_| is_odd);
            self.census = census.with_keys(keys, told_by, &self.remembered(), at);
            self.census.keep_missing_keys(known);
        }
        self.take_directory(directory).await
    }

    async fn take_people(
        &mut self,
        answer: Result<Vec<ListedUser>, FetchError>,
        told_by: ToldBy<'_>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        note(&mut self.listings.people, &answer, at);
        let people = match answer {
            Ok(people) => people,
            Err(error) => {
                if self.listings.people.is_refused {
                    self.census.people = None;
                }
                self.miss("the list of people", &error, again(self.waits_for_people()));
                return Ok(());
            }
        };
        let is_odd = self.note_lists([Endpoint::Users, Endpoint::OrganizationUsers]);
        let mut directory = self.directory.clone();
        let names = people.iter().cloned().map(listing::person);
        directory.people.extend(names);
        if self.settings.needs.people {
            let census = std::mem::take(&mut self.census);
            let known = census.people.clone().filter(|_| is_odd);
            self.census = census.with_people(people, told_by, &self.remembered(), at);
            self.census.keep_missing_people(known);
        }
        self.take_directory(directory).await
    }

    /// The directory, with those who were listed once where they are doubted before they are gone.
    fn remembered(&self) -> Cow<'_, Directory> {
        if self.believes_one_list {
            Cow::Owned(Directory {
                default: self.directory.default.clone(),
                ..Directory::default()
            })
        } else {
            Cow::Borrowed(&self.directory)
        }
    }

    /// By the ledger, where the lists do not tell it. It is read whole once: what is recorded after that is noted beside it.
    async fn last_uses(&mut self, at: Timestamp) -> Result<Option<LastUses>, StoreError> {
        if !self.names_usage() {
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
        Ok(Some(uses.known(known, at)))
    }
}

fn note<T>(asking: &mut Asking, answer: &Result<T, FetchError>, at: Timestamp) {
    asking.asked_at = Some(at);
    match answer {
        Ok(_) => {
            asking.read_at = Some(at);
            asking.is_refused = false;
        }
        Err(error) => asking.is_refused = error.is_forbidden_or_unknown(),
    }
}

/// When a list is asked for again, in words.
fn again(is_waited_for: bool) -> &'static str {
    if is_waited_for {
        "in the next cycle"
    } else {
        "in an hour"
    }
}

fn is_old(asked_at: Option<Timestamp>, now: Timestamp) -> bool {
    asked_at.is_none_or(|asked| now.duration_since(asked).abs() >= INTERVAL)
}

fn is_too_old(asking: &Asking, now: Timestamp) -> bool {
    asking
        .read_at
        .is_none_or(|read| now.duration_since(read) > TOO_OLD)
}
