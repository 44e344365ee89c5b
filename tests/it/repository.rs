//! What holds for every text file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use spendwatch::config::source::Environment;
use spendwatch::config::{self, Config};

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

fn text_of(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// What is in force in a container that is given no more than a key.
fn in_the_image() -> Config {
    let dockerfile = text_of("Dockerfile");
    let mut environment: Environment = dockerfile
        .split_whitespace()
        .filter(|word| word.starts_with("SPENDWATCH__"))
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(environment.len(), 2, "{dockerfile}");
    environment.insert("ANTHROPIC_ADMIN_KEY".into(), "unused".into());
    let text = "[[organizations]]\nadmin_key = { env = \"ANTHROPIC_ADMIN_KEY\" }";
    config::read(text, None, &environment).unwrap()
}

#[test]
fn the_image_listens_and_stores_where_its_other_settings_and_its_neighbours_say() {
    let config = in_the_image();
    assert!(config.http.listen.ip().is_unspecified());
    let port = config.http.listen.port();
    let folder = config.store.path.parent().unwrap().display().to_string();
    let said = |file: &str, text: &str| assert!(text_of(file).contains(text), "{file}: {text}");
    said("Dockerfile", &format!("\nEXPOSE {port}\n"));
    said("Dockerfile", &format!("\nVOLUME {folder}\n"));
    said("deploy/compose.yaml", &format!("expose: [\"{port}\"]"));
    said("deploy/compose.yaml", &format!("- state:{folder}\n"));
    said("deploy/prometheus.yml", &format!("\"spendwatch:{port}\""));
    said(
        "deploy/spendwatch.service",
        &format!("\nWorkingDirectory={folder}\n"),
    );
}

#[test]
fn variables_in_the_compose_file_are_documented() {
    let compose = text_of("deploy/compose.yaml");
    let documented = text_of("docs/configuration.md");
    let names: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("# ").split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("SPENDWATCH_") || name.starts_with("ANTHROPIC_"))
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        assert!(documented.contains(&format!("`{name}`")), "{name}");
    }
}
