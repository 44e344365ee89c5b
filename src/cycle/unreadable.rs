//! Unreadable figures in responses: each is logged once, is an error of the cycle that read it, and keeps its last value.
//! Totals that include it are lower bounds until it can be read.

use std::collections::{BTreeMap, BTreeSet};

use crate::cycle::state::Watcher;
use spendwatch_anthropic::endpoint::Endpoint;
use spendwatch_domain::figures::totals::UnreadableBuckets;
use spendwatch_domain::ledger::change::PartChanges;
use spendwatch_domain::ledger::coverage::is_day_settled;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::{Granularity, Part, UnreadableHours};
use spendwatch_store::error::StoreError;

/// Maximum number of figures remembered as logged.
const MAX_LOGGED: usize = 10_000;
/// Maximum number of remarks about buckets that stay unreadable.
const MAX_REMARKS: usize = 20;

impl Watcher {
    /// Reports an unreadable figure. `None` means that it may belong to any part.
    pub(in crate::cycle) fn note_unreadable(
        &mut self,
        part: Option<&Part>,
        unreadable: &UnreadableHours,
    ) {
        let line = match unreadable.hours.is_empty() {
            // Outside of the requested hours, so no figure depends on it.
            true => format!("{}; ignoring this row", unreadable.reason),
            false => format!(
                "{}; spend of {} {} is unknown, keeping its last figure",
                unreadable.reason,
                part_text(part),
                span_text(unreadable.hours)
            ),
        };
        if self.logged_unreadable.len() >= MAX_LOGGED {
            self.logged_unreadable.clear();
        }
        let key = (part.cloned(), unreadable.hours.start, unreadable.hours.end);
        if self.logged_unreadable.insert(key) {
            tracing::warn!(organization.name = %self.settings.organization, "{line}");
        }
        self.errors.note_unreadable(line);
    }

    /// Updates the unreadable rows of lists that were just read, and returns whether there are any. Each is logged once.
    pub(in crate::cycle) fn note_lists<const N: usize>(&mut self, lists: [Endpoint; N]) -> bool {
        let mut unreadable_rows: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for error in self.api.take_unreadable() {
            let line = error.to_string();
            let known = self.unreadable_lists.get(error.endpoint.path());
            if !known.is_some_and(|lines| lines.contains(&line)) {
                tracing::warn!(organization.name = %self.settings.organization, "{line}, using the other rows");
            }
            unreadable_rows
                .entry(error.endpoint.path())
                .or_default()
                .push(line);
        }
        for list in lists {
            self.unreadable_lists.remove(list.path());
        }
        let has_unreadable_rows = lists
            .iter()
            .any(|list| unreadable_rows.contains_key(list.path()));
        for (path, lines) in unreadable_rows {
            let lines = lines.into_iter().take(MAX_REMARKS).collect();
            self.unreadable_lists.insert(path, lines);
        }
        has_unreadable_rows
    }

    /// Applies to memory what was recorded in the store.
    pub(in crate::cycle) fn apply_unreadable(&mut self, part: &Part, recorded: &PartChanges) {
        for (bucket, pending) in &recorded.pending_removals {
            if pending.is_some_and(|pending| pending.is_unreadable()) {
                let buckets = self.unreadable.entry(part.clone()).or_default();
                buckets.insert(*bucket);
            } else if let Some(buckets) = self.unreadable.get_mut(part)
                && buckets.remove(bucket)
                && buckets.is_empty()
            {
                self.unreadable.remove(part);
                tracing::info!(
                    organization.name = %self.settings.organization,
                    "spend of {} is readable again", part_text(Some(part))
                );
            }
        }
    }

    /// Returns the oldest unreadable running hour of a part, from which each cycle reads again. Hours of settled days are left
    /// to the day's own row.
    pub(in crate::cycle) fn oldest_unreadable(&self, part: &Part) -> Option<Hour> {
        let hours = self.unreadable.get(part)?.iter();
        hours
            .filter(|(granularity, hour)| {
                *granularity == Granularity::Hour && !is_day_settled(hour.day(), self.polled_at)
            })
            .map(|(_, hour)| *hour)
            .min()
    }

    pub(in crate::cycle) fn is_unreadable(&self, part: &Part, bucket: (Granularity, Hour)) -> bool {
        let buckets = self.unreadable.get(part);
        buckets.is_some_and(|buckets| buckets.contains(&bucket))
    }

    /// Returns the unreadable buckets for the figures. A derived remainder is unreadable wherever any part is.
    pub(in crate::cycle) fn unreadable_figures(&self) -> UnreadableBuckets {
        let mut buckets = self.unreadable.clone();
        if self.reports().is_none() && !buckets.is_empty() {
            let all: BTreeSet<_> = buckets.values().flatten().copied().collect();
            buckets.insert(Part::Unattributed, all);
        }
        buckets
    }

    /// Describes the buckets that are still unreadable.
    pub(in crate::cycle) fn unreadable_remarks(&self) -> Vec<String> {
        let remarks = self.unreadable.iter().map(|(part, buckets)| {
            let spans = buckets.iter().map(|(granularity, hour)| HourSpan {
                start: *hour,
                end: hour.plus(match granularity {
                    Granularity::Hour => 1,
                    Granularity::Day => 24,
                }),
            });
            let first = spans.min_by_key(|span| span.start).map(span_text);
            format!(
                "organization `{}`: {} figures of {} are unreadable, the first one {}; totals that include them are lower bounds",
                self.settings.organization,
                buckets.len(),
                part_text(Some(part)),
                first.unwrap_or_default()
            )
        });
        remarks.take(MAX_REMARKS).collect()
    }

    /// Reloads the unreadable buckets after retention removed some.
    pub(in crate::cycle) async fn reload_unreadable(&mut self) -> Result<(), StoreError> {
        if !self.unreadable.is_empty() {
            let name = &self.settings.organization;
            self.unreadable = self.store.unreadable(name).await?;
        }
        Ok(())
    }
}

fn part_text(part: Option<&Part>) -> String {
    match part {
        Some(Part::Workspace(id)) => format!("workspace `{id}`"),
        Some(Part::Unattributed) => "no workspace (`unattributed`)".to_owned(),
        Some(Part::Whole) => "the whole organization".to_owned(),
        None => "any workspace".to_owned(),
    }
}

fn span_text(hours: HourSpan) -> String {
    format!("from {} to {}", hours.start.start(), hours.end.start())
}
