//! `[[digests]]`: summaries on a schedule.

use crate::config::notifiers::Notifier;
use crate::config::reader::Section;
use crate::config::terms::{read_notify, read_period, read_schedule, read_zone};
use crate::domain::ids::NotifierName;
use crate::domain::period::Period;
use crate::domain::schedule::Schedule;

/// One summary.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    pub name: String,
    /// When, in its time zone.
    pub schedule: Schedule,
    pub period: Period,
    /// To whom; empty is everyone who has a place for it.
    pub notify: Vec<NotifierName>,
}

/// Reads all of them. `names` are those of the notifiers, the ones with mistakes included.
pub fn read(root: &Section<'_>, names: &[String], notifiers: &[Notifier]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = Vec::new();
    for section in root.sections("digests") {
        let digest = read_one(&section, names);
        section.finish();
        let Some(digest) = digest else { continue };
        check_notifiers(&section, &digest, notifiers);
        if digests.iter().any(|other| other.name == digest.name) {
            section.problem("name", format!("`{}` is used twice", digest.name));
        }
        digests.push(digest);
    }
    digests
}

/// Whoever is named must have a place for a digest; where nobody is named, somebody must.
fn check_notifiers(section: &Section<'_>, digest: &Digest, notifiers: &[Notifier]) {
    for notifier in notifiers {
        if digest.notify.contains(&notifier.name) && !notifier.kind.takes_digests() {
            section.problem(
                "notify",
                format!(
                    "names `{}`, which takes alerts and has no place for a digest",
                    notifier.name
                ),
            );
        }
    }
    let mut all = notifiers.iter();
    if digest.notify.is_empty()
        && !notifiers.is_empty()
        && !all.any(|notifier| notifier.kind.takes_digests())
    {
        section.problem_here("goes to nobody: no notifier has a place for a digest");
    }
}

fn read_one(section: &Section<'_>, names: &[String]) -> Option<Digest> {
    let name = section.name("name");
    let zone = read_zone(section);
    if !section.has("schedule") {
        section.problem("schedule", "is missing; write it like `0 0 9 * * Mon`");
    }
    let schedule = read_schedule(section, "schedule", zone);
    let period = read_period(section, Period::Week);
    let notify = read_notify(section, names).unwrap_or_default();
    Some(Digest {
        name: name?.value,
        schedule: schedule?,
        period,
        notify,
    })
}
