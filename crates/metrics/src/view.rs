//! Input of the gauges of one organization.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::families::Metric;
use spendwatch_domain::alerts::alert::Alert;
use spendwatch_domain::alerts::measure::Measurement;
use spendwatch_domain::figures::period_sums::{PeriodKey, PeriodSums};
use spendwatch_domain::figures::snapshot::OrganizationSnapshot;
use spendwatch_domain::figures::totals::Figures;
use spendwatch_domain::org::directory::Presence;
use spendwatch_domain::org::listing::Listings;
use spendwatch_domain::rules::rule::Rule;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::privacy::UserNaming;
use spendwatch_domain::usage::bucket::Part;

/// State of one organization at one time.
pub struct View<'a> {
    pub snapshot: OrganizationSnapshot<'a>,
    /// Measurements refer to rules by index.
    pub rules: &'a [Rule],
    /// Measurements of the latest evaluation.
    pub measurements: &'a [Measurement],
    /// Includes alerts that have not ended.
    pub alerts: Vec<&'a Alert>,
    /// Whether the last cycle was complete.
    pub is_up: bool,
    /// Server clock minus local clock.
    pub skew: Option<SignedDuration>,
    /// `None` until detected.
    pub dialect: Option<Dialect>,
    pub listings: &'a Listings,
    /// End of the billed data, if reported.
    pub billed_until: Option<Timestamp>,
    /// Tokens of this month by model without a price; empty in the guide dialect, which needs no prices.
    pub unpriced: BTreeMap<ModelName, i64>,
}

/// Options that determine which series exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesOptions {
    /// If false, models are summed and the label `model` is empty.
    pub by_model: bool,
    pub by_api_key: bool,
    /// How users are named; `None` for no series by user.
    pub by_user: Option<UserNaming>,
    /// Per metric.
    pub max_series: usize,
}

/// Label under which a part is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesPlacement {
    Own,
    /// Includes removed workspaces.
    Unattributed,
    /// Never read, or the whole organization, whose parts are shown.
    Hidden,
}

impl<'a> View<'a> {
    /// Returns the figures.
    pub fn figures(&self) -> &'a Figures {
        self.snapshot.figures
    }

    /// Returns the organization's name.
    pub fn organization(&self) -> &'a str {
        self.snapshot.organization.as_str()
    }

    /// Returns whether the dialect has keys, bills and estimates; the guide dialect has none of them.
    pub fn is_detailed(&self) -> bool {
        match self.dialect {
            Some(Dialect::Analytics | Dialect::Reports) => true,
            Some(Dialect::Guide) | None => false,
        }
    }

    /// Returns whether the dialect reports users.
    pub fn reports_users(&self) -> bool {
        self.dialect == Some(Dialect::Analytics)
    }

    /// Renders the only sample of a metric of the organization, or nothing if it is not known.
    pub fn organization_sample(&self, metric: Metric, value: Option<String>) -> (Metric, String) {
        let mut out = String::new();
        if let Some(value) = value {
            let labels = [("organization", self.organization())];
            metric.family().sample(&mut out, &labels, value);
        }
        (metric, out)
    }

    /// Returns the sums of the current UTC period and of the previous one.
    pub fn frames(&self, period: Period) -> Option<(&'a PeriodSums, Option<&'a PeriodSums>)> {
        self.snapshot.figures.period_sums(&PeriodKey::utc(period))
    }

    /// Returns where a part is shown. A part that was never read is hidden, because unknown is not zero.
    pub fn placement(&self, index: usize) -> SeriesPlacement {
        let state = &self.snapshot.figures.parts()[index];
        match &state.part {
            Part::Whole => SeriesPlacement::Hidden,
            // The remainder has no time until a new workspace has been read, but its sums stay known.
            _ if state.as_of.is_none() && self.snapshot.figures.recorded(index).is_empty() => {
                SeriesPlacement::Hidden
            }
            Part::Unattributed => SeriesPlacement::Unattributed,
            Part::Workspace(id) => match self.snapshot.directory.workspaces.get(id) {
                Some((_, Presence::Removed)) => SeriesPlacement::Unattributed,
                Some((_, Presence::Listed | Presence::Missing(_))) | None => SeriesPlacement::Own,
            },
        }
    }
}
