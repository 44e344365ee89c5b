//! One change by the Admin API, as a value: what it does, to what, and whether it may be sent twice.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::admin::settings::SettingsChange;
use crate::domain::ids::{ActorId, ApiKeyId, InviteId, WorkspaceId};
use crate::domain::money::Usd;

/// One change. The service that can do it was checked before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    UpdateOrganization(SettingsChange),
    /// A mail is sent to somebody.
    Invite {
        email: String,
        role: String,
    },
    /// An invitation is taken back.
    RemoveInvite {
        id: InviteId,
        email: String,
    },
    /// A person is something else from now on.
    SetRole {
        user: ActorId,
        role: String,
    },
    /// A person belongs to the organization no more.
    RemoveUser {
        user: ActorId,
        /// Under which address they were known; by it they are found again when they are gone.
        email: Option<String>,
    },
    /// A key is made. Its secret is told once.
    CreateKey {
        name: String,
        workspace: WorkspaceId,
        /// From when on it opens nothing; `None` is never.
        expires_at: Option<Timestamp>,
    },
    /// A key gets another name.
    RenameKey {
        key: ApiKeyId,
        name: String,
    },
    /// A key opens nothing from now on.
    RevokeKey {
        key: ApiKeyId,
        manner: Manner,
    },
    /// A key that was revoked opens again.
    RestoreKey {
        key: ApiKeyId,
    },
    CreateWorkspace(NewWorkspace),
    /// A workspace is closed for good, and all its keys with it.
    ArchiveWorkspace {
        workspace: WorkspaceId,
    },
    /// A person belongs to a workspace from now on.
    AddMember {
        workspace: WorkspaceId,
        user: ActorId,
        role: String,
    },
    /// A member of a workspace is something else from now on.
    SetMemberRole {
        workspace: WorkspaceId,
        user: ActorId,
        role: String,
    },
    /// A person belongs to a workspace no more.
    RemoveMember {
        workspace: WorkspaceId,
        user: ActorId,
    },
}

/// How final it is that a key is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Deleted,
    Inactive,
    Archived,
}

impl Manner {
    /// In words.
    pub const fn word(self) -> &'static str {
        match self {
            Manner::Deleted => "deleted",
            Manner::Inactive => "inactive",
            Manner::Archived => "archived",
        }
    }

    /// Whether nothing brings the key back.
    pub const fn is_final(self) -> bool {
        match self {
            Manner::Deleted | Manner::Archived => true,
            Manner::Inactive => false,
        }
    }
}

/// A workspace that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewWorkspace {
    pub name: String,
    /// The most that may be spent in a month; `None` is no limit.
    pub monthly_limit: Option<Usd>,
    /// The most requests in a minute; `None` is no limit.
    pub requests_per_minute: Option<u64>,
    /// What its owners note on it, by name.
    pub tags: BTreeMap<String, String>,
}

