//! The series of workspaces: written in groups, and a group only where something of it changed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::domain::dialect::Dialect;
use crate::domain::figures::PartState;
use crate::domain::frame::Frame;
use crate::domain::ids::{ApiKeyId, UNATTRIBUTED};
use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::domain::usage::{Amounts, Part, Tokens};
use crate::metrics::families::Place;
use crate::metrics::text::Family;
use crate::metrics::view::{Shape, Standing, View};

/// Parts of one group.
pub const GROUP: usize = 32;
/// What `max_series` sums away stands under this id.
pub const OTHER: &str = "other";

/// The families that are written per part, and what each shows.
pub const FAMILIES: [(Place, Shows); 15] = [
    (Place::SpendToday, Shows::Amounts(Over::Today, What::Spend)),
    (Place::SpendMonth, Shows::Amounts(Over::Month, What::Spend)),
    (
        Place::SpendRecorded,
        Shows::Amounts(Over::Recorded, What::Spend),
    ),
    (
        Place::TokensToday,
        Shows::Amounts(Over::Today, What::Tokens),
    ),
    (
        Place::TokensMonth,
        Shows::Amounts(Over::Month, What::Tokens),
    ),
    (
        Place::TokensRecorded,
        Shows::Amounts(Over::Recorded, What::Tokens),
    ),
    (
        Place::RequestsToday,
        Shows::Amounts(Over::Today, What::Requests),
    ),
    (
        Place::RequestsMonth,
        Shows::Amounts(Over::Month, What::Requests),
    ),
    (
        Place::RequestsRecorded,
        Shows::Amounts(Over::Recorded, What::Requests),
    ),
    (Place::SpendLastHour, Shows::LastHour),
    (
        Place::CacheSavings,
        Shows::Amounts(Over::Month, What::Savings),
    ),
    (
        Place::ApiKeySpend,
        Shows::Amounts(Over::Month, What::SpendOfKeys),
    ),
    (Place::DataTimestamp, Shows::DataTimestamp),
    (Place::WorkspaceLimit, Shows::Limit),
    (Place::WorkspaceRequestLimit, Shows::RequestLimit),
];

/// What a family shows of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// Sums of what was used.
    Amounts(Over, What),
    /// Spend of the newest settled hour.
    LastHour,
    /// Up to when the figures are known: changes with each poll.
    DataTimestamp,
    /// The server's own spend limit.
    Limit,
    /// The server's own limit of requests.
    RequestLimit,
}

/// Which sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// This day of UTC.
    Today,
    /// This month of UTC.
    Month,
    /// All that was ever recorded.
    Recorded,
}

/// Of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// By model.
    Spend,
    /// By model and token type.
    Tokens,
    /// Over all models.
    Requests,
    /// What a cache saved, by model.
    Savings,
    /// Spend by API key, over all models.
    SpendOfKeys,
}

impl What {
    fn is_by_model(self, shape: Shape) -> bool {
        match self {
            What::Spend | What::Tokens | What::Savings => shape.by_model,
            What::Requests | What::SpendOfKeys => false,
        }
    }
}

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

/// Whether a family is shown at all.
pub fn is_shown(view: &View<'_>, shows: Shows, shape: Shape) -> bool {
    match shows {
        Shows::Amounts(_, What::Savings) => view.is_detailed(),
        Shows::Amounts(_, What::SpendOfKeys) => view.is_detailed() && shape.by_api_key,
        // The older reports tell none, and unknown is not zero.
        Shows::Amounts(_, What::Requests) => view.dialect != Some(Dialect::Reports),
        Shows::Amounts(_, What::Spend | What::Tokens)
        | Shows::LastHour
        | Shows::DataTimestamp
        | Shows::Limit
        | Shows::RequestLimit => true,
    }
}

/// The rows of a view: one for each workspace, and one for the remainder where that is known.
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
    if !rest.members.is_empty() {
        rows.push(rest);
    }
    rows
}

/// How many series a row has in a family.
pub fn n_series(view: &View<'_>, row: &Row, shows: Shows, shape: Shape) -> usize {
    match shows {
        Shows::Amounts(over, what) => cells(view, row, over, what, shape)
            .values()
            .map(|cell| cell.n_series(what))
            .sum(),
        Shows::LastHour | Shows::DataTimestamp | Shows::Limit | Shows::RequestLimit => 1,
    }
}

