//! The `guide` dialect beside lists and usage: the organization whole, and the answers to what was made. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::guide::{self, WorkspaceWire, checked_id, optional_time, optional_usd};
use crate::domain::admin::settings::{Organization, Settings};
use crate::domain::directory::Workspace;
use crate::domain::ids::InviteId;
use crate::domain::listing::ListedInvite;

/// `GET` and `PATCH /v1/organizations`.
pub fn organization(body: &[u8]) -> Result<Organization, Fault> {
    let wire: OrganizationWire<'_> = fault::read(body)?;
    let at = Place::Answer;
    let id = checked_id(at, wire.id)?;
    let billing = wire.billing.unwrap_or_default();
    let settings = wire.settings.unwrap_or_default();
    Ok(Organization {
        name: wire.name.unwrap_or_else(|| id.clone()),
        id,
        plan: billing.plan,
        usage_limit: optional_usd(at, "billing.usage_limit_usd", billing.usage_limit_usd)?,
        month_usage: optional_usd(
            at,
            "billing.current_month_usage_usd",
            billing.current_month_usage_usd,
        )?,
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
    let at = Place::Answer;
    let id = checked_id(at, wire.id)?;
    Ok(ListedInvite {
        id: InviteId::new(id),
        email: wire.email,
        role: wire.role,
        status: wire.status.unwrap_or_else(|| "pending".to_owned()),
        invited_at: optional_time(at, "invited_at", wire.invited_at)?,
        expires_at: optional_time(at, "expires_at", wire.expires_at)?,
    })
}

/// `POST /v1/workspaces`.
pub fn workspace(body: &[u8]) -> Result<Workspace, Fault> {
    guide::workspace(Place::Answer, fault::read::<WorkspaceWire<'_>>(body)?)
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct OrganizationWire<'a> {
    id: String,
    name: Option<String>,
    #[serde(borrow)]
    billing: Option<BillingWire<'a>>,
    settings: Option<SettingsWire>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct BillingWire<'a> {
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
    email: String,
    role: String,
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
