//! Series of workspaces, rendered in groups that are only rendered again if they changed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::families::Metric;
use crate::text::Family;
use crate::view::{SeriesOptions, SeriesPlacement, View};
use spendwatch_domain::figures::period_sums::PeriodSums;
use spendwatch_domain::figures::totals::PartState;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{ApiKeyId, UNATTRIBUTED};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::usage::bucket::{Amounts, Part, Tokens};

/// Series per group.
pub const GROUP: usize = 32;
/// Id of the sum of the series beyond `max_series`.
pub const OTHER: &str = "other";

/// Metrics of workspaces and their contents.
pub const FAMILIES: [(Metric, SeriesKind); 15] = [
    (
        Metric::SpendToday,
        SeriesKind::Amounts(SumPeriod::Today, AmountKind::Spend),
    ),
    (
        Metric::SpendMonth,
        SeriesKind::Amounts(SumPeriod::Month, AmountKind::Spend),
    ),
    (
        Metric::SpendRecorded,
        SeriesKind::Amounts(SumPeriod::Recorded, AmountKind::Spend),
    ),
    (
        Metric::TokensToday,
        SeriesKind::Amounts(SumPeriod::Today, AmountKind::Tokens),
    ),
    (
        Metric::TokensMonth,
        SeriesKind::Amounts(SumPeriod::Month, AmountKind::Tokens),
    ),
    (
        Metric::TokensRecorded,
        SeriesKind::Amounts(SumPeriod::Recorded, AmountKind::Tokens),
    ),
    (
        Metric::RequestsToday,
        SeriesKind::Amounts(SumPeriod::Today, AmountKind::Requests),
    ),
    (
        Metric::RequestsMonth,
        SeriesKind::Amounts(SumPeriod::Month, AmountKind::Requests),
    ),
    (
        Metric::RequestsRecorded,
        SeriesKind::Amounts(SumPeriod::Recorded, AmountKind::Requests),
    ),
    (Metric::SpendLastHour, SeriesKind::LastHour),
    (
        Metric::CacheSavings,
        SeriesKind::Amounts(SumPeriod::Month, AmountKind::Savings),
    ),
    (
        Metric::ApiKeySpend,
        SeriesKind::Amounts(SumPeriod::Month, AmountKind::SpendOfKeys),
    ),
    (Metric::DataTimestamp, SeriesKind::DataTimestamp),
    (Metric::WorkspaceLimit, SeriesKind::Limit),
    (Metric::WorkspaceRequestLimit, SeriesKind::RequestLimit),
];

/// Content of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    Amounts(SumPeriod, AmountKind),
    LastHour,
    /// End of the known figures; changes with each poll.
    DataTimestamp,
    /// Provider spend limit.
    Limit,
    /// Provider request limit.
    RequestLimit,
}

/// Period of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumPeriod {
    Today,
    Month,
    /// Everything recorded.
    Recorded,
}

/// Kind of amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmountKind {
    /// By model.
    Spend,
    /// By model and token type.
    Tokens,
    /// Over all models.
    Requests,
    /// Cache savings, by model.
    Savings,
    /// Spend by API key, over all models.
    SpendOfKeys,
}

impl AmountKind {
    fn is_by_model(self, options: SeriesOptions) -> bool {
        match self {
            AmountKind::Spend | AmountKind::Tokens | AmountKind::Savings => options.by_model,
            AmountKind::Requests | AmountKind::SpendOfKeys => false,
        }
    }
}

/// Parts whose amounts are shown under one workspace id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceSeries {
    pub id: String,
    pub name: String,
    /// Indexes into the figures.
    pub members: Vec<usize>,
}

/// Returns whether a metric is shown.
pub fn is_shown(view: &View<'_>, shows: SeriesKind, options: SeriesOptions) -> bool {
    match shows {
        SeriesKind::Amounts(_, AmountKind::Savings) => view.is_detailed(),
        SeriesKind::Amounts(_, AmountKind::SpendOfKeys) => view.is_detailed() && options.by_api_key,
        // The older reports have no requests, and unknown is not zero.
        SeriesKind::Amounts(_, AmountKind::Requests) => view.dialect != Some(Dialect::Reports),
        SeriesKind::Amounts(_, AmountKind::Spend | AmountKind::Tokens)
        | SeriesKind::LastHour
        | SeriesKind::DataTimestamp
        | SeriesKind::Limit
        | SeriesKind::RequestLimit => true,
    }
}

