//! The series of an organization as a whole, and those of teams.

use std::collections::BTreeMap;

use crate::domain::counting::team_of;
use crate::domain::dialect::Dialect;
use crate::domain::frame::Frame;
use crate::domain::ids::{ModelName, UNASSIGNED};
use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::domain::usage::Amounts;
use crate::metrics::families::Place;
use crate::metrics::parts::seconds;
use crate::metrics::text::ratio;
use crate::metrics::view::{Standing, View};

/// All samples, each family's under its place.
pub fn write(view: &View<'_>) -> Vec<(Place, String)> {
    let day = view.frames(Period::Day).map(|(open, _)| open);
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let figures = view.figures();
    let parts = || 0..figures.parts().len();
    let is_known = parts().any(|part| view.standing(part) != Standing::Hidden);
    let in_frame = |frame: Option<&Frame>| {
        let sum = |frame: &Frame| parts().fold(Amounts::ZERO, |sum, part| sum + frame.sum_of(part));
        frame.filter(|_| is_known).map(sum)
    };
    let today = in_frame(day);
    let this_month = in_frame(month);
    let bill = this_month.filter(|_| view.is_detailed()).map(Bill::of);
    let list = this_month
        .map(|sums| sums.list)
        .filter(|list| view.dialect == Some(Dialect::Analytics) && *list > Usd::ZERO);
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
        (Place::OrganizationToday, text(today.map(|sums| sums.spend))),
        (
            Place::OrganizationMonth,
            text(this_month.map(|sums| sums.spend)),
        ),
        (
            Place::OrganizationEstimated,
            text(this_month.map(|sums| sums.estimated)),
        ),
        (Place::OrganizationList, text(list)),
        (Place::OrganizationRecorded, text(recorded)),
        (Place::OrganizationLastHour, text(last_hour)),
        (Place::OrganizationLimit, text(limit)),
        (
            Place::OrganizationUp,
            Some(u8::from(view.is_up).to_string()),
        ),
        (
            Place::BilledTimestamp,
            view.billed_until
                .filter(|_| view.is_detailed())
                .map(seconds),
        ),
        (
            Place::ReconciliationBilled,
            text(bill.map(|bill| bill.billed)),
        ),
        (
            Place::ReconciliationEstimated,
            text(bill.map(|bill| bill.estimated)),
        ),
        (Place::ReconciliationGap, text(bill.map(Bill::gap))),
        (
            Place::ReconciliationGapRatio,
            bill.and_then(|bill| ratio(bill.gap().pico(), bill.estimated.pico())),
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
    let details = view.is_detailed().then(|| {
        [
            (Place::RateLimit, rate_limits(view)),
            (
                Place::UnpricedTokens,
                by_model(view, Place::UnpricedTokens, &view.unpriced),
            ),
            (Place::PriorityTokens, priority_tokens(view, month)),
        ]
    });
    values
        .into_iter()
        .map(sample)
        .chain(teams)
        .chain(details.into_iter().flatten())
        .collect()
}

/// What is billed of a month, and what was estimated for the same hours: an estimate that no bill has replaced yet is in
/// neither.
#[derive(Debug, Clone, Copy)]
struct Bill {
    billed: Usd,
    estimated: Usd,
}

impl Bill {
    fn of(sums: Amounts) -> Bill {
        Bill {
            billed: sums.spend - sums.estimated,
            estimated: sums.priced - sums.estimated,
        }
    }

    fn gap(self) -> Usd {
        self.billed - self.estimated
    }
}

/// The organization's own, and what workspaces that are there have for themselves. Where a group is listed twice, the lower
/// limit is the one that holds.
fn rate_limits(view: &View<'_>) -> String {
    let mut limits: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for (workspace, rates) in &view.listings.rates {
        let id = match workspace {
            None => "",
            Some(id) if view.ground.directory.is_present(id) => id.as_str(),
            Some(_) => continue,
        };
        for rate in rates {
            let limit = limits
                .entry((id, &rate.group, &rate.limiter))
                .or_insert(rate.value);
            *limit = rate.value.min(*limit);
        }
    }
    let mut out = String::new();
    for ((id, group, limiter), value) in limits {
        let labels = [
            ("organization", view.organization()),
            ("workspace_id", id),
            ("model_group", group),
            ("limiter", limiter),
        ];
        Place::RateLimit.family().sample(&mut out, &labels, value);
    }
    out
}

/// By model, over all parts; a model without any has no series.
fn priority_tokens(view: &View<'_>, month: Option<&Frame>) -> String {
    let figures = view.figures();
    let mut tokens: BTreeMap<ModelName, i64> = BTreeMap::new();
    for part in 0..figures.parts().len() {
        for (cell, amounts) in month.map_or(&[][..], |month| month.sums_of(part)) {
            if amounts.by_contract != 0 {
                let model = &figures.cell_at(*cell).model;
                *tokens.entry(model.clone()).or_default() += amounts.by_contract;
            }
        }
    }
    by_model(view, Place::PriorityTokens, &tokens)
}

fn by_model(view: &View<'_>, place: Place, tokens: &BTreeMap<ModelName, i64>) -> String {
    let mut out = String::new();
    for (model, n) in tokens {
        let labels = [
            ("organization", view.organization()),
            ("model", model.as_str()),
        ];
        place.family().sample(&mut out, &labels, n);
    }
    out
}

/// Every team, those with nothing too; what belongs to none stands under `unassigned`. Without any team there is nothing.
fn teams_of(view: &View<'_>, place: Place, frame: &Frame) -> String {
    let teams = view.ground.teams;
    let mut out = String::new();
    if teams.is_empty() {
        return out;
    }
    let mut sums: BTreeMap<&str, Usd> = teams
        .iter()
        .map(|team| (team.name.as_str(), Usd::ZERO))
        .collect();
    sums.insert(UNASSIGNED, Usd::ZERO);
    for (index, state) in view.figures().parts().iter().enumerate() {
        let Some(id) = state.part.workspace_id() else {
            continue;
        };
        let sum = sums
            .entry(team_of(teams, view.ground.directory, id))
            .or_default();
        *sum += frame.sum_of(index).spend;
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
