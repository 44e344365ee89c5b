//! Figures that the service told in a way that cannot be read: each is named in the log once, stands in the reasons of the cycle
//! that read it, and keeps its last value. Totals that include it are lower bounds until it can be read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::cycle::state::{Trouble, Watcher};
use crate::domain::change::Recorded;
use crate::domain::coverage::is_day_settled;
use crate::domain::figures::UnreadableBuckets;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Granularity, Part, Unreadable};
use crate::metrics::requests::Endpoint;
use crate::store::error::StoreError;

/// Maximum number of figures that are remembered as logged.
const MAX_LOGGED: usize = 10_000;
/// Maximum number of remarks about buckets that stay unreadable.
const MAX_REMARKS: usize = 20;

impl Watcher {
    /// Names what could not be read; `None` may be any part.
    pub(in crate::cycle) fn note_unreadable(
        &mut self,
        part: Option<&Part>,
        unreadable: &Unreadable,
        trouble: &mut Trouble,
    ) {
        let line = match unreadable.hours.is_empty() {
            // Outside of what was asked for: no figure of the answer lacks it.
            true => format!("{}; ignoring this row", unreadable.reason),
            false => format!(
                "{}; spend of {} {} is unknown, keeping its last figure",
                unreadable.reason,
                whose(part),
                when(unreadable.hours)
            ),
        };
        if self.logged_unreadable.len() >= MAX_LOGGED {
            self.logged_unreadable.clear();
        }
        let key = (part.cloned(), unreadable.hours.start, unreadable.hours.end);
        if self.logged_unreadable.insert(key) {
            tracing::warn!(organization.name = %self.settings.organization, "{line}");
        }
        trouble.note_unreadable(line);
    }

    /// Notes which rows could not be read of lists that were just read, and whether there are any. Each is logged once.
    pub(in crate::cycle) fn note_lists<const N: usize>(&mut self, lists: [Endpoint; N]) -> bool {
        let mut odd: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for error in self.api.take_unreadable() {
            let line = error.to_string();
            let known = self.unreadable_lists.get(error.endpoint.path());
            if !known.is_some_and(|lines| lines.contains(&line)) {
                tracing::warn!(organization.name = %self.settings.organization, "{line}; reading the rest of it");
            }
            odd.entry(error.endpoint.path()).or_default().push(line);
        }
        for list in lists {
            self.unreadable_lists.remove(list.path());
        }
        let is_odd = lists.iter().any(|list| odd.contains_key(list.path()));
        for (path, lines) in odd {
            let lines = lines.into_iter().take(MAX_REMARKS).collect();
            self.unreadable_lists.insert(path, lines);
        }
        is_odd
    }

    /// Memory follows the store.
    pub(in crate::cycle) fn take_in_unreadable(&mut self, part: &Part, recorded: &Recorded) {
        for (bucket, doubt) in &recorded.doubts {
            if doubt.is_some_and(|doubt| doubt.is_unreadable()) {
                let buckets = self.unreadable.entry(part.clone()).or_default();
                buckets.insert(*bucket);
            } else if let Some(buckets) = self.unreadable.get_mut(part)
                && buckets.remove(bucket)
                && buckets.is_empty()
            {
                self.unreadable.remove(part);
                tracing::info!(
                    organization.name = %self.settings.organization,
                    "spend of {} can be read again", whose(Some(part))
                );
            }
        }
    }

    /// The oldest running hour of a part that could not be read; it is read again in each cycle. One of a day that is settled
    /// is left to the day's own row.
    pub(in crate::cycle) fn oldest_unreadable(&self, part: &Part, now: Timestamp) -> Option<Hour> {
        let hours = self.unreadable.get(part)?.iter();
        hours
            .filter(|(granularity, hour)| {
                *granularity == Granularity::Hour && !is_day_settled(hour.day(), now)
            })
            .map(|(_, hour)| *hour)
            .min()
    }

    /// Whether something of a bucket could not be read.
    pub(in crate::cycle) fn is_unreadable(&self, part: &Part, bucket: (Granularity, Hour)) -> bool {
        let buckets = self.unreadable.get(part);
        buckets.is_some_and(|buckets| buckets.contains(&bucket))
    }

    /// For the figures. A remainder that is derived lacks what any part lacks.
    pub(in crate::cycle) fn unreadable_figures(&self) -> UnreadableBuckets {
        let mut buckets = self.unreadable.clone();
        if self.reports().is_none() && !buckets.is_empty() {
            let all: BTreeSet<_> = buckets.values().flatten().copied().collect();
            buckets.insert(Part::Unattributed, all);
        }
        buckets
    }

    /// What stays unreadable, in words.
    pub(in crate::cycle) fn unreadable_remarks(&self) -> Vec<String> {
        let remarks = self.unreadable.iter().map(|(part, buckets)| {
            let spans = buckets.iter().map(|(granularity, hour)| HourSpan {
                start: *hour,
                end: hour.plus(match granularity {
                    Granularity::Hour => 1,
                    Granularity::Day => 24,
                }),
            });
            let first = spans.min_by_key(|span| span.start).map(when);
            format!(
                "organization `{}`: {} figures of {} could not be read, the first one {}; totals that include them are \
                 lower bounds",
                self.settings.organization,
                buckets.len(),
                whose(Some(part)),
                first.unwrap_or_default()
            )
        });
        remarks.take(MAX_REMARKS).collect()
    }

    /// What retention dropped is not unreadable any more.
    pub(in crate::cycle) async fn reload_unreadable(&mut self) -> Result<(), StoreError> {
        if !self.unreadable.is_empty() {
            let name = &self.settings.organization;
            self.unreadable = self.store.unreadable(name).await?;
        }
        Ok(())
    }
}

fn whose(part: Option<&Part>) -> String {
    match part {
        Some(Part::Workspace(id)) => format!("workspace `{id}`"),
        Some(Part::Unattributed) => "no workspace (`unattributed`)".to_owned(),
        Some(Part::Whole) => "the whole organization".to_owned(),
        None => "any workspace".to_owned(),
    }
}

fn when(hours: HourSpan) -> String {
    format!("from {} to {}", hours.start.start(), hours.end.start())
}
