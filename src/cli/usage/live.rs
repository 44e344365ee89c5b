//! Usage straight from the service, without a ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;

use crate::anthropic::AdminApi;
use crate::anthropic::error::FetchError;
use crate::anthropic::guide::MonthUsage;
use crate::anthropic::limiter::Share;
use crate::app::wiring;
use crate::cli::globals::{Failure, Globals, check_key};
use crate::cli::progress::Progress;
use crate::cli::swept::{self, Asking};
use crate::cli::usage::question::{Question, Remark, Told};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::organizations::Organization;
use crate::config::source::Environment;
use crate::cycle::reading::Reports;
use crate::domain::coverage::{is_day_settled, is_settled};
use crate::domain::directory::Directory;
use crate::domain::listing;
use crate::domain::period::Period;
use crate::domain::privacy::People;
use crate::domain::record::remainder;
use crate::domain::span::{Day, Hour};
use crate::domain::subject::SubjectKind;
use crate::domain::usage::{Buckets, Cells, Granularity, Part, UsageRow, add_to};
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
        check_key(&config, organization)?;
        let progress = Progress::begin(globals, format!("asking {}", organization.name));
        let told = ask_one(question, &config, organization, environment).await;
        progress.end();
        all.push(told?);
    }
    Ok((config, all))
}

async fn ask_one(
    question: &Question,
    config: &Config,
    organization: &Organization,
    environment: &Environment,
) -> Result<Told, Failure> {
    let counts = Arc::new(RequestCounts::default());
    let clock = Clock::system();
    let share = Share::Command;
    let api = wiring::command_api(organization, environment, &clock, counts, share).await?;
    let dialect = match organization.dialect {
        Some(dialect) => dialect,
        None => api
            .detect_dialect()
            .await
            .map_err(|error| Failure::World(causes(&error)))?,
    };
    if let Some(reports) = Reports::of(dialect) {
        return ask_real(question, config, organization, api, reports).await;
    }
    check_clock(question, organization, &api)?;
    let settle = config.poll.settle;
    let failed = |error: FetchError| Failure::World(causes(&error));
    let is_told_apart = match question.by {
        SubjectKind::Workspace | SubjectKind::Team => true,
        SubjectKind::Organization
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User => false,
    };
    let mut directory = Directory::default();
    if is_told_apart {
        let listed = api.workspaces().await.map_err(failed)?;
        directory = directory.with_list(listed, question.now);
    }
    let ids = directory
        .present()
        .map(|workspace| Part::Workspace(workspace.id.clone()));
    let ids: Vec<Part> = ids.collect();
    let asked = stream::iter(ids)
        .map(async |part| Ok((part.clone(), usage(&api, question, &part).await?)))
        .buffer_unordered(organization.max_concurrency.max(1));
    let answers: Vec<(Part, (Buckets, Vec<String>))> = asked.try_collect().await.map_err(failed)?;
    // After all others: what is spent meanwhile then belongs to the remainder.
    let (whole, mut unread) = usage(&api, question, &Part::Whole).await.map_err(failed)?;
    let mut remarks = check_clock(question, organization, &api)?;
    let mut parts = Vec::with_capacity(answers.len() + 1);
    for (part, (buckets, reasons)) in answers {
        parts.push((part, buckets));
        unread.extend(reasons);
    }
    let rest = remainders(question, settle, &parts, &whole);
    parts.push((Part::Unattributed, rest));
    Ok(Told {
        organization: organization.name.clone(),
        directory,
        rows: rows(question, parts),
        is_incomplete: !unread.is_empty(),
        remarks: {
            remarks.extend(unreadable_remarks(unread));
            remarks
        },
    })
}

/// Which hours are settled or billed is judged by the clock. Without a given first day the days are chosen by it, too: then a
/// wrong clock is an error.
fn check_clock(
    question: &Question,
    organization: &Organization,
    api: &AdminApi,
) -> Result<Vec<Remark>, Failure> {
    let Some(problem) = api.clock_problem() else {
        return Ok(Vec::new());
    };
    let text = format!("organization `{}`: {problem}", organization.name);
    match question.is_dated {
        true => Ok(vec![Remark {
            kind: "clock",
            at: None,
            text,
        }]),
        false => Err(Failure::World(text)),
    }
}

