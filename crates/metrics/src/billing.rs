//! Series of an organization that only the real API's dialects have: bill and estimate, rate limits, tokens without a list price.

use std::collections::BTreeMap;

use crate::families::Metric;
use crate::text::{ratio, timestamp};
use crate::view::View;
use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::usage::bucket::Amounts;

/// Renders all samples by metric. `this_month` is the organization's sum, if known.
pub fn write(view: &View<'_>, this_month: Option<Amounts>) -> Vec<(Metric, String)> {
    if !view.is_detailed() {
        return Vec::new();
    }
    let bill = this_month.map(Bill::new);
    let text = |of: fn(Bill) -> Usd| bill.map(|bill| of(bill).to_string());
    let gap_ratio = bill.and_then(|bill| ratio(bill.gap().pico(), bill.estimated.pico()));
    let values = [
        (Metric::BilledTimestamp, view.billed_until.map(timestamp)),
        (Metric::ReconciliationBilled, text(|bill| bill.billed)),
        (Metric::ReconciliationEstimated, text(|bill| bill.estimated)),
        (Metric::ReconciliationGap, text(Bill::gap)),
        (Metric::ReconciliationGapRatio, gap_ratio),
        (Metric::ReconciliationUncertain, text(|bill| bill.uncertain)),
    ];
    let by_model = |metric, tokens| (metric, samples_by_model(view, metric, tokens));
    values
        .into_iter()
        .map(|(metric, value)| view.organization_sample(metric, value))
        .chain([
            (Metric::RateLimit, rate_limits(view)),
            by_model(Metric::UnpricedTokens, &view.unpriced),
            by_model(Metric::PriorityTokens, &priority_tokens(view)),
        ])
        .collect()
}

/// Billed spend of a month, and the estimate for the same hours. Estimates that are not billed yet are in neither.
#[derive(Debug, Clone, Copy)]
struct Bill {
    billed: Usd,
    estimated: Usd,
    /// Part of all estimates of the month.
    uncertain: Usd,
}

