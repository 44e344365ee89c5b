//! One change through the Admin API: what it does, its target, and whether it may be repeated.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::admin::settings::SettingsChange;
use crate::units::ids::{ActorId, ApiKeyId, InviteId, WorkspaceId};
use crate::units::money::Usd;

/// One change, which the server is known to support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminChange {
    UpdateOrganization(SettingsChange),
    /// Sends an email to the address.
    Invite {
        email: String,
        role: String,
    },
    RemoveInvite {
        id: InviteId,
        email: String,
    },
    /// Changes a user's role in the organization.
    SetRole {
        user: ActorId,
        role: String,
    },
    /// Removes a user from the organization.
    RemoveUser {
        user: ActorId,
        /// Their email address, by which they are found after their removal.
        email: Option<String>,
    },
    /// Creates a key, whose secret is returned once.
    CreateKey {
        name: String,
        workspace: WorkspaceId,
        /// `None` if it never expires.
        expires_at: Option<Timestamp>,
    },
    RenameKey {
        key: ApiKeyId,
        name: String,
    },
    RevokeKey {
        key: ApiKeyId,
        revocation: Revocation,
    },
    RestoreKey {
        key: ApiKeyId,
    },
    CreateWorkspace(NewWorkspace),
    /// Archives a workspace permanently, with all its keys.
    ArchiveWorkspace {
        workspace: WorkspaceId,
    },
    /// Adds a user to a workspace.
    AddMember {
        workspace: WorkspaceId,
        user: ActorId,
        role: String,
    },
    /// Changes a member's role in a workspace.
    SetMemberRole {
        workspace: WorkspaceId,
        user: ActorId,
        role: String,
    },
    /// Removes a user from a workspace.
    RemoveMember {
        workspace: WorkspaceId,
        user: ActorId,
    },
}

/// How a key is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    Deleted,
    Inactive,
    Archived,
}

impl Revocation {
    /// Returns the word used in the API and the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Revocation::Deleted => "deleted",
            Revocation::Inactive => "inactive",
            Revocation::Archived => "archived",
        }
    }

    /// Returns whether the key cannot be restored.
    pub const fn is_final(self) -> bool {
        match self {
            Revocation::Deleted | Revocation::Archived => true,
            Revocation::Inactive => false,
        }
    }
}

/// Attributes of a workspace to create.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewWorkspace {
    pub name: String,
    /// Monthly spend limit; `None` for no limit.
    pub monthly_limit: Option<Usd>,
    /// Rate limit; `None` for no limit.
    pub requests_per_minute: Option<u64>,
    pub tags: BTreeMap<String, String>,
}