/// At least as many as a row has in a family: nothing has to be summed for it.
pub fn max_series(view: &View<'_>, row: &Row, shows: Shows) -> usize {
    let members = row.members.iter();
    let n_cells: usize = members
        .map(|member| view.figures().recorded(*member).len())
        .sum();
    match shows {
        Shows::Amounts(_, What::Spend | What::Savings | What::SpendOfKeys) => n_cells,
        Shows::Amounts(_, What::Tokens) => n_cells * N_TOKEN_TYPES,
        Shows::Amounts(_, What::Requests)
        | Shows::LastHour
        | Shows::DataTimestamp
        | Shows::Limit
        | Shows::RequestLimit => 1,
    }
}

/// What the names of API keys are, as far as they are shown.
pub fn stamp_of_keys(view: &View<'_>, shape: Shape) -> u64 {
    let mut hasher = DefaultHasher::new();
    if view.is_detailed() && shape.by_api_key {
        view.ground.directory.keys.hash(&mut hasher);
    }
    hasher.finish()
}

/// What a group's text depends on, but for the time of its data; `keys` is the stamp of the names of keys.
pub fn stamp(view: &View<'_>, rows: &[Row], shows: Shows, shape: Shape, keys: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.by_model.hash(&mut hasher);
    if let Shows::Amounts(_, What::SpendOfKeys) = shows {
        keys.hash(&mut hasher);
    }
    for row in rows {
        row.id.hash(&mut hasher);
        row.name.hash(&mut hasher);
        for member in &row.members {
            let state = &view.figures().parts()[*member];
            (member, state.version).hash(&mut hasher);
        }
        limits(view, row)
            .map(|(usd, n)| (usd.map(Usd::pico), n))
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// The samples of a group in one family.
pub fn write(
    out: &mut String,
    view: &View<'_>,
    rows: &[Row],
    (place, shows): (Place, Shows),
    shape: Shape,
) {
    for row in rows {
        let labels = [
            ("organization", view.organization()),
            ("workspace_id", row.id.as_str()),
            ("workspace", row.name.as_str()),
        ];
        let value = match shows {
            Shows::Amounts(over, what) => {
                let cells = cells(view, row, over, what, shape);
                write_cells(out, place.family(), view, labels, what, &cells);
                None
            }
            Shows::LastHour => last_hour(view, row).map(|spend| spend.to_string()),
            Shows::DataTimestamp => as_of(view, row).map(seconds),
            Shows::Limit => limits(view, row)
                .and_then(|limits| limits.0)
                .map(|usd| usd.to_string()),
            Shows::RequestLimit => limits(view, row)
                .and_then(|limits| limits.1)
                .map(|n| n.to_string()),
        };
        if let Some(value) = value {
            place.family().sample(out, &labels, value);
        }
    }
}

type Labels<'a> = [(&'static str, &'a str); 3];

const N_TOKEN_TYPES: usize = 5;

/// What was used, and what was used at any time: the latter says which token types there are.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    now: Amounts,
    ever: Amounts,
}

impl Cell {
    fn n_series(&self, what: What) -> usize {
        match what {
            What::Spend | What::Requests | What::Savings | What::SpendOfKeys => 1,
            What::Tokens => self.tokens().count(),
        }
    }

    /// The token types that ever occurred, and how many are counted now.
    fn tokens(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let now = by_type(&self.now.tokens);
        let ever = by_type(&self.ever.tokens);
        now.into_iter()
            .zip(ever)
            .filter(|(_, (_, ever))| *ever != 0)
            .map(|(now, _)| now)
    }
}

fn by_type(tokens: &Tokens) -> [(&'static str, i64); N_TOKEN_TYPES] {
    [
        ("input", tokens.input),
        ("output", tokens.output),
        ("cache_read", tokens.cache_read),
        ("cache_write_5m", tokens.cache_write_5m),
        ("cache_write_1h", tokens.cache_write_1h),
    ]
}

type Cells<'a> = BTreeMap<&'a str, Cell>;

/// Amounts by model or API key, or under an empty name. A model or key of this or the last month stays with 0: a series that comes and goes
/// with midnight is of no use.
fn cells<'a>(view: &View<'a>, row: &Row, over: Over, what: What, shape: Shape) -> Cells<'a> {
    let figures = view.figures();
    let is_by_model = what.is_by_model(shape);
    let is_by_key = what == What::SpendOfKeys;
    let is_other = row.id == OTHER;
    let name = |cell: u32| {
        if is_by_model {
            figures.cell_at(cell).model.as_str()
        } else if is_by_key && is_other {
            // Keys are many: what does not fit is one series.
            OTHER
        } else if is_by_key {
            let key = figures.cell_at(cell).api_key.as_ref();
            key.map_or(UNATTRIBUTED, ApiKeyId::as_str)
        } else {
            ""
        }
    };
    let (day, month) = (view.frames(Period::Day), view.frames(Period::Month));
    let open_day = day.map(|(open, _)| open);
    let open_month = month.map(|(open, _)| open);
    let closed_month = month.and_then(|(_, closed)| closed);
    let mut cells = Cells::new();
    for member in &row.members {
        let of = |frame: Option<&'a Frame>| frame.map_or(&[][..], |frame| frame.sums_of(*member));
        let recorded = figures.recorded(*member);
        let (now, also): (_, [&[(u32, Amounts)]; 2]) = match over {
            Over::Today => (of(open_day), [of(open_month), of(closed_month)]),
            Over::Month => (of(open_month), [of(closed_month), &[]]),
            Over::Recorded => (recorded, [&[], &[]]),
        };
        for (model, amounts) in now {
            cells.entry(name(*model)).or_default().now += *amounts;
        }
        for (model, _) in also.into_iter().flatten() {
            cells.entry(name(*model)).or_default();
        }
    }
    if what == What::Tokens {
        for (model, amounts) in row
            .members
            .iter()
            .flat_map(|member| figures.recorded(*member))
        {
            if let Some(cell) = cells.get_mut(name(*model)) {
                cell.ever += *amounts;
            }
        }
    }
    if what == What::Requests {
        cells.entry("").or_default();
    }
    cells
}

