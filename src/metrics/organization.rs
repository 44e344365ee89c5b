//! The series of an organization as a whole, and those of teams.

use std::collections::BTreeMap;

use crate::domain::dialect::Dialect;
use crate::domain::frame::Frame;
use crate::domain::ids::{ModelName, UNASSIGNED};
use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::domain::teams;
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
        (
            Place::ReconciliationUncertain,
            text(bill.map(|bill| bill.uncertain)),
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
    /// Of all estimates of the month.
    uncertain: Usd,
}

impl Bill {
    fn of(sums: Amounts) -> Bill {
        Bill {
            billed: sums.spend - sums.estimated,
            estimated: sums.priced - sums.estimated,
            uncertain: sums.uncertain,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::directory::Presence;
    use crate::domain::listing::RateLimit;
    use crate::metrics::samples::{ALL, Made, used};

    /// One part is billed, the other one is not yet.
    fn made() -> Made {
        let usd = Usd::from_dollars;
        let billed = Amounts {
            spend: usd(90),
            list: usd(110),
            priced: usd(100),
            ..Amounts::ZERO
        };
        let running = Amounts {
            spend: usd(7),
            estimated: usd(7),
            priced: usd(7),
            by_contract: 500,
            ..Amounts::ZERO
        };
        Made::of(&[
            used("w1", "opus", ("key_1", ""), billed),
            used("w2", "haiku", ("key_2", ""), running),
            used("w2", "opus", ("key_2", ""), running),
            used("", "opus", ("", ""), running),
        ])
        .with_workspace("w1", Presence::Listed)
        .with_workspace("w2", Presence::Gone)
    }

    #[track_caller]
    fn check(made: &Made, metric: &str, expected: &[&str]) {
        assert_eq!(made.shown(metric, ALL), expected, "{metric}");
    }

    const OF_THE_SERVICE: [&str; 10] = [
        "anthropic_organization_list_spend_month_usd",
        "anthropic_rate_limit",
        "spendwatch_billed_timestamp_seconds",
        "spendwatch_reconciliation_billed_usd",
        "spendwatch_reconciliation_estimated_usd",
        "spendwatch_reconciliation_gap_usd",
        "spendwatch_reconciliation_gap_ratio",
        "spendwatch_reconciliation_uncertain_usd",
        "spendwatch_unpriced_tokens_month",
        "spendwatch_priority_tokens_month",
    ];

    #[test]
    fn what_is_billed_stands_against_what_was_estimated_for_the_same() {
        let made = made();
        let month = "anthropic_organization_spend_month_usd";
        let estimated = "anthropic_organization_estimated_spend_month_usd";
        check(&made, month, &[" 111"]);
        check(&made, estimated, &[" 21"]);
        check(&made, OF_THE_SERVICE[0], &[" 110"]);
        check(&made, "spendwatch_reconciliation_billed_usd", &[" 90"]);
        check(&made, "spendwatch_reconciliation_estimated_usd", &[" 100"]);
        check(&made, "spendwatch_reconciliation_gap_usd", &[" -10"]);
        check(
            &made,
            "spendwatch_reconciliation_gap_ratio",
            &[" -0.100000"],
        );
        let reports = Made {
            dialect: Some(Dialect::Reports),
            ..made
        };
        check(&reports, estimated, &[" 21"]);
        check(&reports, "spendwatch_reconciliation_gap_usd", &[" -10"]);
        check(&reports, OF_THE_SERVICE[0], &[]);
    }

    #[test]
    fn nothing_billed_has_no_ratio_and_nothing_read_has_no_bill() {
        let nothing = Made::of(&[]);
        for metric in OF_THE_SERVICE {
            check(&nothing, metric, &[]);
        }
        check(
            &nothing,
            "anthropic_organization_estimated_spend_month_usd",
            &[],
        );
        let estimate = Amounts {
            spend: Usd::from_dollars(7),
            estimated: Usd::from_dollars(7),
            priced: Usd::from_dollars(7),
            ..Amounts::ZERO
        };
        let made = Made::of(&[used("w1", "opus", ("", ""), estimate)]);
        check(&made, "spendwatch_reconciliation_gap_usd", &[" 0"]);
        check(&made, "spendwatch_reconciliation_gap_ratio", &[]);
    }

    #[test]
    fn the_guide_dialect_has_no_estimates_and_nothing_of_bills() {
        let mut made = made();
        made.dialect = Some(Dialect::Guide);
        made.billed_until = Some("2026-11-24T08:00:00Z".parse().unwrap());
        made.listings.rates.insert(None, vec![rate("opus", 5)]);
        for metric in OF_THE_SERVICE {
            check(&made, metric, &[]);
        }
    }

    fn rate(group: &str, value: u64) -> RateLimit {
        RateLimit {
            group: group.to_owned(),
            limiter: "requests_per_minute".to_owned(),
            value,
        }
    }

    #[test]
    fn limits_of_use_are_those_of_who_is_there_and_the_lower_of_two() {
        let mut made = made();
        let rates = &mut made.listings.rates;
        rates.insert(None, vec![rate("opus", 50), rate("opus", 40)]);
        rates.insert(Some("w1".into()), vec![rate("batch", 9)]);
        rates.insert(Some("w2".into()), vec![rate("batch", 8)]);
        let limiter = r#"limiter="requests_per_minute""#;
        check(
            &made,
            "anthropic_rate_limit",
            &[
                &format!(r#"workspace_id="",model_group="opus",{limiter} 40"#),
                &format!(r#"workspace_id="w1",model_group="batch",{limiter} 9"#),
            ],
        );
    }

    #[test]
    fn tokens_without_a_price_and_of_a_contract_are_by_model() {
        let mut made = made();
        made.unpriced = [("new-model".into(), 12)].into();
        made.billed_until = Some("2026-11-24T08:00:00Z".parse().unwrap());
        check(
            &made,
            "spendwatch_unpriced_tokens_month",
            &[r#"model="new-model" 12"#],
        );
        check(
            &made,
            "spendwatch_priority_tokens_month",
            &[r#"model="haiku" 500"#, r#"model="opus" 1000"#],
        );
        check(
            &made,
            "spendwatch_billed_timestamp_seconds",
            &[" 1795507200.000"],
        );
    }
}
