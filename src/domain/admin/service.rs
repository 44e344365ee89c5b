//! The two services that speak the Admin API, what only one of them can do, and which roles they give.

use std::fmt;

use crate::domain::dialect::Dialect;

/// Who answers: the dialects `analytics` and `reports` differ in reports alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Every path directly under `/v1`.
    Guide,
    /// Anthropic's own, below `/v1/organizations`.
    Real,
}

/// Something that one of the services cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Settings and billing of the organization are read.
    ReadSettings,
    /// Settings of the organization are changed.
    ChangeSettings,
    ListInvites,
    /// An invitation is taken back.
    RemoveInvite,
    CreateKey,
    /// A key gets another name.
    RenameKey,
    /// A key that was revoked opens again.
    RestoreKey,
    /// A key is revoked for good, while it stays listed.
    ArchiveKey,
    /// A key outlives who made it.
    KeepKey,
    /// A workspace is made with a limit.
    LimitWorkspace,
    /// A workspace is made with tags.
    TagWorkspace,
    ArchiveWorkspace,
    /// Who belongs to a workspace.
    Members,
}

/// Why something cannot be done, and what to do instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {instead}")]
pub struct Impossible {
    pub reason: &'static str,
    pub instead: &'static str,
}

impl Service {
    /// Who speaks so.
    pub const fn of(dialect: Dialect) -> Service {
        match dialect {
            Dialect::Guide => Service::Guide,
            Dialect::Analytics | Dialect::Reports => Service::Real,
        }
    }

    /// Whether it can; if not, why, and what to do instead.
    pub fn check(self, deed: Deed) -> Result<(), Impossible> {
        let told = match self {
            Service::Guide => not_by_the_guide(deed),
            Service::Real => not_by_the_real_one(deed),
        };
        match told {
            None => Ok(()),
            Some((reason, instead)) => Err(Impossible { reason, instead }),
        }
    }

    /// The roles that it gives to a person of the organization.
    pub const fn roles(self) -> &'static [&'static str] {
        match self {
            Service::Guide => &["owner", "admin", "developer", "billing"],
            Service::Real => &["user", "developer", "billing", "claude_code_user"],
        }
    }

    /// The roles that it gives to a member of a workspace.
    pub const fn workspace_roles(self) -> &'static [&'static str] {
        match self {
            Service::Guide => &[],
            Service::Real => &[
                "workspace_user",
                "workspace_restricted_developer",
                "workspace_developer",
                "workspace_admin",
            ],
        }
    }

    /// Whether a person may get this role by the API.
    pub fn check_role(self, role: &str) -> Result<(), RoleError> {
        if self.roles().contains(&role) {
            return Ok(());
        }
        Err(RoleError {
            role: role.to_owned(),
            // They exist, and are not given by the API.
            is_above: self == Service::Real && is_unremovable(role),
            known: self.roles(),
        })
    }

    /// Whether a member of a workspace may get this role.
    pub fn check_workspace_role(self, role: &str) -> Result<(), RoleError> {
        if self.workspace_roles().contains(&role) {
            return Ok(());
        }
        Err(RoleError {
            role: role.to_owned(),
            is_above: role == "workspace_billing",
            known: self.workspace_roles(),
        })
    }

    /// How many days an invitation lasts.
    pub const fn invite_days(self) -> i64 {
        match self {
            Service::Guide => 7,
            Service::Real => 21,
        }
    }

    /// Whether a person with this role can be removed.
    pub fn can_remove(self, role: &str) -> bool {
        match self {
            Service::Guide => true,
            Service::Real => !is_unremovable(role),
        }
    }
}

/// Source: Anthropic, Admin API: admins and owners are neither made nor removed by it.
fn is_unremovable(role: &str) -> bool {
    ["admin", "owner", "primary_owner"].contains(&role)
}

