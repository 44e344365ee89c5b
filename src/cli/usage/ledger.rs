//! Usage as the ledger has it. What it does not know is said, and never told as zero.

use jiff::Timestamp;

use crate::cli::globals::{Failure, Globals};
use crate::cli::output::short_time;
use crate::cli::usage::question::{Question, Remark, Told};
use crate::config::Config;
use crate::config::source::Environment;
use crate::domain::coverage::Coverage;
use crate::domain::directory::Directory;
use crate::domain::ids::OrganizationName;
use crate::domain::period::Period;
use crate::domain::plural::{agreeing, counted};
use crate::domain::span::{Day, Hour};
use crate::domain::usage::Part;
use crate::store::organization::Known;

/// What is stored of each organization that is asked for.
pub async fn read(
    question: &Question,
    globals: &Globals,
    environment: &Environment,
) -> Result<(Config, Vec<Told>), Failure> {
    let (config, store) = globals.open_store(environment)?;
    let hours = question.hours;
    let mut all = Vec::new();
    for organization in globals.organizations(&config)? {
        let name = &organization.name;
        let Some(known) = store.known(name).await? else {
            all.push(Told {
                organization: name.clone(),
                directory: Directory::default(),
                rows: Vec::new(),
                remarks: vec![Remark {
                    kind: "nothing_stored",
                    at: None,
                    text: format!("nothing is stored of organization `{name}`"),
                }],
                is_incomplete: true,
            });
            continue;
        };
        let (remarks, is_incomplete) = remarks(question, name, &known)?;
        let pieces = question.pieces.clone();
        let rows = store
            .usage(name, hours, move |hour| pieces.first_hour(hour))
            .await?;
        all.push(Told {
            organization: name.clone(),
            directory: known.directory,
            rows,
            remarks,
            is_incomplete,
        });
    }
    Ok((config, all))
}

/// From when to when all is known, and whether some of the span was never read. Hours that are known only as days cannot be
/// told.
fn remarks(
    question: &Question,
    name: &OrganizationName,
    known: &Known,
) -> Result<(Vec<Remark>, bool), Failure> {
    let mut remarks = Vec::new();
    let mut remark = |kind, at: Option<Timestamp>, text: String| {
        let text = format!("organization `{name}`: {text}");
        remarks.push(Remark { kind, at, text });
    };
    let hours = question.hours;
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
            "nothing is known yet of {n_unread} of {}; of {} nothing is told",
            counted(n_all, "part"),
            agreeing(&n_unread, "it", "them")
        );
        remark("parts_unread", None, text);
    }
    let is_cut_by_hours = question.period == Period::Hour;
    let hourly_from = coverages.iter().filter_map(|known| known.hours_from).max();
    let hourly_from = hourly_from.map_or(Hour::of(question.now), Day::first_hour);
    if is_cut_by_hours && hours.start < hourly_from {
        return Err(Failure::World(format!(
            "organization `{name}`: hours are known from {} on, before that only days; `--granularity day` tells them",
            short_time(hourly_from.start())
        )));
    }
    let known_from = coverages.iter().map(|known| known.known_from()).max();
    let known_from = known_from.flatten();
    let starts_later = known_from.filter(|day| day.first_hour() > hours.start);
    if let Some(day) = starts_later {
        let text = format!(
            "all is known from {} on; what was before is told as far as it is known",
            short_time(day.start())
        );
        remark("known_from", Some(day.start()), text);
    }
    let as_of = coverages.iter().map(|known| known.as_of).min().flatten();
    let has_begun = as_of.is_some_and(|as_of| as_of > hours.start.start());
    let is_incomplete = n_unread > 0 || starts_later.is_some() || !has_begun;
    if let Some(as_of) = as_of.filter(|as_of| *as_of < hours.end.start()) {
        let text = format!("known up to {}", short_time(as_of));
        remark("known_up_to", Some(as_of), text);
    }
    let is_off = !question.is_utc();
    if is_off && !is_cut_by_hours && hours.start < hourly_from {
        let text = format!(
            "before {} only days of UTC are known; they count where they begin",
            short_time(hourly_from.start())
        );
        remark("days_of_utc", Some(hourly_from.start()), text);
    }
    Ok((remarks, is_incomplete))
}