impl Bill {
    fn new(sums: Amounts) -> Bill {
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

/// Renders the rate limits of the organization and of existing workspaces. If a group is listed twice, the lower limit
/// applies.
fn rate_limits(view: &View<'_>) -> String {
    let mut limits: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for (workspace, rates) in &view.listings.rate_limits {
        let id = match workspace {
            None => "",
            Some(id) if view.snapshot.directory.is_present(id) => id.as_str(),
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
        Metric::RateLimit.family().sample(&mut out, &labels, value);
    }
    out
}

/// Sums over all parts by model; models without priority tokens have no series.
fn priority_tokens(view: &View<'_>) -> BTreeMap<ModelName, i64> {
    let month = view.frames(Period::Month).map(|(open, _)| open);
    let figures = view.figures();
    let mut tokens: BTreeMap<ModelName, i64> = BTreeMap::new();
    for part in 0..figures.parts().len() {
        for (usage_key, amounts) in month.map_or(&[][..], |month| month.sums_of(part)) {
            if amounts.by_contract != 0 {
                let model = &figures.usage_key_at(*usage_key).model;
                *tokens.entry(model.clone()).or_default() += amounts.by_contract;
            }
        }
    }
    tokens
}

fn samples_by_model(view: &View<'_>, metric: Metric, tokens: &BTreeMap<ModelName, i64>) -> String {
    let mut out = String::new();
    for (model, n) in tokens {
        let labels = [
            ("organization", view.organization()),
            ("model", model.as_str()),
        ];
        metric.family().sample(&mut out, &labels, n);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ALL, Fixture, used};
    use spendwatch_domain::org::directory::Presence;
    use spendwatch_domain::org::listing::RateLimit;
    use spendwatch_domain::units::dialect::Dialect;

    /// One part is billed, the other is not.
    fn fixture() -> Fixture {
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
        Fixture::new(&[
            used("w1", "opus", ("key_1", ""), billed),
            used("w2", "haiku", ("key_2", ""), running),
            used("w2", "opus", ("key_2", ""), running),
            used("", "opus", ("", ""), running),
        ])
        .with_workspace("w1", Presence::Listed)
        .with_workspace("w2", Presence::Removed)
    }

    #[track_caller]
    fn check(fixture: &Fixture, metric: &str, expected: &[&str]) {
        assert_eq!(fixture.samples(metric, ALL), expected, "{metric}");
    }

    const BILLING_METRICS: [&str; 10] = [
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
    fn billed_spend_is_compared_with_the_estimate_for_the_same_hours() {
        let fixture = fixture();
        let month = "anthropic_organization_spend_month_usd";
        let estimated = "anthropic_organization_estimated_spend_month_usd";
        check(&fixture, month, &[" 111"]);
        check(&fixture, estimated, &[" 21"]);
        check(&fixture, BILLING_METRICS[0], &[" 110"]);
        check(&fixture, "spendwatch_reconciliation_billed_usd", &[" 90"]);
        check(
            &fixture,
            "spendwatch_reconciliation_estimated_usd",
            &[" 100"],
        );
        check(&fixture, "spendwatch_reconciliation_gap_usd", &[" -10"]);
        check(
            &fixture,
            "spendwatch_reconciliation_gap_ratio",
            &[" -0.100000"],
        );
        let reports = Fixture {
            dialect: Some(Dialect::Reports),
            ..fixture
        };
        check(&reports, estimated, &[" 21"]);
        check(&reports, "spendwatch_reconciliation_gap_usd", &[" -10"]);
        check(&reports, BILLING_METRICS[0], &[]);
    }

    #[test]
    fn without_a_bill_there_is_no_ratio_and_without_data_no_bill() {
        let nothing = Fixture::new(&[]);
        for metric in BILLING_METRICS {
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
        let fixture = Fixture::new(&[used("w1", "opus", ("", ""), estimate)]);
        check(&fixture, "spendwatch_reconciliation_gap_usd", &[" 0"]);
        check(&fixture, "spendwatch_reconciliation_gap_ratio", &[]);
    }

    #[test]
    fn the_guide_dialect_has_no_billing_metrics() {
        let mut fixture = fixture();
        fixture.dialect = Some(Dialect::Guide);
        fixture.billed_until = Some("2026-11-24T08:00:00Z".parse().unwrap());
        fixture
            .listings
            .rate_limits
            .insert(None, vec![rate("opus", 5)]);
        for metric in BILLING_METRICS {
            check(&fixture, metric, &[]);
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
    fn rate_limits_skip_removed_workspaces_and_take_the_lower_duplicate() {
        let mut fixture = fixture();
        let rates = &mut fixture.listings.rate_limits;
        rates.insert(None, vec![rate("opus", 50), rate("opus", 40)]);
        rates.insert(Some("w1".into()), vec![rate("batch", 9)]);
        rates.insert(Some("w2".into()), vec![rate("batch", 8)]);
        let limiter = r#"limiter="requests_per_minute""#;
        check(
            &fixture,
            "anthropic_rate_limit",
            &[
                &format!(r#"workspace_id="",model_group="opus",{limiter} 40"#),
                &format!(r#"workspace_id="w1",model_group="batch",{limiter} 9"#),
            ],
        );
    }

    #[test]
    fn unpriced_and_priority_tokens_are_by_model() {
        let mut fixture = fixture();
        fixture.unpriced = [("new-model".into(), 12)].into();
        fixture.billed_until = Some("2026-11-24T08:00:00Z".parse().unwrap());
        check(
            &fixture,
            "spendwatch_unpriced_tokens_month",
            &[r#"model="new-model" 12"#],
        );
        check(
            &fixture,
            "spendwatch_priority_tokens_month",
            &[r#"model="haiku" 500"#, r#"model="opus" 1000"#],
        );
        check(
            &fixture,
            "spendwatch_billed_timestamp_seconds",
            &[" 1795507200.000"],
        );
    }
}