impl Write {
    /// What is done, as the audit log names it.
    pub const fn action(&self) -> &'static str {
        match self {
            Write::UpdateOrganization(_) => "org.update",
            Write::Invite { .. } => "users.invite",
            Write::RemoveInvite { .. } => "invites.remove",
            Write::SetRole { .. } => "users.set-role",
            Write::RemoveUser { .. } => "users.remove",
            Write::CreateKey { .. } => "keys.create",
            Write::RenameKey { .. } => "keys.rename",
            Write::RevokeKey { .. } => "keys.revoke",
            Write::RestoreKey { .. } => "keys.restore",
            Write::CreateWorkspace(_) => "workspaces.create",
            Write::ArchiveWorkspace { .. } => "workspaces.archive",
            Write::AddMember { .. } => "workspaces.members.add",
            Write::SetMemberRole { .. } => "workspaces.members.set-role",
            Write::RemoveMember { .. } => "workspaces.members.remove",
        }
    }

    /// To what it is done: an id, or what will have one.
    pub fn target(&self) -> &str {
        match self {
            Write::UpdateOrganization(_) => "organization",
            Write::Invite { email, .. } => email,
            Write::RemoveInvite { id, .. } => id.as_str(),
            Write::SetRole { user, .. } | Write::RemoveUser { user, .. } => user.as_str(),
            Write::CreateKey { name, .. } => name,
            Write::RenameKey { key, .. }
            | Write::RevokeKey { key, .. }
            | Write::RestoreKey { key } => key.as_str(),
            Write::CreateWorkspace(new) => &new.name,
            Write::ArchiveWorkspace { workspace }
            | Write::AddMember { workspace, .. }
            | Write::SetMemberRole { workspace, .. }
            | Write::RemoveMember { workspace, .. } => workspace.as_str(),
        }
    }

    /// What else it says, by name. None of it is a secret.
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        match self {
            Write::UpdateOrganization(change) => settings(change),
            Write::Invite { role, .. } => vec![("role", role.clone())],
            Write::RemoveInvite { email, .. } => vec![("email", email.clone())],
            Write::SetRole { role, .. } => vec![("role", role.clone())],
            Write::RemoveUser { email, .. } => {
                let email = email.iter();
                email.map(|email| ("email", email.clone())).collect()
            }
            Write::RestoreKey { .. } | Write::ArchiveWorkspace { .. } => Vec::new(),
            Write::CreateKey {
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
            Write::RenameKey { name, .. } => vec![("name", name.clone())],
            Write::RevokeKey { manner, .. } => vec![("manner", manner.word().to_owned())],
            Write::CreateWorkspace(new) => limits(new),
            Write::AddMember { user, role, .. } | Write::SetMemberRole { user, role, .. } => {
                vec![("user", user.to_string()), ("role", role.clone())]
            }
            Write::RemoveMember { user, .. } => vec![("user", user.to_string())],
        }
    }

    /// Whether it may be sent again where nobody knows what became of it: twice is then as good as once.
    pub const fn is_repeatable(&self) -> bool {
        match self {
            Write::Invite { .. }
            | Write::CreateKey { .. }
            | Write::CreateWorkspace(_)
            | Write::AddMember { .. } => false,
            Write::UpdateOrganization(_)
            | Write::RemoveInvite { .. }
            | Write::SetRole { .. }
            | Write::RemoveUser { .. }
            | Write::RenameKey { .. }
            | Write::RevokeKey { .. }
            | Write::RestoreKey { .. }
            | Write::ArchiveWorkspace { .. }
            | Write::SetMemberRole { .. }
            | Write::RemoveMember { .. } => true,
        }
    }

    /// Whether it is as good as done where what it is to make is there: one invitation is enough, two keys are two.
    pub const fn may_stand(&self) -> bool {
        match self {
            Write::Invite { .. } | Write::AddMember { .. } => true,
            Write::UpdateOrganization(_)
            | Write::RemoveInvite { .. }
            | Write::SetRole { .. }
            | Write::RemoveUser { .. }
            | Write::CreateKey { .. }
            | Write::RenameKey { .. }
            | Write::RevokeKey { .. }
            | Write::RestoreKey { .. }
            | Write::CreateWorkspace(_)
            | Write::ArchiveWorkspace { .. }
            | Write::SetMemberRole { .. }
            | Write::RemoveMember { .. } => false,
        }
    }

    /// Whether it takes something away: it is done where what is to go is not there.
    pub const fn takes_away(&self) -> bool {
        match self {
            Write::RemoveInvite { .. }
            | Write::RemoveUser { .. }
            | Write::RevokeKey { .. }
            | Write::ArchiveWorkspace { .. }
            | Write::RemoveMember { .. } => true,
            Write::UpdateOrganization(_)
            | Write::Invite { .. }
            | Write::SetRole { .. }
            | Write::CreateKey { .. }
            | Write::RenameKey { .. }
            | Write::RestoreKey { .. }
            | Write::CreateWorkspace(_)
            | Write::AddMember { .. }
            | Write::SetMemberRole { .. } => false,
        }
    }
}

fn settings(change: &SettingsChange) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    if let Some(model) = &change.default_model {
        told.push(("default_model", model.clone()));
    }
    if let Some(require) = change.require_mfa {
        told.push(("require_mfa", require.to_string()));
    }
    if let Some(ranges) = &change.allowed_ip_ranges {
        let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        told.push(("allowed_ip_ranges", ranges.join(",")));
    }
    told
}

fn limits(new: &NewWorkspace) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    if let Some(limit) = new.monthly_limit {
        told.push(("monthly_limit_usd", limit.to_string()));
    }
    if let Some(limit) = new.requests_per_minute {
        told.push(("requests_per_minute", limit.to_string()));
    }
    if !new.tags.is_empty() {
        let tags: Vec<String> = new
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        told.push(("tags", tags.join(",")));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_tells_what_it_does() {
        let write = Write::CreateKey {
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
        assert!(!write.is_repeatable() && !write.takes_away());
    }
}
