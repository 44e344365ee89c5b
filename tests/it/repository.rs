//! Checks on all text files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use spendwatch_config::source::Environment;
use spendwatch_config::{self as config, Config};

/// Folders without source: build results and history.
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

/// Returns lines, counted from 1, that start with a merge marker. A line of `=` alone may underline a heading.
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

/// Returns the configuration of a container that is given only a key.
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
fn the_image_listens_and_stores_where_compose_and_kubernetes_expect_it() {
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

/// Returns actions that a workflow does not pin by commit, such as `actions/checkout@v4`.
fn unpinned_actions(text: &str) -> Vec<String> {
    let used = text.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("- ").trim_start();
        line.strip_prefix("uses:").map(str::trim)
    });
    used.filter(|used| !is_pinned_action(used))
        .map(str::to_owned)
        .collect()
}

/// Returns whether an action is pinned by commit, with its version in a comment, or is local.
fn is_pinned_action(used: &str) -> bool {
    let is_hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if used.starts_with("./") {
        return true;
    }
    if let Some(image) = used.strip_prefix("docker://") {
        return is_pinned_image(image);
    }
    let (action, version) = used.split_once(" # ").unwrap_or((used, ""));
    let commit = action
        .trim()
        .rsplit_once('@')
        .map_or("", |(_, commit)| commit);
    is_hex(commit, 40) && version.starts_with('v')
}

fn is_pinned_image(image: &str) -> bool {
    let digest = image
        .rsplit_once("@sha256:")
        .map_or("", |(_, digest)| digest);
    digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns images without a digest in a Dockerfile or a compose file. Stages of the file itself are not images.
fn unpinned_images(text: &str) -> Vec<String> {
    let mut stages = vec!["scratch"];
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let image = match words.next() {
            Some("FROM") => {
                let words: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
                if let [_, "AS" | "as", fixture] = words[..] {
                    stages.push(fixture);
                }
                words.first().copied()
            }
            Some("image:") => words.next(),
            _ => line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("--from=")),
        };
        if let Some(image) =
            image.filter(|image| !stages.contains(image) && !is_pinned_image(image))
        {
            found.push(image.to_owned());
        }
    }
    found
}

#[test]
fn actions_are_pinned_by_commit_and_images_by_digest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut n_workflows = 0;
    for file in files_below(&root.join(".github")) {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(unpinned_actions(&text), [""; 0], "{}", file.display());
        n_workflows += 1;
    }
    assert!(n_workflows > 0);
    for file in ["Dockerfile", "deploy/compose.yaml"] {
        assert_eq!(unpinned_images(&text_of(file)), [""; 0], "{file}");
    }
}

#[test]
fn unpinned_actions_and_images_are_recognized() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let workflow = format!(
        "steps:\n  - uses: actions/checkout@v4\n  - name: x\n    uses: a/b@main\n  - uses: a/b@{commit}\n\
         \x20 - uses: a/b@{commit} # v1.2.3\n  - uses: ./local\n  - uses: docker://alpine:3\n"
    );
    let expected = [
        "actions/checkout@v4",
        "a/b@main",
        &format!("a/b@{commit}"),
        "docker://alpine:3",
    ];
    assert_eq!(unpinned_actions(&workflow), expected);
    let digest = format!("sha256:{}", "ab".repeat(32));
    let dockerfile = format!(
        "FROM rust:1 AS build\nFROM --platform=linux/amd64 debian@{digest} AS base\nFROM base\nFROM scratch\n\
         COPY --from=build /a /b\nCOPY --from=busybox:1 /a /b\n"
    );
    assert_eq!(unpinned_images(&dockerfile), ["rust:1", "busybox:1"]);
    let compose = format!("  image: prom/prometheus:v3\n  image: prom/prometheus:v3@{digest}\n");
    assert_eq!(unpinned_images(&compose), ["prom/prometheus:v3"]);
}

#[test]
fn advisories_are_checked_in_continuous_integration() {
    assert!(text_of(".github/workflows/ci.yml").contains("check advisories"));
    assert!(text_of("deny.toml").contains("[advisories]"));
}

#[test]
fn files_written_by_the_program_are_not_committed() {
    let ignored = text_of(".gitignore");
    for name in ["/spendwatch.db*", "/spendwatch-audit.jsonl*"] {
        assert!(ignored.lines().any(|line| line == name), "{name}");
    }
    let tracked = std::process::Command::new("git")
        .args(["ls-files", "spendwatch.db*", "spendwatch-audit.jsonl*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    // Skipped outside of a git repository.
    if let Ok(tracked) = tracked {
        assert_eq!(String::from_utf8_lossy(&tracked.stdout), "");
    }
}
