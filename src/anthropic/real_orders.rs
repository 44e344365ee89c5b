//! Changes by the real service: what is sent for each, and what the answer means. Pure.
//!
//! Updates are POST, and nothing makes or deletes a key. Source: Anthropic, Admin API, versions 2023-06-01 and 2026-10-21.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::orders::Order;
use crate::anthropic::real_admin;
use crate::anthropic::written::Told;
use crate::domain::admin::write::{Manner, NewWorkspace, Write};
use crate::metrics::requests::{Endpoint, Verb};

/// What is sent for a change; what would be sent if the service could do it, where it cannot.
pub fn order(write: &Write) -> Result<Order, Order> {
    let order = |verb, endpoint, ids: &[&str], body: Option<Value>| Order {
        verb,
        endpoint,
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        body: body.map(|body| body.to_string()),
        is_repeatable: write.is_repeatable(),
        takes_away: write.takes_away(),
        may_stand: write.may_stand(),
    };
    let key = |id: &str, body| order(Verb::Post, Endpoint::OrganizationApiKey, &[id], Some(body));
    Ok(match write {
        Write::Invite { email, role } => {
            let body = Some(json!({"email": email, "role": role}));
            order(Verb::Post, Endpoint::OrganizationInvites, &[], body)
        }
        Write::RemoveInvite { id, .. } => {
            let ids = [id.as_str()];
            order(Verb::Delete, Endpoint::OrganizationInvite, &ids, None)
        }
        Write::SetRole { user, role } => {
            let body = Some(json!({"role": role}));
            order(
                Verb::Post,
                Endpoint::OrganizationUser,
                &[user.as_str()],
                body,
            )
        }
        Write::RemoveUser { user, .. } => order(
            Verb::Delete,
            Endpoint::OrganizationUser,
            &[user.as_str()],
            None,
        ),
        Write::RenameKey { key: id, name } => key(id.as_str(), json!({"name": name})),
        Write::RevokeKey { key: id, manner } => {
            let status = match manner {
                Manner::Archived => "archived",
                Manner::Inactive | Manner::Deleted => "inactive",
            };
            key(id.as_str(), json!({"status": status}))
        }
        Write::RestoreKey { key: id } => key(id.as_str(), json!({"status": "active"})),
        Write::CreateWorkspace(new) => {
            let body = Some(workspace(new));
            order(Verb::Post, Endpoint::OrganizationWorkspaces, &[], body)
        }
        Write::ArchiveWorkspace { workspace } => {
            let ids = [workspace.as_str()];
            order(Verb::Post, Endpoint::WorkspaceArchive, &ids, None)
        }
        Write::AddMember {
            workspace,
            user,
            role,
        } => {
            let body = Some(json!({"user_id": user.as_str(), "workspace_role": role}));
            let ids = [workspace.as_str()];
            order(Verb::Post, Endpoint::WorkspaceMembers, &ids, body)
        }
        Write::SetMemberRole {
            workspace,
            user,
            role,
        } => {
            let ids = [workspace.as_str(), user.as_str()];
            let body = Some(json!({"workspace_role": role}));
            order(Verb::Post, Endpoint::WorkspaceMember, &ids, body)
        }
        Write::RemoveMember { workspace, user } => {
            let ids = [workspace.as_str(), user.as_str()];
            order(Verb::Delete, Endpoint::WorkspaceMember, &ids, None)
        }
        Write::UpdateOrganization(_) => {
            return Err(order(Verb::Post, Endpoint::OrganizationsMe, &[], None));
        }
        Write::CreateKey { .. } => {
            return Err(order(Verb::Post, Endpoint::OrganizationApiKeys, &[], None));
        }
    })
}

/// What the answer means.
pub fn told(write: &Write, body: &[u8]) -> Result<Told, Fault> {
    Ok(match write {
        Write::Invite { .. } => Told::Invite(real_admin::invite(body)?),
        Write::CreateWorkspace(_) => Told::Workspace(real_admin::workspace(body)?),
        Write::RemoveUser { .. } => typed(body, "user_deleted")?,
        Write::RemoveInvite { .. } => typed(body, "invite_deleted")?,
        Write::RemoveMember { .. } => typed(body, "workspace_member_deleted")?,
        Write::SetRole { .. } => typed(body, "user")?,
        Write::RenameKey { .. } | Write::RevokeKey { .. } | Write::RestoreKey { .. } => {
            typed(body, "api_key")?
        }
        Write::ArchiveWorkspace { .. } => typed(body, "workspace")?,
        Write::AddMember { .. } | Write::SetMemberRole { .. } => typed(body, "workspace_member")?,
        Write::UpdateOrganization(_) | Write::CreateKey { .. } => Told::Done,
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct TypedWire {
    r#type: String,
}

/// An answer is of the type that it must be: a proxy's page is none.
fn typed(body: &[u8], expected: &'static str) -> Result<Told, Fault> {
    let wire: TypedWire = fault::read(body)?;
    if wire.r#type == expected {
        Ok(Told::Done)
    } else {
        let problem = "not what such a change is answered with";
        Err(Fault::value(Place::Answer, "type", &wire.r#type, problem))
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
        let revoke = |manner| Write::RevokeKey {
            key: "apikey_1".into(),
            manner,
        };
        check(
            &revoke(Manner::Inactive),
            r#"POST /v1/organizations/api_keys/{api_key_id} ["apikey_1"] {"status":"inactive"}"#,
        );
        check(
            &revoke(Manner::Archived),
            r#"POST /v1/organizations/api_keys/{api_key_id} ["apikey_1"] {"status":"archived"}"#,
        );
        check(
            &Write::AddMember {
                workspace: "wrkspc_1".into(),
                user: "user_1".into(),
                role: "workspace_user".to_owned(),
            },
            r#"POST /v1/organizations/workspaces/{workspace_id}/members ["wrkspc_1"] {"user_id":"user_1","workspace_role":"workspace_user"}"#,
        );
        check(
            &Write::CreateWorkspace(NewWorkspace {
                name: "Prod".to_owned(),
                tags: [("team".to_owned(), "search".to_owned())].into(),
                ..NewWorkspace::default()
            }),
            r#"POST /v1/organizations/workspaces [] {"name":"Prod","tags":{"team":"search"}}"#,
        );
        check(
            &Write::Invite {
                email: "ada@example.com".to_owned(),
                role: "user".to_owned(),
            },
            r#"POST /v1/organizations/invites [] {"email":"ada@example.com","role":"user"}"#,
        );
    }

    #[test]
    fn a_page_of_a_proxy_is_no_answer() {
        let remove = Write::RemoveUser {
            user: "user_1".into(),
            email: None,
        };
        assert!(told(&remove, b"<html>").is_err());
        assert!(told(&remove, br#"{"type":"user","id":"user_1"}"#).is_err());
        assert!(told(&remove, br#"{"type":"user_deleted","id":"user_1"}"#).is_ok());
    }
}
