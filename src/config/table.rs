//! Tables that a configuration names by their files: read whole or not at all, with what is wrong told by their own lines.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::problem::{Place, Problem};
use crate::config::reader::Section;

/// The text of the file that a key names. One that cannot be read, or has more than `max` bytes, is a problem of that key;
/// `what` is what it should be.
pub fn read(
    section: &Section<'_>,
    key: &'static str,
    path: &Path,
    (max, what): (u64, &str),
) -> Option<String> {
    match read_text(path, max, what) {
        Ok(text) => Some(text),
        Err(error) => {
            let message = format!("names `{}`, which cannot be read: {error}", path.display());
            section.problem(key, message);
            None
        }
    }
}

fn read_text(path: &Path, max: u64, what: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max {
        let message = format!("it is longer than {max} bytes, which is no {what}");
        return Err(io::Error::other(message));
    }
    Ok(text)
}

/// What is wrong in a line of it, counted from 1.
pub fn problem(path: &Path, line: u64, problem: String) -> Problem {
    let line = usize::try_from(line.max(1)).unwrap_or(usize::MAX);
    Problem::new(Place::Line(path.to_owned(), line), "", problem)
}
