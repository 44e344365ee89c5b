//! `usage`: usage and spend by subject and period, from the ledger or the Admin API.

mod dates;

mod query;

mod amounts;

mod ledger;
mod live;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::cli::globals::{CommandError, Globals};
use crate::cli::output::screen::Screen;
use crate::cli::output::{OutputFormat, json_text, print};
use crate::cli::usage::amounts::ReportedAmounts;
use crate::cli::usage::dates::DateRange;
use crate::cli::usage::query::{OrganizationUsage, Remark, UsageQuery};
use crate::table::{Cell, Column, OutputTable, hidden, shown};
use spendwatch_base::clock::Clock;
use spendwatch_config::source::Environment;
use spendwatch_config::terms::zone_named;
use spendwatch_domain::figures::breakdown::{self, BreakdownContext, BreakdownEntry};
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::period::{Period, Zone};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::Amounts;

/// Arguments of `usage`.
#[derive(Debug, Args)]
pub struct Usage {
    /// First day or month (default: this month)
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<DateRange>,
    /// Last day or month, inclusive (default: today)
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<DateRange>,
    /// Group by
    #[arg(long, value_enum, default_value_t = GroupBy::Workspace)]
    by: GroupBy,
    /// Time bucket
    #[arg(long, value_enum, default_value_t = TimeBucket::Month)]
    granularity: TimeBucket,
    /// Time zone of days and months
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone)]
    time_zone: Zone,
    /// Read from the Admin API instead of the ledger
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GroupBy {
    Organization,
    Workspace,
    Model,
    Team,
    /// Where reported
    #[value(name = "api_key")]
    ApiKey,
    /// Where reported
    User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimeBucket {
    Hour,
    Day,
    Month,
}

fn parse_zone(name: &str) -> Result<Zone, String> {
    zone_named(name)
        .ok_or_else(|| "expected an IANA time zone, for example `Europe/Berlin`".to_owned())
}

impl Usage {
    /// Runs the command.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let query = self.query(Clock::system().now())?;
        let (config, mut usages) = if self.live {
            live::read(&query, globals, environment).await?
        } else {
            ledger::read(&query, globals, environment).await?
        };
        let mut lines = Vec::new();
        for usage in &mut usages {
            let remarks = amounts::remarks(query.by, usage);
            usage.remarks.extend(remarks);
        }
        for usage in &usages {
            for remark in &usage.remarks {
                globals.remark(&remark.text);
            }
            let naming = BreakdownContext {
                organization: &usage.organization,
                directory: &usage.directory,
                teams: &config.teams,
                naming: config.privacy.in_messages(),
            };

            let entries = breakdown::break_down(query.by, naming, &usage.rows);
            lines.extend(
                entries
                    .into_iter()
                    .map(|entry| (&usage.organization, entry)),
            );
        }
        lines.sort_by_key(|(_, entry)| entry.first);
        if lines.is_empty() && usages.iter().any(|usage| usage.is_incomplete) {
            globals.remark("warning: usage is unknown: part of the period was not read");
        } else if lines.is_empty() {
            globals.remark("no usage");
        }
        let text = render(&query, &usages, &lines, globals.output, globals.stdout);
        Ok(print(&text, ExitCode::SUCCESS))
    }

    fn query(&self, now: Timestamp) -> Result<UsageQuery, CommandError> {
        let by = match self.by {
            GroupBy::Organization => SubjectKind::Organization,
            GroupBy::Workspace => SubjectKind::Workspace,
            GroupBy::Model => SubjectKind::Model,
            GroupBy::Team => SubjectKind::Team,
            GroupBy::ApiKey => SubjectKind::ApiKey,
            GroupBy::User => SubjectKind::User,
        };
        let period = match self.granularity {
            TimeBucket::Hour => Period::Hour,
            TimeBucket::Day => Period::Day,
            TimeBucket::Month => Period::Month,
        };
        let today = now.to_zoned(self.time_zone.rules.clone()).date();
        let dates = dates::between(self.from, self.to, today).map_err(CommandError::usage)?;
        Ok(UsageQuery {
            is_dated: self.from.is_some(),
            ..UsageQuery::new(dates, self.time_zone.clone(), period, by, now)
        })
    }
}

type UsageEntry<'a> = (&'a OrganizationName, BreakdownEntry);

