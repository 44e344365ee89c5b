//! `check --limit`: compares the month to date with one limit, without rules, file or store.

use std::process::ExitCode;
use std::sync::Arc;

use crate::app::wiring;
use crate::cli::check::outcome::CheckOutcome;
use crate::cli::globals::{CommandError, Globals, check_key, without_organization};
use crate::cli::live_usage::{self, LiveQuery, LiveUsage};
use crate::cli::output::{OutputFormat, print};
use crate::cli::remarks::{by_contract, estimated, uncertain, unpriced};
use crate::cycle::reading::Reports;
use crate::table::{Cell, TableBuilder};
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_base::clock::Clock;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::Environment;
use spendwatch_domain::units::money::{Usd, overage_percent};
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::{Amounts, Part, sum};
use spendwatch_domain::usage::prices::PriceTable;

/// Returns exit code 0 below the limit, 2 at or above it, 1 if unknown.
pub async fn compare(
    limit: Usd,
    globals: &Globals,
    environment: &Environment,
) -> Result<ExitCode, CommandError> {
    let config = globals.load(environment)?;
    let (mut text, mut rows, mut outcome) = (String::new(), Vec::new(), CheckOutcome::default());
    for organization in globals.organizations(&config)? {
        if let Err(error) = check_key(&config, organization) {
            error.report();
            outcome.is_unknown = true;
            continue;
        }
        let table = Arc::clone(&config.prices.prices);
        match month_to_date(organization, environment, table).await {
            Ok(month) => {
                let name = organization.name.as_str();
                let is_over = month.spend > Usd::ZERO && month.spend >= limit;
                // Missing data can only raise the spend, so it matters only below the limit.
                let is_known = is_over || month.gaps.is_empty();
                for gap in &month.gaps {
                    let gap = without_organization(gap, name);
                    let gap = format!("organization `{name}`: {gap}");
                    match is_known {
                        true => globals.remark(&format!("warning: {gap}")),
                        false => eprintln!("error: {gap}"),
                    }
                }
                outcome.is_unknown |= !is_known;
                if !is_known {
                    continue;
                }
                for remark in remarks(&month) {
                    globals.remark(&format!("organization `{name}`: {remark}"));
                }
                text.push_str(&describe(name, month.spend, limit));
                text.push('\n');
                rows.push((name, month, is_over));
                outcome.is_over |= is_over;
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                outcome.is_unknown = true;
            }
        }
    }
    if globals.output == OutputFormat::Table {
        return Ok(print(&text, outcome.exit()));
    }
    let overage = |month: &MonthToDate| {
        let overage = overage_percent(limit.pico(), month.spend.pico());
        overage.map(Cell::Decimal)
    };
    let table = TableBuilder::new(&rows)
        .hidden("organization", |(name, ..)| *name)
        .hidden("month_to_date_usd", |(_, month, _)| month.spend)
        .hidden("estimated_usd", |(_, month, _)| month.estimated)
        .hidden("limit_usd", |_| limit)
        .hidden("overage_percent", |(_, month, is_over)| {
            overage(month).filter(|_| *is_over)
        })
        .hidden("is_over", |(.., is_over)| *is_over)
        .build();
    Ok(globals.print(&table, outcome.exit()))
}

fn remarks(month: &MonthToDate) -> Vec<String> {
    let estimated = (month.estimated != Usd::ZERO).then(|| estimated(month.estimated));
    let by_contract = (month.by_contract > 0).then(|| by_contract(month.by_contract));
    let is_estimated = month.estimated != Usd::ZERO && month.uncertain != Usd::ZERO;
    let uncertain = is_estimated.then(|| uncertain(month.uncertain));
    estimated
        .into_iter()
        .chain(uncertain)
        .chain(by_contract)
        .collect()
}

