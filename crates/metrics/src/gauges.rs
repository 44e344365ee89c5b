//! Gauges of one organization, rendered after a cycle; unchanged chunks are reused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chunk::{Chunk, Deflater};
use crate::families::{ALL, Metric};
use crate::parts::{self, GROUP, OTHER, SeriesKind, WorkspaceSeries};
use crate::series_limit::{Candidate, fit};
use crate::view::{SeriesOptions, View};
use crate::{organization, rules, users};
use spendwatch_domain::units::ids::{OrganizationName, UNATTRIBUTED};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;

/// Renderer with the chunks of the last rendering.
#[derive(Debug, Default)]
pub struct Renderer {
    groups: BTreeMap<(Metric, usize), (u64, Arc<Chunk>)>,
    singles: BTreeMap<Metric, Arc<Chunk>>,
    shown: BTreeMap<Metric, BTreeSet<String>>,
    deflater: Deflater,
    text: String,
}

/// Rendered gauges.
#[derive(Debug)]
pub struct Rendered {
    /// Indexed by metric.
    pub chunks: Vec<Vec<Arc<Chunk>>>,
    /// Number of series summed as `other`, by metric.
    pub n_dropped: BTreeMap<Metric, u64>,
    /// Number of chunks that changed.
    pub n_written: usize,
}

impl Default for Rendered {
    fn default() -> Rendered {
        Rendered {
            chunks: vec![Vec::new(); ALL.len()],
            n_dropped: BTreeMap::new(),
            n_written: 0,
        }
    }
}

impl Rendered {
    /// Marks the organization as not up and keeps all other gauges.
    pub fn mark_down(&mut self, organization: &OrganizationName) {
        let mut text = String::new();
        let labels = [("organization", organization.as_str())];
        Metric::OrganizationUp
            .family()
            .sample(&mut text, &labels, 0);
        self.chunks[Metric::OrganizationUp as usize] = vec![Arc::new(Chunk::stored(text))];
    }
}

impl Renderer {
    /// Renders a view. With `keeps_text`, chunks keep their text besides its compressed form.
    pub fn render(
        &mut self,
        view: &View<'_>,
        options: SeriesOptions,
        keeps_text: bool,
    ) -> Rendered {
        let mut rendered = Rendered::default();
        let rows = parts::rows(view);
        let keys = parts::key_names_hash(view, options);
        for (metric, shows) in parts::FAMILIES {
            if !parts::is_shown(view, shows, options) {
                continue;
            }
            let (shown, n_dropped) = self.select_rows(view, &rows, (metric, shows), options);
            if n_dropped > 0 {
                rendered.n_dropped.insert(metric, n_dropped);
            }
            for (number, group) in shown.chunks(GROUP).enumerate() {
                let hash = parts::group_hash(view, group, shows, options, keys);
                let chunk = self.group(
                    view,
                    group,
                    (metric, shows, number),
                    (options, hash),
                    keeps_text,
                    &mut rendered.n_written,
                );
                rendered.chunks[metric as usize].push(chunk);
            }
        }
        let user_samples = (Metric::UserSpend, self.users(view, options, &mut rendered));
        for (metric, text) in organization::write(view)
            .into_iter()
            .chain([user_samples])
            .chain(rules::write(view))
        {
            let known = self
                .singles
                .get(&metric)
                .filter(|chunk| chunk.contains(&text) && chunk.has_text() == keeps_text);
            let chunk = known.cloned().unwrap_or_else(|| {
                rendered.n_written += 1;
                Arc::new(self.deflater.chunk(&text, keeps_text))
            });
            self.singles.insert(metric, Arc::clone(&chunk));
            rendered.chunks[metric as usize].push(chunk);
        }
        rendered
    }

