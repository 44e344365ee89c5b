//! The `guide` dialect beside lists and usage: the organization whole, and the answers to what was made. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::guide::{
    self, UNKNOWN, WorkspaceWire, checked_id, optional_limit, optional_usd, within,
};
use crate::domain::admin::settings::{Organization, Settings};
use crate::domain::directory::Workspace;
use crate::domain::ids::InviteId;
use crate::domain::listing::ListedInvite;

/// `GET` and `PATCH /v1/organizations`.
pub fn organization(body: &[u8]) -> Result<Organization, Fault> {
    let wire: OrganizationWire<'_> = fault::read(body)?;
    let at = Place::Answer;
    let id = checked_id(at, wire.id)?;
    // What cannot be read is not shown: nothing here is decided by it.
    let mut faults = Vec::new();
    let billing: BillingWire<'_> = within(at, wire.billing, &mut faults);
    let settings = wire.settings.unwrap_or_default();
    let stated = billing.current_month_usage_usd;
    Ok(Organization {
        name: wire.name.unwrap_or_else(|| id.clone()),
        id,
        plan: billing.plan,
        usage_limit: optional_limit(
            at,
            "billing.usage_limit_usd",
            billing.usage_limit_usd,
            &mut faults,
        ),
        month_usage: optional_usd(at, "billing.current_month_usage_usd", stated, &mut faults),
        settings: Settings {
            default_model: settings.default_model,
            require_mfa: settings.require_mfa,
            allowed_ip_ranges: settings.allowed_ip_ranges,
        },
    })
}

/// `POST /v1/users/invite`.
pub fn invite(body: &[u8]) -> Result<ListedInvite, Fault> {
    let wire: InviteWire<'_> = fault::read(body)?;
    let id = checked_id(Place::Answer, wire.id)?;
    let time = |raw: Option<&RawValue>| raw.and_then(fault::instant);
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email.unwrap_or_default(),
        role: wire.role.unwrap_or_else(|| UNKNOWN.to_owned()),
        status: wire.status.unwrap_or_else(|| "pending".to_owned()),
        invited_at: time(wire.invited_at),
        expires_at: time(wire.expires_at),
    })
}

/// `POST /v1/workspaces`.
pub fn workspace(body: &[u8]) -> Result<Workspace, Fault> {
    let wire = fault::read::<WorkspaceWire<'_>>(body)?;
    guide::workspace(Place::Answer, wire, &mut Vec::new())
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct OrganizationWire<'a> {
    id: String,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    name: Option<String>,
    #[serde(borrow)]
    billing: Option<&'a RawValue>,
    settings: Option<SettingsWire>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct BillingWire<'a> {
    #[serde(default, deserialize_with = "fault::lenient_text")]
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
    #[serde(default, deserialize_with = "fault::lenient_text")]
    email: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
    role: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient_text")]
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
    fn the_organization_whole() {
        let told = organization(
            br#"{"id":"org_1","name":"Acme","billing":{"plan":"scale","usage_limit_usd":10000,"current_month_usage_usd":12.5},
                "settings":{"default_model":"m","require_mfa":true,"allowed_ip_ranges":["10.0.0.0/8"]},"new":1}"#,
        )
        .unwrap();
        assert_eq!(
            (told.plan.as_deref(), told.settings.require_mfa),
            (Some("scale"), Some(true))
        );
        let least = organization(br#"{"id":"org_1"}"#).unwrap();
        assert_eq!(
            (least.name.as_str(), least.settings),
            ("org_1", Settings::default())
        );
    }
}