/// Returns the series of all workspaces, and of the remainder if it is known.
pub fn rows(view: &View<'_>) -> Vec<WorkspaceSeries> {
    let mut rows = Vec::new();
    let mut rest = WorkspaceSeries {
        id: UNATTRIBUTED.to_owned(),
        name: UNATTRIBUTED.to_owned(),
        members: Vec::new(),
    };
    for (index, state) in view.figures().parts().iter().enumerate() {
        match view.placement(index) {
            SeriesPlacement::Hidden => {}
            SeriesPlacement::Unattributed => rest.members.push(index),
            SeriesPlacement::Own => {
                let id = state.part.workspace_id().unwrap_or_default();
                rows.push(WorkspaceSeries {
                    id: id.to_owned(),
                    name: view.snapshot.directory.name_of(id).to_owned(),
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

/// Returns the number of series of a row in a metric.
pub fn n_series(
    view: &View<'_>,
    row: &WorkspaceSeries,
    shows: SeriesKind,
    options: SeriesOptions,
) -> usize {
    match shows {
        SeriesKind::Amounts(over, what) => token_counts(view, row, over, what, options)
            .values()
            .map(|cell| cell.n_series(what))
            .sum(),
        SeriesKind::LastHour
        | SeriesKind::DataTimestamp
        | SeriesKind::Limit
        | SeriesKind::RequestLimit => 1,
    }
}

/// Returns an upper bound of [`n_series`] that needs no sums.
pub fn max_series(view: &View<'_>, row: &WorkspaceSeries, shows: SeriesKind) -> usize {
    let members = row.members.iter();
    let n_cells: usize = members
        .map(|member| view.figures().recorded(*member).len())
        .sum();
    match shows {
        SeriesKind::Amounts(
            _,
            AmountKind::Spend | AmountKind::Savings | AmountKind::SpendOfKeys,
        ) => n_cells,
        SeriesKind::Amounts(_, AmountKind::Tokens) => n_cells * N_TOKEN_TYPES,
        SeriesKind::Amounts(_, AmountKind::Requests)
        | SeriesKind::LastHour
        | SeriesKind::DataTimestamp
        | SeriesKind::Limit
        | SeriesKind::RequestLimit => 1,
    }
}

/// Returns a hash of the names of API keys if they are shown.
pub fn key_names_hash(view: &View<'_>, options: SeriesOptions) -> u64 {
    let mut hasher = DefaultHasher::new();
    if view.is_detailed() && options.by_api_key {
        view.snapshot.directory.keys.hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns a hash of everything that a group's text depends on, except the time of its data.
pub fn group_hash(
    view: &View<'_>,
    rows: &[WorkspaceSeries],
    shows: SeriesKind,
    options: SeriesOptions,
    keys: u64,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    options.by_model.hash(&mut hasher);
    if let SeriesKind::Amounts(_, AmountKind::SpendOfKeys) = shows {
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

/// Renders the samples of a group.
pub fn write(
    out: &mut String,
    view: &View<'_>,
    rows: &[WorkspaceSeries],
    (metric, shows): (Metric, SeriesKind),
    options: SeriesOptions,
) {
    for row in rows {
        let labels = [
            ("organization", view.organization()),
            ("workspace_id", row.id.as_str()),
            ("workspace", row.name.as_str()),
        ];
        let value = match shows {
            SeriesKind::Amounts(over, what) => {
                let cells = token_counts(view, row, over, what, options);
                write_cells(out, metric.family(), view, labels, what, &cells);
                None
            }
            SeriesKind::LastHour => last_hour(view, row).map(|spend| spend.to_string()),
            SeriesKind::DataTimestamp => as_of(view, row).map(seconds),
            SeriesKind::Limit => limits(view, row)
                .and_then(|limits| limits.0)
                .map(|usd| usd.to_string()),
            SeriesKind::RequestLimit => limits(view, row)
                .and_then(|limits| limits.1)
                .map(|n| n.to_string()),
        };
        if let Some(value) = value {
            metric.family().sample(out, &labels, value);
        }
    }
}

type Labels<'a> = [(&'static str, &'a str); 3];

const N_TOKEN_TYPES: usize = 5;

/// Amounts of the period, and of all time, which determine the token types shown.
#[derive(Debug, Clone, Copy, Default)]
struct TokenCounts {
    now: Amounts,
    ever: Amounts,
}

impl TokenCounts {
    fn n_series(&self, what: AmountKind) -> usize {
        match what {
            AmountKind::Spend
            | AmountKind::Requests
            | AmountKind::Savings
            | AmountKind::SpendOfKeys => 1,
            AmountKind::Tokens => self.tokens().count(),
        }
    }

    /// Returns the token types that ever occurred with their current counts.
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

type Cells<'a> = BTreeMap<&'a str, TokenCounts>;

/// Returns amounts by model or API key, or under an empty name. Models and keys of this and the previous month stay at 0, so
/// that series do not disappear at midnight.
fn token_counts<'a>(
    view: &View<'a>,
    row: &WorkspaceSeries,
    over: SumPeriod,
    what: AmountKind,
    options: SeriesOptions,
) -> Cells<'a> {
    let figures = view.figures();
    let is_by_model = what.is_by_model(options);
    let is_by_key = what == AmountKind::SpendOfKeys;
    let is_other = row.id == OTHER;
    let name = |usage_key: u32| {
        if is_by_model {
            figures.usage_key_at(usage_key).model.as_str()
        } else if is_by_key && is_other {
            // All keys beyond `max_series` are one series.
            OTHER
        } else if is_by_key {
            let key = figures.usage_key_at(usage_key).api_key.as_ref();
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
        let of =
            |frame: Option<&'a PeriodSums>| frame.map_or(&[][..], |frame| frame.sums_of(*member));
        let recorded = figures.recorded(*member);
        let (now, also): (_, [&[(u32, Amounts)]; 2]) = match over {
            SumPeriod::Today => (of(open_day), [of(open_month), of(closed_month)]),
            SumPeriod::Month => (of(open_month), [of(closed_month), &[]]),
            SumPeriod::Recorded => (recorded, [&[], &[]]),
        };
        for (model, amounts) in now {
            cells.entry(name(*model)).or_default().now += *amounts;
        }
        for (model, _) in also.into_iter().flatten() {
            cells.entry(name(*model)).or_default();
        }
    }
    if what == AmountKind::Tokens {
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
    if what == AmountKind::Requests {
        cells.entry("").or_default();
    }
    cells
}

fn write_cells(
    out: &mut String,
    family: &Family,
    view: &View<'_>,
    labels: Labels<'_>,
    what: AmountKind,
    cells: &Cells<'_>,
) {
    let [organization, id, name] = labels;
    for (label, cell) in cells {
        let model = ("model", *label);
        match what {
            AmountKind::Spend => {
                family.sample(out, &[organization, id, name, model], cell.now.spend)
            }
            // Requests are only known for billed usage.
            AmountKind::Requests if cell.now.requests == 0 && cell.now.tokens.sum() > 0 => {}
            AmountKind::Requests => family.sample(out, &labels, cell.now.requests),
            AmountKind::Savings => {
                family.sample(out, &[organization, id, name, model], cell.now.saved)
            }
            AmountKind::SpendOfKeys => {
                let key = ("api_key", view.snapshot.directory.key_name(label));
                let labels = [organization, id, ("api_key_id", *label), key];
                family.sample(out, &labels, cell.now.spend);
            }
            AmountKind::Tokens => {
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

/// Returns `None` if no hour is settled yet.
fn last_hour(view: &View<'_>, row: &WorkspaceSeries) -> Option<Usd> {
    let parts = view.figures().parts();
    let hours = row
        .members
        .iter()
        .filter_map(|member| parts[*member].last_hour);
    hours
        .map(|(_, amounts)| amounts.spend)
        .reduce(|sum, spend| sum + spend)
}

/// Returns the data time; ignores removed workspaces, which are no longer read.
fn as_of(view: &View<'_>, row: &WorkspaceSeries) -> Option<Timestamp> {
    let parts = view.figures().parts();
    let is_read = |part: &Part| row.id != UNATTRIBUTED || *part == Part::Unattributed;
    let states = row.members.iter().map(|member| &parts[*member]);
    states
        .filter(|state| is_read(&state.part))
        .filter_map(PartState::known_until)
        .min()
}

/// Formats a time in seconds with milliseconds.
pub fn seconds(at: Timestamp) -> String {
    let milliseconds = at.as_millisecond();
    format!("{}.{:03}", milliseconds / 1000, (milliseconds % 1000).abs())
}

/// Returns the provider limits of a single workspace.
fn limits(view: &View<'_>, row: &WorkspaceSeries) -> Option<(Option<Usd>, Option<u64>)> {
    let [member] = row.members.as_slice() else {
        return None;
    };
    let Part::Workspace(id) = &view.figures().parts()[*member].part else {
        return None;
    };
    let (workspace, _) = view.snapshot.directory.workspaces.get(id)?;
    Some((workspace.monthly_limit, workspace.requests_per_minute))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ALL, Fixture, samples_of, spend, used};
    use crate::gauges::Renderer;
    use spendwatch_domain::org::directory::Presence;
    use spendwatch_domain::units::dialect::Dialect;

    const KEYS: &str = "anthropic_api_key_spend_month_usd";
    const SAVINGS: &str = "anthropic_cache_savings_month_usd";
    const MONTH: &str = "anthropic_spend_month_usd";

    fn fixture() -> Fixture {
        Fixture::new(&[
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
        .with_workspace("gone", Presence::Removed)
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
        assert_eq!(fixture().samples(KEYS, ALL), expected);
        assert_eq!(by_workspace(KEYS), by_workspace(MONTH));
    }

    /// Sums samples by their first label.
    fn by_workspace(metric: &str) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for sample in fixture().samples(metric, ALL) {
            let (workspace, _) = sample.split_once(',').unwrap();
            let (_, value) = sample.rsplit_once(' ').unwrap();
            *sums.entry(workspace.to_owned()).or_default() += value.parse::<i64>().unwrap();
        }
        sums
    }

    #[test]
    fn keys_are_shown_only_if_configured_and_reported() {
        let without = SeriesOptions {
            by_api_key: false,
            ..ALL
        };
        assert_eq!(fixture().samples(KEYS, without), Vec::<String>::new());
        let guide = Fixture {
            dialect: Some(Dialect::Guide),
            ..fixture()
        };
        assert_eq!(guide.samples(KEYS, ALL), Vec::<String>::new());
        assert_eq!(guide.samples(SAVINGS, ALL), Vec::<String>::new());
        let reports = Fixture {
            dialect: Some(Dialect::Reports),
            ..fixture()
        };
        assert_eq!(reports.samples(KEYS, ALL), fixture().samples(KEYS, ALL));
    }

    #[test]
    fn keys_beyond_max_series_are_one_series() {
        let narrow = SeriesOptions {
            max_series: 5,
            ..ALL
        };
        let (text, rendered) = fixture().render(&mut Renderer::default(), narrow);
        let ends: Vec<String> = samples_of(&text, KEYS)
            .into_iter()
            .filter(|sample| !sample.contains("w1") && !sample.contains("unattributed"))
            .collect();
        let other = r#"workspace_id="other",api_key_id="other",api_key="other" 4"#;
        assert_eq!(ends, [other]);
        assert_eq!(rendered.n_dropped[&Metric::ApiKeySpend], 1);
    }

    #[test]
    fn a_renamed_key_renders_only_its_group() {
        let mut fixture = fixture();
        let mut renderer = Renderer::default();
        fixture.render(&mut renderer, ALL);
        assert_eq!(fixture.render(&mut renderer, ALL).1.n_written, 0);
        fixture = fixture.with_key("key_2", "nightly");
        let (text, rendered) = fixture.render(&mut renderer, ALL);
        assert_eq!(rendered.n_written, 1);
        let renamed = r#"workspace_id="w1",api_key_id="key_2",api_key="nightly" 11"#;
        assert!(
            samples_of(&text, KEYS)
                .iter()
                .any(|sample| sample == renamed)
        );
    }

    #[test]
    fn savings_are_by_model_and_can_be_negative() {
        let saved = |dollars| Amounts {
            saved: Usd::from_dollars(dollars),
            ..spend(1)
        };
        let fixture = Fixture::new(&[
            used("w1", "haiku", ("key_1", ""), saved(-3)),
            used("w1", "haiku", ("key_2", ""), saved(1)),
            used("w1", "opus", ("key_1", ""), saved(9)),
        ]);
        let expected = [
            r#"workspace_id="w1",workspace="w1",model="haiku" -2"#,
            r#"workspace_id="w1",workspace="w1",model="opus" 9"#,
        ];
        assert_eq!(fixture.samples(SAVINGS, ALL), expected);
        let without = SeriesOptions {
            by_model: false,
            ..ALL
        };
        let expected = [r#"workspace_id="w1",workspace="w1",model="" 7"#];
        assert_eq!(fixture.samples(SAVINGS, without), expected);
    }
}
