//! Usage from the Admin API, without a ledger.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;

use crate::app::wiring;
use crate::cli::globals::{CommandError, Globals, check_key};
use crate::cli::live_usage::{self, LiveQuery, LiveUsage};
use crate::cli::progress::CommandProgress;
use crate::cli::usage::query::{OrganizationUsage, Remark, UsageQuery};
use crate::cycle::reading::Reports;
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::error::FetchError;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_anthropic::wire::guide::usage::MonthUsage;
use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::Config;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::Environment;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::ledger::coverage::{is_day_settled, is_settled};
use spendwatch_domain::ledger::record::remainder;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::org::listing;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::privacy::UserNaming;
use spendwatch_domain::units::span::{Day, Hour};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::{Buckets, Granularity, Part, UsageByKey, UsageRow, add_to};

/// Reads the usage of each selected organization.
pub async fn read(
    query: &UsageQuery,
    globals: &Globals,
    environment: &Environment,
) -> Result<(Config, Vec<OrganizationUsage>), CommandError> {
    let config = globals.load(environment)?;
    let mut all = Vec::new();
    for organization in globals.organizations(&config)? {
        check_key(&config, organization)?;
        let progress = CommandProgress::start(globals, format!("live_query {}", organization.name));
        let usage = read_one(query, &config, organization, environment).await;
        progress.finish();
        all.push(usage?);
    }
    Ok((config, all))
}

async fn read_one(
    query: &UsageQuery,
    config: &Config,
    organization: &OrganizationConfig,
    environment: &Environment,
) -> Result<OrganizationUsage, CommandError> {
    let counts = Arc::new(RequestCounts::default());
    let clock = Clock::system();
    let share = RateShare::Command;
    let api = wiring::command_api(organization, environment, &clock, counts, share).await?;
    let dialect = wiring::dialect(organization, &api).await?;
    if let Some(reports) = Reports::of(dialect) {
        return read_reports(query, config, organization, api, reports).await;
    }
    check_clock(query, organization, &api)?;
    let settle = config.poll.settle;
    let is_by_workspace = match query.by {
        SubjectKind::Workspace | SubjectKind::Team => true,
        SubjectKind::Organization
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User => false,
    };
    let mut directory = Directory::default();
    if is_by_workspace {
        let listed = api.workspaces(ServerKind::Guide).await?;
        directory = directory.with_list(listed, query.now);
    }
    let ids = directory
        .present()
        .map(|workspace| Part::Workspace(workspace.id.clone()));
    let ids: Vec<Part> = ids.collect();
    let requests = stream::iter(ids)
        .map(async |part| Ok::<_, FetchError>((part.clone(), usage(&api, query, &part).await?)))
        .buffer_unordered(organization.max_concurrency.max(1));
    let answers: Vec<(Part, (Buckets, Vec<String>))> = requests.try_collect().await?;
    // The whole is read last, so that spend in the meantime counts as remainder.
    let (whole, mut unread) = usage(&api, query, &Part::Whole).await?;
    let mut remarks = check_clock(query, organization, &api)?;
    let mut parts = Vec::with_capacity(answers.len() + 1);
    for (part, (buckets, reasons)) in answers {
        parts.push((part, buckets));
        unread.extend(reasons);
    }
    let rest = remainders(query, settle, &parts, &whole);
    parts.push((Part::Unattributed, rest));
    Ok(OrganizationUsage {
        organization: organization.name.clone(),
        directory,
        rows: rows(query, parts),
        is_incomplete: !unread.is_empty(),
        remarks: {
            remarks.extend(unreadable_remarks(unread));
            remarks
        },
    })
}

/// Checks the clock, which decides what is settled or billed. A wrong clock is an error if it also selects the days, else a remark.
fn check_clock(
    query: &UsageQuery,
    organization: &OrganizationConfig,
    api: &AdminApi,
) -> Result<Vec<Remark>, CommandError> {
    let Some(problem) = api.clock_problem() else {
        return Ok(Vec::new());
    };
    let remark = Remark::new(&organization.name, "clock", None, &problem.to_string());
    match query.is_dated {
        true => Ok(vec![remark]),
        false => Err(CommandError::Failed(remark.text)),
    }
}