fn not_by_the_guide(deed: Deed) -> Option<(&'static str, &'static str)> {
    match deed {
        Deed::ReadSettings | Deed::ChangeSettings | Deed::CreateKey | Deed::LimitWorkspace => None,
        Deed::ListInvites => Some((
            "this service does not list invitations",
            "`spendwatch audit list --action users.invite` tells those that were sent from here",
        )),
        Deed::RemoveInvite => Some((
            "this service takes no invitation back",
            "it ends by itself a week after it was sent",
        )),
        Deed::RenameKey => Some((
            "this service renames no keys",
            "make a new key with `spendwatch keys create`, then revoke this one",
        )),
        Deed::RestoreKey => Some((
            "this service deletes the keys that are revoked",
            "make a new key with `spendwatch keys create`",
        )),
        Deed::ArchiveKey => Some((
            "this service knows one way to revoke a key, which is final",
            "leave `--archive` out",
        )),
        Deed::KeepKey => Some((
            "this service revokes all keys of a person who is removed",
            "make a new key for what uses it with `spendwatch keys create`, and leave `--keep-key` out",
        )),
        Deed::TagWorkspace => Some((
            "workspaces of this service have no tags",
            "leave `--tag` out",
        )),
        Deed::ArchiveWorkspace => Some((
            "this service archives no workspaces",
            "revoke its keys with `spendwatch keys revoke`, found by `spendwatch keys list --workspace`",
        )),
        Deed::Members => Some((
            "workspaces of this service have no members of their own",
            "`spendwatch users list` tells who is in the organization",
        )),
    }
}

fn not_by_the_real_one(deed: Deed) -> Option<(&'static str, &'static str)> {
    match deed {
        Deed::ListInvites
        | Deed::RemoveInvite
        | Deed::RenameKey
        | Deed::RestoreKey
        | Deed::ArchiveKey
        | Deed::KeepKey
        | Deed::TagWorkspace
        | Deed::ArchiveWorkspace
        | Deed::Members => None,
        Deed::ReadSettings => Some((
            "this service tells no settings and no billing of the organization",
            "they stand in the Console under Settings",
        )),
        Deed::ChangeSettings => Some((
            "this service has no settings of the organization that can be changed by its API",
            "change them in the Console under Settings",
        )),
        Deed::CreateKey => Some((
            "this service creates no API keys: they are made in the Console alone, under Settings, API keys",
            "`spendwatch workspaces members add` lets a person make their own in a workspace; for a workload a service account \
             with a federation rule needs no key at all",
        )),
        Deed::LimitWorkspace => Some((
            "this service makes workspaces without limits",
            "leave the limits out, and set them in the Console, or watch the workspace by a rule with `limits_usd`",
        )),
    }
}

/// A role that the service does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleError {
    role: String,
    is_above: bool,
    known: &'static [&'static str],
}

impl std::error::Error for RoleError {}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.join(", ");
        if self.is_above {
            write!(
                f,
                "role `{}` cannot be given by the API, only in the Console; here it is one of {known}",
                self.role
            )
        } else {
            write!(
                f,
                "`{}` is no role of this service; it is one of {known}",
                self.role
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_those_of_the_service() {
        let told = |service: Service, role: &str| {
            service
                .check_role(role)
                .map_or_else(|error| error.to_string(), |()| "given".to_owned())
        };
        assert_eq!(told(Service::Guide, "owner"), "given");
        assert_eq!(told(Service::Real, "claude_code_user"), "given");
        assert_eq!(
            told(Service::Real, "admin"),
            "role `admin` cannot be given by the API, only in the Console; here it is one of user, developer, billing, claude_code_user"
        );
        assert_eq!(
            told(Service::Guide, "user"),
            "`user` is no role of this service; it is one of owner, admin, developer, billing"
        );
        assert_eq!(
            told(Service::Guide, ""),
            "`` is no role of this service; it is one of owner, admin, developer, billing"
        );
        assert!(
            Service::Real
                .check_workspace_role("workspace_billing")
                .is_err()
        );
    }

    #[test]
    fn what_cannot_be_done_is_told_with_what_to_do_instead() {
        let error = Service::Real
            .check(Deed::CreateKey)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("in the Console alone") && error.contains("workspaces members add"),
            "{error}"
        );
        assert_eq!(Service::Guide.check(Deed::CreateKey), Ok(()));
        assert!(Service::Guide.check(Deed::Members).is_err());
    }
}
