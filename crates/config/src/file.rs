//! Finds and reads the configuration file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::problem::{ConfigProblem, Location, Problems};
use crate::source::Environment;

/// Default file in the current folder, where `spendwatch init` writes it.
pub const LOCAL_FILE: &str = "./spendwatch.toml";
/// Default file if the current folder has none.
pub const DEFAULT_FILE: &str = "/etc/spendwatch/spendwatch.toml";
/// Variable that names the file.
const VARIABLE: &str = "SPENDWATCH_CONFIG";
/// Maximum size in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Returns the file named by `--config` or the environment.
pub fn named(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let by_variable = || environment.get(VARIABLE).filter(|path| !path.is_empty());
    named
        .map(Path::to_owned)
        .or_else(|| by_variable().map(PathBuf::from))
}

/// Returns the first default file that exists.
pub fn default() -> Option<PathBuf> {
    // A dangling link must be an error, not a reason to read another file.
    let exists = |path: &&str| Path::new(path).symlink_metadata().is_ok();
    [LOCAL_FILE, DEFAULT_FILE]
        .iter()
        .find(|path| exists(path))
        .map(PathBuf::from)
}

/// Rejects a default file in the current folder that another user could have put there, because commands also run in
/// world-writable folders.
fn check_owner(path: &Path, file: &File) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    // Check a link as well as the file that it points to.
    for owner in [path.symlink_metadata()?.uid(), file.metadata()?.uid()] {
        if !is_trusted(owner, own) {
            return Err(io::Error::other(format!(
                "owned by user {owner}, who is neither the current user ({own}) nor root; pass it with `--config` to use it"
            )));
        }
    }
    Ok(())
}

fn is_trusted(owner: u32, own: u32) -> bool {
    owner == own || owner == 0
}

/// Reads the text of the file. `is_named` states whether the file was named, rather than found by default.
pub fn read(path: &Path, is_named: bool) -> Result<String, Problems> {
    let text = |location, message: String| Problems::one(ConfigProblem::new(location, "", message));
    let whole = |message| text(Location::File(path.to_owned()), message);
    let is_default_here = !is_named && path == Path::new(LOCAL_FILE);
    let bytes = read_bytes(path, is_default_here).map_err(|error| whole(refusal(path, &error)))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(whole(format!(
            "longer than {MAX_FILE} bytes; check the file named by `--config` or `{VARIABLE}`"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = "not UTF-8; save the file as UTF-8".to_owned();
        text(Location::Line(path.to_owned(), line), message)
    })
}

fn read_bytes(path: &Path, is_default_here: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    if is_default_here {
        check_owner(path, &file)?;
    }
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refusal(path: &Path, error: &io::Error) -> String {
    if path.is_dir() {
        return format!(
            "expected a file, found a folder; name the file in it with `--config` or `{VARIABLE}`"
        );
    }
    let hint = if error.kind() == io::ErrorKind::NotFound {
        format!(
            "; check `--config` and `{VARIABLE}`, or run `spendwatch init` to write a starter file"
        )
    } else {
        String::new()
    };
    format!("cannot read the configuration file: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, content).unwrap();
        let text = read(&path, true).unwrap_or_else(|problems| problems.to_string());
        let shown = text.replace(&folder.path().display().to_string(), "");
        assert_eq!(shown, expected);
    }

    #[test]
    fn invalid_utf8_is_reported_with_its_line() {
        check("[log] # größer".as_bytes(), "[log] # größer");
        check(
            b"[log]\n# gr\xf6\xdfer",
            "not UTF-8: /a.toml:2; save the file as UTF-8",
        );
        check(
            b"\xff\xfe[\0l\0",
            "not UTF-8: /a.toml:1; save the file as UTF-8",
        );
    }

    #[test]
    fn endless_files_are_rejected() {
        let text = read(Path::new("/dev/zero"), true).unwrap_err().to_string();
        assert!(text.contains("longer than 16777216 bytes"), "{text}");
    }

    #[test]
    fn only_files_of_the_current_user_or_root_are_trusted() {
        for (owner, own, expected) in [(7, 7, true), (0, 7, true), (7, 0, false), (8, 7, false)] {
            assert_eq!(is_trusted(owner, own), expected, "{owner} {own}");
        }
    }

    #[test]
    fn the_option_overrides_the_variable() {
        let environment: Environment = [(VARIABLE.to_owned(), "b.toml".to_owned())].into();
        let named = Some(Path::new("a.toml"));
        assert_eq!(super::named(named, &environment), Some("a.toml".into()));
        assert_eq!(super::named(None, &environment), Some("b.toml".into()));
        assert_eq!(super::named(None, &Environment::new()), None);
    }
}