fn write_cells(
    out: &mut String,
    family: &Family,
    view: &View<'_>,
    labels: Labels<'_>,
    what: What,
    cells: &Cells<'_>,
) {
    let [organization, id, name] = labels;
    for (label, cell) in cells {
        let model = ("model", *label);
        match what {
            What::Spend => family.sample(out, &[organization, id, name, model], cell.now.spend),
            // Requests come with the bill: of usage that is only estimated they are unknown.
            What::Requests if cell.now.requests == 0 && cell.now.tokens.sum() > 0 => {}
            What::Requests => family.sample(out, &labels, cell.now.requests),
            What::Savings => family.sample(out, &[organization, id, name, model], cell.now.saved),
            What::SpendOfKeys => {
                let key = ("api_key", view.ground.directory.key_name(label));
                let labels = [organization, id, ("api_key_id", *label), key];
                family.sample(out, &labels, cell.now.spend);
            }
            What::Tokens => {
                for (kind, n) in cell.tokens() {
                    family.sample(
                        out,
                        &[organization, id, name, model, ("token_type", kind)],
                        n,
                    );
                }
            }
        }
    }
}

/// `None` where no hour was settled yet.
fn last_hour(view: &View<'_>, row: &Row) -> Option<Usd> {
    let parts = view.figures().parts();
    let hours = row
        .members
        .iter()
        .filter_map(|member| parts[*member].last_hour);
    hours
        .map(|(_, amounts)| amounts.spend)
        .reduce(|sum, spend| sum + spend)
}

/// What is gone is not read any more, and says nothing about how old the rest is.
fn as_of(view: &View<'_>, row: &Row) -> Option<Timestamp> {
    let parts = view.figures().parts();
    let is_read = |part: &Part| row.id != UNATTRIBUTED || *part == Part::Unattributed;
    let states = row.members.iter().map(|member| &parts[*member]);
    states
        .filter(|state| is_read(&state.part))
        .filter_map(PartState::known_until)
        .min()
}

/// As Prometheus writes a time.
pub fn seconds(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    format!("{}.{:03}", milliseconds / 1000, (milliseconds % 1000).abs())
}

