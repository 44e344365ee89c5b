//! Terms that several sections have: schedules, time zones, periods, globs, names of notifiers.

use crate::config::near::nearest;
use crate::config::reader::{Section, Sited};
use crate::domain::ids::NotifierName;
use crate::domain::matcher::Glob;
use crate::domain::period::{Period, Zone};
use crate::domain::schedule::Schedule;

/// Cron with seconds, in a zone.
pub fn read_schedule(section: &Section<'_>, key: &'static str, zone: Zone) -> Option<Schedule> {
    let text = section.text(key)?;
    match Schedule::parse(&text.value, zone) {
        Ok(schedule) => Some(schedule),
        Err(reason) => {
            let shape =
                "six fields: second, minute, hour, day, month, weekday, like `0 */5 * * * *`";
            let message = format!(
                "is `{}`, which is no schedule ({shape}): {reason}",
                text.value
            );
            section.problem(key, message);
            None
        }
    }
}

/// Longer than any name of a zone, in bytes.
const MAX_ZONE: usize = 64;

/// `time_zone`, UTC where it is not given.
pub fn read_zone(section: &Section<'_>) -> Zone {
    let Some(name) = section.text("time_zone") else {
        return Zone::utc();
    };
    match zone_named(&name.value) {
        Some(zone) => zone,
        None => {
            let hint = near_zone(&name.value).map_or_else(
                || "write it like `Europe/Berlin`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("is `{}`, which is no time zone; {hint}", name.value);
            section.problem("time_zone", message);
            Zone::utc()
        }
    }
}

/// A zone by its IANA name.
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

/// The zone of a city, or the one that is written nearly so.
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

/// `period`.
pub fn read_period(section: &Section<'_>, default: Period) -> Period {
    let Some(text) = section.text("period") else {
        return default;
    };
    Period::parse(&text.value).unwrap_or_else(|| {
        let message = "it must be hour, day, week, month, quarter, or a rolling span like `24h` or `7d`, at most `366d`";
        section.problem("period", format!("is `{}`; {message}", text.value));
        default
    })
}

/// A list of globs.
pub fn read_globs(section: &Section<'_>, key: &'static str) -> Vec<Glob> {
    let texts = section.texts(key).unwrap_or_default();
    texts
        .iter()
        .filter_map(|text| read_glob(section, text))
        .collect()
}

/// One glob.
pub fn read_glob(section: &Section<'_>, text: &Sited<String>) -> Option<Glob> {
    match Glob::new(&text.value) {
        Ok(glob) => Some(glob),
        Err(reason) => {
            let message = format!("is `{}`, which is no glob: {reason}", text.value);
            section.problem_at(text, message);
            None
        }
    }
}

/// `notify`, by names that exist; `None` where it is not given.
pub fn read_notify(section: &Section<'_>, known: &[String]) -> Option<Vec<NotifierName>> {
    let texts = section.texts("notify")?;
    for (place, text) in texts.iter().enumerate() {
        if texts[..place].iter().any(|other| other.value == text.value) {
            section.problem_at(text, format!("names `{}` twice", text.value));
        } else if !known.contains(&text.value) {
            let hint = nearest(&text.value, known.iter().map(String::as_str)).map_or_else(
                || match known {
                    [] => "there is no `[[notifiers]]` yet".to_owned(),
                    _ => format!("there is {}", known.join(", ")),
                },
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!(
                "names the notifier `{}`, which does not exist; {hint}",
                text.value
            );
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
