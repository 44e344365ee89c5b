//! The configuration's file: which one is meant, and its text.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::Environment;

/// Default file in the current folder, where `spendwatch init` writes it.
pub const LOCAL_FILE: &str = "./spendwatch.toml";
/// Default file where there is none in the current folder.
pub const DEFAULT_FILE: &str = "/etc/spendwatch/spendwatch.toml";
/// The variable that names one.
const VARIABLE: &str = "SPENDWATCH_CONFIG";
/// No configuration is as long as this, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The file that `--config` or the environment names.
pub fn named(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let by_variable = || environment.get(VARIABLE).filter(|path| !path.is_empty());
    named
        .map(Path::to_owned)
        .or_else(|| by_variable().map(PathBuf::from))
}

/// The first default file that exists.
pub fn default() -> Option<PathBuf> {
    // A link that leads nowhere is an error, and no reason to read another file.
    let exists = |path: &&str| Path::new(path).symlink_metadata().is_ok();
    [LOCAL_FILE, DEFAULT_FILE]
        .iter()
        .find(|path| exists(path))
        .map(PathBuf::from)
}

/// Refuses the default in the current folder if another user could have put it there: commands are also run in folders
/// that everyone may write to.
fn check_owner(path: &Path, file: &File) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    // Both the link, if it is one, and the file that is read.
    for owner in [path.symlink_metadata()?.uid(), file.metadata()?.uid()] {
        if !is_trusted(owner, own) {
            return Err(io::Error::other(format!(
                "it belongs to user {owner}, who is neither the current user ({own}) nor root; name it by `--config` if it \
                 is meant"
            )));
        }
    }
    Ok(())
}

fn is_trusted(owner: u32, own: u32) -> bool {
    owner == own || owner == 0
}

/// Its text. `is_named` states whether the file was named, rather than found in the current folder.
pub fn read(path: &Path, is_named: bool) -> Result<String, Problems> {
    let told = |place, message: String| Problems::one(Problem::new(place, "", message));
    let whole = |message| told(Place::File(path.to_owned()), message);
    let is_default_here = !is_named && path == Path::new(LOCAL_FILE);
    let bytes = read_bytes(path, is_default_here).map_err(|error| whole(refusal(path, &error)))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(whole(format!(
            "is longer than {MAX_FILE} bytes, which is no configuration; does `--config` or {VARIABLE} name the right file?"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let message = "is not UTF-8 here; save the file as UTF-8".to_owned();
        told(Place::Line(path.to_owned(), line), message)
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
        return format!("is a folder; let `--config` or {VARIABLE} name the file in it");
    }
    let hint = if error.kind() == io::ErrorKind::NotFound {
        format!(
            "; does `--config` or {VARIABLE} name the right file? (`spendwatch init` writes one to start from)"
        )
    } else {
        String::new()
    };
    format!("cannot be read: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, content).unwrap();
        let told = read(&path, true).unwrap_or_else(|problems| problems.to_string());
        let shown = told.replace(&folder.path().display().to_string(), "");
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        check("[log] # größer".as_bytes(), "[log] # größer");
        check(
            b"[log]\n# gr\xf6\xdfer",
            "/a.toml, line 2: is not UTF-8 here; save the file as UTF-8",
        );
        check(
            b"\xff\xfe[\0l\0",
            "/a.toml, line 1: is not UTF-8 here; save the file as UTF-8",
        );
    }

    #[test]
    fn what_never_ends_is_no_configuration() {
        let told = read(Path::new("/dev/zero"), true).unwrap_err().to_string();
        assert!(told.contains("longer than 16777216 bytes"), "{told}");
    }

    #[test]
    fn only_a_file_of_our_own_or_of_root_is_trusted() {
        for (owner, own, expected) in [(7, 7, true), (0, 7, true), (7, 0, false), (8, 7, false)] {
            assert_eq!(is_trusted(owner, own), expected, "{owner} {own}");
        }
    }

    #[test]
    fn the_nearest_name_wins() {
        let environment: Environment = [(VARIABLE.to_owned(), "b.toml".to_owned())].into();
        let named = Some(Path::new("a.toml"));
        assert_eq!(super::named(named, &environment), Some("a.toml".into()));
        assert_eq!(super::named(None, &environment), Some("b.toml".into()));
        assert_eq!(super::named(None, &Environment::new()), None);
    }
}
