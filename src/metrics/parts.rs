//! The series of workspaces: written in groups, and a group only where something of it changed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::domain::figures::Frame;
use crate::domain::ids::UNATTRIBUTED;
use crate::domain::period::Period;
use crate::domain::usage::{Amounts, Part};
use crate::metrics::families::Place;
use crate::metrics::view::{Shape, Standing, View};

/// Parts of one group.
pub const GROUP: usize = 256;
/// What `max_series` sums away stands under this id.
pub const OTHER: &str = "other";

/// The families that are written per part.
pub const PLACES: [Place; 13] = [
    Place::SpendToday,
    Place::SpendMonth,
    Place::SpendRecorded,
    Place::TokensToday,
    Place::TokensMonth,
    Place::TokensRecorded,
    Place::RequestsToday,
    Place::RequestsMonth,
    Place::RequestsRecorded,
    Place::SpendLastHour,
    Place::DataTimestamp,
    Place::WorkspaceLimit,
    Place::WorkspaceRequestLimit,
];

/// Parts whose amounts are shown under one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The label `workspace_id`.
    pub id: String,
    /// The label `workspace`.
    pub name: String,
    /// By index in the figures.
    pub members: Vec<usize>,
}

/// The rows of a view: one for each workspace, and one for the remainder. The latter is the last.
pub fn rows(view: &View<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut rest = Row {
        id: UNATTRIBUTED.to_owned(),
        name: UNATTRIBUTED.to_owned(),
        members: Vec::new(),
    };
    for (index, state) in view.figures().parts().iter().enumerate() {
        match view.standing(index) {
            Standing::Hidden => {}
            Standing::Unattributed => rest.members.push(index),
            Standing::Own => {
                let id = state.part.workspace_id().unwrap_or_default();
                rows.push(Row {
                    id: id.to_owned(),
                    name: view.ground.directory.name_of(id).to_owned(),
                    members: vec![index],
                });
            }
        }
    }
    rows.push(rest);
    rows
}

/// How many series a row has in a family.
pub fn n_series(view: &View<'_>, row: &Row, place: Place, shape: Shape) -> usize {
    match amounts_of(place) {
        None => 1,
        Some((_, what)) => cells(view, row, place, shape)
            .values()
            .map(|amounts| what.series(amounts).count())
            .sum(),
    }
}

/// What a group's text depends on, but for the time of its data.
pub fn stamp(view: &View<'_>, rows: &[Row], shape: Shape) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.by_model.hash(&mut hasher);
    for row in rows {
        row.id.hash(&mut hasher);
        row.name.hash(&mut hasher);
        for member in &row.members {
            let state = &view.figures().parts()[*member];
            (member, state.version).hash(&mut hasher);
            limits(view, &state.part).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The samples of a group in one family.
pub fn write(view: &View<'_>, rows: &[Row], place: Place, shape: Shape) -> String {
    let mut out = String::new();
    for row in rows {
        match amounts_of(place) {
            Some((_, what)) => write_amounts(&mut out, view, row, place, what, shape),
            None => write_state(&mut out, view, row, place),
        }
    }
    out
}

/// Which amounts a family shows.
#[derive(Clone, Copy)]
enum What {
    Spend,
    Tokens,
    Requests,
}

#[derive(Clone, Copy)]
enum Over {
    Today,
    Month,
    Recorded,
}

fn amounts_of(place: Place) -> Option<(Over, What)> {
    Some(match place {
        Place::SpendToday => (Over::Today, What::Spend),
        Place::SpendMonth => (Over::Month, What::Spend),
        Place::SpendRecorded => (Over::Recorded, What::Spend),
        Place::TokensToday => (Over::Today, What::Tokens),
        Place::TokensMonth => (Over::Month, What::Tokens),
        Place::TokensRecorded => (Over::Recorded, What::Tokens),
        Place::RequestsToday => (Over::Today, What::Requests),
        Place::RequestsMonth => (Over::Month, What::Requests),
        Place::RequestsRecorded => (Over::Recorded, What::Requests),
        _ => return None,
    })
}

/// What was used, and what was used at any time: the latter says which series there are.
#[derive(Clone, Copy, Default)]
struct Cell {
    now: Amounts,
    ever: Amounts,
}

impl What {
    /// The series of a cell: the label of the token type, where there is one, and the value's place.
    fn series(self, cell: &Cell) -> impl Iterator<Item = &'static str> {
        let tokens = &cell.ever.tokens;
        let types = [
            ("input", tokens.input),
            ("output", tokens.output),
            ("cache_read", tokens.cache_read),
            ("cache_write_5m", tokens.cache_write_5m),
            ("cache_write_1h", tokens.cache_write_1h),
        ];
        types
            .into_iter()
            .enumerate()
            .filter_map(move |(place, (name, ever))| match self {
                What::Tokens => (ever != 0).then_some(name),
                What::Spend | What::Requests => (place == 0).then_some(""),
            })
    }
}

/// Amounts by model (or under an empty one). A model of this or the last month, or of the ledger where that is summed,
/// stays with 0: a series that comes and goes with midnight is of no use.
fn cells<'a>(view: &View<'a>, row: &Row, place: Place, shape: Shape) -> BTreeMap<&'a str, Cell> {
    let Some((over, what)) = amounts_of(place) else {
        return BTreeMap::new();
    };
    let figures = view.figures();
    let is_by_model = shape.by_model && !matches!(what, What::Requests);
    let name = |model: u32| {
        if is_by_model {
            figures.models()[model as usize].as_str()
        } else {
            ""
        }
    };
    let (day, month) = (view.frames(Period::Day), view.frames(Period::Month));
    let mut cells: BTreeMap<&str, Cell> = BTreeMap::new();
    let mut add = |sums: &[(u32, Amounts)], is_now: bool, is_shown: bool| {
        for (model, amounts) in sums {
            if is_shown {
                let cell = cells.entry(name(*model)).or_default();
                if is_now {
                    cell.now += *amounts;
                }
            }
        }
    };
    for member in &row.members {
        let of = |frame: Option<&'a Frame>| frame.map_or(&[][..], |frame| frame.sums_of(*member));
        let open_month = of(month.map(|(open, _)| open));
        match over {
            Over::Today => add(of(day.map(|(open, _)| open)), true, true),
            Over::Month => add(open_month, true, true),
            Over::Recorded => add(figures.recorded(*member), true, true),
        }
        if matches!(over, Over::Today) {
            add(open_month, false, true);
        }
        add(
            of(month.and_then(|(_, closed)| closed)),
            false,
            !matches!(over, Over::Recorded),
        );
    }
    for member in &row.members {
        for (model, amounts) in figures.recorded(*member) {
            if let Some(cell) = cells.get_mut(name(*model)) {
                cell.ever += *amounts;
            }
        }
    }
    if matches!(what, What::Requests) && cells.is_empty() {
        cells.insert("", Cell::default());
    }
    cells
}

