//! Decodes the organization: its limit and spend, and for commands its settings. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::guide::{optional_limit, optional_usd};
use crate::wire::list::checked_id;
use spendwatch_domain::admin::settings::{OrganizationDetails, OrganizationSettings};
use spendwatch_domain::org::directory::OrganizationInfo;

/// Decodes `GET /v1/organizations`; the second value lists its invalid fields.
pub fn organization(body: &[u8]) -> Result<(OrganizationInfo, Vec<DecodeError>), DecodeError> {
    let mut errors = Vec::new();
    let details = decoded(body, &mut errors)?;
    let info = OrganizationInfo {
        id: details.id,
        name: details.name,
        usage_limit: details.usage_limit,
        current_month_usage: details.month_usage,
    };
    Ok((info, errors))
}

/// Decodes the response to `GET` and `PATCH /v1/organizations` with its settings. No decision depends on them, so invalid
/// fields are only absent.
pub fn details(body: &[u8]) -> Result<OrganizationDetails, DecodeError> {
    decoded(body, &mut Vec::new())
}

fn decoded(body: &[u8], errors: &mut Vec<DecodeError>) -> Result<OrganizationDetails, DecodeError> {
    let wire: OrganizationWire<'_> = decode::read(body)?;
    let at = ResponseLocation::Body;
    let id = checked_id(at, wire.id)?;
    let billing: BillingWire<'_> = decode::optional_object(at, wire.billing, errors);
    let settings = wire.settings.unwrap_or_default();
    let stated = billing.current_month_usage_usd;
    Ok(OrganizationDetails {
        name: wire.name.unwrap_or_else(|| id.clone()),
        id,
        plan: billing.plan,
        usage_limit: optional_limit(
            at,
            "billing.usage_limit_usd",
            billing.usage_limit_usd,
            errors,
        ),
        month_usage: optional_usd(at, "billing.current_month_usage_usd", stated, errors),
        settings: OrganizationSettings {
            default_model: settings.default_model,
            require_mfa: settings.require_mfa,
            allowed_ip_ranges: settings.allowed_ip_ranges,
        },
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct OrganizationWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    billing: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    settings: Option<SettingsWire>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct BillingWire<'a> {
    #[serde(default, deserialize_with = "decode::lenient_text")]
    plan: Option<String>,
    #[serde(borrow)]
    usage_limit_usd: Option<&'a RawValue>,
    #[serde(borrow)]
    current_month_usage_usd: Option<&'a RawValue>,
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
            br#"{"id":"org_1","name":"Acme","billing":{"plan":"scale","usage_limit_usd":10000,"current_month_usage_usd":12.5},
                "settings":{"default_model":"m","require_mfa":true,"allowed_ip_ranges":["10.0.0.0/8"]},"new":1}"#,
        )
        .unwrap();
        assert_eq!(
            (full.plan.as_deref(), full.settings.require_mfa),
            (Some("scale"), Some(true))
        );
        let minimal = details(br#"{"id":"org_1"}"#).unwrap();
        assert_eq!(
            (minimal.name.as_str(), minimal.settings),
            ("org_1", OrganizationSettings::default())
        );
    }
}
