//! Files that only the user running spendwatch may access: the store, its lock, the audit log, backups, secrets.
//!
//! Others may be able to write to their folder. Therefore symbolic links are not followed, files with several hard links or of
//! another user are rejected, and the mode is always set to 0600.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Read and write for the owner, nothing for others.
const MODE: u32 = 0o600;
/// How often to start over when another process creates or removes the file at the same moment.
const MAX_ATTEMPTS: usize = 8;

/// Why an existing file is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileRefused {
    #[error("`{}` is a symbolic link, which is not followed; configure the path of the file itself", .0.display())]
    Link(PathBuf),
    /// A folder, a pipe or a device.
    #[error("`{}` is not a regular file; move it away", .0.display())]
    NotRegular(PathBuf),
    /// Writing to it changes a file elsewhere.
    #[error("`{}` has {n_links} hard links; remove the others", path.display())]
    HardLinks { path: PathBuf, n_links: u64 },
    /// Anyone could have put it there.
    #[error(
        "`{}` belongs to user {uid}, in a folder that everyone can write; use a folder of your own",
        path.display()
    )]
    Owner { path: PathBuf, uid: u32 },
    /// Others could have changed it, and its mode cannot be changed.
    #[error("others can write `{path}` (mode {mode:o}); run `chmod 600 {path}` as its owner", path = path.display())]
    Writable { path: PathBuf, mode: u32 },
}

impl From<FileRefused> for io::Error {
    fn from(refused: FileRefused) -> io::Error {
        io::Error::other(refused)
    }
}

/// Creates a file for reading and writing; fails if anything has its name, even a dangling link.
pub fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    // The umask may have cleared bits of the owner.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

