//! Reads files that contain one secret, and checks their permissions.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use spendwatch_base::secret::Secret;

/// Maximum size in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Why a secret file cannot be used. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("cannot read secret file `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("secret file `{}` is empty", .0.display())]
    Empty(PathBuf),
    #[error("secret file `{path}` is writable by other users; run `chmod go-w {path}`", path = .0.display())]
    Writable(PathBuf),
}

/// Reads a secret without surrounding white space.
pub fn read(path: &Path) -> Result<Secret, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    check_mode(path, &metadata)?;
    // A buffer that grows would leave a copy that is not wiped.
    let length = metadata.len().min(MAX_SECRET) + 2;
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or_default());
    File::open(path)
        .and_then(|file| file.take(MAX_SECRET + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_SECRET {
        let message = format!("longer than {MAX_SECRET} bytes");
        return Err(unreadable(io::Error::other(message)));
    }
    let secret = Secret::new(text);
    match secret.expose().trim() {
        "" => Err(SecretFileError::Empty(path.to_owned())),
        trimmed => Ok(Secret::new(trimmed.to_owned())),
    }
}

/// Checks a secret file as [`read`] does, except for a pipe, which can be read only once.
pub fn check(path: &Path) -> Result<(), SecretFileError> {
    let is_pipe = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if is_pipe {
        Ok(())
    } else {
        read(path).map(|_| ())
    }
}

/// Folders in which containers and systemd provide secrets: readable by everyone, protected by the folder.
const HANDED_OVER: [&str; 2] = ["/run/secrets", "/run/credentials"];

/// Returns whether other users can read the file, unless it is in a folder for provided secrets.
pub fn is_read_by_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| mode_of(&found) & 0o044 != 0)
        && !HANDED_OVER.iter().any(|folder| path.starts_with(folder))
}

fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), SecretFileError> {
    if metadata.is_file() && mode_of(metadata) & 0o022 != 0 {
        Err(SecretFileError::Writable(path.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(unix)]
fn mode_of(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata)
}

#[cfg(not(unix))]
fn mode_of(_metadata: &Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[track_caller]
    fn check_content(content: &str, mode: u32, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = read(&path).map_or_else(
            |error| error.to_string(),
            |secret| secret.expose().to_owned(),
        );
        assert_eq!(text.replace(&path.display().to_string(), "key"), expected);
    }

    #[test]
    fn white_space_around_a_secret_is_removed() {
        check_content(" canary\r\n", 0o600, "canary");
        check_content("canary", 0o644, "canary");
    }

    #[test]
    fn unusable_files_are_rejected_with_the_reason() {
        check_content("\n \n", 0o600, "secret file `key` is empty");
        let writable = "secret file `key` is writable by other users; run `chmod go-w key`";
        check_content("canary", 0o620, writable);
        check_content("canary", 0o602, writable);
        let long = "cannot read secret file `key`: longer than 65536 bytes";
        check_content(&"x".repeat(70_000), 0o600, long);
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_err());
        assert!(check(&folder.path().join("missing")).is_err());
        assert!(
            check(Path::new("/dev/zero")).is_ok(),
            "devices are not read"
        );
    }
}
