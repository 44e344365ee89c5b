//! Encodes changes for Anthropic's Admin API and decodes the responses. Pure.
//!
//! Updates use POST, and keys can be neither created nor deleted. Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::request::WriteRequest;
use crate::admin::result::WriteResult;
use crate::endpoint::{Endpoint, Verb};
use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::real;
use spendwatch_domain::admin::change::{AdminChange, NewWorkspace, Revocation};

/// Returns the request for a change, or, as the error, a request that only names the change if the API cannot make it.
pub fn request(write: &AdminChange) -> Result<WriteRequest, WriteRequest> {
    let build = |verb, endpoint, ids: &[&str], body: Option<Value>| {
        WriteRequest::new(
            write,
            verb,
            endpoint,
            ids,
            body.map(|body| body.to_string()),
        )
    };
    let key = |id: &str, body| build(Verb::Post, Endpoint::OrganizationApiKey, &[id], Some(body));
    Ok(match write {
        AdminChange::Invite { email, role } => {
            let body = Some(json!({"email": email, "role": role}));
            build(Verb::Post, Endpoint::OrganizationInvites, &[], body)
        }
        AdminChange::RemoveInvite { id, .. } => {
            let ids = [id.as_str()];
            build(Verb::Delete, Endpoint::OrganizationInvite, &ids, None)
        }
        AdminChange::SetRole { user, role } => {
            let body = Some(json!({"role": role}));
            build(
                Verb::Post,
                Endpoint::OrganizationUser,
                &[user.as_str()],
                body,
            )
        }
        AdminChange::RemoveUser { user, .. } => build(
            Verb::Delete,
            Endpoint::OrganizationUser,
            &[user.as_str()],
            None,
        ),
        AdminChange::RenameKey { key: id, name } => key(id.as_str(), json!({"name": name})),
        AdminChange::RevokeKey {
            key: id,
            revocation,
        } => {
            let status = match revocation {
                Revocation::Archived => "archived",
                Revocation::Inactive | Revocation::Deleted => "inactive",
            };
            key(id.as_str(), json!({"status": status}))
        }
        AdminChange::RestoreKey { key: id } => key(id.as_str(), json!({"status": "active"})),
        AdminChange::CreateWorkspace(new) => {
            let body = Some(workspace(new));
            build(Verb::Post, Endpoint::OrganizationWorkspaces, &[], body)
        }
        AdminChange::ArchiveWorkspace { workspace } => {
            let ids = [workspace.as_str()];
            build(Verb::Post, Endpoint::WorkspaceArchive, &ids, None)
        }
        AdminChange::AddMember {
            workspace,
            user,
            role,
        } => {
            let body = Some(json!({"user_id": user.as_str(), "workspace_role": role}));
            let ids = [workspace.as_str()];
            build(Verb::Post, Endpoint::WorkspaceMembers, &ids, body)
        }
        AdminChange::SetMemberRole {
            workspace,
            user,
            role,
        } => {
            let ids = [workspace.as_str(), user.as_str()];
            let body = Some(json!({"workspace_role": role}));
            build(Verb::Post, Endpoint::WorkspaceMember, &ids, body)
        }
        AdminChange::RemoveMember { workspace, user } => {
            let ids = [workspace.as_str(), user.as_str()];
            build(Verb::Delete, Endpoint::WorkspaceMember, &ids, None)
        }
        AdminChange::UpdateOrganization(_) => {
            return Err(build(Verb::Post, Endpoint::OrganizationsMe, &[], None));
        }
        AdminChange::CreateKey { .. } => {
            return Err(build(Verb::Post, Endpoint::OrganizationApiKeys, &[], None));
        }
    })
}

/// Decodes the response to a change.
pub fn parse_response(write: &AdminChange, body: &[u8]) -> Result<WriteResult, DecodeError> {
    Ok(match write {
        AdminChange::Invite { .. } => WriteResult::Invite(real::new_invite(body)?),
        AdminChange::CreateWorkspace(_) => WriteResult::Workspace(real::new_workspace(body)?),
        AdminChange::RemoveUser { .. } => typed(body, "user_deleted")?,
        AdminChange::RemoveInvite { .. } => typed(body, "invite_deleted")?,
        AdminChange::RemoveMember { .. } => typed(body, "workspace_member_deleted")?,
        AdminChange::SetRole { .. } => typed(body, "user")?,
        AdminChange::RenameKey { .. }
        | AdminChange::RevokeKey { .. }
        | AdminChange::RestoreKey { .. } => typed(body, "api_key")?,
        AdminChange::ArchiveWorkspace { .. } => typed(body, "workspace")?,
        AdminChange::AddMember { .. } | AdminChange::SetMemberRole { .. } => {
            typed(body, "workspace_member")?
        }
        AdminChange::UpdateOrganization(_) | AdminChange::CreateKey { .. } => WriteResult::Done,
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
        Ok(WriteResult::Done)
    } else {
        let problem = "not the expected type";
        Err(DecodeError::value(
            ResponseLocation::Body,
            "type",
            &wire.r#type,
            problem,
        ))
    }
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
        assert!(parse_response(&remove, b"<html>").is_err());
        assert!(parse_response(&remove, br#"{"type":"user","id":"user_1"}"#).is_err());
        assert!(parse_response(&remove, br#"{"type":"user_deleted","id":"user_1"}"#).is_ok());
    }
}
