//! Lines summed up by bucket and group.

use std::collections::HashMap;

use crate::domain::span::Hour;
use crate::simulator::charges::Charge;
use crate::simulator::lines::{Lines, Manner};
use crate::simulator::world::Used;

/// What stands in a group's dimensions, in the order in which they were asked for.
pub type Key = Vec<Option<String>>;

/// Rows in order of their buckets, and the groups that they name.
#[derive(Debug, Default)]
pub struct Sums {
    pub groups: Vec<Key>,
    /// First hour of the bucket, place of the group, and the sum, which is not nothing.
    pub rows: Vec<(Hour, usize, Used)>,
}

/// Sums of the parts of all lines whose manner has a key.
pub fn sums(
    lines: &Lines,
    bucket: impl Fn(Hour) -> Hour,
    parts: impl Fn(&Manner, &Used, &mut Vec<(Charge, Used)>),
    key: impl Fn(&Manner, Charge) -> Option<Key>,
) -> Sums {
    let mut groups = Groups {
        of: vec![[None; Charge::COUNT]; lines.manners.len()],
        places: HashMap::new(),
        all: Vec::new(),
    };
    let mut open = Open::default();
    let mut rows = Vec::new();
    let mut of_line = Vec::new();
    for line in &lines.lines {
        let start = bucket(line.hour);
        if open.bucket != Some(start) {
            open.close(&mut rows);
            open.bucket = Some(start);
        }
        let manner = &lines.manners[line.manner];
        parts(manner, &line.used, &mut of_line);
        for (charge, used) in of_line.drain(..) {
            let known = &mut groups.of[line.manner][charge.place()];
            let place = match *known {
                Some(place) => place,
                None => {
                    let place = key(manner, charge).map(|key| groups.place(key));
                    groups.of[line.manner][charge.place()] = Some(place);
                    place
                }
            };
            if let Some(place) = place {
                open.add(place, used);
            }
        }
    }
    open.close(&mut rows);
    sorted(groups.all, rows)
}

/// Groups as they come, and which one a manner's charge belongs to: none, where it was not asked for.
struct Groups {
    of: Vec<[Option<Option<usize>>; Charge::COUNT]>,
    places: HashMap<Key, usize>,
    all: Vec<Key>,
}

impl Groups {
    fn place(&mut self, key: Key) -> usize {
        *self.places.entry(key).or_insert_with_key(|key| {
            self.all.push(key.clone());
            self.all.len() - 1
        })
    }
}

/// The bucket that is summed up at the moment.
#[derive(Default)]
struct Open {
    bucket: Option<Hour>,
    sums: Vec<Used>,
    touched: Vec<usize>,
    is_touched: Vec<bool>,
}

impl Open {
    fn add(&mut self, group: usize, used: Used) {
        if self.sums.len() <= group {
            self.sums.resize(group + 1, Used::default());
            self.is_touched.resize(group + 1, false);
        }
        if !self.is_touched[group] {
            self.is_touched[group] = true;
            self.touched.push(group);
        }
        self.sums[group] += used;
    }

    fn close(&mut self, rows: &mut Vec<(Hour, usize, Used)>) {
        for group in self.touched.drain(..) {
            self.is_touched[group] = false;
            let sum = std::mem::take(&mut self.sums[group]);
            if let Some(bucket) = self.bucket.filter(|_| sum != Used::default()) {
                rows.push((bucket, group, sum));
            }
        }
    }
}

/// The same with groups in order, and the rows of each bucket too.
fn sorted(groups: Vec<Key>, mut rows: Vec<(Hour, usize, Used)>) -> Sums {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by(|left, right| groups[*left].cmp(&groups[*right]));
    let mut ranks = vec![0; groups.len()];
    for (rank, place) in order.iter().enumerate() {
        ranks[*place] = rank;
    }
    for (_, group, _) in &mut rows {
        *group = ranks[*group];
    }
    rows.sort_unstable_by_key(|(bucket, group, _)| (*bucket, *group));
    let mut groups: Vec<Option<Key>> = groups.into_iter().map(Some).collect();
    let in_order = order.into_iter().filter_map(|place| groups[place].take());
    Sums {
        groups: in_order.collect(),
        rows,
    }
}
