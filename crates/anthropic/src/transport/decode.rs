//! Decodes JSON responses, and describes what is invalid in them. Pure.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Maximum characters quoted from an invalid value or from a response that is not JSON.
const EXCERPT_CHARS: usize = 60;

/// Why a response, or a row of it, is invalid. Rows are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// For example HTML from a proxy, a truncated body, or an empty one.
    #[error("not JSON ({reason}), starts with `{excerpt}`")]
    NotJson { reason: String, excerpt: String },
    #[error("{location}{reason}")]
    Shape {
        location: ResponseLocation,
        reason: String,
    },
    #[error("{location}`{field}` is missing")]
    Missing {
        location: ResponseLocation,
        field: &'static str,
    },
    #[error("{location}`{field}` is `{value}`, {problem}")]
    Value {
        location: ResponseLocation,
        /// Its path within the row.
        field: String,
        /// At most `EXCERPT_CHARS` characters.
        value: String,
        problem: &'static str,
    },
    /// Usage in the `guide` dialect has a single page.
    #[error("`has_more` is true, but usage has no further pages")]
    Unfinished,
}

/// Where in a response something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseLocation {
    Body,
    /// A row of `data`, from 1.
    Row(usize),
    /// A bucket of `data`, from 1.
    Bucket(usize),
}

impl fmt::Display for ResponseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseLocation::Body => Ok(()),
            ResponseLocation::Row(row) => write!(f, "row {row}: "),
            ResponseLocation::Bucket(bucket) => write!(f, "bucket {bucket}: "),
        }
    }
}

impl DecodeError {
    /// Creates a [`DecodeError::Value`] with a shortened value.
    pub fn value(
        location: ResponseLocation,
        field: impl fmt::Display,
        value: &str,
        problem: &'static str,
    ) -> DecodeError {
        DecodeError::Value {
            location,
            field: field.to_string(),
            value: shortened(value),
            problem,
        }
    }
}

/// Parses a whole response.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer);
    let value = value.map_err(|error| {
        if error.inner().is_data() {
            return invalid_shape(ResponseLocation::Body, &error);
        }
        not_json(error.inner(), body)
    })?;
    let ended = deserializer.end();
    ended.map_err(|error| not_json(&error, body))?;
    Ok(value)
}

/// Parses one row of a response, which must be an object.
pub fn read_row<'a, T: Deserialize<'a>>(
    location: ResponseLocation,
    row: &'a RawValue,
) -> Result<T, DecodeError> {
    // A derived `Deserialize` would also accept an array of field values.
    if !row.get().starts_with('{') {
        let reason = format!("`{}` is not an object", shortened(row.get()));
        return Err(DecodeError::Shape { location, reason });
    }
    let mut deserializer = serde_json::Deserializer::from_str(row.get());
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| invalid_shape(location, &error))
}

/// Names the invalid field, unless the row or body itself is invalid.
fn invalid_shape(
    location: ResponseLocation,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> DecodeError {
    let path = error.path();
    let reason = match path.iter().next() {
        None => error.inner().to_string(),
        Some(_) => format!("`{path}`: {}", error.inner()),
    };
    DecodeError::Shape { location, reason }
}

fn not_json(error: &serde_json::Error, body: &[u8]) -> DecodeError {
    let start = &body[..body.len().min(4 * EXCERPT_CHARS)];
    DecodeError::NotJson {
        reason: error.to_string(),
        excerpt: shortened(&String::from_utf8_lossy(start)),
    }
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(EXCERPT_CHARS).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
