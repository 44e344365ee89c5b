//! The gauges of one organization, rendered after a cycle: what did not change is taken over as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::ids::{OrganizationName, UNATTRIBUTED};
use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::metrics::chunk::{Chunk, Deflater};
use crate::metrics::families::{ALL, Place};
use crate::metrics::fitting::{Candidate, fit};
use crate::metrics::parts::{self, GROUP, OTHER, Row, Shows};
use crate::metrics::view::{Shape, View};
use crate::metrics::{organization, people, rules};

/// What was rendered last, and of what.
#[derive(Debug, Default)]
pub struct Renderer {
    groups: BTreeMap<(Place, usize), (u64, Arc<Chunk>)>,
    singles: BTreeMap<Place, Arc<Chunk>>,
    shown: BTreeMap<Place, BTreeSet<String>>,
    deflater: Deflater,
    text: String,
}

/// What was rendered now.
#[derive(Debug)]
pub struct Rendered {
    /// By the place of the family.
    pub pieces: Vec<Vec<Arc<Chunk>>>,
    /// How many series of each family were summed away.
    pub n_dropped: BTreeMap<Place, u64>,
    /// How many pieces were written anew.
    pub n_written: usize,
}

impl Default for Rendered {
    fn default() -> Rendered {
        Rendered {
            pieces: vec![Vec::new(); ALL.len()],
            n_dropped: BTreeMap::new(),
            n_written: 0,
        }
    }
}

impl Rendered {
    /// The organization is not up; all else stays as it is.
    pub fn take_down(&mut self, organization: &OrganizationName) {
        let mut text = String::new();
        let labels = [("organization", organization.as_str())];
        Place::OrganizationUp.family().sample(&mut text, &labels, 0);
        self.pieces[Place::OrganizationUp as usize] = vec![Arc::new(Chunk::stored(text))];
    }
}

impl Renderer {
    /// Renders a view. Where `is_text_kept`, pieces keep their text beside its compressed form.
    pub fn render(&mut self, view: &View<'_>, shape: Shape, is_text_kept: bool) -> Rendered {
        let mut rendered = Rendered::default();
        let rows = parts::rows(view);
        let keys = parts::stamp_of_keys(view, shape);
        for (place, shows) in parts::FAMILIES {
            if !parts::is_shown(view, shows, shape) {
                continue;
            }
            let (shown, n_dropped) = self.choose(view, &rows, (place, shows), shape);
            if n_dropped > 0 {
                rendered.n_dropped.insert(place, n_dropped);
            }
            for (number, group) in shown.chunks(GROUP).enumerate() {
                let stamp = parts::stamp(view, group, shows, shape, keys);
                let chunk = self.group(
                    view,
                    group,
                    (place, shows, number),
                    (shape, stamp),
                    is_text_kept,
                    &mut rendered.n_written,
                );
                rendered.pieces[place as usize].push(chunk);
            }
        }
        let of_people = (Place::UserSpend, self.people(view, shape, &mut rendered));
        for (place, text) in organization::write(view)
            .into_iter()
            .chain([of_people])
            .chain(rules::write(view))
        {
            let known = self
                .singles
                .get(&place)
                .filter(|chunk| chunk.holds(&text) && chunk.has_text() == is_text_kept);
            let chunk = known.cloned().unwrap_or_else(|| {
                rendered.n_written += 1;
                Arc::new(self.deflater.chunk(&text, is_text_kept))
            });
            self.singles.insert(place, Arc::clone(&chunk));
            rendered.pieces[place as usize].push(chunk);
        }
        rendered
    }

    /// A group of rows in one family: as it was, where nothing of it changed.
    fn group(
        &mut self,
        view: &View<'_>,
        group: &[Row],
        (place, shows, number): (Place, Shows, usize),
        (shape, stamp): (Shape, u64),
        is_text_kept: bool,
        n_written: &mut usize,
    ) -> Arc<Chunk> {
        let key = (place, number);
        let known = self
            .groups
            .get(&key)
            .filter(|(_, chunk)| chunk.has_text() == is_text_kept);
        // The time of the data changes with each poll, and nothing else does.
        if let Some((_, chunk)) =
            known.filter(|(known, _)| *known == stamp && shows != Shows::DataTimestamp)
        {
            return Arc::clone(chunk);
        }
        self.text.clear();
        parts::write(&mut self.text, view, group, (place, shows), shape);
        let chunk = match known.filter(|(_, chunk)| chunk.holds(&self.text)) {
            Some((_, chunk)) => Arc::clone(chunk),
            None => {
                *n_written += 1;
                Arc::new(self.deflater.chunk(&self.text, is_text_kept))
            }
        };
        self.groups.insert(key, (stamp, Arc::clone(&chunk)));
        chunk
    }

    fn people(&mut self, view: &View<'_>, shape: Shape, rendered: &mut Rendered) -> String {
        let before = self.shown.remove(&Place::UserSpend).unwrap_or_default();
        let (text, shown, n_dropped) = people::write(view, shape, &before);
        if n_dropped > 0 {
            self.shown.insert(Place::UserSpend, shown);
            rendered.n_dropped.insert(Place::UserSpend, n_dropped);
        }
        text
    }

    /// At most `max_series` of a family: who was shown stays, new ones come by their month's spend, the rest is summed.
    fn choose(
        &mut self,
        view: &View<'_>,
        rows: &[Row],
        (place, shows): (Place, Shows),
        shape: Shape,
    ) -> (Vec<Row>, u64) {
        let bound: usize = rows
            .iter()
            .map(|row| parts::max_series(view, row, shows))
            .sum();
        if bound <= shape.max_series {
            self.shown.remove(&place);
            return (rows.to_vec(), 0);
        }
        let counts: Vec<usize> = rows
            .iter()
            .map(|row| parts::n_series(view, row, shows, shape))
            .collect();
        let n_all: usize = counts.iter().sum();
        if n_all <= shape.max_series {
            self.shown.remove(&place);
            return (rows.to_vec(), 0);
        }
        let before = self.shown.remove(&place).unwrap_or_default();
        // The remainder is always shown: it is what makes the parts sum to the whole.
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
        let room = shape.max_series.saturating_sub(n_rest);
        let (shown, n_dropped) = fit(candidates, &before, room);
        // In the order of all rows, so that groups stay as they are.
        let is_kept = |row: &&Row| row.id == UNATTRIBUTED || shown.contains(&row.id);
        let mut kept: Vec<Row> = rows.iter().filter(is_kept).cloned().collect();
        let dropped = rows.iter().filter(|row| !is_kept(row));
        kept.push(Row {
            id: OTHER.to_owned(),
            name: OTHER.to_owned(),
            members: dropped.flat_map(|row| row.members.clone()).collect(),
        });
        self.shown.insert(place, shown);
        (kept, n_dropped)
    }
}

fn month_spend(view: &View<'_>, row: &Row) -> Usd {
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let of = |member: &usize| month.map_or(Usd::ZERO, |frame| frame.sum_of(*member).spend);
    row.members.iter().map(of).sum()
}
