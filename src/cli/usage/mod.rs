//! `usage`: what was used, by whom and when, from the ledger or straight from the service.

mod dates;

mod question;

mod amounts;

mod ledger;
mod live;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::cli::globals::{Failure, Globals};
use crate::cli::output::{Format, Screen, json_text, print};
use crate::cli::usage::amounts::Reported;
use crate::cli::usage::dates::Dates;
use crate::cli::usage::question::{Question, Remark, Told};
use crate::clock::Clock;
use crate::config::source::Environment;
use crate::config::terms::zone_named;
use crate::domain::breakdown::{self, Entry, Naming};
use crate::domain::ids::OrganizationName;
use crate::domain::period::{Period, Zone};
use crate::domain::subject::SubjectKind;
use crate::domain::usage::Amounts;
use crate::sheet::{Cell, Column, Sheet, hidden, shown};

/// Which usage, and how it is broken down.
#[derive(Debug, Args)]
pub struct Usage {
    /// The first day, like 2026-11-01, or a month, like 2026-11; the first of this month where it is not said
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    from: Option<Dates>,
    /// The last day or month, itself included; today where it is not said
    #[arg(long, value_name = "DATE", value_parser = dates::parse)]
    to: Option<Dates>,
    /// Of whom
    #[arg(long, value_enum, default_value_t = By::Workspace)]
    by: By,
    /// In pieces of time
    #[arg(long, value_enum, default_value_t = Pace::Month)]
    granularity: Pace,
    /// Where days and months are cut
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = parse_zone)]
    time_zone: Zone,
    /// Ask the service, not the ledger; needs no store
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Organization,
    Workspace,
    Model,
    Team,
    /// Where the service tells it
    #[value(name = "api_key")]
    ApiKey,
    /// Where the service tells it
    User,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pace {
    Hour,
    Day,
    Month,
}

fn parse_zone(name: &str) -> Result<Zone, String> {
    zone_named(name)
        .ok_or_else(|| "is no time zone; IANA names are meant, like `Europe/Berlin`".to_owned())
}

impl Usage {
    /// From the first day to the last, both included.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let question = self.question(Clock::system().now())?;
        let (config, mut told) = if self.live {
            live::ask(&question, globals, environment).await?
        } else {
            ledger::read(&question, globals, environment).await?
        };
        let mut lines = Vec::new();
        for told in &mut told {
            let more = amounts::remarks(question.by, told);
            told.remarks.extend(more);
        }
        for told in &told {
            for remark in &told.remarks {
                globals.remark(&remark.text);
            }
            let naming = Naming {
                organization: &told.organization,
                directory: &told.directory,
                teams: &config.teams,
                people: config.privacy.in_messages(),
            };

            let entries = breakdown::break_down(question.by, naming, &told.rows);
            lines.extend(entries.into_iter().map(|entry| (&told.organization, entry)));
        }
        lines.sort_by_key(|(_, entry)| entry.first);
        if lines.is_empty() && told.iter().any(|told| told.is_incomplete) {
            globals.remark("warning: usage is unknown: not all of this time was read");
        } else if lines.is_empty() {
            globals.remark("No usage");
        }
        let text = render(&question, &told, &lines, globals.output, globals.stdout);
        Ok(print(&text, ExitCode::SUCCESS))
    }

    fn question(&self, now: Timestamp) -> Result<Question, Failure> {
        let by = match self.by {
            By::Organization => SubjectKind::Organization,
            By::Workspace => SubjectKind::Workspace,
            By::Model => SubjectKind::Model,
            By::Team => SubjectKind::Team,
            By::ApiKey => SubjectKind::ApiKey,
            By::User => SubjectKind::User,
        };
        let period = match self.granularity {
            Pace::Hour => Period::Hour,
            Pace::Day => Period::Day,
            Pace::Month => Period::Month,
        };
        let today = now.to_zoned(self.time_zone.rules.clone()).date();
        let dates = dates::between(self.from, self.to, today).map_err(Failure::usage)?;
        Ok(Question {
            is_dated: self.from.is_some(),
            ..Question::new(dates, self.time_zone.clone(), period, by, now)
        })
    }
}

