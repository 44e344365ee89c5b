//! Changes in the `guide` dialect: what is sent for each, and what the answer means. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::guide_admin;
use crate::anthropic::orders::Order;
use crate::anthropic::written::{NewKey, Told};
use crate::domain::admin::settings::SettingsChange;
use crate::domain::admin::write::{NewWorkspace, Write};
use crate::domain::ids::ApiKeyId;
use crate::metrics::requests::{Endpoint, Verb};
use crate::secret::Secret;

/// The member of a response that holds the secret of a new key.
pub const SECRET: &str = "key";

/// What is sent for a change; what would be sent if the service could do it, where it cannot.
pub fn order(write: &Write) -> Result<Order, Order> {
    let order = |verb, endpoint, ids: &[&str], body: Option<String>| Order {
        verb,
        endpoint,
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        body,
        is_repeatable: write.is_repeatable(),
        takes_away: write.takes_away(),
        may_stand: write.may_stand(),
    };
    let text = |body: Value| Some(body.to_string());
    let not_there = || Err(order(Verb::Post, Endpoint::Organizations, &[], None));
    Ok(match write {
        Write::UpdateOrganization(change) => {
            let body = text(json!({"settings": settings(change)}));
            order(Verb::Patch, Endpoint::Organizations, &[], body)
        }
        Write::Invite { email, role } => {
            let body = text(json!({"email": email, "role": role}));
            order(Verb::Post, Endpoint::UsersInvite, &[], body)
        }
        Write::SetRole { user, role } => {
            let body = text(json!({"role": role}));
            order(Verb::Patch, Endpoint::User, &[user.as_str()], body)
        }
        Write::RemoveUser { user, .. } => {
            order(Verb::Delete, Endpoint::User, &[user.as_str()], None)
        }
        Write::CreateKey {
            name,
            workspace,
            expires_at,
        } => {
            let mut body = json!({"name": name, "workspace_id": workspace.as_str()});
            if let Some(at) = expires_at {
                body["expires_at"] = at.to_string().into();
            }
            order(Verb::Post, Endpoint::ApiKeys, &[], text(body))
        }
        Write::RevokeKey { key, .. } => {
            order(Verb::Delete, Endpoint::ApiKey, &[key.as_str()], None)
        }
        Write::CreateWorkspace(new) => {
            let body = Some(workspace(new));
            order(Verb::Post, Endpoint::Workspaces, &[], body)
        }
        Write::RemoveInvite { .. }
        | Write::RenameKey { .. }
        | Write::RestoreKey { .. }
        | Write::ArchiveWorkspace { .. }
        | Write::AddMember { .. }
        | Write::SetMemberRole { .. }
        | Write::RemoveMember { .. } => return not_there(),
    })
}

