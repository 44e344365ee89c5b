//! What was used as the real service tells it: line by line, with the key, the person and the manner of each.
//!
//! An hour of a thousand keys has thousands of lines, and a report sums up all of them: so a line is numbers alone, and
//! names its manner by place.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use crate::domain::span::{Hour, HourSpan};
use crate::simulator::living::begun;
use crate::simulator::spending::Stream;
use crate::simulator::world::{Detail, Details, Models, Used, World};

/// Of whom, with what, by whom and how something was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// The id; empty is the default workspace.
    pub workspace: String,
    /// Empty is none: code execution, or a correction.
    pub model: String,
    pub detail: Detail,
    /// A correction: only whole days tell it.
    pub is_of_day: bool,
}

impl Manner {
    /// Whether it is billed at all: the Priority Tier is not.
    pub fn is_billed(&self) -> bool {
        self.detail.service_tier != "priority"
    }
}

/// What was used in one manner, in one hour or, where it is a correction, in one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The hour; of a correction the day's first one.
    pub hour: Hour,
    pub manner: usize,
    pub used: Used,
}

/// Lines in order of time, and the manners that they name.
#[derive(Debug, Default)]
pub struct Lines {
    pub manners: Vec<Manner>,
    /// In order of the hour.
    pub lines: Vec<Line>,
}

/// What lines are wanted, so that no others are made.
pub struct Wanted<'a> {
    /// Of these hours.
    pub hours: HourSpan,
    /// Up to this moment. Of the hour in which it lies only half of the money is told, unless it is now.
    pub until: Timestamp,
    /// Whether anything of a workspace is wanted.
    pub of: &'a dyn Fn(&str) -> bool,
    /// Whether keys matter; where they do not, what they share is one line.
    pub is_by_key: bool,
}

/// One workspace, with all that is to be known of it for every hour.
struct Home<'a> {
    id: &'a str,
    streams: &'a [Stream],
    exact: Option<&'a BTreeMap<Hour, Models>>,
    details: Option<&'a Details>,
    wild: BTreeMap<Hour, Vec<(&'a str, Used)>>,
    keys: Vec<&'a str>,
    /// By model: place of the first of its keys' manners.
    manners: Vec<Option<usize>>,
    detailed: HashMap<(usize, &'a Detail), usize>,
}

/// Models by place: first those of habits, in their order.
struct Names<'a> {
    all: Vec<&'a str>,
    places: HashMap<&'a str, usize>,
}

impl World {
    /// The lines that are wanted, as they are known now.
    pub fn lines(&mut self, wanted: &Wanted<'_>, now: Timestamp) -> Lines {
        let is_cut = wanted.until < now;
        let until = self.as_of(wanted.until.min(now));
        self.lived_until = self.lived_until.max(Some(Hour::of(until)));
        let mut begun = begun(wanted.hours, until);
        if is_cut {
            begun.end = begun.end.min(Hour::ceil(wanted.until)).max(begun.start);
        }
        let mut names = Names::of(self.models.iter().map(|(model, _)| model.as_str()));
        let mut homes = self.homes(wanted, begun, until);
        let mut told = Lines::default();
        let mut used = Vec::new();
        for hour in (begun.start.count()..begun.end.count()).map(Hour::from_count) {
            let divisor = if is_cut && hour == Hour::of(wanted.until) {
                2
            } else {
                1
            };
            for home in &mut homes {
                self.use_of(home, &mut names, &mut used, hour, until);
                home.tell(&mut told, &mut names, &mut used, hour, divisor);
            }
        }
        self.correct(&mut told, wanted, until);
        told
    }

