//! Values that several sections share: schedules, time zones, periods, globs, names of notifiers.

use crate::near::nearest;
use crate::reader::{Located, SectionReader};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::matcher::Glob;
use spendwatch_domain::units::period::{Period, Zone};
use spendwatch_domain::units::schedule::Schedule;

/// Parses a cron schedule with seconds, in a time zone, and reports an invalid one.
pub fn parse_schedule(
    section: &SectionReader<'_>,
    key: &'static str,
    text: &str,
    zone: Zone,
) -> Option<Schedule> {
    match Schedule::parse(text, zone) {
        Ok(schedule) => Some(schedule),
        Err(reason) => {
            let hint = "use six fields (second, minute, hour, day, month, weekday), for example `0 */5 * * * *`";
            let message = format!("is `{text}`, which is not a schedule ({reason}); {hint}");
            section.problem(key, message);
            None
        }
    }
}

/// Maximum length of a zone name, in bytes.
const MAX_ZONE: usize = 64;

/// Reads `time_zone`; the default is UTC.
pub fn read_zone(section: &SectionReader<'_>) -> Zone {
    let name = section.text_or("time_zone", &Zone::utc().name);
    match zone_named(&name) {
        Some(zone) => zone,
        None => {
            let hint = near_zone(&name).map_or_else(
                || "use an IANA name, for example `Europe/Berlin`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("is `{name}`, which is not a time zone; {hint}");
            section.problem("time_zone", message);
            Zone::utc()
        }
    }
}

/// Returns the zone with an IANA name.
pub fn zone_named(name: &str) -> Option<Zone> {
    if name.len() > MAX_ZONE {
        return None;
    }
    let rules = jiff::tz::TimeZone::get(name).ok()?;
    Some(Zone {
        name: name.into(),
        rules,
    })
}

/// Returns the zone of a city, or the one with the nearest name.
fn near_zone(name: &str) -> Option<String> {
    let names: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    let is_city = |zone: &&String| {
        let city = zone.rsplit_once('/').map(|(_, city)| city);
        city.is_some_and(|city| city.eq_ignore_ascii_case(&name.replace(' ', "_")))
    };
    let near = || nearest(name, names.iter().map(String::as_str));
    names
        .iter()
        .find(is_city)
        .map(String::as_str)
        .or_else(near)
        .map(str::to_owned)
}

/// Reads `period`.
pub fn read_period(section: &SectionReader<'_>, default: Period) -> Period {
    let text = section.text_or("period", &default.to_string());
    Period::parse(&text).unwrap_or_else(|| {
        let expected = "expected hour, day, week, month, quarter, or a rolling period such as `24h` or `7d`, at most `366d`";
        section.problem("period", format!("is `{text}`, {expected}"));
        default
    })
}

/// Reads a severity.
pub fn read_severity(
    section: &SectionReader<'_>,
    key: &'static str,
    default: Severity,
) -> Severity {
    let severities = Severity::ALL.map(|severity| (severity.as_str(), severity));
    section.choice(key, &severities, &[], default)
}

/// Reads a list of globs.
pub fn read_globs(section: &SectionReader<'_>, key: &'static str) -> Vec<Glob> {
    let texts = section.texts_or_none(key);
    texts
        .iter()
        .filter_map(|text| read_glob(section, text))
        .collect()
}

/// Parses a glob, and reports an invalid one.
pub fn read_glob(section: &SectionReader<'_>, text: &Located<String>) -> Option<Glob> {
    match Glob::new(&text.value) {
        Ok(glob) => Some(glob),
        Err(reason) => {
            let message = format!("is `{}`, which is not a valid glob: {reason}", text.value);
            section.problem_at(text, message);
            None
        }
    }
}

/// Reads `notify`, a list of configured notifiers; `None` if it is not set.
pub fn read_notify(section: &SectionReader<'_>, known: &[String]) -> Option<Vec<NotifierName>> {
    let texts = section.texts("notify")?;
    for (index, text) in texts.iter().enumerate() {
        if texts[..index].iter().any(|other| other.value == text.value) {
            section.problem_at(text, format!("lists `{}` twice", text.value));
        } else if !known.contains(&text.value) {
            let hint = nearest(&text.value, known.iter().map(String::as_str)).map_or_else(
                || match known {
                    [] => "add it under `[[notifiers]]`".to_owned(),
                    _ => format!("configured: {}", known.join(", ")),
                },
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("is `{}`, which is not a notifier; {hint}", text.value);
            section.problem_at(text, message);
        }
    }
    Some(
        texts
            .into_iter()
            .map(|text| NotifierName::new(text.value))
            .collect(),
    )
}

/// Rejects a key that does not apply to a watch.
pub fn reject(section: &SectionReader<'_>, key: &'static str, watch: Watch) {
    if section.has(key) {
        let word = watch.as_str();
        let message = format!("does not apply to `watch = \"{word}\"`; remove it");
        section.problem(key, message);
    }
}