type Line<'a> = (&'a OrganizationName, Entry);

/// JSON has the total beside the rows; CSV has rows alone, so that summing them up is right.
fn render(
    question: &Question,
    told: &[Told],
    lines: &[Line<'_>],
    format: Format,
    screen: Screen,
) -> String {
    let n_told = told.iter().filter(|told| !told.rows.is_empty()).count();
    let of_lines: Vec<&Amounts> = lines.iter().map(|(_, entry)| &entry.amounts).collect();
    let all = Reported::of(told);
    let by = all.by(question.by, told);
    let mut sheet = Sheet {
        columns: columns(question.by, n_told > 1, &of_lines),
        rows: lines
            .iter()
            .map(|(organization, entry)| row(question, organization, entry, by))
            .collect(),
    };
    let is_incomplete = told.iter().any(|told| told.is_incomplete);
    // Nothing is known of the usage: that is not the same as none.
    let is_unknown = is_incomplete && lines.is_empty();
    let total = lines
        .iter()
        .fold(Amounts::ZERO, |sum, (_, entry)| sum + entry.amounts);
    match format {
        Format::Csv => sheet.render(format, screen),
        Format::Json => {
            let cells = if is_unknown {
                amounts::unknown()
            } else {
                amounts::cells(&total, all)
            };
            let total = Sheet {
                columns: amounts::columns(&[]),
                rows: vec![cells],
            };
            json_text(&serde_json::json!({
                "from": question.dates.first.to_string(),
                "to": question.dates.last.to_string(),
                "time_zone": &*question.zone.name,
                "rows": sheet.as_json(),
                "total": total.as_json()[0].take(),
                "is_complete": !is_incomplete,
                "remarks": remarks(told),
            }))
        }
        Format::Table => {
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
                cells.extend(amounts::cells(&total, all));
            }
            cells.extend(is_by_key(question.by).then_some(Cell::Empty));
            sheet.rows.push(cells);
            if amounts::has_prices(&of_lines) {
                sheet = sheet.giving_way(&amounts::LEAST);
            }
            sheet.render(format, screen)
        }
    }
}

fn remarks(told: &[Told]) -> Vec<serde_json::Value> {
    let of_one = |told: &Told| {
        let organization = told.organization.to_string();
        let as_json = move |remark: &Remark| {
            serde_json::json!({
                "organization": organization.clone(),
                "kind": remark.kind,
                "at": remark.at.map(|at| at.to_string()),
                "text": remark.text,
            })
        };
        told.remarks.iter().map(as_json).collect::<Vec<_>>()
    };
    told.iter().flat_map(of_one).collect()
}

/// Columns before the amounts.
const N_NAMES: usize = 4;

/// Shares of keys are marked.
fn is_by_key(by: SubjectKind) -> bool {
    by == SubjectKind::ApiKey
}

fn columns(by: SubjectKind, is_many: bool, told: &[&Amounts]) -> Vec<Column> {
    let organization = match by {
        // There it is the name already.
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
        .chain(amounts::columns(told))
        .chain(share)
        .collect()
}

fn row(
    question: &Question,
    organization: &OrganizationName,
    entry: &Entry,
    reported: Reported,
) -> Vec<Cell> {
    let mut cells = vec![
        Cell::text_or_empty(question.pieces.label(entry.first)),
        Cell::Text(organization.to_string()),
        Cell::Text(entry.subject.id.to_string()),
        Cell::Text(entry.name.clone()),
    ];
    cells.extend(amounts::cells(&entry.amounts, reported));
    cells.extend(is_by_key(entry.subject.kind).then_some(Cell::Flag(entry.is_apportioned)));
    cells
}
