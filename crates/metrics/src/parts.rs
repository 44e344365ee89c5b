//! Series of workspaces, by metric.

use crate::amounts::{self, AmountKind, SumPeriod};
use crate::families::Metric;
use crate::text::timestamp;
use crate::view::{SeriesOptions, View};
use crate::workspace_series::WorkspaceSeries;
use spendwatch_domain::units::dialect::Dialect;

/// Metrics of workspaces and their contents.
pub const FAMILIES: [(Metric, SeriesKind); 15] = {
    use AmountKind::{Requests, Savings, Spend, SpendOfKeys, Tokens};
    use SeriesKind::{Amounts, DataTimestamp, LastHour, Limit, RequestLimit};
    use SumPeriod::{Month, Recorded, Today};
    [
        (Metric::SpendToday, Amounts(Today, Spend)),
        (Metric::SpendMonth, Amounts(Month, Spend)),
        (Metric::SpendRecorded, Amounts(Recorded, Spend)),
        (Metric::TokensToday, Amounts(Today, Tokens)),
        (Metric::TokensMonth, Amounts(Month, Tokens)),
        (Metric::TokensRecorded, Amounts(Recorded, Tokens)),
        (Metric::RequestsToday, Amounts(Today, Requests)),
        (Metric::RequestsMonth, Amounts(Month, Requests)),
        (Metric::RequestsRecorded, Amounts(Recorded, Requests)),
        (Metric::SpendLastHour, LastHour),
        (Metric::CacheSavings, Amounts(Month, Savings)),
        (Metric::ApiKeySpend, Amounts(Month, SpendOfKeys)),
        (Metric::DataTimestamp, DataTimestamp),
        (Metric::WorkspaceLimit, Limit),
        (Metric::WorkspaceRequestLimit, RequestLimit),
    ]
};

/// Content of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesKind {
    Amounts(SumPeriod, AmountKind),
    LastHour,
    /// End of the known figures.
    DataTimestamp,
    /// Provider spend limit.
    Limit,
    /// Provider request limit.
    RequestLimit,
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

/// Renders the samples of a row in a metric.
pub fn write(
    out: &mut String,
    view: &View<'_>,
    row: &WorkspaceSeries,
    (metric, shows): (Metric, SeriesKind),
    options: SeriesOptions,
) {
    let family = metric.family();
    let value = match shows {
        SeriesKind::Amounts(over, what) => {
            return amounts::write(out, view, row, (family, over, what), options);
        }
        SeriesKind::LastHour => row.last_hour(view).map(|spend| spend.to_string()),
        SeriesKind::DataTimestamp => row.as_of(view).map(timestamp),
        SeriesKind::Limit => row
            .limits(view)
            .and_then(|(spend, _)| spend)
            .map(|spend| spend.to_string()),
        SeriesKind::RequestLimit => row
            .limits(view)
            .and_then(|(_, requests)| requests)
            .map(|requests| requests.to_string()),
    };
    if let Some(value) = value {
        family.sample(out, &row.labels(view), value);
    }
}
