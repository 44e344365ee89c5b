//! All that is needed to work for one organization.

use crate::anthropic::AdminApi;
use crate::audit::files::AuditError;
use crate::audit::{AuditLog, Ended, Operation};
use crate::clock::Clock;
use crate::domain::admin::service::Service;
use crate::domain::ids::OrganizationName;

/// One organization's service, and the log of what is done there.
#[derive(Clone)]
pub struct Office {
    /// As the configuration names it.
    pub organization: OrganizationName,
    /// Its service.
    pub api: AdminApi,
    /// Who that is.
    pub service: Service,
    /// What is done.
    pub audit: AuditLog,
    /// When.
    pub clock: Clock,
}

impl Office {
    /// Notes that something was looked at, and how that ended.
    pub fn looked(
        &self,
        action: &str,
        target: &str,
        arguments: &[(&str, String)],
        error: Option<&str>,
    ) -> Result<(), AuditError> {
        let operation = Operation {
            organization: Some(self.organization.as_str()),
            action,
            target,
            arguments,
        };
        let ended = Ended {
            error,
            request_id: None,
        };
        self.audit.note(&operation, &ended)
    }
}
