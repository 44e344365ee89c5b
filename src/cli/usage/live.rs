//! Usage straight from the service, without a ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::anthropic::AdminApi;
use crate::anthropic::error::FetchError;
use crate::app::wiring;
use crate::cli::globals::{Failure, Globals};
use crate::cli::progress::Progress;
use crate::cli::usage::question::{Question, Told};
use crate::clock::{Chance, Clock};
use crate::config::Config;
use crate::config::organizations::Organization;
use crate::config::source::Environment;
use crate::domain::directory::Directory;
use crate::domain::period::Period;
use crate::domain::span::{Day, Hour};
use crate::domain::subject::SubjectKind;
use crate::domain::usage::{Cells, Granularity, Part, UsageRow, add_to};
use crate::metrics::requests::RequestCounts;
use crate::outbound::causes;

/// What each organization's service says now.
pub async fn ask(
    question: &Question,
    globals: &Globals,
    environment: &Environment,
) -> Result<(Config, Vec<Told>), Failure> {
    let config = globals.load(environment)?;
    let mut all = Vec::new();
    for organization in globals.organizations(&config)? {
        let progress = Progress::begin(globals, format!("asking {}", organization.name));
        let told = ask_one(question, organization, environment).await;
        progress.end();
        all.push(told?);
    }
    Ok((config, all))
}

async fn ask_one(
    question: &Question,
    organization: &Organization,
    environment: &Environment,
) -> Result<Told, Failure> {
    let counts = Arc::new(RequestCounts::default());
    let clock = Clock::system();
    let api = wiring::api(organization, environment, &clock, &Chance::System, counts).await?;
    if organization.is_auto {
        api.detect_dialect()
            .await
            .map_err(|error| Failure::World(causes(&error)))?;
    }
    let failed = |error: FetchError| Failure::World(causes(&error));
    let is_told_apart = match question.by {
        SubjectKind::Workspace | SubjectKind::Team => true,
        SubjectKind::Organization | SubjectKind::Model => false,
    };
    let mut directory = Directory::default();
    if is_told_apart {
        let listed = api.workspaces().await.map_err(failed)?;
        directory = directory.with_list(listed, question.now);
    }
    let ids = directory
        .present()
        .map(|workspace| Part::Workspace(workspace.id.clone()));
    let parts: Vec<Part> = ids.collect();
    let asked = stream::iter(parts)
        .map(|part| usage(&api, question, part))
        .buffer_unordered(organization.max_concurrency.max(1));
    let mut rows: Vec<UsageRow> = asked.try_concat().await.map_err(failed)?;
    // After all others: what is spent meanwhile then belongs to the remainder, and none of it is below zero.
    let whole = usage(&api, question, Part::Whole).await.map_err(failed)?;
    rows.extend(remainder(&rows, &whole));
    Ok(Told {
        organization: organization.name.clone(),
        directory,
        rows,
    })
}

/// What belongs to no workspace that was asked for.
fn remainder(parts: &[UsageRow], whole: &[UsageRow]) -> Vec<UsageRow> {
    let mut left: BTreeMap<Hour, Cells> = BTreeMap::new();
    let signed = parts.iter().map(|row| (row, -row.amounts));
    let signed = whole.iter().map(|row| (row, row.amounts)).chain(signed);
    for (row, amounts) in signed {
        add_to(left.entry(row.hour).or_default(), &row.model, amounts);
    }
    let rows = left.into_iter().flat_map(|(hour, cells)| {
        cells.into_iter().map(move |(model, amounts)| UsageRow {
            part: Part::Unattributed,
            model,
            hour,
            amounts,
        })
    });
    rows.collect()
}

/// One part, in the coarsest buckets that can be cut as asked.
async fn usage(
    api: &AdminApi,
    question: &Question,
    part: Part,
) -> Result<Vec<UsageRow>, FetchError> {
    let hours = question.hours;
    let is_utc = question.is_utc();
    let first = hours.start.day();
    // Nothing was used in the future.
    let last = hours
        .end
        .plus(-1)
        .day()
        .min(Day::of(question.now))
        .max(first);
    let mut rows = Vec::new();
    let mut note = |hour: Hour, cells: Cells| {
        if hours.contains(hour) {
            let first = question.pieces.first_hour(hour);
            rows.extend(cells.into_iter().map(|(model, amounts)| UsageRow {
                part: part.clone(),
                model,
                hour: first,
                amounts,
            }));
        }
    };
    let granularity = match question.period {
        Period::Month if is_utc => {
            for month in api.usage_by_month(&part, first, last).await? {
                // A month of which only some days were asked for holds just these.
                let begins = Day::from_date(month.month).max(first);
                note(begins.first_hour(), month.cells);
            }
            return Ok(rows);
        }
        Period::Day if is_utc => Granularity::Day,
        Period::Hour
        | Period::Day
        | Period::Week
        | Period::Month
        | Period::Quarter
        | Period::Rolling(_) => Granularity::Hour,
    };
    let answer = api.usage(&part, granularity, first, last).await?;
    for (hour, cells) in answer.buckets {
        note(hour, cells);
    }
    Ok(rows)
}