    /// Whoever may have used something in these hours.
    fn homes<'a>(&'a self, wanted: &Wanted<'_>, hours: HourSpan, now: Timestamp) -> Vec<Home<'a>> {
        let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
        for key in self.keys.iter().filter(|_| wanted.is_by_key) {
            let home = key.workspace.as_deref().unwrap_or_default();
            keys.entry(home).or_default().push(&key.id);
        }
        let habits = self.streams.keys();
        let wild = self.runaways.iter().map(|runaway| &runaway.workspace);
        let everyone: BTreeSet<&String> = habits.chain(self.used.keys()).chain(wild).collect();
        let asked = everyone.into_iter().filter(|id| (wanted.of)(id));
        let home = |id: &'a String| {
            let mut wild: BTreeMap<Hour, Vec<(&str, Used)>> = BTreeMap::new();
            for runaway in self.runaways.iter().filter(|of| of.workspace == *id) {
                for (hour, used) in runaway.used(hours, now) {
                    let of_hour = wild.entry(hour).or_default();
                    of_hour.push((&runaway.model, used));
                }
            }
            Home {
                id,
                streams: self.streams.get(id).map_or(&[], Vec::as_slice),
                exact: self.used.get(id),
                details: self.details.get(id),
                wild,
                keys: keys.get(id.as_str()).cloned().unwrap_or_default(),
                manners: Vec::new(),
                detailed: HashMap::new(),
            }
        };
        asked.map(home).collect()
    }

    /// What a workspace used in one hour, by place of the model.
    fn use_of<'a>(
        &self,
        home: &Home<'a>,
        names: &mut Names<'a>,
        used: &mut Vec<(usize, Used)>,
        hour: Hour,
        now: Timestamp,
    ) {
        used.clear();
        if !self.is_forgotten(home.id, hour) {
            for stream in home.streams {
                if let Some(by_habit) = self.used_by_stream(stream, hour, now) {
                    add(used, stream.model, by_habit);
                }
            }
            for (model, by_loop) in home.wild.get(&hour).into_iter().flatten() {
                add(used, names.place(model), *by_loop);
            }
        }
        let exact = home.exact.and_then(|hours| hours.get(&hour));
        for (model, exactly) in exact.into_iter().flatten() {
            add(used, names.place(model), *exactly);
        }
    }

    fn correct(&self, told: &mut Lines, wanted: &Wanted<'_>, until: Timestamp) {
        for ((workspace, day), micros) in &self.day_extra {
            let is_told = wanted.hours.contains(day.first_hour()) && day.start() < until;
            if !is_told || !(wanted.of)(workspace) {
                continue;
            }
            told.lines.push(Line {
                hour: day.first_hour(),
                manner: told.manners.len(),
                used: Used {
                    micros: *micros,
                    ..Used::default()
                },
            });
            told.manners.push(Manner {
                workspace: workspace.clone(),
                model: String::new(),
                detail: Detail::default(),
                is_of_day: true,
            });
        }
        told.lines.sort_by_key(|line| line.hour);
    }
}

impl<'a> Home<'a> {
    /// What was told in detail as it was, and the rest among the workspace's keys; money divided before it is shared, so
    /// that its sum does not hang on the keys.
    fn tell(
        &mut self,
        told: &mut Lines,
        names: &mut Names<'a>,
        used: &mut [(usize, Used)],
        hour: Hour,
        divisor: i64,
    ) {
        let divided = |used: Used| Used {
            micros: used.micros / divisor,
            ..used
        };
        let details = self.details.and_then(|hours| hours.get(&hour));
        for (name, detail, part) in details.into_iter().flatten() {
            let model = names.place(name);
            let id = self.id;
            let manner = *self.detailed.entry((model, detail)).or_insert_with(|| {
                told.manners.push(manner(id, name, detail.clone()));
                told.manners.len() - 1
            });
            push(told, hour, manner, divided(*part));
            if let Some((_, whole)) = used.iter_mut().find(|(of, _)| *of == model) {
                *whole = whole.minus(part);
            }
        }
        let n_keys = self.keys.len().max(1);
        let n = i64::try_from(n_keys).expect("keys fit 64 bits");
        for (model, rest) in used.iter().filter(|(_, rest)| *rest != Used::default()) {
            let first = self.first(told, *model, names.all[*model]);
            let (even, last) = divided(*rest).shares(n);
            for key in 0..n_keys - 1 {
                push(told, hour, first + key, even);
            }
            push(told, hour, first + n_keys - 1, last);
        }
    }

    /// Place of the manner of the first key with a model; those of the others follow.
    fn first(&mut self, told: &mut Lines, model: usize, name: &str) -> usize {
        if self.manners.len() <= model {
            self.manners.resize(model + 1, None);
        }
        if let Some(first) = self.manners[model] {
            return first;
        }
        let first = told.manners.len();
        for key in &self.keys {
            let detail = Detail {
                api_key: Some((*key).to_owned()),
                ..Detail::default()
            };
            told.manners.push(manner(self.id, name, detail));
        }
        if self.keys.is_empty() {
            told.manners.push(manner(self.id, name, Detail::default()));
        }
        self.manners[model] = Some(first);
        first
    }
}

impl<'a> Names<'a> {
    fn of(names: impl Iterator<Item = &'a str>) -> Names<'a> {
        let all: Vec<&str> = names.collect();
        let places = all.iter().enumerate().map(|(place, name)| (*name, place));
        Names {
            places: places.collect(),
            all,
        }
    }

    fn place(&mut self, name: &'a str) -> usize {
        *self.places.entry(name).or_insert_with(|| {
            self.all.push(name);
            self.all.len() - 1
        })
    }
}

fn manner(workspace: &str, model: &str, detail: Detail) -> Manner {
    Manner {
        workspace: workspace.to_owned(),
        model: model.to_owned(),
        detail,
        is_of_day: false,
    }
}

fn push(told: &mut Lines, hour: Hour, manner: usize, used: Used) {
    if used != Used::default() {
        told.lines.push(Line { hour, manner, used });
    }
}

fn add(sums: &mut Vec<(usize, Used)>, model: usize, used: Used) {
    match sums.iter_mut().find(|(of, _)| *of == model) {
        Some((_, sum)) => *sum += used,
        None => sums.push((model, used)),
    }
}
