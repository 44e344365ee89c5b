//! Usage from the ledger. Reports what the ledger does not have instead of showing zero.

use crate::cli::globals::{CommandError, Globals};
use crate::cli::output::cell::short_time;
use crate::cli::usage::query::{OrganizationUsage, Remark, UsageQuery};
use spendwatch_config::Config;
use spendwatch_config::source::Environment;
use spendwatch_domain::ledger::coverage::Coverage;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_domain::units::span::{Day, Hour};
use spendwatch_domain::usage::bucket::Part;
use spendwatch_store::organization::StoredDirectory;

/// Reads the usage of each selected organization.
pub async fn read(
    query: &UsageQuery,
    globals: &Globals,
    environment: &Environment,
) -> Result<(Config, Vec<OrganizationUsage>), CommandError> {
    let (config, store) = globals.open_store(environment)?;
    let hours = query.hours;
    let mut all = Vec::new();
    for organization in globals.organizations(&config)? {
        let name = &organization.name;
        let Some(known) = store.stored_directory(name).await? else {
            all.push(OrganizationUsage {
                organization: name.clone(),
                directory: Directory::default(),
                rows: Vec::new(),
                remarks: vec![Remark {
                    kind: "nothing_stored",
                    at: None,
                    text: format!("no data stored for organization `{name}`"),
                }],
                is_incomplete: true,
            });
            continue;
        };
        let (remarks, is_incomplete) = remarks(query, name, &known)?;
        let pieces = query.pieces.clone();
        let rows = store
            .usage(name, hours, move |hour| pieces.first_hour(hour))
            .await?;
        all.push(OrganizationUsage {
            organization: name.clone(),
            directory: known.directory,
            rows,
            remarks,
            is_incomplete,
        });
    }
    Ok((config, all))
}

/// Returns remarks about missing data, and whether part of the span was never read. Hours known only as days are an error.
fn remarks(
    query: &UsageQuery,
    name: &OrganizationName,
    known: &StoredDirectory,
) -> Result<(Vec<Remark>, bool), CommandError> {
    let mut remarks = Vec::new();
    let mut remark = |kind, at, text: String| remarks.push(Remark::new(name, kind, at, &text));
    let hours = query.hours;
    let workspaces = known.directory.present();
    let parts = workspaces.map(|workspace| Part::Workspace(workspace.id.clone()));
    let coverages: Vec<Option<&Coverage>> = parts
        .chain([Part::Whole])
        .map(|part| known.coverages.get(&part))
        .collect();
    let n_all = coverages.len();
    let is_read = |coverage: &&Coverage| coverage.known_from().is_some();
    let coverages: Vec<&Coverage> = coverages.into_iter().flatten().filter(is_read).collect();
    let n_unread = n_all - coverages.len();
    if n_unread > 0 {
        let text = format!(
            "no data yet for {n_unread} of {}; {} not included",
            counted(n_all, "part"),
            agreeing(&n_unread, "it is", "they are")
        );
        remark("parts_unread", None, text);
    }
    let is_cut_by_hours = query.period == Period::Hour;
    let hourly_from = coverages.iter().filter_map(|known| known.hours_from).max();
    let hourly_from = hourly_from.map_or(Hour::containing(query.now), Day::first_hour);
    if is_cut_by_hours && hours.start < hourly_from {
        return Err(CommandError::Failed(format!(
            "organization `{name}`: hours are known only from {}; use `--granularity day` for earlier data",
            short_time(hourly_from.start())
        )));
    }
    let known_from = coverages.iter().map(|known| known.known_from()).max();
    let known_from = known_from.flatten();
    let starts_later = known_from.filter(|day| day.first_hour() > hours.start);
    if let Some(day) = starts_later {
        let text = format!(
            "data is complete only from {}; earlier usage is a lower bound",
            short_time(day.start())
        );
        remark("known_from", Some(day.start()), text);
    }
    let as_of = coverages.iter().map(|known| known.as_of).min().flatten();
    let has_begun = as_of.is_some_and(|as_of| as_of > hours.start.start());
    let is_incomplete = n_unread > 0 || starts_later.is_some() || !has_begun;
    if let Some(as_of) = as_of.filter(|as_of| *as_of < hours.end.start()) {
        let text = format!("data as of {}", short_time(as_of));
        remark("known_up_to", Some(as_of), text);
    }
    let is_other_zone = !query.is_utc();
    if is_other_zone && !is_cut_by_hours && hours.start < hourly_from {
        let text = format!(
            "before {} only UTC days are known; each counts on the day on which it begins",
            short_time(hourly_from.start())
        );
        remark("days_of_utc", Some(hourly_from.start()), text);
    }
    Ok((remarks, is_incomplete))
}
