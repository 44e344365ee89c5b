//! Gauges of one organization, rendered whole after its figures changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::chunk::{Chunk, Deflater};
use crate::families::{ALL, Metric};
use crate::parts::{self, SeriesKind};
use crate::series_limit::{Candidate, fit};
use crate::view::{SeriesOptions, View};
use crate::workspace_series::{self, OTHER, WorkspaceSeries};
use crate::{organization, rules, users};
use spendwatch_domain::units::ids::{OrganizationName, UNATTRIBUTED};

/// Bytes of text after which a chunk ends, so that the buffer stays small even if a metric has a million series.
const CHUNK_SIZE: usize = 1024 * 1024;

/// Renderer of one organization. Remembers which series were shown, because those stay when `max_series` is exceeded.
#[derive(Debug, Default)]
pub struct Renderer {
    shown: BTreeMap<Metric, BTreeSet<String>>,
    deflater: Deflater,
}

/// Gauges of one organization, as text in compressed chunks.
#[derive(Debug)]
pub struct Rendered {
    /// Indexed by metric.
    pub chunks: Vec<Vec<Arc<Chunk>>>,
    /// Number of series summed as `other`, by metric.
    pub n_dropped: BTreeMap<Metric, u64>,
}

impl Default for Rendered {
    fn default() -> Rendered {
        Rendered {
            chunks: vec![Vec::new(); ALL.len()],
            n_dropped: BTreeMap::new(),
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
        let all_rows = workspace_series::rows(view);
        for (metric, shows) in parts::FAMILIES {
            if !parts::is_shown(view, shows, options) {
                continue;
            }
            let before = self.shown.remove(&metric).unwrap_or_default();
            let mut write = |rows: &[WorkspaceSeries]| {
                self.write_rows(view, rows, (metric, shows), options, keeps_text)
            };
            let (mut chunks, counts) = write(&all_rows);
            if counts.iter().sum::<usize>() > options.max_series {
                let limit = options.max_series;
                let (rows, shown, n_dropped) = select_rows(view, &all_rows, counts, &before, limit);
                chunks = write(&rows).0;
                self.shown.insert(metric, shown);
                if n_dropped > 0 {
                    rendered.n_dropped.insert(metric, n_dropped);
                }
            }
            rendered.chunks[metric as usize] = chunks;
        }
        let before = self.shown.remove(&Metric::UserSpend).unwrap_or_default();
        let (users, shown, n_dropped) = users::write(view, options, &before);
        if n_dropped > 0 {
            self.shown.insert(Metric::UserSpend, shown);
            rendered.n_dropped.insert(Metric::UserSpend, n_dropped);
        }
        for (metric, text) in organization::write(view)
            .into_iter()
            .chain([(Metric::UserSpend, users)])
            .chain(rules::write(view))
        {
            rendered.chunks[metric as usize].push(self.chunk(&text, keeps_text));
        }
        rendered
    }

    fn chunk(&mut self, text: &str, keeps_text: bool) -> Arc<Chunk> {
        Arc::new(self.deflater.chunk(text, keeps_text))
    }

    /// Renders a metric; also returns the number of series of each row.
    fn write_rows(
        &mut self,
        view: &View<'_>,
        rows: &[WorkspaceSeries],
        metric: (Metric, SeriesKind),
        options: SeriesOptions,
        keeps_text: bool,
    ) -> (Vec<Arc<Chunk>>, Vec<usize>) {
        let (mut chunks, mut counts) = (Vec::new(), Vec::with_capacity(rows.len()));
        let mut text = String::new();
        for row in rows {
            let start = text.len();
            parts::write(&mut text, view, row, metric, options);
            // Each series is a line, because line breaks in labels are escaped.
            counts.push(text[start..].lines().count());
            if text.len() >= CHUNK_SIZE {
                chunks.push(self.chunk(&text, keeps_text));
                text.clear();
            }
        }
        chunks.push(self.chunk(&text, keeps_text));
        (chunks, counts)
    }
}

/// Selects at most `max_series` of a metric: shown ones stay, new ones are added by month spend, the rest is summed. Returns
/// the rows, the ids of the shown ones, and the number of series that are summed.
fn select_rows(
    view: &View<'_>,
    rows: &[WorkspaceSeries],
    counts: Vec<usize>,
    before: &BTreeSet<String>,
    max_series: usize,
) -> (Vec<WorkspaceSeries>, BTreeSet<String>, u64) {
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
            spend: row.month_spend(view),
            n_series,
        })
        .collect();
    let (shown, n_dropped) = fit(candidates, before, max_series.saturating_sub(n_rest));
    let is_kept = |row: &WorkspaceSeries| row.id == UNATTRIBUTED || shown.contains(&row.id);
    let (mut kept, dropped): (Vec<_>, Vec<_>) = rows.iter().cloned().partition(is_kept);
    kept.push(WorkspaceSeries {
        id: OTHER.to_owned(),
        name: OTHER.to_owned(),
        members: dropped.into_iter().flat_map(|row| row.members).collect(),
    });
    (kept, shown, n_dropped)
}
