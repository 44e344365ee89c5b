//! Decodes the organization; only `guide` servers state its limit, spend and settings. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::{Dollars, Field, Lenient, NonNegative, Row, Text};
use crate::wire::rows::checked_id;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::admin::settings::{OrganizationDetails, OrganizationSettings};
use spendwatch_domain::org::directory::OrganizationInfo;

/// Decodes the organization; the second value lists its invalid fields.
pub fn organization(
    server: ServerKind,
    body: &[u8],
) -> Result<(OrganizationInfo, Vec<DecodeError>), DecodeError> {
    let mut row = Row::new(ResponseLocation::Body);
    let details = decoded(server, body, &mut row)?;
    let info = OrganizationInfo {
        id: details.id,
        name: details.name,
        usage_limit: details.usage_limit,
        current_month_usage: details.month_usage,
    };
    Ok((info, row.errors))
}

/// Decodes the organization with its settings. No decision depends on them, so invalid fields are only absent.
pub fn details(server: ServerKind, body: &[u8]) -> Result<OrganizationDetails, DecodeError> {
    decoded(server, body, &mut Row::new(ResponseLocation::Body))
}

fn decoded(
    server: ServerKind,
    body: &[u8],
    row: &mut Row,
) -> Result<OrganizationDetails, DecodeError> {
    match server {
        ServerKind::Guide => guide(body, row),
        ServerKind::Real => me(body),
    }
}

fn guide(body: &[u8], row: &mut Row) -> Result<OrganizationDetails, DecodeError> {
    let wire: OrganizationWire<'_> = decode::read(body)?;
    let id = checked_id(row.location, wire.id)?;
    let billing: BillingWire = row.object(wire.billing);
    let settings = wire.settings.0.unwrap_or_default();
    let limit = row.optional("billing.usage_limit_usd", billing.usage_limit_usd);
    let usage = row.optional(
        "billing.current_month_usage_usd",
        billing.current_month_usage_usd,
    );
    Ok(OrganizationDetails {
        name: wire.name.0.unwrap_or_else(|| id.clone()),
        id,
        plan: billing.plan.0,
        usage_limit: limit.map(|NonNegative(Dollars(usd))| usd),
        month_usage: usage.map(|Dollars(usd)| usd),
        settings: OrganizationSettings {
            default_model: settings.default_model,
            require_mfa: settings.require_mfa,
            allowed_ip_ranges: settings.allowed_ip_ranges,
        },
    })
}

/// Decodes `GET /v1/organizations/me`.
fn me(body: &[u8]) -> Result<OrganizationDetails, DecodeError> {
    let wire: MeWire = decode::read(body)?;
    let location = ResponseLocation::Body;
    if wire.kind != "organization" {
        let problem = "not `organization`";
        return Err(DecodeError::value(location, "type", &wire.kind, problem));
    }
    let id = checked_id(location, wire.id)?;
    Ok(OrganizationDetails {
        name: wire.name.0.unwrap_or_else(|| id.clone()),
        id,
        ..OrganizationDetails::default()
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MeWire {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    name: Text,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct OrganizationWire<'a> {
    id: String,
    name: Text,
    #[serde(borrow)]
    billing: Option<&'a RawValue>,
    settings: Lenient<SettingsWire>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct BillingWire {
    plan: Text,
    usage_limit_usd: Field<NonNegative<Dollars>>,
    current_month_usage_usd: Field<Dollars>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct SettingsWire {
    default_model: Option<String>,
    require_mfa: Option<bool>,
    allowed_ip_ranges: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organization_settings_are_decoded() {
        let full = details(
            ServerKind::Guide,
            br#"{"id":"org_1","name":"Acme","billing":{"plan":"scale","usage_limit_usd":10000,"current_month_usage_usd":12.5},
                "settings":{"default_model":"m","require_mfa":true,"allowed_ip_ranges":["10.0.0.0/8"]},"new":1}"#,
        )
        .unwrap();
        assert_eq!(
            (full.plan.as_deref(), full.settings.require_mfa),
            (Some("scale"), Some(true))
        );
        let minimal = details(ServerKind::Guide, br#"{"id":"org_1"}"#).unwrap();
        assert_eq!(
            (minimal.name.as_str(), minimal.settings),
            ("org_1", OrganizationSettings::default())
        );
    }
}
