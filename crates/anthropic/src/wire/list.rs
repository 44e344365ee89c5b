//! What the lists of all servers share: pages, ids and invitations.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::transport::paging::{ListPage, PageEnd};
use spendwatch_domain::org::listing::ListedInvite;
use spendwatch_domain::units::ids::{DEFAULT_WORKSPACE, InviteId, UNATTRIBUTED};

/// Role or status that is missing or invalid.
pub const UNKNOWN_ROLE: &str = "unknown";

/// Decodes a page of a list; `row` returns a row's id, and the row unless it is skipped, and records its invalid fields.
pub fn page<'a, W: Deserialize<'a>, T>(
    body: &'a [u8],
    row: impl Fn(ResponseLocation, W, &mut Vec<DecodeError>) -> Result<(String, Option<T>), DecodeError>,
) -> Result<ListPage<T>, DecodeError> {
    let wire: PageWire<'a> = decode::read(body)?;
    let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
    for (location, raw) in (1..).map(ResponseLocation::Row).zip(wire.data) {
        match decode::read_row(location, raw).and_then(|wire| row(location, wire, &mut unreadable))
        {
            Ok(listed) => rows.push(listed),
            Err(error) => unreadable.push(error),
        }
    }
    let end = PageEnd {
        has_more: decode::has_more(wire.has_more)?,
        last_id: wire.last_id,
    };
    Ok(ListPage {
        rows,
        unreadable,
        end,
    })
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

/// Decodes an invitation. Without a status, it has `status`.
pub fn invite(
    location: ResponseLocation,
    wire: InviteWire<'_>,
    status: &str,
    errors: &mut Vec<DecodeError>,
) -> Result<ListedInvite, DecodeError> {
    let id = checked_id(location, wire.id)?;
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email.unwrap_or_default(),
        role: wire.role.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
        status: wire.status.unwrap_or_else(|| status.to_owned()),
        invited_at: decode::optional_time(location, "invited_at", wire.invited_at, errors),
        expires_at: decode::optional_time(location, "expires_at", wire.expires_at, errors),
    })
}

/// An invitation, as Anthropic's Admin API sends it.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub struct InviteWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    role: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    status: Option<String>,
    #[serde(borrow)]
    invited_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(borrow)]
    has_more: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    last_id: Option<String>,
}
