//! What a question to the real service asks: its parameters, each of them checked.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::simulator::refusal::{Query, Refusal};

/// More dimensions are refused.
const MAX_GROUPS: usize = 5;

/// Refuses what it does not know.
pub fn known(query: &Query, names: &[&str]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for (name, _) in query {
        if !names.contains(&name.as_str()) {
            return Err(Refusal::bad(format!("unknown parameter {name}")));
        }
        if !seen.insert(name) && !name.ends_with("[]") {
            return Err(Refusal::bad(format!("{name} is given twice")));
        }
    }
    Ok(())
}

/// A parameter that is given once.
pub fn parameter<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    let found = query.iter().find(|(of, _)| of == name);
    found.map(|(_, value)| value.as_str())
}

/// All values of a parameter that may be given again and again.
pub fn values<'a>(query: &'a Query, name: &str) -> Vec<&'a str> {
    let given = query.iter().filter(|(of, _)| of == name);
    given.map(|(_, value)| value.as_str()).collect()
}

/// A parameter that is one of a few words.
pub fn one_of<'a>(
    query: &'a Query,
    name: &str,
    words: &[&str],
) -> Result<Option<&'a str>, Refusal> {
    match parameter(query, name) {
        Some(word) if !words.contains(&word) => {
            Err(Refusal::bad(format!("{name} cannot be {word}")))
        }
        found => Ok(found),
    }
}

/// Whether it is `true`; where it is missing it is not.
pub fn is_true(query: &Query, name: &str) -> Result<bool, Refusal> {
    Ok(one_of(query, name, &["true", "false"])? == Some("true"))
}

/// How much a page holds.
pub fn limit(query: &Query, usual: usize, most: usize) -> Result<usize, Refusal> {
    match parameter(query, "limit").map(str::parse) {
        None => Ok(usual),
        Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Refusal::bad(format!("limit must be within 1 and {most}"))),
    }
}

/// A moment that has to be given.
pub fn instant(query: &Query, name: &str) -> Result<Timestamp, Refusal> {
    let text = parameter(query, name).ok_or_else(|| Refusal::bad(format!("{name} is required")))?;
    text.parse()
        .map_err(|_| Refusal::bad(format!("{name} is no moment")))
}

/// The dimensions that are asked for; those `beside` do not count towards the five.
pub fn groups(query: &Query, known: &[&str], beside: &[&str]) -> Result<Vec<String>, Refusal> {
    let groups = values(query, "group_by[]");
    let is_known = |group: &&&str| known.contains(*group) || beside.contains(*group);
    if let Some(unknown) = groups.iter().find(|group| !is_known(group)) {
        return Err(Refusal::bad(format!("unknown group {unknown}")));
    }
    let counted = groups.iter().filter(|group| !beside.contains(*group));
    if counted.count() > MAX_GROUPS {
        return Err(Refusal::bad(
            "Cannot specify more than 5 group_by[] dimensions",
        ));
    }
    Ok(groups.into_iter().map(str::to_owned).collect())
}
