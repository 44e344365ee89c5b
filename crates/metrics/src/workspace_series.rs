//! Which parts of the figures are shown under which workspace id, and what is shown besides their amounts.

use jiff::Timestamp;

use crate::view::{SeriesPlacement, View};
use spendwatch_domain::figures::totals::PartState;
use spendwatch_domain::units::ids::UNATTRIBUTED;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::usage::bucket::Part;

/// Id of the sum of the series beyond `max_series`.
pub const OTHER: &str = "other";

/// Parts whose amounts are shown under one workspace id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceSeries {
    pub id: String,
    pub name: String,
    /// Indexes into the figures.
    pub members: Vec<usize>,
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

impl WorkspaceSeries {
    /// Returns the labels that all series of a workspace have.
    pub fn labels<'a>(&'a self, view: &View<'a>) -> [(&'static str, &'a str); 3] {
        [
            ("organization", view.organization()),
            ("workspace_id", &self.id),
            ("workspace", &self.name),
        ]
    }

    /// Returns this month's spend.
    pub fn month_spend(&self, view: &View<'_>) -> Usd {
        let month = view.frames(Period::Month).map(|(open, _)| open);
        let of = |member: &usize| month.map_or(Usd::ZERO, |frame| frame.sum_of(*member).spend);
        self.members.iter().map(of).sum()
    }

    /// Returns the spend of the newest settled hour, or `None` if no hour is settled yet.
    pub fn last_hour(&self, view: &View<'_>) -> Option<Usd> {
        let parts = view.figures().parts();
        let hours = self
            .members
            .iter()
            .filter_map(|member| parts[*member].last_hour);
        hours
            .map(|(_, amounts)| amounts.spend)
            .reduce(|sum, spend| sum + spend)
    }

    /// Returns the data time; ignores removed workspaces, which are no longer read.
    pub fn as_of(&self, view: &View<'_>) -> Option<Timestamp> {
        let parts = view.figures().parts();
        let is_read = |part: &Part| self.id != UNATTRIBUTED || *part == Part::Unattributed;
        let states = self.members.iter().map(|member| &parts[*member]);
        states
            .filter(|state| is_read(&state.part))
            .filter_map(PartState::known_until)
            .min()
    }

    /// Returns the provider limits of a single workspace.
    pub fn limits(&self, view: &View<'_>) -> Option<(Option<Usd>, Option<u64>)> {
        let [member] = self.members.as_slice() else {
            return None;
        };
        let Part::Workspace(id) = &view.figures().parts()[*member].part else {
            return None;
        };
        let (workspace, _) = view.snapshot.directory.workspaces.get(id)?;
        Some((workspace.monthly_limit, workspace.requests_per_minute))
    }
}
