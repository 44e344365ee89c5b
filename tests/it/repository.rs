//! What holds for every text file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are no source: build results and the history.
const NOT_SOURCE: [&str; 2] = ["target", ".git"];

#[test]
fn no_merge_markers_are_left() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files_below(root);
    assert!(files.len() > 10, "the repository was not found");
    let found: Vec<String> = files
        .iter()
        .filter_map(|file| Some((file, fs::read_to_string(file).ok()?)))
        .flat_map(|(file, text)| {
            let name = file.strip_prefix(root).unwrap().display().to_string();
            marked_lines(&text)
                .into_iter()
                .map(move |line| format!("{name}:{line}"))
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !NOT_SOURCE.iter().any(|name| entry.file_name() == *name) {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Lines, counted from 1, that start as a merge left them. A line of `=` alone may underline a heading.
fn marked_lines(text: &str) -> Vec<usize> {
    let markers = ['<', '>', '|'].map(|sign| format!("{} ", sign.to_string().repeat(7)));
    text.lines()
        .enumerate()
        .filter(|(_, line)| markers.iter().any(|marker| line.starts_with(marker)))
        .map(|(index, _)| index + 1)
        .collect()
}

#[test]
fn merge_markers_are_recognized() {
    let text = format!(
        "fine\n{} ours\nmine\n=======\nyours\n{} theirs\n",
        "<".repeat(7),
        ">".repeat(7)
    );
    assert_eq!(marked_lines(&text), [2, 6]);
    assert!(marked_lines("Heading\n=======\nlet a = b << 7;\n").is_empty());
}
