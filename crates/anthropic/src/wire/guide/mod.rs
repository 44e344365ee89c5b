//! Decodes responses of the `guide` dialect. Pure.
//!
//! Displayed text is parsed leniently, and unknown fields are ignored.

pub mod organization;

pub mod lists;

pub mod models;

pub mod usage;

#[cfg(test)]
mod tests;

use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use spendwatch_domain::units::money::Usd;

/// Parses an optional amount; an invalid one is recorded and counts as absent.
pub fn optional_usd(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
    errors: &mut Vec<DecodeError>,
) -> Option<Usd> {
    let usd = raw.map(|raw| decode::usd(location, field, raw)).transpose();
    decode::or_default(usd, errors)
}

/// Like [`optional_usd`], for a limit.
pub fn optional_limit(
    location: ResponseLocation,
    field: &'static str,
    raw: Option<&RawValue>,
    errors: &mut Vec<DecodeError>,
) -> Option<Usd> {
    let limit = raw.map(|raw| decode::usd_limit(location, field, raw));
    decode::or_default(limit.transpose(), errors)
}
