//! Access to one organization for changes.

use std::sync::{Arc, Mutex};

use spendwatch_anthropic::AdminApi;
use spendwatch_audit::files::AuditError;
use spendwatch_audit::{AuditLog, Intent, Operation, OperationOutcome};
use spendwatch_base::clock::Clock;
use spendwatch_base::lock;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::units::ids::OrganizationName;

/// Admin API, server kind and audit log of one organization. Kept apart from the CLI context, on which `admin` must not depend.
#[derive(Clone)]
pub struct AdminSession {
    pub organization: OrganizationName,
    pub api: AdminApi,
    pub service: ServerKind,
    pub audit: AuditLog,
    pub clock: Clock,
    /// Errors from recording outcomes, until they are reported.
    pub audit_errors: Arc<Mutex<Vec<String>>>,
}

impl AdminSession {
    /// Records an outcome. An error is kept for [`AdminSession::take_audit_errors`], because the change itself was made.
    pub fn record_outcome(&self, intent: Intent, ended: &OperationOutcome<'_>) {
        if let Err(error) = self.audit.end(intent, ended) {
            let mut errors = lock(&self.audit_errors);
            errors.push(error.to_string());
        }
    }

    /// Returns the errors from recording outcomes, each once.
    pub fn take_audit_errors(&self) -> Vec<String> {
        let mut errors = lock(&self.audit_errors);
        std::mem::take(&mut *errors)
    }

    /// Records a read access and its outcome.
    pub fn record_read(
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
        let ended = OperationOutcome {
            error,
            request_id: None,
        };
        self.audit.record(&operation, &ended)
    }
}
