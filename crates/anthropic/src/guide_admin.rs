//! Decodes responses of the `guide` dialect that only commands need: organization settings and created objects. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::{self, DecodeError, ResponseLocation};
use crate::guide::{
    self, UNKNOWN_ROLE, WorkspaceWire, checked_id, optional_limit, optional_object, optional_usd,
};
use spendwatch_domain::admin::settings::{OrganizationDetails, OrganizationSettings};
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::ListedInvite;
use spendwatch_domain::units::ids::InviteId;

/// Decodes the response to `GET` and `PATCH /v1/organizations`.
pub fn organization(body: &[u8]) -> Result<OrganizationDetails, DecodeError> {
    let wire: OrganizationWire<'_> = decode::read(body)?;
    let at = ResponseLocation::Body;
    let id = checked_id(at, wire.id)?;
    // Invalid fields are only left out of the output, since no decision depends on them.
    let mut errors = Vec::new();
    let billing: BillingWire<'_> = optional_object(at, wire.billing, &mut errors);
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
            &mut errors,
        ),
        month_usage: optional_usd(at, "billing.current_month_usage_usd", stated, &mut errors),
        settings: OrganizationSettings {
            default_model: settings.default_model,
            require_mfa: settings.require_mfa,
            allowed_ip_ranges: settings.allowed_ip_ranges,
        },
    })
}

/// Decodes the response to `POST /v1/users/invite`.
pub fn invite(body: &[u8]) -> Result<ListedInvite, DecodeError> {
    let wire: InviteWire<'_> = decode::read(body)?;
    let id = checked_id(ResponseLocation::Body, wire.id)?;
    let time = |raw: Option<&RawValue>| raw.and_then(decode::instant);
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email.unwrap_or_default(),
        role: wire.role.unwrap_or_else(|| UNKNOWN_ROLE.to_owned()),
        status: wire.status.unwrap_or_else(|| "pending".to_owned()),
        invited_at: time(wire.invited_at),
        expires_at: time(wire.expires_at),
    })
}

/// Decodes the response to `POST /v1/workspaces`.
pub fn workspace(body: &[u8]) -> Result<Workspace, DecodeError> {
    let wire = decode::read::<WorkspaceWire<'_>>(body)?;
    guide::workspace(ResponseLocation::Body, wire, &mut Vec::new())
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct OrganizationWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    billing: Option<&'a RawValue>,
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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct InviteWire<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organization_settings_are_decoded() {
        let full = organization(
            br#"{"id":"org_1","name":"Acme","billing":{"plan":"scale","usage_limit_usd":10000,"current_month_usage_usd":12.5},
                "settings":{"default_model":"m","require_mfa":true,"allowed_ip_ranges":["10.0.0.0/8"]},"new":1}"#,
        )
        .unwrap();
        assert_eq!(
            (full.plan.as_deref(), full.settings.require_mfa),
            (Some("scale"), Some(true))
        );
        let minimal = organization(br#"{"id":"org_1"}"#).unwrap();
        assert_eq!(
            (minimal.name.as_str(), minimal.settings),
            ("org_1", OrganizationSettings::default())
        );
    }
}
