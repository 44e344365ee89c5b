//! `[[digests]]`: summaries on a schedule.

use crate::config::reader::Section;
use crate::config::terms::{read_notify, read_period, read_schedule, read_zone};
use crate::domain::ids::NotifierName;
use crate::domain::period::Period;
use crate::domain::schedule::Schedule;

/// One summary.
#[derive(Debug, Clone, PartialEq)]
pub struct Digest {
    /// Unique.
    pub name: String,
    /// When, in its time zone.
    pub schedule: Schedule,
    /// Over what.
    pub period: Period,
    /// To whom; empty is everyone.
    pub notify: Vec<NotifierName>,
}

/// Reads all of them. `notifiers` are the names that exist.
pub fn read(root: &Section<'_>, notifiers: &[String]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = Vec::new();
    for section in root.sections("digests") {
        let digest = read_one(&section, notifiers);
        section.finish();
        let Some(digest) = digest else { continue };
        if digests.iter().any(|other| other.name == digest.name) {
            section.problem("name", format!("`{}` is used twice", digest.name));
        }
        digests.push(digest);
    }
    digests
}

fn read_one(section: &Section<'_>, notifiers: &[String]) -> Option<Digest> {
    let name = section.name("name");
    let zone = read_zone(section);
    if !section.has("schedule") {
        section.problem("schedule", "is missing; write it like `0 0 9 * * Mon`");
    }
    let schedule = read_schedule(section, "schedule", zone);
    let period = read_period(section, Period::Week);
    let notify = read_notify(section, notifiers).unwrap_or_default();
    Some(Digest {
        name: name?.value,
        schedule: schedule?,
        period,
        notify,
    })
}