impl AdminChange {
    /// Returns the action as named in the audit log.
    pub const fn action(&self) -> &'static str {
        match self {
            AdminChange::UpdateOrganization(_) => "org.update",
            AdminChange::Invite { .. } => "users.invite",
            AdminChange::RemoveInvite { .. } => "invites.remove",
            AdminChange::SetRole { .. } => "users.set-role",
            AdminChange::RemoveUser { .. } => "users.remove",
            AdminChange::CreateKey { .. } => "keys.create",
            AdminChange::RenameKey { .. } => "keys.rename",
            AdminChange::RevokeKey { .. } => "keys.revoke",
            AdminChange::RestoreKey { .. } => "keys.restore",
            AdminChange::CreateWorkspace(_) => "workspaces.create",
            AdminChange::ArchiveWorkspace { .. } => "workspaces.archive",
            AdminChange::AddMember { .. } => "workspaces.members.add",
            AdminChange::SetMemberRole { .. } => "workspaces.members.set-role",
            AdminChange::RemoveMember { .. } => "workspaces.members.remove",
        }
    }

    /// Returns the target: an id, or the name of an object to create.
    pub fn target(&self) -> &str {
        match self {
            AdminChange::UpdateOrganization(_) => "organization",
            AdminChange::Invite { email, .. } => email,
            AdminChange::RemoveInvite { id, .. } => id.as_str(),
            AdminChange::SetRole { user, .. } | AdminChange::RemoveUser { user, .. } => {
                user.as_str()
            }
            AdminChange::CreateKey { name, .. } => name,
            AdminChange::RenameKey { key, .. }
            | AdminChange::RevokeKey { key, .. }
            | AdminChange::RestoreKey { key } => key.as_str(),
            AdminChange::CreateWorkspace(new) => &new.name,
            AdminChange::ArchiveWorkspace { workspace }
            | AdminChange::AddMember { workspace, .. }
            | AdminChange::SetMemberRole { workspace, .. }
            | AdminChange::RemoveMember { workspace, .. } => workspace.as_str(),
        }
    }

    /// Returns the other arguments by name, none of which is secret.
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        match self {
            AdminChange::UpdateOrganization(change) => settings(change),
            AdminChange::Invite { role, .. } => vec![("role", role.clone())],
            AdminChange::RemoveInvite { email, .. } => vec![("email", email.clone())],
            AdminChange::SetRole { role, .. } => vec![("role", role.clone())],
            AdminChange::RemoveUser { email, .. } => {
                let email = email.iter();
                email.map(|email| ("email", email.clone())).collect()
            }
            AdminChange::RestoreKey { .. } | AdminChange::ArchiveWorkspace { .. } => Vec::new(),
            AdminChange::CreateKey {
                workspace,
                expires_at,
                ..
            } => {
                let expires = expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
                vec![
                    ("workspace", workspace.to_string()),
                    ("expires_at", expires),
                ]
            }
            AdminChange::RenameKey { name, .. } => vec![("name", name.clone())],
            AdminChange::RevokeKey { revocation, .. } => {
                vec![("manner", revocation.as_str().to_owned())]
            }
            AdminChange::CreateWorkspace(new) => limits(new),
            AdminChange::AddMember { user, role, .. }
            | AdminChange::SetMemberRole { user, role, .. } => {
                vec![("user", user.to_string()), ("role", role.clone())]
            }
            AdminChange::RemoveMember { user, .. } => vec![("user", user.to_string())],
        }
    }

    /// Returns whether the request may be repeated if its outcome is unknown, because repeating has no further effect.
    pub const fn is_repeatable(&self) -> bool {
        match self {
            AdminChange::Invite { .. }
            | AdminChange::CreateKey { .. }
            | AdminChange::CreateWorkspace(_)
            | AdminChange::AddMember { .. } => false,
            AdminChange::UpdateOrganization(_)
            | AdminChange::RemoveInvite { .. }
            | AdminChange::SetRole { .. }
            | AdminChange::RemoveUser { .. }
            | AdminChange::RenameKey { .. }
            | AdminChange::RevokeKey { .. }
            | AdminChange::RestoreKey { .. }
            | AdminChange::ArchiveWorkspace { .. }
            | AdminChange::SetMemberRole { .. }
            | AdminChange::RemoveMember { .. } => true,
        }
    }

    /// Returns whether an existing object counts as success: one invitation is enough, but two keys are two keys.
    pub const fn accepts_existing(&self) -> bool {
        match self {
            AdminChange::Invite { .. } | AdminChange::AddMember { .. } => true,
            AdminChange::UpdateOrganization(_)
            | AdminChange::RemoveInvite { .. }
            | AdminChange::SetRole { .. }
            | AdminChange::RemoveUser { .. }
            | AdminChange::CreateKey { .. }
            | AdminChange::RenameKey { .. }
            | AdminChange::RevokeKey { .. }
            | AdminChange::RestoreKey { .. }
            | AdminChange::CreateWorkspace(_)
            | AdminChange::ArchiveWorkspace { .. }
            | AdminChange::SetMemberRole { .. }
            | AdminChange::RemoveMember { .. } => false,
        }
    }

    /// Returns whether the change removes something, so that a missing target counts as success.
    pub const fn is_removal(&self) -> bool {
        match self {
            AdminChange::RemoveInvite { .. }
            | AdminChange::RemoveUser { .. }
            | AdminChange::RevokeKey { .. }
            | AdminChange::ArchiveWorkspace { .. }
            | AdminChange::RemoveMember { .. } => true,
            AdminChange::UpdateOrganization(_)
            | AdminChange::Invite { .. }
            | AdminChange::SetRole { .. }
            | AdminChange::CreateKey { .. }
            | AdminChange::RenameKey { .. }
            | AdminChange::RestoreKey { .. }
            | AdminChange::CreateWorkspace(_)
            | AdminChange::AddMember { .. }
            | AdminChange::SetMemberRole { .. } => false,
        }
    }
}

fn settings(change: &SettingsChange) -> Vec<(&'static str, String)> {
    let mut arguments = Vec::new();
    if let Some(model) = &change.default_model {
        arguments.push(("default_model", model.clone()));
    }
    if let Some(require) = change.require_mfa {
        arguments.push(("require_mfa", require.to_string()));
    }
    if let Some(ranges) = &change.allowed_ip_ranges {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        arguments.push(("allowed_ip_ranges", ranges.join(",")));
    }
    arguments
}

fn limits(new: &NewWorkspace) -> Vec<(&'static str, String)> {
    let mut arguments = Vec::new();
    if let Some(limit) = new.monthly_limit {
        arguments.push(("monthly_limit_usd", limit.to_string()));
    }
    if let Some(limit) = new.requests_per_minute {
        arguments.push(("requests_per_minute", limit.to_string()));
    }
    if !new.tags.is_empty() {
        let tags: Vec<String> = new
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        arguments.push(("tags", tags.join(",")));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_an_action_a_target_and_arguments() {
        let write = AdminChange::CreateKey {
            name: "Ada - search".to_owned(),
            workspace: "workspace_1".into(),
            expires_at: Some("2027-11-25T00:00:00Z".parse().unwrap()),
        };
        assert_eq!(
            (write.action(), write.target()),
            ("keys.create", "Ada - search")
        );
        let expected = [
            ("workspace", "workspace_1".to_owned()),
            ("expires_at", "2027-11-25T00:00:00Z".to_owned()),
        ];
        assert_eq!(write.arguments(), expected);
        assert!(!write.is_repeatable() && !write.is_removal());
    }
}