async fn month_to_date(
    organization: &OrganizationConfig,
    environment: &Environment,
    prices: Arc<PriceTable>,
) -> anyhow::Result<MonthToDate> {
    let clock = Clock::system();
    let requests = Arc::new(RequestCounts::default());
    let share = RateShare::Daemon;
    let api = wiring::command_api(organization, environment, &clock, requests, share).await?;
    let dialect = wiring::dialect(organization, &api).await?;
    let now = clock.now();
    let today = Day::containing(now);
    let first = Day::from_date(today.date().first_of_month());
    let Some(reports) = Reports::of(dialect) else {
        let (months, unread) = api.guide_usage_by_month(&Part::Whole, first, today).await?;
        check_clock(&api)?;
        let unread = unread.iter().filter(|it| !it.hours.is_empty());
        return Ok(MonthToDate {
            spend: months.iter().map(|month| sum(&month.cells).spend).sum(),
            estimated: Usd::ZERO,
            uncertain: Usd::ZERO,
            by_contract: 0,
            gaps: unread
                .map(|it| live_usage::unreadable(&it.reason))
                .collect(),
        });
    };
    let query = LiveQuery {
        api: api.clone(),
        reports,
        prices,
        hours: HourSpan {
            start: first.first_hour(),
            end: today.plus(1).first_hour(),
        },
        by_hour: false,
        now,
    };
    let usage = live_usage::read(query).await?;
    check_clock(&api)?;
    Ok(MonthToDate::from_usage(&usage))
}

/// Returns an error for a wrong clock, which could select another month.
fn check_clock(api: &AdminApi) -> anyhow::Result<()> {
    match api.clock_problem() {
        Some(problem) => Err(anyhow::anyhow!("{problem}")),
        None => Ok(()),
    }
}

/// Spend since the first of the month.
#[derive(Debug, PartialEq, Eq)]
struct MonthToDate {
    spend: Usd,
    /// Part not billed yet.
    estimated: Usd,
    /// Part of the list price that is uncertain.
    uncertain: Usd,
    /// Priority Tier tokens, which are in no bill.
    by_contract: i64,
    /// Why the spend may be higher.
    gaps: Vec<String>,
}

impl MonthToDate {
    fn from_usage(usage: &LiveUsage) -> MonthToDate {
        let cells = usage.parts.values().flat_map(|buckets| buckets.values());
        let cells: Vec<_> = cells.flatten().collect();
        let all = cells
            .iter()
            .fold(Amounts::ZERO, |all, (_, amounts)| all + **amounts);
        let unpriced = unpriced(
            cells
                .iter()
                .map(|(usage_key, amounts)| (&usage_key.model, *amounts)),
        );
        let missing = usage.missing_since.map(live_usage::missing);
        MonthToDate {
            spend: all.spend,
            estimated: all.estimated,
            uncertain: all.uncertain,
            by_contract: all.by_contract,
            gaps: unpriced
                .into_iter()
                .chain(missing)
                .chain(
                    usage
                        .unreadable
                        .iter()
                        .map(|reason| live_usage::unreadable(reason)),
                )
                .collect(),
        }
    }
}

/// Describes spend and limit with two decimals and the overage with one, and suggests what to do.
fn describe(organization: &str, spend: Usd, limit: Usd) -> String {
    let (usage, threshold) = (spend.grouped(), limit.grouped());
    if spend < limit || spend == Usd::ZERO {
        return format!("{organization}: month to date ${usage}, below the limit of ${threshold}");
    }
    let overage = overage_percent(limit.pico(), spend.pico()).map_or_else(
        || "no spend is allowed".to_owned(),
        |percent| format!("{percent}% over"),
    );
    format!(
        "{organization}: month to date ${usage}, limit ${threshold}, {overage}\n\
         - check for anomalous calls: a loop or a leaked key shows in one workspace\n\
         - adjust the workspace limits: https://console.anthropic.com/settings/limits\n\
         - use a cheaper model for high-frequency calls"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_overage_and_next_steps() {
        let usd = |text| Usd::parse(text).unwrap();
        assert_eq!(
            describe("acme", usd("12.345"), usd("20")),
            "acme: month to date $12.34, below the limit of $20.00"
        );
        let text = describe("acme", usd("5621.5"), usd("5000"));
        assert!(
            text.starts_with("acme: month to date $5,621.50, limit $5,000.00, 12.4% over\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 4);
        assert!(describe("acme", usd("1"), Usd::ZERO).contains("no spend is allowed"));
    }
}
