//! What the gauges of one organization are made of: a look at the figures at one moment.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::Alert;
use crate::domain::dialect::Dialect;
use crate::domain::directory::Presence;
use crate::domain::figures::Figures;
use crate::domain::frame::{Frame, FrameKey};
use crate::domain::ground::OrganizationSnapshot;
use crate::domain::ids::ModelName;
use crate::domain::listing::Listings;
use crate::domain::measure::Measurement;
use crate::domain::period::{Period, Zone};
use crate::domain::privacy::People;
use crate::domain::rule::Rule;
use crate::domain::usage::Part;

/// One organization at one moment.
pub struct View<'a> {
    /// Its name, directory, teams and figures.
    pub ground: OrganizationSnapshot<'a>,
    /// By their place, as measurements name them.
    pub rules: &'a [Rule],
    /// Of the newest decision.
    pub measurements: &'a [Measurement],
    /// Those that are not over, and others.
    pub alerts: Vec<&'a Alert>,
    /// Whether the last cycle was complete.
    pub is_up: bool,
    /// The server's clock minus ours.
    pub skew: Option<SignedDuration>,
    /// How the service speaks, as far as it is known.
    pub dialect: Option<Dialect>,
    /// What the service lists beside usage.
    pub listings: &'a Listings,
    /// Up to when the service has billed, where it says so.
    pub billed_until: Option<Timestamp>,
    /// Tokens of this month of models without a price; none in the guide dialect, which needs no prices.
    pub unpriced: BTreeMap<ModelName, i64>,
}

/// Which series there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Otherwise the model label is empty and the series are summed.
    pub by_model: bool,
    /// Whether there are series by API key, where the dialect has them.
    pub by_api_key: bool,
    /// Whether there are series by person, where the dialect has them, and by what people are named.
    pub by_user: Option<People>,
    /// Of one metric.
    pub max_series: usize,
}

/// Where a part's amounts are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Under its own id.
    Own,
    /// Under `unattributed`: what belongs to no listed workspace, those that are gone among it.
    Unattributed,
    /// Nowhere: it was never read, or it is the whole, whose parts are shown.
    Hidden,
}

impl<'a> View<'a> {
    /// The figures.
    pub fn figures(&self) -> &'a Figures {
        self.ground.figures
    }

    /// The name of the organization.
    pub fn organization(&self) -> &'a str {
        self.ground.organization.as_str()
    }

    /// Whether the service tells of keys, bills and estimates: the guide dialect has none of them.
    pub fn is_detailed(&self) -> bool {
        match self.dialect {
            Some(Dialect::Analytics | Dialect::Reports) => true,
            Some(Dialect::Guide) | None => false,
        }
    }

    /// Whether the service tells who used something.
    pub fn tells_people(&self) -> bool {
        self.dialect == Some(Dialect::Analytics)
    }

    /// A UTC frame, the open cut and the closed one.
    pub fn frames(&self, period: Period) -> Option<(&'a Frame, Option<&'a Frame>)> {
        let zone = Zone::utc();
        self.ground.figures.frame(&FrameKey { period, zone })
    }

    /// Where a part is shown. Unknown is not zero: what was never read is not shown at all.
    pub fn standing(&self, index: usize) -> Standing {
        let state = &self.ground.figures.parts()[index];
        match &state.part {
            Part::Whole => Standing::Hidden,
            // The remainder loses its time while a new workspace is not read yet; its sums stay known.
            _ if state.as_of.is_none() && self.ground.figures.recorded(index).is_empty() => {
                Standing::Hidden
            }
            Part::Unattributed => Standing::Unattributed,
            Part::Workspace(id) => match self.ground.directory.workspaces.get(id) {
                Some((_, Presence::Gone)) => Standing::Unattributed,
                Some((_, Presence::Listed | Presence::Missing(_))) | None => Standing::Own,
            },
        }
    }
}
