//! The two kinds of servers that implement the Admin API: what each supports, and its roles.

use std::fmt;

use crate::units::dialect::Dialect;

/// The kind of server. The dialects `analytics` and `reports` differ only in their reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerKind {
    /// All paths directly under `/v1`.
    Guide,
    /// Anthropic's, below `/v1/organizations`.
    Real,
}

/// An operation that only one of them supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Read settings and billing of the organization.
    ReadSettings,
    /// Change settings of the organization.
    ChangeSettings,
    ListInvites,
    RemoveInvite,
    CreateKey,
    RenameKey,
    RestoreKey,
    /// Revoke a key permanently while keeping it listed.
    ArchiveKey,
    /// Keep a key whose creator is removed.
    KeepKey,
    /// Create a workspace with a limit.
    LimitWorkspace,
    /// Create a workspace with tags.
    TagWorkspace,
    ArchiveWorkspace,
    Members,
}

/// Why an operation is not supported, and the alternative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {alternative}")]
pub struct Unsupported {
    pub reason: &'static str,
    pub alternative: &'static str,
}

impl ServerKind {
    /// Returns the kind of server that speaks a dialect.
    pub const fn for_dialect(dialect: Dialect) -> ServerKind {
        match dialect {
            Dialect::Guide => ServerKind::Guide,
            Dialect::Analytics | Dialect::Reports => ServerKind::Real,
        }
    }

    /// Checks whether the server supports an operation.
    pub fn check(self, capability: Capability) -> Result<(), Unsupported> {
        let unsupported = match self {
            ServerKind::Guide => unsupported_by_guide(capability),
            ServerKind::Real => unsupported_by_real(capability),
        };
        match unsupported {
            None => Ok(()),
            Some((reason, alternative)) => Err(Unsupported {
                reason,
                alternative,
            }),
        }
    }

    /// Returns the roles that the API can assign in the organization.
    pub const fn roles(self) -> &'static [&'static str] {
        match self {
            ServerKind::Guide => &["owner", "admin", "developer", "billing"],
            ServerKind::Real => &["user", "developer", "billing", "claude_code_user"],
        }
    }

    /// Returns the roles that the API can assign in a workspace.
    pub const fn workspace_roles(self) -> &'static [&'static str] {
        match self {
            ServerKind::Guide => &[],
            ServerKind::Real => &[
                "workspace_user",
                "workspace_restricted_developer",
                "workspace_developer",
                "workspace_admin",
            ],
        }
    }

    /// Checks whether the API can assign a role in the organization.
    pub fn check_role(self, role: &str) -> Result<(), RoleError> {
        if self.roles().contains(&role) {
            return Ok(());
        }
        Err(RoleError {
            role: role.to_owned(),
            // They exist but cannot be assigned by the API.
            is_console_only: self == ServerKind::Real && is_unremovable(role),
            known: self.roles(),
        })
    }

    /// Checks whether the API can assign a role in a workspace.
    pub fn check_workspace_role(self, role: &str) -> Result<(), RoleError> {
        if self.workspace_roles().contains(&role) {
            return Ok(());
        }
        Err(RoleError {
            role: role.to_owned(),
            is_console_only: role == "workspace_billing",
            known: self.workspace_roles(),
        })
    }

    /// Returns after how many days an invitation expires.
    pub const fn invite_days(self) -> i64 {
        match self {
            ServerKind::Guide => 7,
            ServerKind::Real => 21,
        }
    }

    /// Returns whether the API can remove users with this role.
    pub fn can_remove(self, role: &str) -> bool {
        match self {
            ServerKind::Guide => true,
            ServerKind::Real => !is_unremovable(role),
        }
    }
}

/// Source: Anthropic's Admin API: admins and owners can be neither created nor removed.
fn is_unremovable(role: &str) -> bool {
    ["admin", "owner", "primary_owner"].contains(&role)
}

