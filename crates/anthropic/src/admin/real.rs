//! Encodes changes for Anthropic's Admin API and decodes the responses. Pure.
//!
//! Updates use POST, and keys can be neither created nor deleted. Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::request::{ParseResponse, WriteRequest};
use crate::admin::result::WriteResult;
use crate::endpoint::{Endpoint, Verb};
use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::lists;
use spendwatch_domain::admin::change::{AdminChange, NewWorkspace, Revocation};
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::units::ids::ApiKeyId;

/// Returns the request for a change, or, as the error, a request that only names the change if the API cannot make it.
pub fn request(write: &AdminChange) -> Result<WriteRequest, WriteRequest> {
    let build = |verb, endpoint, ids: &[&str], body: Option<Value>, parse| {
        let body = body.map(|body| body.to_string());
        WriteRequest::new(write, verb, endpoint, ids, body, parse)
    };
    let post = |endpoint, ids: &[&str], body: Value, parse: ParseResponse| {
        build(Verb::Post, endpoint, ids, Some(body), parse)
    };
    let delete = |endpoint, ids: &[&str], parse| build(Verb::Delete, endpoint, ids, None, parse);
    let key = |id: &ApiKeyId, body| {
        let endpoint = Endpoint::OrganizationApiKey;
        post(endpoint, &[id.as_str()], body, |body| {
            typed(body, "api_key")
        })
    };
    let unsupported = |endpoint| build(Verb::Post, endpoint, &[], None, |_| Ok(WriteResult::Done));
    Ok(match write {
        AdminChange::Invite { email, role } => {
            let body = json!({"email": email, "role": role});
            post(Endpoint::OrganizationInvites, &[], body, |body| {
                lists::new_invite("unknown", body).map(WriteResult::Invite)
            })
        }
        AdminChange::RemoveInvite { id, .. } => {
            delete(Endpoint::OrganizationInvite, &[id.as_str()], |body| {
                typed(body, "invite_deleted")
            })
        }
        AdminChange::SetRole { user, role } => {
            let (ids, body) = ([user.as_str()], json!({"role": role}));
            post(Endpoint::OrganizationUser, &ids, body, |body| {
                typed(body, "user")
            })
        }
        AdminChange::RemoveUser { user, .. } => {
            delete(Endpoint::OrganizationUser, &[user.as_str()], |body| {
                typed(body, "user_deleted")
            })
        }
        AdminChange::RenameKey { key: id, name } => key(id, json!({"name": name})),
        AdminChange::RevokeKey {
            key: id,
            revocation,
        } => {
            let status = match revocation {
                Revocation::Archived => "archived",
                Revocation::Inactive | Revocation::Deleted => "inactive",
            };
            key(id, json!({"status": status}))
        }
        AdminChange::RestoreKey { key: id } => key(id, json!({"status": "active"})),
        AdminChange::CreateWorkspace(new) => {
            let endpoint = Endpoint::OrganizationWorkspaces;
            post(endpoint, &[], workspace(new), |body| {
                lists::new_workspace(ServerKind::Real, body).map(WriteResult::Workspace)
            })
        }
        AdminChange::ArchiveWorkspace { workspace } => {
            let (endpoint, ids) = (Endpoint::WorkspaceArchive, [workspace.as_str()]);
            build(Verb::Post, endpoint, &ids, None, |body| {
                typed(body, "workspace")
            })
        }
        AdminChange::AddMember {
            workspace,
            user,
            role,
        } => {
            let body = json!({"user_id": user.as_str(), "workspace_role": role});
            let ids = [workspace.as_str()];
            post(Endpoint::WorkspaceMembers, &ids, body, |body| {
                typed(body, "workspace_member")
            })
        }
        AdminChange::SetMemberRole {
            workspace,
            user,
            role,
        } => {
            let ids = [workspace.as_str(), user.as_str()];
            let body = json!({"workspace_role": role});
            post(Endpoint::WorkspaceMember, &ids, body, |body| {
                typed(body, "workspace_member")
            })
        }
        AdminChange::RemoveMember { workspace, user } => {
            let ids = [workspace.as_str(), user.as_str()];
            delete(Endpoint::WorkspaceMember, &ids, |body| {
                typed(body, "workspace_member_deleted")
            })
        }
        AdminChange::UpdateOrganization(_) => return Err(unsupported(Endpoint::OrganizationsMe)),
        AdminChange::CreateKey { .. } => return Err(unsupported(Endpoint::OrganizationApiKeys)),
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct TypedWire {
    r#type: String,
}

/// Checks the response's type, which tells it apart from a proxy's page.
fn typed(body: &[u8], expected: &'static str) -> Result<WriteResult, DecodeError> {
    let wire: TypedWire = decode::read(body)?;
    if wire.r#type == expected {
        return Ok(WriteResult::Done);
    }
    let (location, problem) = (ResponseLocation::Body, "not the expected type");
    Err(DecodeError::value(location, "type", &wire.r#type, problem))
}

fn workspace(new: &NewWorkspace) -> Value {
    let mut body = json!({"name": new.name});
    if !new.tags.is_empty() {
        body["tags"] = json!(new.tags);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let revoke = |revocation| AdminChange::RevokeKey {
            key: "apikey_1".into(),
            revocation,
        };
        check(
            &revoke(Revocation::Inactive),
            r#"POST /v1/organizations/api_keys/{api_key_id} ["apikey_1"] {"status":"inactive"}"#,
        );
        check(
            &revoke(Revocation::Archived),
            r#"POST /v1/organizations/api_keys/{api_key_id} ["apikey_1"] {"status":"archived"}"#,
        );
        check(
            &AdminChange::AddMember {
                workspace: "wrkspc_1".into(),
                user: "user_1".into(),
                role: "workspace_user".to_owned(),
            },
            r#"POST /v1/organizations/workspaces/{workspace_id}/members ["wrkspc_1"] {"user_id":"user_1","workspace_role":"workspace_user"}"#,
        );
        check(
            &AdminChange::CreateWorkspace(NewWorkspace {
                name: "Prod".to_owned(),
                tags: [("team".to_owned(), "search".to_owned())].into(),
                ..NewWorkspace::default()
            }),
            r#"POST /v1/organizations/workspaces [] {"name":"Prod","tags":{"team":"search"}}"#,
        );
        check(
            &AdminChange::Invite {
                email: "ada@example.com".to_owned(),
                role: "user".to_owned(),
            },
            r#"POST /v1/organizations/invites [] {"email":"ada@example.com","role":"user"}"#,
        );
    }

    #[test]
    fn proxy_pages_are_rejected() {
        let remove = AdminChange::RemoveUser {
            user: "user_1".into(),
            email: None,
        };
        let parse = request(&remove).unwrap().parse;
        assert!(parse(b"<html>").is_err());
        assert!(parse(br#"{"type":"user","id":"user_1"}"#).is_err());
        assert!(parse(br#"{"type":"user_deleted","id":"user_1"}"#).is_ok());
    }
}