fn write_amounts(
    out: &mut String,
    view: &View<'_>,
    row: &Row,
    place: Place,
    what: What,
    shape: Shape,
) {
    let family = place.family();
    let common = [
        ("organization", view.organization()),
        ("workspace_id", row.id.as_str()),
        ("workspace", row.name.as_str()),
    ];
    let [organization, id, name] = common;
    for (model, cell) in cells(view, row, place, shape) {
        let tokens = &cell.now.tokens;
        match what {
            What::Spend => family.sample(
                out,
                &[organization, id, name, ("model", model)],
                cell.now.spend,
            ),
            What::Requests => family.sample(out, &[organization, id, name], cell.now.requests),
            What::Tokens => {
                for kind in what.series(&cell) {
                    let value = match kind {
                        "input" => tokens.input,
                        "output" => tokens.output,
                        "cache_read" => tokens.cache_read,
                        "cache_write_5m" => tokens.cache_write_5m,
                        _ => tokens.cache_write_1h,
                    };
                    family.sample(
                        out,
                        &[
                            organization,
                            id,
                            name,
                            ("model", model),
                            ("token_type", kind),
                        ],
                        value,
                    );
                }
            }
        }
    }
}

fn write_state(out: &mut String, view: &View<'_>, row: &Row, place: Place) {
    let parts = view.figures().parts();
    let members = || row.members.iter().map(|member| &parts[*member]);
    let labels = [
        ("organization", view.organization()),
        ("workspace_id", row.id.as_str()),
        ("workspace", row.name.as_str()),
    ];
    let family = place.family();
    match place {
        Place::SpendLastHour => {
            let hours = members().filter_map(|state| state.last_hour.as_ref());
            if hours.clone().next().is_some() {
                let spend: crate::domain::money::Usd =
                    hours.map(|(_, amounts)| amounts.spend).sum();
                family.sample(out, &labels, spend);
            }
        }
        Place::DataTimestamp => {
            // What is gone is not read any more, and says nothing about how old the rest is.
            let is_read = |part: &Part| row.members.len() == 1 || *part == Part::Unattributed;
            let as_of = members()
                .filter(|state| is_read(&state.part))
                .filter_map(|state| state.as_of)
                .min();
            if let Some(at) = as_of {
                let milliseconds = at.as_millisecond();
                let text = format!("{}.{:03}", milliseconds / 1000, (milliseconds % 1000).abs());
                family.sample(out, &labels, text);
            }
        }
        Place::WorkspaceLimit | Place::WorkspaceRequestLimit => {
            let [member] = row.members.as_slice() else {
                return;
            };
            let Some((usd, per_minute)) = limits(view, &parts[*member].part) else {
                return;
            };
            let limit = if place == Place::WorkspaceLimit {
                usd.map(|pico| crate::domain::money::Usd::from_pico(pico).to_string())
            } else {
                per_minute.map(|n| n.to_string())
            };
            if let Some(limit) = limit {
                family.sample(out, &labels, limit);
            }
        }
        _ => {}
    }
}

type Limits = (Option<i128>, Option<u64>);

/// The server's own limits of a workspace.
fn limits(view: &View<'_>, part: &Part) -> Option<Limits> {
    let Part::Workspace(id) = part else {
        return None;
    };
    let (workspace, _) = view.ground.directory.workspaces.get(id)?;
    let usd = workspace.monthly_limit.map(crate::domain::money::Usd::pico);
    Some((usd, workspace.requests_per_minute))
}