/// What the answer means.
pub fn told(write: &Write, body: &[u8]) -> Result<Told, Fault> {
    Ok(match write {
        Write::UpdateOrganization(_) => {
            Told::Organization(Box::new(guide_admin::organization(body)?))
        }
        Write::Invite { .. } => Told::Invite(guide_admin::invite(body)?),
        Write::CreateKey { .. } => Told::Key(new_key(body)?),
        Write::CreateWorkspace(_) => Told::Workspace(guide_admin::workspace(body)?),
        Write::RemoveUser { .. } | Write::RevokeKey { .. } => {
            let gone: GoneWire = fault::read(body)?;
            if !gone.deleted {
                let problem = "though it was to be deleted";
                return Err(Fault::value(Place::Answer, "deleted", "false", problem));
            }
            Told::Done
        }
        Write::SetRole { .. }
        | Write::RemoveInvite { .. }
        | Write::RenameKey { .. }
        | Write::RestoreKey { .. }
        | Write::ArchiveWorkspace { .. }
        | Write::AddMember { .. }
        | Write::SetMemberRole { .. }
        | Write::RemoveMember { .. } => {
            let _some: SomethingWire = fault::read(body)?;
            Told::Done
        }
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GoneWire {
    deleted: bool,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SomethingWire {
    #[serde(rename = "id")]
    _id: String,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct NewKeyWire {
    id: String,
    key: SecretWire,
}

/// Never shown, whatever becomes of the answer it stands in.
struct SecretWire(Secret);

impl<'de> Deserialize<'de> for SecretWire {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(SecretWire(Secret::new(text)))
    }
}

fn new_key(body: &[u8]) -> Result<NewKey, Fault> {
    // The reason is the parser's, which shows no values but those of a wrong type; an excerpt would show the secret.
    let wire: NewKeyWire = serde_json::from_slice(body).map_err(|error| Fault::Shape {
        place: Place::Answer,
        reason: format!("it is no new key (at column {})", error.column()),
    })?;
    if wire.id.is_empty() || wire.key.0.expose().trim().is_empty() {
        return Err(Fault::Missing {
            place: Place::Answer,
            field: if wire.id.is_empty() { "id" } else { "key" },
        });
    }
    Ok(NewKey {
        id: ApiKeyId::new(wire.id),
        secret: wire.key.0,
    })
}

fn settings(change: &SettingsChange) -> Map<String, Value> {
    let mut settings = Map::new();
    if let Some(model) = &change.default_model {
        settings.insert("default_model".to_owned(), model.as_str().into());
    }
    if let Some(require) = change.require_mfa {
        settings.insert("require_mfa".to_owned(), require.into());
    }
    if let Some(ranges) = &change.allowed_ip_ranges {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        settings.insert("allowed_ip_ranges".to_owned(), ranges.into());
    }
    settings
}

/// Amounts are written digit by digit: a JSON number of this program is never a binary float.
fn workspace(new: &NewWorkspace) -> String {
    let name = Value::from(new.name.as_str());
    let mut limits = Vec::new();
    if let Some(limit) = new.monthly_limit {
        limits.push(format!("\"monthly_spend_usd\":{limit}"));
    }
    if let Some(limit) = new.requests_per_minute {
        limits.push(format!("\"requests_per_minute\":{limit}"));
    }
    if limits.is_empty() {
        format!("{{\"name\":{name}}}")
    } else {
        let limits = limits.join(",");
        format!("{{\"name\":{name},\"usage_limits\":{{{limits}}}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Usd;

    #[track_caller]
    fn check(write: &Write, expected: &str) {
        let order = order(write).unwrap();
        let body = order.body.unwrap_or_default();
        let told = format!(
            "{} {} {:?} {body}",
            order.verb.word(),
            order.endpoint.path(),
            order.ids
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn each_change_as_it_is_sent() {
        check(
            &Write::UpdateOrganization(SettingsChange {
                require_mfa: Some(true),
                allowed_ip_ranges: Some(vec!["10.0.0.0/8".parse().unwrap()]),
                ..SettingsChange::default()
            }),
            r#"PATCH /v1/organizations [] {"settings":{"allowed_ip_ranges":["10.0.0.0/8"],"require_mfa":true}}"#,
        );
        check(
            &Write::CreateKey {
                name: "Ada \"A\" - search".to_owned(),
                workspace: "workspace_1".into(),
                expires_at: Some("2027-11-25T00:00:00Z".parse().unwrap()),
            },
            r#"POST /v1/api_keys [] {"expires_at":"2027-11-25T00:00:00Z","name":"Ada \"A\" - search","workspace_id":"workspace_1"}"#,
        );
        check(
            &Write::CreateWorkspace(NewWorkspace {
                name: "Söhne \"& Co\"".to_owned(),
                monthly_limit: Some(Usd::parse("5000.10").unwrap()),
                requests_per_minute: Some(60),
                ..NewWorkspace::default()
            }),
            r#"POST /v1/workspaces [] {"name":"Söhne \"& Co\"","usage_limits":{"monthly_spend_usd":5000.1,"requests_per_minute":60}}"#,
        );
        check(
            &Write::RemoveUser {
                user: "user_1".into(),
                email: None,
            },
            r#"DELETE /v1/users/{user_id} ["user_1"] "#,
        );
        assert!(
            order(&Write::RestoreKey {
                key: "apikey_1".into()
            })
            .is_err()
        );
    }

    #[test]
    fn a_secret_shows_in_no_error() {
        for body in [
            r#"{"id":"apikey_1","key":["sk-ant-canary"]}"#,
            r#"{"id":"apikey_1","key":"sk-ant-canary"#,
            r#"{"id":7,"key":"sk-ant-canary"}"#,
            r#"{"id":"","key":"sk-ant-canary"}"#,
            r#""sk-ant-canary""#,
        ] {
            let error = new_key(body.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        let key = new_key(br#"{"id":"apikey_1","key":"sk-ant-canary","status":"active"}"#).unwrap();
        assert_eq!(key.secret.expose(), "sk-ant-canary");
        assert!(!format!("{key:?}").contains("canary"));
    }
}