/// The real service tells all workspaces at once.
async fn ask_real(
    question: &Question,
    config: &Config,
    organization: &Organization,
    api: AdminApi,
    reports: Reports,
) -> Result<Told, Failure> {
    let failed = |error: FetchError| Failure::World(causes(&error));
    let asking = Asking {
        api: api.clone(),
        reports,
        prices: Arc::clone(&config.prices.prices),
        hours: question.hours,
        by_hour: question.period == Period::Hour || !question.is_utc(),
        now: question.now,
    };
    let swept::Told {
        mut directory,
        parts,
        missing_since,
        unreadable,
    } = swept::read(asking).await.map_err(failed)?;
    let mut remarks = check_clock(question, organization, &api)?;
    let mut nameless = Vec::new();
    match question.by {
        SubjectKind::ApiKey | SubjectKind::Team => match api.api_keys().await {
            Ok(keys) => {
                let keys = keys.into_iter();
                directory.keys = keys.map(|key| (key.id, key.name)).collect();
            }
            Err(error) if error.is_rejected() => return Err(failed(error)),
            Err(error) => nameless.push(("no_keys", "names of API keys are", error)),
        },
        // Nobody's name is asked for that is not to be told.
        SubjectKind::User if config.privacy.in_messages() != People::Email => {}
        SubjectKind::User => match api.users().await {
            Ok(users) => {
                directory.people = users.into_iter().map(listing::person).collect();
            }
            Err(error) if error.is_rejected() => return Err(failed(error)),
            Err(error) => nameless.push(("no_people", "names of people are", error)),
        },
        SubjectKind::Organization | SubjectKind::Workspace | SubjectKind::Model => {}
    }
    let name = &organization.name;
    remarks.extend(missing_since.map(|since| Remark {
        kind: "known_up_to",
        at: Some(since),
        text: format!("organization `{name}`: {}", swept::missing(since)),
    }));
    Ok(Told {
        organization: name.clone(),
        directory,
        rows: rows(question, parts.into_iter().collect()),
        is_incomplete: missing_since.is_some() || !unreadable.is_empty(),
        remarks: {
            remarks.extend(unreadable_remarks(unreadable));
            remarks.extend(nameless.into_iter().map(|(kind, what, error)| Remark {
                kind,
                at: None,
                text: format!("{what} unknown: {}", causes(&error)),
            }));
            remarks
        },
    })
}

fn unreadable_remarks(reasons: Vec<String>) -> Vec<Remark> {
    let remark = |reason: String| Remark {
        kind: "unreadable",
        at: None,
        text: swept::unreadable(&reason),
    };
    reasons.into_iter().map(remark).collect()
}

/// What belongs to no workspace that was asked for, bucket by bucket.
fn remainders(
    question: &Question,
    settle: SignedDuration,
    parts: &[(Part, Buckets)],
    whole: &Buckets,
) -> Buckets {
    let mut listed = Buckets::new();
    for (hour, cells) in parts.iter().flat_map(|(_, buckets)| buckets) {
        let sums = listed.entry(*hour).or_default();
        for (model, amounts) in cells {
            add_to(sums, model, *amounts);
        }
    }
    let none = Cells::new();
    let hours: BTreeSet<Hour> = listed.keys().chain(whole.keys()).copied().collect();
    let rest = hours.into_iter().map(|hour| {
        let (whole, listed) = (
            whole.get(&hour).unwrap_or(&none),
            listed.get(&hour).unwrap_or(&none),
        );
        let is_settled = is_bucket_settled(question, settle, hour);
        (hour, remainder(whole, listed, is_settled))
    });
    rest.collect()
}

fn is_bucket_settled(question: &Question, settle: SignedDuration, hour: Hour) -> bool {
    match coarsest(question) {
        Coarsest::Hour => is_settled(hour, settle, question.now),
        Coarsest::Day => is_day_settled(hour.day(), question.now),
        Coarsest::Month => {
            let last = hour.day().date().last_of_month();
            is_day_settled(Day::from_date(last), question.now)
        }
    }
}

fn rows(question: &Question, parts: Vec<(Part, Buckets)>) -> Vec<UsageRow> {
    let mut rows = Vec::new();
    for (part, buckets) in parts {
        for (hour, cells) in buckets {
            let first = question.pieces.first_hour(hour);
            rows.extend(cells.into_iter().map(|(cell, amounts)| UsageRow {
                part: part.clone(),
                cell,
                hour: first,
                amounts,
            }));
        }
    }
    rows
}

/// The coarsest buckets that can be cut as asked: the service knows days and months of UTC alone.
enum Coarsest {
    Hour,
    Day,
    Month,
}

fn coarsest(question: &Question) -> Coarsest {
    match question.period {
        Period::Month if question.is_utc() => Coarsest::Month,
        Period::Day if question.is_utc() => Coarsest::Day,
        Period::Hour
        | Period::Day
        | Period::Week
        | Period::Month
        | Period::Quarter
        | Period::Rolling(_)
        | Period::Complete(_) => Coarsest::Hour,
    }
}

/// One part, by bucket, and what of it could not be read.
async fn usage(
    api: &AdminApi,
    question: &Question,
    part: &Part,
) -> Result<(Buckets, Vec<String>), FetchError> {
    let hours = question.hours;
    let first = hours.start.day();
    // Nothing was used in the future.
    let newest = hours.end.plus(-1).day().min(Day::of(question.now));
    let last = newest.max(first);
    let by = async |granularity| {
        let (answer, unread) = api.usage(part, granularity, first, last).await?;
        Ok((answer.buckets, unread))
    };
    let (mut buckets, unread) = match coarsest(question) {
        Coarsest::Month => {
            let (months, unread) = api.usage_by_month(part, first, last).await?;
            // A month of which only some days were asked for holds just these.
            let bucket = |month: MonthUsage| {
                let begins = Day::from_date(month.month).max(first);
                (begins.first_hour(), month.cells)
            };
            (months.into_iter().map(bucket).collect(), unread)
        }
        Coarsest::Day => by(Granularity::Day).await?,
        Coarsest::Hour => by(Granularity::Hour).await?,
    };
    buckets.retain(|hour, _| hours.contains(*hour));
    let unread = unread.into_iter().filter(|it| !it.hours.is_empty());
    Ok((buckets, unread.map(|it| it.reason).collect()))
}
