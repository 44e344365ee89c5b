//! All that is needed to work for one organization.

use std::sync::{Arc, Mutex, PoisonError};

use crate::anthropic::AdminApi;
use crate::audit::files::AuditError;
use crate::audit::{AuditLog, Ended, Intent, Operation};
use crate::clock::Clock;
use crate::domain::admin::service::Service;
use crate::domain::ids::OrganizationName;

/// One organization's service, and the log of what is done there.
#[derive(Clone)]
pub struct Office {
    /// As the configuration names it.
    pub organization: OrganizationName,
    pub api: AdminApi,
    pub service: Service,
    pub audit: AuditLog,
    pub clock: Clock,
    /// Why outcomes do not stand in the log, where they do not.
    unrecorded: Arc<Mutex<Vec<String>>>,
}

impl Office {
    /// Nothing was done yet.
    pub fn new(
        organization: OrganizationName,
        api: AdminApi,
        service: Service,
        audit: AuditLog,
        clock: Clock,
    ) -> Office {
        Office {
            organization,
            api,
            service,
            audit,
            clock,
            unrecorded: Arc::default(),
        }
    }

    /// Writes an outcome. What is done stays done where that fails: why is kept to be told.
    pub fn end(&self, intent: Intent, ended: &Ended<'_>) {
        if let Err(error) = self.audit.end(intent, ended) {
            let mut unrecorded = self
                .unrecorded
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            unrecorded.push(error.to_string());
        }
    }

    /// Why outcomes do not stand in the log; told once.
    pub fn unrecorded(&self) -> Vec<String> {
        let mut unrecorded = self
            .unrecorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *unrecorded)
    }

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
