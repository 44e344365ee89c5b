//! Query parameters, with validation.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::api_error::ApiError;
use crate::request::Query;

/// Maximum number of `group_by[]` dimensions.
const MAX_GROUPS: usize = 5;

/// Rejects unknown and repeated parameters.
pub fn reject_unknown(query: &Query, names: &[&str]) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for (name, _) in query {
        if !names.contains(&name.as_str()) {
            return Err(ApiError::bad_request(format!("unknown parameter {name}")));
        }
        if !seen.insert(name) && !name.ends_with("[]") {
            return Err(ApiError::bad_request(format!("duplicate parameter {name}")));
        }
    }
    Ok(())
}

/// Returns the value of a parameter that occurs once.
pub fn parameter<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    let pair = query.iter().find(|(key, _)| key == name);
    pair.map(|(_, value)| value.as_str())
}

/// Returns all values of a repeatable parameter.
pub fn values<'a>(query: &'a Query, name: &str) -> Vec<&'a str> {
    let pairs = query.iter().filter(|(key, _)| key == name);
    pairs.map(|(_, value)| value.as_str()).collect()
}

/// Returns all values of a repeatable parameter, which must be in `allowed`.
pub fn values_in<'a>(
    query: &'a Query,
    name: &str,
    allowed: &[&str],
) -> Result<Vec<&'a str>, ApiError> {
    let values = values(query, name);
    match values.iter().find(|value| !allowed.contains(value)) {
        Some(value) => Err(ApiError::bad_request(format!("{name} cannot be {value}"))),
        None => Ok(values),
    }
}

/// Returns a parameter whose value must be in `allowed`.
pub fn one_of<'a>(
    query: &'a Query,
    name: &str,
    allowed: &[&str],
) -> Result<Option<&'a str>, ApiError> {
    match parameter(query, name) {
        Some(value) if !allowed.contains(&value) => {
            Err(ApiError::bad_request(format!("{name} cannot be {value}")))
        }
        value => Ok(value),
    }
}

/// Returns whether a parameter is `true`; false if missing.
pub fn is_true(query: &Query, name: &str) -> Result<bool, ApiError> {
    Ok(one_of(query, name, &["true", "false"])? == Some("true"))
}

/// Returns the page size.
pub fn limit(query: &Query, default: usize, max: usize) -> Result<usize, ApiError> {
    match parameter(query, "limit").map(str::parse) {
        None => Ok(default),
        Some(Ok(limit)) if (1..=max).contains(&limit) => Ok(limit),
        Some(_) => Err(ApiError::bad_request(format!(
            "limit must be between 1 and {max}"
        ))),
    }
}

/// Returns a required parameter.
pub fn required<'a>(query: &'a Query, name: &str) -> Result<&'a str, ApiError> {
    parameter(query, name).ok_or_else(|| ApiError::bad_request(format!("{name} is required")))
}

/// Returns a required timestamp.
pub fn required_timestamp(query: &Query, name: &str) -> Result<Timestamp, ApiError> {
    required(query, name)?
        .parse()
        .map_err(|_| ApiError::bad_request(format!("{name} is not a timestamp")))
}

/// Returns the `group_by[]` dimensions; those in `uncounted` do not count towards the maximum.
pub fn groups(query: &Query, known: &[&str], uncounted: &[&str]) -> Result<Vec<String>, ApiError> {
    let groups = values(query, "group_by[]");
    let is_known = |group: &&&str| known.contains(*group) || uncounted.contains(*group);
    if let Some(unknown) = groups.iter().find(|group| !is_known(group)) {
        return Err(ApiError::bad_request(format!("unknown group {unknown}")));
    }
    let counted = groups.iter().filter(|group| !uncounted.contains(*group));
    if counted.count() > MAX_GROUPS {
        return Err(ApiError::bad_request(
            "Cannot specify more than 5 group_by[] dimensions",
        ));
    }
    Ok(groups.into_iter().map(str::to_owned).collect())
}
