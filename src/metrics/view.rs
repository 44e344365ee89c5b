//! What the gauges of one organization are made of: a look at the figures at one moment.

use jiff::SignedDuration;

use crate::domain::alert::Alert;
use crate::domain::directory::Presence;
use crate::domain::figures::Figures;
use crate::domain::frame::{Frame, FrameKey};
use crate::domain::ground::Ground;
use crate::domain::measure::Measurement;
use crate::domain::period::{Period, Zone};
use crate::domain::rule::Rule;
use crate::domain::usage::Part;

/// One organization at one moment.
pub struct View<'a> {
    /// Its name, directory, teams and figures.
    pub ground: Ground<'a>,
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
}

/// Which series there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Otherwise the model label is empty and the series are summed.
    pub by_model: bool,
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
