//! Checks of the store and the audit log.

use crate::cli::doctor::diagnosis::{Diagnosis, check};
use spendwatch_audit::AuditLog;
use spendwatch_audit::read::verify;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::Config;
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_store::Store;
use spendwatch_store::error::{StoreError, StoreErrorCause};

pub async fn check_store(config: &Config) -> Diagnosis {
    let path = config.store.path.display().to_string();
    let check = check("store", &path);
    match Store::check_file(&config.store.path).await {
        Ok(report) if report.problems.is_empty() && report.needs_migration() => {
            let result = format!(
                "intact, version {} of {}: not checked further",
                report.version, report.supported
            );
            let fix = "copy it, then start `spendwatch run`, which migrates it";
            check.warning(result, fix)
        }
        Ok(report) if report.problems.is_empty() => {
            let result = format!("intact, {} of usage", counted(report.n_usage, "row"));
            check.good(result)
        }
        Ok(report) => {
            let fix = "keep a copy of it and restore a backup";
            check.bad(report.problems.join("; "), fix)
        }
        Err(StoreError {
            cause: StoreErrorCause::Missing,
            ..
        }) => {
            let fix = "`spendwatch run` creates it";
            check.warning("does not exist yet", fix)
        }
        Err(error) => {
            let fix = "check the file's owner and mode and the free disk space";
            check.bad(error_chain(&error), fix)
        }
    }
}

pub fn check_audit(audit: &AuditLog) -> Diagnosis {
    let path = audit.files().path().display().to_string();
    let check = check("audit", &path);
    if let Err(error) = audit.check() {
        let fix =
            "check its owner, mode and disk; no command changes anything until it can be written";
        return check.bad(error.to_string(), fix);
    }
    let report = match verify(audit.files(), None) {
        Ok(report) => report,
        Err(error) => {
            let fix = "check its owner and mode";
            return check.bad(error.to_string(), fix);
        }
    };
    match &report.broken {
        None if report.walk.newest_at.is_none() => {
            let fix = "the first command that changes something creates it";
            check.warning("does not exist yet", fix)
        }
        None => {
            let n = report.walk.n_entries;
            let result = format!("intact, {n} {}", agreeing(&n, "entry", "entries"));
            check.good(result)
        }
        Some(broken) if report.walk.is_only_without_beginning() => {
            let fix = "if they are kept elsewhere, verify with their last hash as `--anchor`";
            check.warning(broken.to_string(), fix)
        }
        Some(broken) => {
            let fix = "find out who changed it: run `spendwatch audit verify` and compare with an older copy";
            check.bad(broken.to_string(), fix)
        }
    }
}
