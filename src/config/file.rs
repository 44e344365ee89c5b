//! The configuration's file: which one is meant, and its text.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::Environment;

/// Where a file is looked for when none is named.
const DEFAULT_FILE: &str = "/etc/spendwatch/spendwatch.toml";
/// The variable that names one.
const VARIABLE: &str = "SPENDWATCH_CONFIG";
/// No configuration is as long as this, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The file that is meant, if any.
pub fn find(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let by_variable = || environment.get(VARIABLE).filter(|path| !path.is_empty());
    named
        .map(Path::to_owned)
        .or_else(|| by_variable().map(PathBuf::from))
        .or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
}

/// Its text.
pub fn read(path: &Path) -> Result<String, Problems> {
    let told = |place, message: String| Problems::one(Problem::new(place, "", message));
    let whole = |message| told(Place::File(path.to_owned()), message);
    let bytes = read_bytes(path).map_err(|error| whole(refusal(path, &error)))?;
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

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
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
        let told = read(&path).unwrap_or_else(|problems| problems.to_string());
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
        let told = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(told.contains("longer than 16777216 bytes"), "{told}");
    }

    #[test]
    fn the_nearest_name_wins() {
        let environment: Environment = [(VARIABLE.to_owned(), "b.toml".to_owned())].into();
        let named = Some(Path::new("a.toml"));
        assert_eq!(find(named, &environment), Some("a.toml".into()));
        assert_eq!(find(None, &environment), Some("b.toml".into()));
    }
}
