//! `[[digests]]`: scheduled summaries.

use crate::effective::list;
use crate::notifiers::NotifierConfig;
use crate::reader::SectionReader;
use crate::terms::{parse_schedule, read_notify, read_period, read_zone};
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::schedule::Schedule;

/// One scheduled summary.
#[derive(Debug, Clone, PartialEq)]
pub struct DigestConfig {
    pub name: String,
    pub schedule: Schedule,
    pub period: Period,
    /// Empty means all notifiers that accept digests.
    pub notify: Vec<NotifierName>,
}

/// Reads all digests. `names` are those of all notifiers, including invalid ones.
pub fn read(
    root: &SectionReader<'_>,
    names: &[String],
    notifiers: &[NotifierConfig],
) -> Vec<DigestConfig> {
    let mut digests: Vec<DigestConfig> = Vec::new();
    for section in root.sections("digests") {
        let digest = read_one(&section, names);
        section.finish();
        let Some(digest) = digest else { continue };
        check_notifiers(&section, &digest, notifiers);
        if digests.iter().any(|other| other.name == digest.name) {
            let message = format!("duplicates the name `{}` of an earlier digest", digest.name);
            section.problem("name", message);
        }
        digests.push(digest);
    }
    digests
}

/// Checks that listed notifiers accept digests, or that any notifier does if none is listed.
fn check_notifiers(
    section: &SectionReader<'_>,
    digest: &DigestConfig,
    notifiers: &[NotifierConfig],
) {
    for notifier in notifiers {
        if digest.notify.contains(&notifier.name) && !notifier.kind.capabilities().accepts_digests {
            section.problem(
                "notify",
                format!(
                    "lists `{}`, whose type does not accept digests",
                    notifier.name
                ),
            );
        }
    }
    let mut all = notifiers.iter();
    if digest.notify.is_empty()
        && !notifiers.is_empty()
        && !all.any(|notifier| notifier.kind.capabilities().accepts_digests)
    {
        section.problem_here("has no receiver, because no notifier accepts digests");
    }
}

fn read_one(section: &SectionReader<'_>, names: &[String]) -> Option<DigestConfig> {
    let name = section.name("name");
    if !section.has("schedule") {
        section.problem("schedule", "is missing, for example `0 0 9 * * Mon`");
    }
    let schedule = section.text("schedule");
    let zone = read_zone(section);
    let schedule = schedule.and_then(|text| parse_schedule(section, "schedule", &text.value, zone));
    let period = read_period(section, Period::Week);
    let notify = read_notify(section, names).unwrap_or_else(|| {
        section.record("notify", list([]));
        Vec::new()
    });
    Some(DigestConfig {
        name: name?.value,
        schedule: schedule?,
        period,
        notify,
    })
}
