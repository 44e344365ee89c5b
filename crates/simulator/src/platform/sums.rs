//! Sums usage records by bucket and group.

use std::collections::HashMap;

use crate::platform::charges::Charge;
use crate::platform::usage_records::{UsageRecords, UsageTraits};
use crate::world::amounts::SimulatedUsage;
use spendwatch_domain::units::span::Hour;

/// Dimension values of a group, in the requested order.
pub type GroupKey = Vec<Option<String>>;

/// Sums in order of their buckets, and the groups that they refer to.
#[derive(Debug, Default)]
pub struct GroupedUsage {
    pub groups: Vec<GroupKey>,
    /// First hour of the bucket, index of the group, and the non-zero sum.
    pub rows: Vec<(Hour, usize, SimulatedUsage)>,
}

/// Sums the charges of all records whose traits have a group key.
pub fn group_usage(
    records: &UsageRecords,
    bucket: impl Fn(Hour) -> Hour,
    charges: impl Fn(&UsageTraits, &SimulatedUsage, &mut Vec<(Charge, SimulatedUsage)>),
    key: impl Fn(&UsageTraits, Charge) -> Option<GroupKey>,
) -> GroupedUsage {
    let mut groups = Groups {
        by_traits: vec![[None; Charge::COUNT]; records.traits.len()],
        indexes: HashMap::new(),
        all: Vec::new(),
    };
    let mut open = OpenBucket::default();
    let mut rows = Vec::new();
    let mut parts = Vec::new();
    for record in &records.records {
        let start = bucket(record.hour);
        if open.bucket != Some(start) {
            open.close(&mut rows);
            open.bucket = Some(start);
        }
        let traits = &records.traits[record.traits];
        charges(traits, &record.usage, &mut parts);
        for (charge, used) in parts.drain(..) {
            let group = &mut groups.by_traits[record.traits][charge.index()];
            let index = match *group {
                Some(index) => index,
                None => {
                    let index = key(traits, charge).map(|key| groups.index_of(key));
                    groups.by_traits[record.traits][charge.index()] = Some(index);
                    index
                }
            };
            if let Some(index) = index {
                open.add(index, used);
            }
        }
    }
    open.close(&mut rows);
    sorted(groups.all, rows)
}

/// Groups in order of appearance.
struct Groups {
    /// Group by traits and charge; `Some(None)` if they are not included.
    by_traits: Vec<[Option<Option<usize>>; Charge::COUNT]>,
    indexes: HashMap<GroupKey, usize>,
    all: Vec<GroupKey>,
}

impl Groups {
    fn index_of(&mut self, key: GroupKey) -> usize {
        *self.indexes.entry(key).or_insert_with_key(|key| {
            self.all.push(key.clone());
            self.all.len() - 1
        })
    }
}

/// Bucket whose sums are not complete yet.
#[derive(Default)]
struct OpenBucket {
    bucket: Option<Hour>,
    sums: Vec<SimulatedUsage>,
    touched: Vec<usize>,
    is_touched: Vec<bool>,
}

impl OpenBucket {
    fn add(&mut self, group: usize, used: SimulatedUsage) {
        if self.sums.len() <= group {
            self.sums.resize(group + 1, SimulatedUsage::default());
            self.is_touched.resize(group + 1, false);
        }
        if !self.is_touched[group] {
            self.is_touched[group] = true;
            self.touched.push(group);
        }
        self.sums[group] += used;
    }

    fn close(&mut self, rows: &mut Vec<(Hour, usize, SimulatedUsage)>) {
        for group in self.touched.drain(..) {
            self.is_touched[group] = false;
            let sum = std::mem::take(&mut self.sums[group]);
            if let Some(bucket) = self.bucket.filter(|_| sum != SimulatedUsage::default()) {
                rows.push((bucket, group, sum));
            }
        }
    }
}

/// Sorts the groups, and the rows of each bucket.
fn sorted(groups: Vec<GroupKey>, mut rows: Vec<(Hour, usize, SimulatedUsage)>) -> GroupedUsage {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by(|left, right| groups[*left].cmp(&groups[*right]));
    let mut ranks = vec![0; groups.len()];
    for (rank, index) in order.iter().enumerate() {
        ranks[*index] = rank;
    }
    for (_, group, _) in &mut rows {
        *group = ranks[*group];
    }
    rows.sort_unstable_by_key(|(bucket, group, _)| (*bucket, *group));
    let mut groups: Vec<Option<GroupKey>> = groups.into_iter().map(Some).collect();
    let sorted_groups = order.into_iter().filter_map(|index| groups[index].take());
    GroupedUsage {
        groups: sorted_groups.collect(),
        rows,
    }
}