/// JSON has the total beside the rows; CSV has only rows, so that they can be summed.
fn render(
    query: &UsageQuery,
    usages: &[OrganizationUsage],
    lines: &[UsageEntry<'_>],
    format: OutputFormat,
    screen: Screen,
) -> String {
    let n_used = usages.iter().filter(|usage| !usage.rows.is_empty()).count();
    let amounts: Vec<&Amounts> = lines.iter().map(|(_, entry)| &entry.amounts).collect();
    let reported = ReportedAmounts::for_totals(usages);
    let by_subject = reported.for_subjects(query.by, usages);
    let mut table = OutputTable {
        columns: columns(query.by, n_used > 1, &amounts),
        rows: lines
            .iter()
            .map(|(organization, entry)| row(query, organization, entry, by_subject))
            .collect(),
    };
    let is_incomplete = usages.iter().any(|usage| usage.is_incomplete);
    // Unknown usage is not zero usage.
    let is_unknown = is_incomplete && lines.is_empty();
    let total = lines
        .iter()
        .fold(Amounts::ZERO, |sum, (_, entry)| sum + entry.amounts);
    match format {
        OutputFormat::Csv => table.render(format, screen),
        OutputFormat::Json => {
            let cells = if is_unknown {
                amounts::unknown()
            } else {
                amounts::cells(&total, reported)
            };
            let total = OutputTable {
                columns: amounts::columns(&[]),
                rows: vec![cells],
            };
            json_text(&serde_json::json!({
                "from": query.dates.first.to_string(),
                "to": query.dates.last.to_string(),
                "time_zone": &*query.zone.name,
                "rows": table.as_json(),
                "total": total.as_json()[0].take(),
                "is_complete": !is_incomplete,
                "remarks": remarks(usages),
            }))
        }
        OutputFormat::Table => {
            let name = if is_incomplete && !is_unknown {
                "total, at least"
            } else {
                "total"
            };
            let mut cells = vec![Cell::Text(name.to_owned())];
            cells.resize(N_NAMES, Cell::Empty);
            if is_unknown {
                let mut unknown = amounts::unknown();
                unknown[0] = Cell::Text("unknown".to_owned());
                cells.extend(unknown);
            } else {
                cells.extend(amounts::cells(&total, reported));
            }
            cells.extend(is_by_key(query.by).then_some(Cell::Empty));
            table.rows.push(cells);
            if amounts::has_prices(&amounts) {
                table = table.with_droppable(&amounts::DROPPABLE);
            }
            table.render(format, screen)
        }
    }
}

fn remarks(usages: &[OrganizationUsage]) -> Vec<serde_json::Value> {
    let of_one = |usage: &OrganizationUsage| {
        let organization = usage.organization.to_string();
        let as_json = move |remark: &Remark| {
            serde_json::json!({
                "organization": organization.clone(),
                "kind": remark.kind,
                "at": remark.at.map(|at| at.to_string()),
                "text": remark.text,
            })
        };
        usage.remarks.iter().map(as_json).collect::<Vec<_>>()
    };
    usages.iter().flat_map(of_one).collect()
}

/// Number of columns before the amounts.
const N_NAMES: usize = 4;

/// Rows by key have a column that marks apportioned amounts.
fn is_by_key(by: SubjectKind) -> bool {
    by == SubjectKind::ApiKey
}

fn columns(by: SubjectKind, is_many: bool, amounts: &[&Amounts]) -> Vec<Column> {
    let organization = match by {
        // The name column shows it already.
        SubjectKind::Organization => hidden("organization"),
        _ if is_many => shown("organization", "ORGANIZATION"),
        SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => hidden("organization"),
    };
    let (id, name, heading) = match by {
        SubjectKind::Organization => ("organization_id", "name", "ORGANIZATION"),
        SubjectKind::Workspace => ("workspace_id", "workspace", "WORKSPACE"),
        SubjectKind::Model => ("model_id", "model", "MODEL"),
        SubjectKind::ApiKey => ("api_key_id", "api_key", "API KEY"),
        SubjectKind::User => ("user_id", "user", "USER"),
        SubjectKind::Team => ("team_id", "team", "TEAM"),
    };
    let names = [
        shown("period", "PERIOD"),
        organization,
        hidden(id),
        shown(name, heading),
    ];
    let share = is_by_key(by).then_some(hidden("apportioned"));
    names
        .into_iter()
        .chain(amounts::columns(amounts))
        .chain(share)
        .collect()
}

fn row(
    query: &UsageQuery,
    organization: &OrganizationName,
    entry: &BreakdownEntry,
    reported: ReportedAmounts,
) -> Vec<Cell> {
    let mut cells = vec![
        Cell::from(query.pieces.label(entry.first)),
        Cell::Text(organization.to_string()),
        Cell::Text(entry.subject.id.to_string()),
        Cell::Text(entry.name.clone()),
    ];
    cells.extend(amounts::cells(&entry.amounts, reported));
    cells.extend(is_by_key(entry.subject.kind).then_some(Cell::Flag(entry.is_apportioned)));
    cells
}