/// Creates a file, replacing any file, link or pipe, but not a folder.
pub fn create_or_replace(path: &Path) -> io::Result<File> {
    for _ in 0..MAX_ATTEMPTS {
        remove_if_exists(path)?;
        match create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes a file or a link; fails for a folder.
pub fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Opens a file for reading and writing, and creates it if needed. Returns whether it was created.
pub fn open(path: &Path) -> io::Result<(File, bool)> {
    open_with(path, OpenOptions::new().read(true).write(true))
}

/// Opens a file for reading and appending, and creates it if needed.
pub fn open_to_append(path: &Path) -> io::Result<File> {
    Ok(open_with(path, OpenOptions::new().read(true).append(true))?.0)
}

/// Opens an existing file for reading, even if others can write it. Does not block on a pipe.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    check_kind(path, &fs::symlink_metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags())
        .open(path)?;
    check_kind(path, &file.metadata()?)?;
    Ok(file)
}

/// Like [`open_to_read`]; returns `None` if there is no file.
pub fn open_if_exists(path: &Path) -> io::Result<Option<File>> {
    match open_to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<(File, bool)> {
    for _ in 0..MAX_ATTEMPTS {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match create_new(path) {
                    // Reopens it with the requested options.
                    Ok(_) => {
                        let file = options.custom_flags(flags()).open(path)?;
                        check(path, &file.metadata()?)?;
                        return Ok((file, true));
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        check(path, &found)?;
        let file = match options.custom_flags(flags()).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let opened = file.metadata()?;
        if opened.nlink() == 0 {
            continue;
        }
        check(path, &opened)?;
        if opened.mode() & 0o777 != MODE {
            let changed = file.set_permissions(Permissions::from_mode(MODE));
            accept_mode(path, &opened, &changed)?;
        }
        return Ok((file, false));
    }
    Err(io::Error::other(format!(
        "`{}` keeps being created and removed",
        path.display()
    )))
}

/// Checks a file that another library opens, and sets its mode. Returns whether there is one.
///
/// Does not open it, because closing a descriptor of a store would release SQLite's locks.
pub fn secure(path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    check(path, &found)?;
    if found.mode() & 0o777 != MODE {
        accept_mode(path, &found, &set_mode(path))?;
    }
    Ok(true)
}

/// Sets the mode through a path descriptor, so that no link is followed.
#[cfg(target_os = "linux")]
fn set_mode(path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let named = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::PATH | OFlags::NOFOLLOW).bits().cast_signed())
        .open(path)?;
    check(path, &named.metadata()?)?;
    let by_descriptor = format!("/proc/self/fd/{}", named.as_raw_fd());
    fs::set_permissions(by_descriptor, Permissions::from_mode(MODE))
}

#[cfg(not(target_os = "linux"))]
fn set_mode(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

/// Accepts a mode that cannot be changed if others can only read.
fn accept_mode(path: &Path, found: &Metadata, changed: &io::Result<()>) -> io::Result<()> {
    match changed {
        Err(_) if found.mode() & 0o022 != 0 => Err(FileRefused::Writable {
            path: path.to_owned(),
            mode: found.mode() & 0o777,
        }
        .into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn flags() -> i32 {
    // Avoids blocking on a pipe, or acquiring a terminal, before the file is rejected.
    (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY)
        .bits()
        .cast_signed()
}

/// Checks that an existing file may be used, regardless of its mode.
pub fn check(path: &Path, found: &Metadata) -> Result<(), FileRefused> {
    check_kind(path, found)?;
    let owned = || path.to_owned();
    if found.nlink() > 1 {
        return Err(FileRefused::HardLinks {
            path: owned(),
            n_links: found.nlink(),
        });
    }
    let (uid, ours) = (found.uid(), geteuid().as_raw());
    if uid != ours && uid != 0 && is_open_to_everyone_but(uid, path) {
        return Err(FileRefused::Owner { path: owned(), uid });
    }
    Ok(())
}

/// Checks that a path is a regular file and not a link.
pub fn check_kind(path: &Path, found: &Metadata) -> Result<(), FileRefused> {
    if found.is_symlink() {
        Err(FileRefused::Link(path.to_owned()))
    } else if !found.is_file() {
        Err(FileRefused::NotRegular(path.to_owned()))
    } else {
        Ok(())
    }
}

/// Returns whether everyone can write to a file's folder, and `uid` does not own the folder. Otherwise the folder's owner controls
/// who can put files there.
fn is_open_to_everyone_but(uid: u32, path: &Path) -> bool {
    fs::metadata(folder_of(path))
        .is_ok_and(|folder| folder.mode() & 0o002 != 0 && folder.uid() != uid)
}

/// Checks that this user may write to a file or folder.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let access = rustix::fs::Access::WRITE_OK;
    let flags = rustix::fs::AtFlags::EACCESS;
    Ok(rustix::fs::accessat(rustix::fs::CWD, path, access, flags)?)
}

/// Returns the folder of a file.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Syncs the folder of a file, so that its directory entry is on disk.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn pipe(path: &Path) {
        let status = std::process::Command::new("mkfifo").arg(path).status();
        assert!(status.unwrap().success());
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        let shown = path.display().to_string();
        let errors = [
            open(path).map(|_| ()),
            open_to_append(path).map(|_| ()),
            secure(path).map(|_| ()),
        ]
        .map(|done| done.unwrap_err().to_string().replace(&shown, "F"));
        assert_eq!(errors, [expected, expected, expected]);
    }

    #[test]
    fn files_get_mode_0600() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        assert!(open(&path).unwrap().1);
        assert_eq!(mode_of(&path), 0o600);
        for mode in [0o666, 0o644, 0o640, 0o777, 0o400] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(secure(&path).unwrap());
            assert_eq!(mode_of(&path), 0o600, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        open_to_append(&path).unwrap().write_all(b"more").unwrap();
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"more");
        assert!(create_new(&path).is_err());
    }

    #[test]
    fn links_pipes_and_folders_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "untouched").unwrap();
        fs::set_permissions(at("victim"), Permissions::from_mode(0o644)).unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("missing"), at("dangling")).unwrap();
        let link =
            "`F` is a symbolic link, which is not followed; configure the path of the file itself";
        check_refused(&at("link"), link);
        check_refused(&at("dangling"), link);
        assert!(!at("missing").exists());
        assert!(create_new(&at("dangling")).is_err());
        pipe(&at("pipe"));
        fs::create_dir(at("folder")).unwrap();
        let other = "`F` is not a regular file; move it away";
        check_refused(&at("pipe"), other);
        check_refused(&at("folder"), other);
        fs::hard_link(at("victim"), at("second")).unwrap();
        check_refused(&at("second"), "`F` has 2 hard links; remove the others");
        for name in ["link", "pipe", "folder"] {
            assert!(open_to_read(&at(name)).is_err(), "{name}");
        }
        assert_eq!(fs::read(at("victim")).unwrap(), b"untouched");
        assert_eq!(mode_of(&at("victim")), 0o644);
    }

    #[test]
    fn create_or_replace_replaces_files_links_and_pipes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "untouched").unwrap();
        fs::set_permissions(at("victim"), Permissions::from_mode(0o644)).unwrap();
        fs::write(at("file"), "old").unwrap();
        fs::set_permissions(at("file"), Permissions::from_mode(0o666)).unwrap();
        symlink(at("victim"), at("link")).unwrap();
        fs::hard_link(at("victim"), at("second")).unwrap();
        pipe(&at("pipe"));
        for name in ["file", "link", "second", "pipe", "none"] {
            create_or_replace(&at(name)).unwrap();
            let metadata = fs::symlink_metadata(at(name)).unwrap();
            assert!(metadata.is_file() && metadata.len() == 0, "{name}");
            assert_eq!(mode_of(&at(name)), 0o600, "{name}");
        }
        assert_eq!(fs::read(at("victim")).unwrap(), b"untouched");
        assert_eq!(mode_of(&at("victim")), 0o644);
        fs::create_dir(at("folder")).unwrap();
        assert!(create_or_replace(&at("folder")).is_err());
    }

    #[test]
    fn files_of_other_users_in_world_writable_folders_are_rejected() {
        if !geteuid().is_root() {
            // Only root can create such a file.
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "theirs").unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        // Allowed by the folder's owner.
        open(&path).unwrap();
        assert_eq!(mode_of(&path), 0o600);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
        check_refused(
            &path,
            "`F` belongs to user 65534, in a folder that everyone can write; use a folder of your own",
        );
        std::os::unix::fs::chown(folder.path(), Some(65_534), None).unwrap();
        open(&path).unwrap();
    }
}