fn unsupported_by_guide(capability: Capability) -> Option<(&'static str, &'static str)> {
    match capability {
        Capability::ReadSettings
        | Capability::ChangeSettings
        | Capability::CreateKey
        | Capability::LimitWorkspace => None,
        Capability::ListInvites => Some((
            "`guide` servers cannot list invitations",
            "use `spendwatch audit list --action users.invite`",
        )),
        Capability::RemoveInvite => Some((
            "`guide` servers cannot withdraw invitations",
            "the invitation expires a week after it was sent",
        )),
        Capability::RenameKey => Some((
            "`guide` servers cannot rename keys",
            "create a new key with `spendwatch keys create`, then revoke this one",
        )),
        Capability::RestoreKey => Some((
            "`guide` servers cannot restore keys, because revoking deletes them",
            "create a new key with `spendwatch keys create`",
        )),
        Capability::ArchiveKey => Some((
            "`guide` servers cannot archive keys, only delete them",
            "omit `--archive`",
        )),
        Capability::KeepKey => Some((
            "`guide` servers revoke all keys of a removed user",
            "create a replacement with `spendwatch keys create`, and omit `--keep-key`",
        )),
        Capability::TagWorkspace => Some(("`guide` servers cannot tag workspaces", "omit `--tag`")),
        Capability::ArchiveWorkspace => Some((
            "`guide` servers cannot archive workspaces",
            "list its keys with `spendwatch keys list --workspace` and revoke them",
        )),
        Capability::Members => Some((
            "`guide` servers cannot manage workspace members",
            "list the users of the organization with `spendwatch users list`",
        )),
    }
}

fn unsupported_by_real(capability: Capability) -> Option<(&'static str, &'static str)> {
    match capability {
        Capability::ListInvites
        | Capability::RemoveInvite
        | Capability::RenameKey
        | Capability::RestoreKey
        | Capability::ArchiveKey
        | Capability::KeepKey
        | Capability::TagWorkspace
        | Capability::ArchiveWorkspace
        | Capability::Members => None,
        Capability::ReadSettings => Some((
            "Anthropic's Admin API cannot read settings or billing of the organization",
            "see the Console under Settings",
        )),
        Capability::ChangeSettings => Some((
            "Anthropic's Admin API cannot change settings of the organization",
            "change them in the Console under Settings",
        )),
        Capability::CreateKey => Some((
            "Anthropic's Admin API cannot create API keys, only the Console can, under Settings > API keys",
            "let users create their own with `spendwatch workspaces members add`; for a workload, use a service account \
             with a federation rule, which needs no key",
        )),
        Capability::LimitWorkspace => Some((
            "Anthropic's Admin API cannot create workspaces with limits",
            "omit the limits and set them in the Console, or watch the workspace with a rule with `limits_usd`",
        )),
    }
}

/// A role that the API cannot assign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleError {
    role: String,
    is_console_only: bool,
    known: &'static [&'static str],
}

impl std::error::Error for RoleError {}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.join(", ");
        if self.is_console_only {
            write!(
                f,
                "the API cannot assign role `{}`, only the Console can; expected one of {known}",
                self.role
            )
        } else {
            write!(f, "unknown role `{}`; expected one of {known}", self.role)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_depend_on_the_server() {
        let check = |server: ServerKind, role: &str| {
            server
                .check_role(role)
                .map_or_else(|error| error.to_string(), |()| "allowed".to_owned())
        };
        assert_eq!(check(ServerKind::Guide, "owner"), "allowed");
        assert_eq!(check(ServerKind::Real, "claude_code_user"), "allowed");
        assert_eq!(
            check(ServerKind::Real, "admin"),
            "the API cannot assign role `admin`, only the Console can; expected one of user, developer, billing, claude_code_user"
        );
        assert_eq!(
            check(ServerKind::Guide, "user"),
            "unknown role `user`; expected one of owner, admin, developer, billing"
        );
        assert_eq!(
            check(ServerKind::Guide, ""),
            "unknown role ``; expected one of owner, admin, developer, billing"
        );
        assert!(
            ServerKind::Real
                .check_workspace_role("workspace_billing")
                .is_err()
        );
    }

    #[test]
    fn unsupported_operations_state_an_alternative() {
        let error = ServerKind::Real
            .check(Capability::CreateKey)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("only the Console can") && error.contains("workspaces members add"),
            "{error}"
        );
        assert_eq!(ServerKind::Guide.check(Capability::CreateKey), Ok(()));
        assert!(ServerKind::Guide.check(Capability::Members).is_err());
    }
}
