//! Rows of lists. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::Row;
use spendwatch_domain::units::ids::{DEFAULT_WORKSPACE, UNATTRIBUTED};

/// Decodes rows one by one, so that an invalid one costs no other.
pub fn rows<'a, W: Deserialize<'a>, T>(
    data: Vec<&'a RawValue>,
    decode: impl Fn(&mut Row, W) -> Result<T, DecodeError>,
) -> (Vec<T>, Vec<DecodeError>) {
    let mut row = Row::new(ResponseLocation::Body);
    let mut rows = Vec::new();
    for (location, raw) in (1..).map(ResponseLocation::Row).zip(data) {
        row.location = location;
        let decoded = decode::read_row(location, raw).and_then(|wire| decode(&mut row, wire));
        rows.extend(row.keep(decoded));
    }
    (rows, row.errors)
}

/// Rejects ids that spendwatch reserves, and ids that would change the path of a URL.
pub fn checked_id(location: ResponseLocation, id: String) -> Result<String, DecodeError> {
    match id.as_str() {
        "" | "." | ".." | UNATTRIBUTED | DEFAULT_WORKSPACE => {
            Err(DecodeError::value(location, "id", &id, "not an id"))
        }
        _ => Ok(id),
    }
}