/// Reads all workspaces at once from the usage and cost reports.
async fn read_reports(
    query: &UsageQuery,
    config: &Config,
    organization: &OrganizationConfig,
    api: AdminApi,
    reports: Reports,
) -> Result<OrganizationUsage, CommandError> {
    let live_query = LiveQuery {
        api: api.clone(),
        reports,
        prices: Arc::clone(&config.prices.prices),
        hours: query.hours,
        by_hour: query.period == Period::Hour || !query.is_utc(),
        now: query.now,
    };
    let LiveUsage {
        mut directory,
        parts,
        missing_since,
        unreadable,
    } = live_usage::read(live_query).await?;
    let mut remarks = check_clock(query, organization, &api)?;
    let mut unnamed = Vec::new();
    match query.by {
        SubjectKind::ApiKey | SubjectKind::Team => {
            match api.keys(ServerKind::Real, None, &|_| {}).await {
                Ok(keys) => {
                    let keys = keys.into_iter();
                    directory.keys = keys.map(|key| (key.id, key.name)).collect();
                }
                Err(error) if error.is_key_rejected() => return Err(error.into()),
                Err(error) => unnamed.push(("no_keys", "names of API keys are", error)),
            }
        }
        // Names that are not shown are not read.
        SubjectKind::User if config.privacy.in_messages() != UserNaming::Email => {}
        SubjectKind::User => match api.users(ServerKind::Real, &|_| {}).await {
            Ok(users) => {
                directory.users = users.into_iter().map(listing::person).collect();
            }
            Err(error) if error.is_key_rejected() => return Err(error.into()),
            Err(error) => unnamed.push(("no_people", "names of users are", error)),
        },
        SubjectKind::Organization | SubjectKind::Workspace | SubjectKind::Model => {}
    }
    let name = &organization.name;
    remarks.extend(missing_since.map(|since| {
        Remark::new(
            name,
            "known_up_to",
            Some(since),
            &live_usage::missing(since),
        )
    }));
    Ok(OrganizationUsage {
        organization: name.clone(),
        directory,
        rows: rows(query, parts.into_iter().collect()),
        is_incomplete: missing_since.is_some() || !unreadable.is_empty(),
        remarks: {
            remarks.extend(unreadable_remarks(unreadable));
            remarks.extend(unnamed.into_iter().map(|(kind, what, error)| Remark {
                kind,
                at: None,
                text: format!("{what} unknown: {}", error_chain(&error)),
            }));
            remarks
        },
    })
}

fn unreadable_remarks(reasons: Vec<String>) -> Vec<Remark> {
    let remark = |reason: String| Remark {
        kind: "unreadable",
        at: None,
        text: live_usage::unreadable(&reason),
    };
    reasons.into_iter().map(remark).collect()
}

/// Returns the remainder of each bucket: the whole minus the listed workspaces.
fn remainders(
    query: &UsageQuery,
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
    let none = UsageByKey::new();
    let hours: BTreeSet<Hour> = listed.keys().chain(whole.keys()).copied().collect();
    let rest = hours.into_iter().map(|hour| {
        let (whole, listed) = (
            whole.get(&hour).unwrap_or(&none),
            listed.get(&hour).unwrap_or(&none),
        );
        let is_settled = is_bucket_settled(query, settle, hour);
        (hour, remainder(whole, listed, is_settled))
    });
    rest.collect()
}

fn is_bucket_settled(query: &UsageQuery, settle: SignedDuration, hour: Hour) -> bool {
    match query_granularity(query) {
        QueryGranularity::Hour => is_settled(hour, settle, query.now),
        QueryGranularity::Day => is_day_settled(hour.day(), query.now),
        QueryGranularity::Month => {
            let last = hour.day().date().last_of_month();
            is_day_settled(Day::from_date(last), query.now)
        }
    }
}

fn rows(query: &UsageQuery, parts: Vec<(Part, Buckets)>) -> Vec<UsageRow> {
    let mut rows = Vec::new();
    for (part, buckets) in parts {
        for (hour, cells) in buckets {
            let first = query.pieces.first_hour(hour);
            rows.extend(cells.into_iter().map(|(usage_key, amounts)| UsageRow {
                part: part.clone(),
                usage_key,
                hour: first,
                amounts,
            }));
        }
    }
    rows
}

/// Coarsest buckets that fit the query; days and months are only available in UTC.
enum QueryGranularity {
    Hour,
    Day,
    Month,
}

fn query_granularity(query: &UsageQuery) -> QueryGranularity {
    match query.period {
        Period::Month if query.is_utc() => QueryGranularity::Month,
        Period::Day if query.is_utc() => QueryGranularity::Day,
        Period::Hour
        | Period::Day
        | Period::Week
        | Period::Month
        | Period::Quarter
        | Period::Rolling(_)
        | Period::Complete(_) => QueryGranularity::Hour,
    }
}

/// Reads one part by bucket. Returns what could not be read too.
async fn usage(
    api: &AdminApi,
    query: &UsageQuery,
    part: &Part,
) -> Result<(Buckets, Vec<String>), FetchError> {
    let hours = query.hours;
    let first = hours.start.day();
    // Nothing was used in the future.
    let newest = hours.end.plus(-1).day().min(Day::containing(query.now));
    let last = newest.max(first);
    let by = async |granularity| {
        let (answer, unread) = api.guide_usage(part, granularity, first, last).await?;
        Ok((answer.buckets, unread))
    };
    let (mut buckets, unread) = match query_granularity(query) {
        QueryGranularity::Month => {
            let (months, unread) = api.guide_usage_by_month(part, first, last).await?;
            // A month contains only the requested days.
            let bucket = |month: MonthUsage| {
                let begins = Day::from_date(month.month).max(first);
                (begins.first_hour(), month.cells)
            };
            (months.into_iter().map(bucket).collect(), unread)
        }
        QueryGranularity::Day => by(Granularity::Day).await?,
        QueryGranularity::Hour => by(Granularity::Hour).await?,
    };
    buckets.retain(|hour, _| hours.contains(*hour));
    let unread = unread.into_iter().filter(|it| !it.hours.is_empty());
    Ok((buckets, unread.map(|it| it.reason).collect()))
}