/// The server's own limits of a workspace that has a row of its own.
fn limits(view: &View<'_>, row: &Row) -> Option<(Option<Usd>, Option<u64>)> {
    let [member] = row.members.as_slice() else {
        return None;
    };
    let Part::Workspace(id) = &view.figures().parts()[*member].part else {
        return None;
    };
    let (workspace, _) = view.ground.directory.workspaces.get(id)?;
    Some((workspace.monthly_limit, workspace.requests_per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dialect::Dialect;
    use crate::domain::directory::Presence;
    use crate::metrics::gauges::Renderer;
    use crate::metrics::samples::{ALL, Made, of, spend, used};

    const KEYS: &str = "anthropic_api_key_spend_month_usd";
    const SAVINGS: &str = "anthropic_cache_savings_month_usd";
    const MONTH: &str = "anthropic_spend_month_usd";

    fn made() -> Made {
        Made::of(&[
            used("w1", "opus", ("key_1", ""), spend(5)),
            used("w1", "haiku", ("key_1", ""), spend(2)),
            used("w1", "opus", ("key_2", ""), spend(11)),
            used("w1", "opus", ("", "user_1"), spend(3)),
            used("w2", "opus", ("key_3", ""), spend(4)),
            used("gone", "opus", ("key_4", ""), spend(1)),
            used("", "opus", ("", ""), spend(6)),
        ])
        .with_workspace("w1", Presence::Listed)
        .with_workspace("w2", Presence::Listed)
        .with_workspace("gone", Presence::Gone)
        .with_key("key_1", "CI \"x\"")
    }

    #[test]
    fn keys_of_a_workspace_sum_to_its_month() {
        let expected = [
            r#"workspace_id="w1",api_key_id="key_1",api_key="CI \"x\"" 7"#,
            r#"workspace_id="w1",api_key_id="key_2",api_key="key_2" 11"#,
            r#"workspace_id="w1",api_key_id="unattributed",api_key="unattributed" 3"#,
            r#"workspace_id="w2",api_key_id="key_3",api_key="key_3" 4"#,
            r#"workspace_id="unattributed",api_key_id="key_4",api_key="key_4" 1"#,
            r#"workspace_id="unattributed",api_key_id="unattributed",api_key="unattributed" 6"#,
        ];
        assert_eq!(made().shown(KEYS, ALL), expected);
        assert_eq!(by_workspace(KEYS), by_workspace(MONTH));
    }

    /// By the first label after the organization.
    fn by_workspace(metric: &str) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for sample in made().shown(metric, ALL) {
            let (workspace, _) = sample.split_once(',').unwrap();
            let (_, value) = sample.rsplit_once(' ').unwrap();
            *sums.entry(workspace.to_owned()).or_default() += value.parse::<i64>().unwrap();
        }
        sums
    }

    #[test]
    fn keys_are_shown_only_where_asked_for_and_told() {
        let without = Shape {
            by_api_key: false,
            ..ALL
        };
        assert_eq!(made().shown(KEYS, without), Vec::<String>::new());
        let guide = Made {
            dialect: Some(Dialect::Guide),
            ..made()
        };
        assert_eq!(guide.shown(KEYS, ALL), Vec::<String>::new());
        assert_eq!(guide.shown(SAVINGS, ALL), Vec::<String>::new());
        let reports = Made {
            dialect: Some(Dialect::Reports),
            ..made()
        };
        assert_eq!(reports.shown(KEYS, ALL), made().shown(KEYS, ALL));
    }

    #[test]
    fn keys_beyond_max_series_are_one() {
        let narrow = Shape {
            max_series: 5,
            ..ALL
        };
        let (text, rendered) = made().render(&mut Renderer::default(), narrow);
        let ends: Vec<String> = of(&text, KEYS)
            .into_iter()
            .filter(|sample| !sample.contains("w1") && !sample.contains("unattributed"))
            .collect();
        let other = r#"workspace_id="other",api_key_id="other",api_key="other" 4"#;
        assert_eq!(ends, [other]);
        assert_eq!(rendered.n_dropped[&Place::ApiKeySpend], 1);
    }

    #[test]
    fn a_renamed_key_is_written_again_and_nothing_else() {
        let mut made = made();
        let mut renderer = Renderer::default();
        made.render(&mut renderer, ALL);
        assert_eq!(made.render(&mut renderer, ALL).1.n_written, 0);
        made = made.with_key("key_2", "nightly");
        let (text, rendered) = made.render(&mut renderer, ALL);
        assert_eq!(rendered.n_written, 1);
        let renamed = r#"workspace_id="w1",api_key_id="key_2",api_key="nightly" 11"#;
        assert!(of(&text, KEYS).iter().any(|sample| sample == renamed));
    }

    #[test]
    fn savings_are_by_model_and_may_be_below_zero() {
        let saved = |dollars| Amounts {
            saved: Usd::from_dollars(dollars),
            ..spend(1)
        };
        let made = Made::of(&[
            used("w1", "haiku", ("key_1", ""), saved(-3)),
            used("w1", "haiku", ("key_2", ""), saved(1)),
            used("w1", "opus", ("key_1", ""), saved(9)),
        ]);
        let expected = [
            r#"workspace_id="w1",workspace="w1",model="haiku" -2"#,
            r#"workspace_id="w1",workspace="w1",model="opus" 9"#,
        ];
        assert_eq!(made.shown(SAVINGS, ALL), expected);
        let without = Shape {
            by_model: false,
            ..ALL
        };
        let expected = [r#"workspace_id="w1",workspace="w1",model="" 7"#];
        assert_eq!(made.shown(SAVINGS, without), expected);
    }
}
