//! Checks of owner and mode of files and folders.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::doctor::diagnosis::{Diagnosis, check};
use spendwatch_audit::files::AuditFiles;
use spendwatch_base::private_file;
use spendwatch_config::Config;
use spendwatch_config::secret_file;
use spendwatch_config::source::SecretSource;
use spendwatch_domain::rules::rule::{Limit, Rule};

/// Checks owner and mode of each file, and of the folders of our own files.
pub fn check_files(config: &Config, audit: &AuditFiles) -> Vec<Diagnosis> {
    let own = own_files(config, audit);
    let folder = |path: &PathBuf| private_file::folder_of(path).to_owned();
    let folders: BTreeSet<PathBuf> = own.iter().map(folder).collect();
    let own = own.into_iter().map(|path| (path, ExpectedAccess::Own));
    let named = named_files(config).into_iter();
    let named = named.map(|path| (path, ExpectedAccess::Trusted));
    let secret = secret_files(config).into_iter();
    let secret = secret.map(|path| (path, ExpectedAccess::Secret));
    let files = own.chain(named).chain(secret);
    let files = files.filter_map(|(path, access)| check_file(&path, access));
    files
        .chain(folders.iter().map(|folder| check_folder(folder)))
        .collect()
}

/// Expected protection of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedAccess {
    /// Created by spendwatch, with mode 0600.
    Own,
    /// Contains a secret. Links are followed, because containers provide secrets through them.
    Secret,
    /// Others may read it.
    Trusted,
}

fn own_files(config: &Config, audit: &AuditFiles) -> Vec<PathBuf> {
    let store = &config.store.path;
    let beside = |path: &Path, ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let mut files = vec![store.clone()];
    files.extend(["-wal", "-shm", "-journal", ".lock"].map(|ending| beside(store, ending)));
    files.extend(audit.older_paths());
    files.push(audit.path().to_owned());
    files.extend([audit.head_path(), beside(audit.path(), ".commands")]);
    files
}

fn named_files(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config.file.iter().cloned().collect();
    files.extend(config.prices.file.clone());
    let limits = config.rules.iter().filter_map(Rule::period_limit);
    files.extend(limits.filter_map(|limit| match &limit.limit {
        Limit::Budget(budget) => budget.origin.as_ref().map(PathBuf::from),
        Limit::Fixed(_) | Limit::Workspace | Limit::Organization => None,
    }));
    let of_organizations = config.organizations.iter();
    files.extend(of_organizations.filter_map(|organization| organization.ca_file.clone()));
    files
}

fn secret_files(config: &Config) -> BTreeSet<PathBuf> {
    let mut sources: Vec<&SecretSource> = config
        .organizations
        .iter()
        .map(|organization| &organization.admin_key)
        .collect();
    sources.extend(config.notifiers.iter().flat_map(|one| one.kind.secrets()));
    sources.extend(config.heartbeat.iter().map(|heartbeat| &heartbeat.url));
    sources.extend(&config.http.bearer_token);
    let files = sources.into_iter().filter_map(|source| match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Literal(_)
        | SecretSource::Env(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => None,
    });
    files.collect()
}

/// Checks one file. Returns `None` for one that spendwatch has not created yet.
fn check_file(path: &Path, access: ExpectedAccess) -> Option<Diagnosis> {
    let shown = path.display().to_string();
    let check = check("file", &shown);
    let found = match access {
        ExpectedAccess::Own => path.symlink_metadata(),
        ExpectedAccess::Secret | ExpectedAccess::Trusted => path.metadata(),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == ExpectedAccess::Own => {
            return None;
        }
        Err(error) => {
            let fix = "correct the path, or the owner and mode of its folders";
            return Some(check.bad(error.to_string(), fix));
        }
    };
    if access == ExpectedAccess::Own
        && let Err(refused) = private_file::check(path, &found)
    {
        let fix = "move it away; spendwatch creates a new one";
        return Some(check.bad(refused.to_string(), fix));
    }
    let (mode, owner) = (found.mode() & 0o777, found.uid());
    let result = format!("owner {owner}, mode {mode:04o}");
    let is_protected_secret =
        access == ExpectedAccess::Secret && !secret_file::is_read_by_others(path);
    Some(if found.is_file() && mode & 0o022 != 0 {
        let fix = format!("run `chmod go-w {shown}`");
        check.bad(format!("others can write it: {result}"), &fix)
    } else if access != ExpectedAccess::Trusted && mode & 0o044 != 0 && !is_protected_secret {
        let fix = format!("run `chmod 600 {shown}`");
        check.warning(format!("others can read it: {result}"), &fix)
    } else if is_foreign_owner(owner, path) {
        let fix = "change its owner to the user who runs spendwatch, or to root";
        check.warning(format!("belongs to another user: {result}"), fix)
    } else {
        check.good(result)
    })
}

/// Returns whether the owner is neither this user, root, nor the folder's owner. The latter allows root to check the files of a
/// daemon that runs as another user.
fn is_foreign_owner(owner: u32, path: &Path) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    let of_folder = private_file::folder_of(path)
        .metadata()
        .map(|found| found.uid());
    owner != 0 && owner != ours && of_folder.map_or(true, |of_folder| of_folder != owner)
}

fn check_folder(folder: &Path) -> Diagnosis {
    let shown = folder.display().to_string();
    let check = check("folder", &shown);
    let found = match folder.metadata() {
        Ok(found) => found,
        Err(error) => {
            let fix =
                format!("create it for the user who runs spendwatch: `install -d -m 0700 {shown}`");
            return check.bad(error.to_string(), &fix);
        }
    };
    let result = format!("owner {}, mode {:04o}", found.uid(), found.mode() & 0o7777);
    let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    let is_root = rustix::process::geteuid().is_root();
    let change_owner = "change its owner to the user who runs spendwatch";
    if !found.is_dir() {
        check.bad("is not a folder", "correct the path")
    } else if let Err(error) = private_file::check_writable(folder) {
        check.bad(
            format!("cannot be written: {error}; {result}"),
            change_owner,
        )
    } else if found.mode() & 0o002 != 0 {
        let result = format!("everyone can create, and often replace, files in it: {result}");
        let fix = "use a folder that only the user who runs spendwatch can write";
        check.bad(result, fix)
    } else if found.mode() & 0o020 != 0 {
        let fix = format!("run `chmod g-w {shown}`");
        check.warning(format!("its group can replace files in it: {result}"), &fix)
    } else if !is_ours && !is_root {
        check.warning(format!("belongs to another user: {result}"), change_owner)
    } else {
        check.good(result)
    }
}
