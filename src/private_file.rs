//! Rung 2: files that only the user who runs spendwatch may read and write: the store, its lock, the audit log and its head,
//! backups, files with secrets.
//!
//! Their folder may be one that others can write. Therefore no symbolic link is followed, a file with a second hard link or of
//! another user is refused, and the mode is 0600 whatever it was before.

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

/// Why a file that exists is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("`{}` is a symbolic link, which is not followed; configure the path of the file itself", .0.display())]
    Link(PathBuf),
    /// A folder, a pipe or a device.
    #[error("`{}` is not a regular file; move it away", .0.display())]
    NotRegular(PathBuf),
    /// Writing to it changes a file elsewhere.
    #[error("`{}` has {n_links} hard links; remove the others", path.display())]
    HardLinks {
        path: PathBuf,
        /// How many names it has.
        n_links: u64,
    },
    /// Anyone could have put it there.
    #[error(
        "`{}` belongs to user {uid}, in a folder that everyone can write; use a folder of your own",
        path.display()
    )]
    Owner { path: PathBuf, uid: u32 },
    /// Its content cannot be relied on, and its mode cannot be changed.
    #[error("others can write `{path}` (mode {mode:o}); run `chmod 600 {path}` as its owner", path = path.display())]
    Writable { path: PathBuf, mode: u32 },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        io::Error::other(refused)
    }
}

/// Creates a file for reading and writing; fails where anything has its name, be it a dangling link.
pub fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)?;
    // The umask may have taken away bits that the owner needs.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

/// Creates a file and first removes what has its name: a file, a link, a pipe, but not a folder.
pub fn create_anew(path: &Path) -> io::Result<File> {
    for _ in 0..MAX_ATTEMPTS {
        remove_if_there(path)?;
        match create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes a file or a link; fails for a folder.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
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

/// Opens an existing file for reading, whoever may write it. Does not wait for the writer of a pipe.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    check_kind(path, &fs::symlink_metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags())
        .open(path)?;
    check_kind(path, &file.metadata()?)?;
    Ok(file)
}

fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<(File, bool)> {
    for _ in 0..MAX_ATTEMPTS {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match create_new(path) {
                    // With the options that were asked for.
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
/// It is not opened for that: closing a descriptor of a store would release the locks that SQLite holds on it.
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

/// By a descriptor that only names the file, so that no link is followed.
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

/// A mode that cannot be changed is accepted where others can only read.
fn accept_mode(path: &Path, found: &Metadata, changed: &io::Result<()>) -> io::Result<()> {
    match changed {
        Err(_) if found.mode() & 0o022 != 0 => Err(Refused::Writable {
            path: path.to_owned(),
            mode: found.mode() & 0o777,
        }
        .into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn flags() -> i32 {
    // Not to wait for the other end of a pipe, nor to become the terminal's process, in the moment before it is refused.
    (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY)
        .bits()
        .cast_signed()
}

/// Whether a file that exists may be used, apart from its mode.
pub fn check(path: &Path, found: &Metadata) -> Result<(), Refused> {
    check_kind(path, found)?;
    let owned = || path.to_owned();
    if found.nlink() > 1 {
        return Err(Refused::HardLinks {
            path: owned(),
            n_links: found.nlink(),
        });
    }
    let (uid, ours) = (found.uid(), geteuid().as_raw());
    if uid != ours && uid != 0 && is_open_to_everyone_but(uid, path) {
        return Err(Refused::Owner { path: owned(), uid });
    }
    Ok(())
}

/// Whether it is a file, and no link to one.
pub fn check_kind(path: &Path, found: &Metadata) -> Result<(), Refused> {
    if found.is_symlink() {
        Err(Refused::Link(path.to_owned()))
    } else if !found.is_file() {
        Err(Refused::NotRegular(path.to_owned()))
    } else {
        Ok(())
    }
}

/// Whether everyone can write the folder of a file, and another user than this one owns the folder. Otherwise the owner of the
/// folder, or whoever they let write there, has put the file there.
fn is_open_to_everyone_but(uid: u32, path: &Path) -> bool {
    fs::metadata(folder_of(path))
        .is_ok_and(|folder| folder.mode() & 0o002 != 0 && folder.uid() != uid)
}

/// Whether this user may write a file or folder.
pub fn check_writable(path: &Path) -> io::Result<()> {
    let access = rustix::fs::Access::WRITE_OK;
    let flags = rustix::fs::AtFlags::EACCESS;
    Ok(rustix::fs::accessat(rustix::fs::CWD, path, access, flags)?)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Waits until the names in a folder are on the disk.
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
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[track_caller]
    fn check_refused(path: &Path, expected: &str) {
        let shown = path.display().to_string();
        let told = [
            open(path).map(|_| ()),
            open_to_append(path).map(|_| ()),
            secure(path).map(|_| ()),
        ]
        .map(|done| done.unwrap_err().to_string().replace(&shown, "F"));
        assert_eq!(told, [expected, expected, expected]);
    }

    #[test]
    fn a_file_is_created_with_mode_0600_and_an_existing_one_gets_it() {
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
    fn links_pipes_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), "untouched").unwrap();
        fs::set_permissions(at("victim"), Permissions::from_mode(0o644)).unwrap();
        symlink(at("victim"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        let link =
            "`F` is a symbolic link, which is not followed; configure the path of the file itself";
        check_refused(&at("link"), link);
        check_refused(&at("dangling"), link);
        assert!(!at("nowhere").exists());
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
    fn whatever_has_the_name_gives_way_to_a_new_file() {
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
            create_anew(&at(name)).unwrap();
            let made = fs::symlink_metadata(at(name)).unwrap();
            assert!(made.is_file() && made.len() == 0, "{name}");
            assert_eq!(mode_of(&at(name)), 0o600, "{name}");
        }
        assert_eq!(fs::read(at("victim")).unwrap(), b"untouched");
        assert_eq!(mode_of(&at("victim")), 0o644);
        fs::create_dir(at("folder")).unwrap();
        assert!(create_anew(&at("folder")).is_err());
    }

    #[test]
    fn a_file_of_another_user_is_refused_where_everyone_could_put_it() {
        if !geteuid().is_root() {
            // Only root can make such a file.
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "theirs").unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        // Whoever owns the folder has let them.
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
