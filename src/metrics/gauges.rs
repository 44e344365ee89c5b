//! The gauges of one organization, rendered after a cycle: what did not change is taken over as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::metrics::chunk::Chunk;
use crate::metrics::families::{ALL, Place};
use crate::metrics::parts::{self, GROUP, OTHER, Row};
use crate::metrics::view::{Shape, View};
use crate::metrics::{organization, rules};

/// What was rendered last, and of what.
#[derive(Debug, Default)]
pub struct Renderer {
    groups: BTreeMap<(Place, usize), (u64, Arc<Chunk>)>,
    singles: BTreeMap<Place, Arc<Chunk>>,
    shown: BTreeMap<Place, BTreeSet<String>>,
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

impl Renderer {
    /// Renders a view. Where `is_text_kept`, pieces keep their text beside its compressed form.
    pub fn render(&mut self, view: &View<'_>, shape: Shape, is_text_kept: bool) -> Rendered {
        let mut rendered = Rendered {
            pieces: vec![Vec::new(); ALL.len()],
            n_dropped: BTreeMap::new(),
            n_written: 0,
        };
        let rows = parts::rows(view);
        for place in parts::PLACES {
            let (shown, n_dropped) = self.choose(view, &rows, place, shape);
            if n_dropped > 0 {
                rendered.n_dropped.insert(place, n_dropped);
            }
            for (number, group) in shown.chunks(GROUP).enumerate() {
                let chunk = self.group(
                    view,
                    group,
                    (place, number),
                    shape,
                    is_text_kept,
                    &mut rendered.n_written,
                );
                rendered.pieces[place as usize].push(chunk);
            }
        }
        for (place, text) in organization::write(view)
            .into_iter()
            .chain(rules::write(view))
        {
            let known = self
                .singles
                .get(&place)
                .filter(|chunk| chunk.holds(&text) && chunk.has_text() == is_text_kept);
            let chunk = known.cloned().unwrap_or_else(|| {
                rendered.n_written += 1;
                Arc::new(Chunk::new(text, is_text_kept))
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
        key: (Place, usize),
        shape: Shape,
        is_text_kept: bool,
        n_written: &mut usize,
    ) -> Arc<Chunk> {
        let stamp = parts::stamp(view, group, shape);
        let known = self
            .groups
            .get(&key)
            .filter(|(_, chunk)| chunk.has_text() == is_text_kept);
        // The time of the data changes with each poll, and nothing else does.
        if let Some((_, chunk)) =
            known.filter(|(known, _)| *known == stamp && key.0 != Place::DataTimestamp)
        {
            return Arc::clone(chunk);
        }
        let text = parts::write(view, group, key.0, shape);
        let chunk = match known.filter(|(_, chunk)| chunk.holds(&text)) {
            Some((_, chunk)) => Arc::clone(chunk),
            None => {
                *n_written += 1;
                Arc::new(Chunk::new(text, is_text_kept))
            }
        };
        self.groups.insert(key, (stamp, Arc::clone(&chunk)));
        chunk
    }

    /// At most `max_series` of a family: who was shown stays, new ones come by their month's spend, the rest is summed.
    fn choose(
        &mut self,
        view: &View<'_>,
        rows: &[Row],
        place: Place,
        shape: Shape,
    ) -> (Vec<Row>, u64) {
        let counts: Vec<usize> = rows
            .iter()
            .map(|row| parts::n_series(view, row, place, shape))
            .collect();
        let n_all: usize = counts.iter().sum();
        if n_all <= shape.max_series {
            self.shown.remove(&place);
            return (rows.to_vec(), 0);
        }
        let before = self.shown.remove(&place).unwrap_or_default();
        let mut order: Vec<usize> = (0..rows.len().saturating_sub(1)).collect();
        order.sort_by_key(|index| {
            let row = &rows[*index];
            (
                !before.contains(&row.id),
                std::cmp::Reverse(month_spend(view, row)),
                row.id.clone(),
            )
        });
        let mut other = Row {
            id: OTHER.to_owned(),
            name: OTHER.to_owned(),
            members: Vec::new(),
        };
        let mut room = shape
            .max_series
            .saturating_sub(counts.last().copied().unwrap_or_default());
        let (mut shown, mut n_dropped) = (BTreeSet::new(), 0);
        for index in order {
            if counts[index] <= room {
                room -= counts[index];
                shown.insert(rows[index].id.clone());
            } else {
                other.members.extend(&rows[index].members);
                n_dropped += counts[index];
            }
        }
        let is_shown =
            |(index, row): &(usize, &Row)| index + 1 == rows.len() || shown.contains(&row.id);
        let mut kept: Vec<Row> = rows
            .iter()
            .enumerate()
            .filter(is_shown)
            .map(|(_, row)| row.clone())
            .collect();
        kept.push(other);
        self.shown.insert(place, shown);
        (kept, u64::try_from(n_dropped).unwrap_or(u64::MAX))
    }
}

fn month_spend(view: &View<'_>, row: &Row) -> Usd {
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let of = |member: &usize| month.map_or(Usd::ZERO, |frame| frame.sum_of(*member).spend);
    row.members.iter().map(of).sum()
}
