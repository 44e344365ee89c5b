//! Series of an organization as a whole and of teams.

use std::collections::BTreeMap;

use crate::billing;
use crate::families::Metric;
use crate::view::{SeriesPlacement, View};
use spendwatch_domain::figures::period_sums::PeriodSums;
use spendwatch_domain::org::teams;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::UNASSIGNED;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::usage::bucket::Amounts;

/// Renders all samples by metric.
pub fn write(view: &View<'_>) -> Vec<(Metric, String)> {
    let day = view.frames(Period::Day).map(|(open, _)| open);
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let figures = view.figures();
    let parts = || 0..figures.parts().len();
    let is_known = parts().any(|part| view.placement(part) != SeriesPlacement::Hidden);
    let in_frame = |frame: Option<&PeriodSums>| {
        let sum =
            |frame: &PeriodSums| parts().fold(Amounts::ZERO, |sum, part| sum + frame.sum_of(part));
        frame.filter(|_| is_known).map(sum)
    };
    let today = in_frame(day);
    let this_month = in_frame(month);
    let list = this_month
        .map(|sums| sums.list)
        .filter(|list| view.dialect == Some(Dialect::Analytics) && *list > Usd::ZERO);
    let recorded = is_known.then(|| {
        let spend_of = |part| {
            figures
                .recorded(part)
                .iter()
                .map(|(_, amounts)| amounts.spend)
                .sum::<Usd>()
        };
        parts().map(spend_of).sum::<Usd>()
    });
    let last_hour = figures.organization_last_hour();
    let limit = view
        .snapshot
        .directory
        .organization
        .as_ref()
        .and_then(|info| info.usage_limit);
    let skew = view.skew.map(|skew| skew.as_secs().to_string());
    let text = |usd: Option<Usd>| usd.map(|usd| usd.to_string());
    let values = [
        (
            Metric::OrganizationToday,
            text(today.map(|sums| sums.spend)),
        ),
        (
            Metric::OrganizationMonth,
            text(this_month.map(|sums| sums.spend)),
        ),
        (
            Metric::OrganizationEstimated,
            text(this_month.map(|sums| sums.estimated)),
        ),
        (Metric::OrganizationList, text(list)),
        (Metric::OrganizationRecorded, text(recorded)),
        (Metric::OrganizationLastHour, text(last_hour)),
        (Metric::OrganizationLimit, text(limit)),
        (
            Metric::OrganizationUp,
            Some(u8::from(view.is_up).to_string()),
        ),
        (Metric::ClockSkew, skew),
    ];
    let teams = [(Metric::TeamToday, day), (Metric::TeamMonth, month)];
    let teams = teams.map(|(metric, frame)| {
        (
            metric,
            frame
                .filter(|_| is_known)
                .map_or_else(String::new, |frame| team_samples(view, metric, frame)),
        )
    });
    values
        .into_iter()
        .map(|(metric, value)| view.organization_sample(metric, value))
        .chain(teams)
        .chain(billing::write(view, this_month))
        .collect()
}

/// Renders all teams, including those without spend, and `unassigned`. Without teams there are no series.
fn team_samples(view: &View<'_>, metric: Metric, frame: &PeriodSums) -> String {
    let configured = view.snapshot.teams;
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
        for (usage_key, amounts) in frame.sums_of(index) {
            let usage_key = view.figures().usage_key_at(*usage_key);
            let team = teams::for_usage(configured, view.snapshot.directory, id, usage_key);
            *sums.entry(team).or_default() += amounts.spend;
        }
    }
    for (team, spend) in sums {
        metric.family().sample(
            &mut out,
            &[("organization", view.organization()), ("team", team)],
            spend,
        );
    }
    out
}
