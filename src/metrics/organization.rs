//! The series of an organization as a whole, and those of teams.

use std::collections::BTreeMap;

use crate::domain::frame::Frame;
use crate::domain::ids::UNASSIGNED;
use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::domain::teams;
use crate::metrics::families::Place;
use crate::metrics::view::{Standing, View};

/// All samples, each family's under its place.
pub fn write(view: &View<'_>) -> Vec<(Place, String)> {
    let day = view.frames(Period::Day).map(|(open, _)| open);
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let figures = view.figures();
    let parts = || 0..figures.parts().len();
    let is_known = parts().any(|part| view.standing(part) != Standing::Hidden);
    let in_frame = |frame: Option<&Frame>| {
        let sum = |frame: &Frame| parts().map(|part| frame.sum_of(part).spend).sum::<Usd>();
        frame.filter(|_| is_known).map(sum)
    };
    let recorded = is_known.then(|| {
        let of = |part| {
            figures
                .recorded(part)
                .iter()
                .map(|(_, amounts)| amounts.spend)
                .sum::<Usd>()
        };
        parts().map(of).sum::<Usd>()
    });
    let last_hour = figures.organization_last_hour();
    let limit = view
        .ground
        .directory
        .organization
        .as_ref()
        .and_then(|info| info.usage_limit);
    let skew = view.skew.map(|skew| skew.as_secs().to_string());
    let text = |usd: Option<Usd>| usd.map(|usd| usd.to_string());
    let values = [
        (Place::OrganizationToday, text(in_frame(day))),
        (Place::OrganizationMonth, text(in_frame(month))),
        (Place::OrganizationRecorded, text(recorded)),
        (Place::OrganizationLastHour, text(last_hour)),
        (Place::OrganizationLimit, text(limit)),
        (
            Place::OrganizationUp,
            Some(u8::from(view.is_up).to_string()),
        ),
        (Place::ClockSkew, skew),
    ];
    let sample = |(place, value): (Place, Option<String>)| {
        let mut out = String::new();
        if let Some(value) = value {
            place
                .family()
                .sample(&mut out, &[("organization", view.organization())], value);
        }
        (place, out)
    };
    let teams = [(Place::TeamToday, day), (Place::TeamMonth, month)];
    let teams = teams.map(|(place, frame)| {
        (
            place,
            frame
                .filter(|_| is_known)
                .map_or_else(String::new, |frame| teams_of(view, place, frame)),
        )
    });
    values.into_iter().map(sample).chain(teams).collect()
}

/// Every team, those with nothing too; what belongs to none stands under `unassigned`. Without any team there is nothing.
fn teams_of(view: &View<'_>, place: Place, frame: &Frame) -> String {
    let configured = view.ground.teams;
    let mut out = String::new();
    if configured.is_empty() {
        return out;
    }
    let mut sums: BTreeMap<&str, Usd> = configured
        .iter()
        .map(|team| (team.name.as_str(), Usd::ZERO))
        .collect();
    sums.insert(UNASSIGNED, Usd::ZERO);
    for (index, state) in view.figures().parts().iter().enumerate() {
        let Some(id) = state.part.workspace_id() else {
            continue;
        };
        for (cell, amounts) in frame.sums_of(index) {
            let cell = view.figures().cell_at(*cell);
            let team = teams::of(configured, view.ground.directory, id, cell);
            *sums.entry(team).or_default() += amounts.spend;
        }
    }
    for (team, spend) in sums {
        place.family().sample(
            &mut out,
            &[("organization", view.organization()), ("team", team)],
            spend,
        );
    }
    out
}