    /// Renders a group of one metric, or reuses it if unchanged.
    fn group(
        &mut self,
        view: &View<'_>,
        group: &[WorkspaceSeries],
        (metric, shows, number): (Metric, SeriesKind, usize),
        (options, hash): (SeriesOptions, u64),
        keeps_text: bool,
        n_written: &mut usize,
    ) -> Arc<Chunk> {
        let key = (metric, number);
        let known = self
            .groups
            .get(&key)
            .filter(|(_, chunk)| chunk.has_text() == keeps_text);
        // Only the data time changes with each poll.
        if let Some((_, chunk)) =
            known.filter(|(known, _)| *known == hash && shows != SeriesKind::DataTimestamp)
        {
            return Arc::clone(chunk);
        }
        self.text.clear();
        parts::write(&mut self.text, view, group, (metric, shows), options);
        let chunk = match known.filter(|(_, chunk)| chunk.contains(&self.text)) {
            Some((_, chunk)) => Arc::clone(chunk),
            None => {
                *n_written += 1;
                Arc::new(self.deflater.chunk(&self.text, keeps_text))
            }
        };
        self.groups.insert(key, (hash, Arc::clone(&chunk)));
        chunk
    }

    fn users(
        &mut self,
        view: &View<'_>,
        options: SeriesOptions,
        rendered: &mut Rendered,
    ) -> String {
        let before = self.shown.remove(&Metric::UserSpend).unwrap_or_default();
        let (text, shown, n_dropped) = users::write(view, options, &before);
        if n_dropped > 0 {
            self.shown.insert(Metric::UserSpend, shown);
            rendered.n_dropped.insert(Metric::UserSpend, n_dropped);
        }
        text
    }

    /// Selects at most `max_series` of a metric: shown ones stay, new ones are added by month spend, the rest is summed.
    fn select_rows(
        &mut self,
        view: &View<'_>,
        rows: &[WorkspaceSeries],
        (metric, shows): (Metric, SeriesKind),
        options: SeriesOptions,
    ) -> (Vec<WorkspaceSeries>, u64) {
        let bound: usize = rows
            .iter()
            .map(|row| parts::max_series(view, row, shows))
            .sum();
        if bound <= options.max_series {
            self.shown.remove(&metric);
            return (rows.to_vec(), 0);
        }
        let counts: Vec<usize> = rows
            .iter()
            .map(|row| parts::n_series(view, row, shows, options))
            .collect();
        let n_all: usize = counts.iter().sum();
        if n_all <= options.max_series {
            self.shown.remove(&metric);
            return (rows.to_vec(), 0);
        }
        let before = self.shown.remove(&metric).unwrap_or_default();
        // The remainder is always shown, so that the parts sum to the whole.
        let (rest, candidates): (Vec<_>, Vec<_>) = rows
            .iter()
            .zip(counts)
            .partition(|(row, _)| row.id == UNATTRIBUTED);
        let n_rest: usize = rest.iter().map(|(_, n)| n).sum();
        let candidates = candidates
            .into_iter()
            .map(|(row, n_series)| Candidate {
                id: &row.id,
                spend: month_spend(view, row),
                n_series,
            })
            .collect();
        let room = options.max_series.saturating_sub(n_rest);
        let (shown, n_dropped) = fit(candidates, &before, room);
        // In the original order, so that groups stay unchanged.
        let is_kept = |row: &&WorkspaceSeries| row.id == UNATTRIBUTED || shown.contains(&row.id);
        let mut kept: Vec<WorkspaceSeries> = rows.iter().filter(is_kept).cloned().collect();
        let dropped = rows.iter().filter(|row| !is_kept(row));
        kept.push(WorkspaceSeries {
            id: OTHER.to_owned(),
            name: OTHER.to_owned(),
            members: dropped.flat_map(|row| row.members.clone()).collect(),
        });
        self.shown.insert(metric, shown);
        (kept, n_dropped)
    }
}

fn month_spend(view: &View<'_>, row: &WorkspaceSeries) -> Usd {
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let of = |member: &usize| month.map_or(Usd::ZERO, |frame| frame.sum_of(*member).spend);
    row.members.iter().map(of).sum()
}
