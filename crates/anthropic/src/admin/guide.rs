//! Encodes changes in the `guide` dialect and decodes the responses. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::admin::request::WriteRequest;
use crate::admin::result::{NewKey, WriteResult};
use crate::endpoint::{Endpoint, Verb};
use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::{lists, organization};
use spendwatch_base::secret::Secret;
use spendwatch_domain::admin::change::{AdminChange, NewWorkspace};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::admin::settings::SettingsChange;
use spendwatch_domain::units::ids::ApiKeyId;

/// Response field that contains the secret of a new key.
pub const SECRET_MEMBER: &str = "key";

/// Returns the request for a change, or, as the error, a request that only names the change if the server cannot make it.
pub fn request(write: &AdminChange) -> Result<WriteRequest, WriteRequest> {
    let build = |verb, endpoint, ids: &[&str], body, parse| {
        WriteRequest::new(write, verb, endpoint, ids, body, parse)
    };
    let text = |body: Value| Some(body.to_string());
    Ok(match write {
        AdminChange::UpdateOrganization(change) => {
            let body = text(json!({"settings": settings(change)}));
            build(Verb::Patch, Endpoint::Organizations, &[], body, |body| {
                let details = organization::details(ServerKind::Guide, body)?;
                Ok(WriteResult::Organization(Box::new(details)))
            })
        }
        AdminChange::Invite { email, role } => {
            let body = text(json!({"email": email, "role": role}));
            build(Verb::Post, Endpoint::UsersInvite, &[], body, |body| {
                lists::new_invite("pending", body).map(WriteResult::Invite)
            })
        }
        AdminChange::SetRole { user, role } => {
            let body = text(json!({"role": role}));
            let ids = [user.as_str()];
            build(Verb::Patch, Endpoint::User, &ids, body, |body| {
                decode::read(body).map(|ObjectWire { .. }| WriteResult::Done)
            })
        }
        AdminChange::RemoveUser { user, .. } => {
            let ids = [user.as_str()];
            build(Verb::Delete, Endpoint::User, &ids, None, deleted)
        }
        AdminChange::CreateKey {
            name,
            workspace,
            expires_at,
        } => {
            let mut body = json!({"name": name, "workspace_id": workspace.as_str()});
            if let Some(at) = expires_at {
                body["expires_at"] = at.to_string().into();
            }
            build(Verb::Post, Endpoint::ApiKeys, &[], text(body), |body| {
                new_key(body).map(WriteResult::Key)
            })
        }
        AdminChange::RevokeKey { key, .. } => {
            let ids = [key.as_str()];
            build(Verb::Delete, Endpoint::ApiKey, &ids, None, deleted)
        }
        AdminChange::CreateWorkspace(new) => {
            let body = Some(workspace(new));
            build(Verb::Post, Endpoint::Workspaces, &[], body, |body| {
                lists::new_workspace(ServerKind::Guide, body).map(WriteResult::Workspace)
            })
        }
        AdminChange::RemoveInvite { .. }
        | AdminChange::RenameKey { .. }
        | AdminChange::RestoreKey { .. }
        | AdminChange::ArchiveWorkspace { .. }
        | AdminChange::AddMember { .. }
        | AdminChange::SetMemberRole { .. }
        | AdminChange::RemoveMember { .. } => {
            let (verb, endpoint) = (Verb::Post, Endpoint::Organizations);
            return Err(build(verb, endpoint, &[], None, |_| Ok(WriteResult::Done)));
        }
    })
}

/// Checks the response to a deletion.
fn deleted(body: &[u8]) -> Result<WriteResult, DecodeError> {
    let removed: DeletedWire = decode::read(body)?;
    if removed.deleted {
        return Ok(WriteResult::Done);
    }
    let (location, problem) = (ResponseLocation::Body, "expected `true`");
    Err(DecodeError::value(location, "deleted", "false", problem))
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct DeletedWire {
    deleted: bool,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ObjectWire {
    #[serde(rename = "id")]
    _id: String,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct NewKeyWire {
    id: String,
    key: SecretWire,
}

/// Wraps the secret at once, so that no error or debug output shows it.
struct SecretWire(Secret);

impl<'de> Deserialize<'de> for SecretWire {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(SecretWire(Secret::new(text)))
    }
}

fn new_key(body: &[u8]) -> Result<NewKey, DecodeError> {
    // The parser's message or an excerpt could show the secret.
    let wire: NewKeyWire = serde_json::from_slice(body).map_err(|error| DecodeError::Shape {
        location: ResponseLocation::Body,
        reason: format!("not a new key (at column {})", error.column()),
    })?;
    if wire.id.is_empty() || wire.key.0.expose().trim().is_empty() {
        return Err(DecodeError::Missing {
            location: ResponseLocation::Body,
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

/// Writes the JSON by hand, so that amounts are exact decimals and not binary floats.
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
    use spendwatch_domain::units::money::Usd;

    #[track_caller]
    fn check(write: &AdminChange, expected: &str) {
        let request = request(write).unwrap();
        let body = request.body.unwrap_or_default();
        let text = format!(
            "{} {} {:?} {body}",
            request.verb.as_str(),
            request.endpoint.path(),
            request.ids
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn changes_are_encoded() {
        check(
            &AdminChange::UpdateOrganization(SettingsChange {
                require_mfa: Some(true),
                allowed_ip_ranges: Some(vec!["10.0.0.0/8".parse().unwrap()]),
                ..SettingsChange::default()
            }),
            r#"PATCH /v1/organizations [] {"settings":{"allowed_ip_ranges":["10.0.0.0/8"],"require_mfa":true}}"#,
        );
        check(
            &AdminChange::CreateKey {
                name: "Ada \"A\" - search".to_owned(),
                workspace: "workspace_1".into(),
                expires_at: Some("2027-11-25T00:00:00Z".parse().unwrap()),
            },
            r#"POST /v1/api_keys [] {"expires_at":"2027-11-25T00:00:00Z","name":"Ada \"A\" - search","workspace_id":"workspace_1"}"#,
        );
        check(
            &AdminChange::CreateWorkspace(NewWorkspace {
                name: "Söhne \"& Co\"".to_owned(),
                monthly_limit: Some(Usd::parse("5000.10").unwrap()),
                requests_per_minute: Some(60),
                ..NewWorkspace::default()
            }),
            r#"POST /v1/workspaces [] {"name":"Söhne \"& Co\"","usage_limits":{"monthly_spend_usd":5000.1,"requests_per_minute":60}}"#,
        );
        check(
            &AdminChange::RemoveUser {
                user: "user_1".into(),
                email: None,
            },
            r#"DELETE /v1/users/{user_id} ["user_1"] "#,
        );
        assert!(
            request(&AdminChange::RestoreKey {
                key: "apikey_1".into()
            })
            .is_err()
        );
    }

    #[test]
    fn errors_do_not_contain_the_secret() {
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
