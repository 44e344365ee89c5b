//! `check --limit`: one question, one answer. Needs no rules, no file and no store.

use std::process::ExitCode;
use std::sync::Arc;

use crate::anthropic::AdminApi;
use crate::anthropic::limiter::Share;
use crate::app::wiring;
use crate::cli::check::verdict::Verdict;
use crate::cli::globals::{Failure, Globals, check_key};
use crate::cli::output::{Format, print};
use crate::cli::remarks::{by_contract, estimated, uncertain, unpriced};
use crate::cli::swept::{self, Asking};
use crate::clock::Clock;
use crate::config::organizations::Organization;
use crate::config::source::Environment;
use crate::cycle::reading::Reports;
use crate::domain::money::{Usd, overage_percent};
use crate::domain::prices::Prices;
use crate::domain::span::{Day, HourSpan};
use crate::domain::usage::{Amounts, Part, sum};
use crate::metrics::requests::RequestCounts;
use crate::sheet::{Cell, Column, Sheet, hidden, shown};

/// Exit 0 below the limit, 2 at or above, 1 when it cannot be told.
pub async fn compare(
    limit: Usd,
    globals: &Globals,
    environment: &Environment,
) -> Result<ExitCode, Failure> {
    let config = globals.load(environment)?;
    let (mut told, mut rows, mut verdict) = (String::new(), Vec::new(), Verdict::default());
    for organization in globals.organizations(&config)? {
        if let Err(failure) = check_key(&config, organization) {
            failure.tell();
            verdict.is_unknown = true;
            continue;
        }
        let table = Arc::clone(&config.prices.prices);
        match month_to_date(organization, environment, table).await {
            Ok(month) => {
                let name = organization.name.as_str();
                let is_over = month.spend > Usd::ZERO && month.spend >= limit;
                // What is over is over, whatever comes on top of it; below it, nothing is certain.
                let is_known = is_over || month.lacks.is_empty();
                for lack in &month.lacks {
                    let text = format!("organization `{name}`: {lack}");
                    match is_known {
                        true => globals.remark(&format!("warning: {text}")),
                        false => eprintln!("error: {text}"),
                    }
                }
                verdict.is_unknown |= !is_known;
                if !is_known {
                    continue;
                }
                for text in remarks(&month) {
                    globals.remark(&format!("organization `{name}`: {text}"));
                }
                told.push_str(&tell(name, month.spend, limit));
                told.push('\n');
                rows.push(row(name, &month, limit, is_over));
                verdict.is_over |= is_over;
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                verdict.is_unknown = true;
            }
        }
    }
    let columns = COLUMNS.to_vec();
    let text = match globals.output {
        Format::Table => told,
        Format::Json | Format::Csv => {
            Sheet { columns, rows }.render(globals.output, globals.stdout)
        }
    };
    Ok(print(&text, verdict.exit()))
}

const COLUMNS: [Column; 6] = [
    shown("organization", "ORGANIZATION"),
    shown("month_to_date_usd", "MONTH TO DATE"),
    hidden("estimated_usd"),
    shown("limit_usd", "LIMIT"),
    shown("overage_percent", "OVERAGE"),
    shown("is_over", "OVER"),
];

fn row(organization: &str, month: &Month, limit: Usd, is_over: bool) -> Vec<Cell> {
    let overage = overage_percent(limit.pico(), month.spend.pico()).filter(|_| is_over);
    vec![
        Cell::Text(organization.to_owned()),
        Cell::Money(month.spend),
        Cell::Money(month.estimated),
        Cell::Money(limit),
        overage.map_or(Cell::Empty, Cell::Decimal),
        Cell::Flag(is_over),
    ]
}

/// What a reader of the figure has to know.
fn remarks(month: &Month) -> Vec<String> {
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
    organization: &Organization,
    environment: &Environment,
    prices: Arc<Prices>,
) -> anyhow::Result<Month> {
    let clock = Clock::system();
    let requests = Arc::new(RequestCounts::default());
    let share = Share::Daemon;
    let api = wiring::command_api(organization, environment, &clock, requests, share).await?;
    let dialect = match organization.dialect {
        Some(dialect) => dialect,
        None => api.detect_dialect().await?,
    };
    let now = clock.now();
    let today = Day::of(now);
    let first = Day::from_date(today.date().first_of_month());
    let Some(reports) = Reports::of(dialect) else {
        let (months, unread) = api.usage_by_month(&Part::Whole, first, today).await?;
        check_clock(&api)?;
        let unread = unread.iter().filter(|it| !it.hours.is_empty());
        return Ok(Month {
            spend: months.iter().map(|month| sum(&month.cells).spend).sum(),
            estimated: Usd::ZERO,
            uncertain: Usd::ZERO,
            by_contract: 0,
            lacks: unread.map(|it| swept::unreadable(&it.reason)).collect(),
        });
    };
    let asking = Asking {
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
    let told = swept::read(asking).await?;
    check_clock(&api)?;
    Ok(Month::of(&told))
}

/// By a wrong clock another month would be compared.
fn check_clock(api: &AdminApi) -> anyhow::Result<()> {
    match api.clock_problem() {
        Some(problem) => Err(anyhow::anyhow!("{problem}")),
        None => Ok(()),
    }
}

/// What was spent since the first.
#[derive(Debug, PartialEq, Eq)]
struct Month {
    spend: Usd,
    /// The part of it that is not billed yet.
    estimated: Usd,
    /// The part of what all tokens cost by list price that is not certain.
    uncertain: Usd,
    /// Tokens of the Priority Tier, which are in no bill.
    by_contract: i64,
    /// Why it may be more.
    lacks: Vec<String>,
}

impl Month {
    fn of(told: &swept::Told) -> Month {
        let cells = told.parts.values().flat_map(|buckets| buckets.values());
        let cells: Vec<_> = cells.flatten().collect();
        let all = cells
            .iter()
            .fold(Amounts::ZERO, |all, (_, amounts)| all + **amounts);
        let unpriced = unpriced(cells.iter().map(|(cell, amounts)| (&cell.model, *amounts)));
        let missing = told.missing_since.map(swept::missing);
        Month {
            spend: all.spend,
            estimated: all.estimated,
            uncertain: all.uncertain,
            by_contract: all.by_contract,
            lacks: unpriced
                .into_iter()
                .chain(missing)
                .chain(
                    told.unreadable
                        .iter()
                        .map(|reason| swept::unreadable(reason)),
                )
                .collect(),
        }
    }
}

/// What is told: usage and threshold with two decimals, the overage with one, and what to do.
fn tell(organization: &str, spend: Usd, limit: Usd) -> String {
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
    fn a_limit_that_is_reached_says_by_how_much_and_what_to_do() {
        let usd = |text| Usd::parse(text).unwrap();
        assert_eq!(
            tell("acme", usd("12.345"), usd("20")),
            "acme: month to date $12.34, below the limit of $20.00"
        );
        let told = tell("acme", usd("5621.5"), usd("5000"));
        assert!(
            told.starts_with("acme: month to date $5,621.50, limit $5,000.00, 12.4% over\n"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 4);
        assert!(tell("acme", usd("1"), Usd::ZERO).contains("no spend is allowed"));
    }
}
