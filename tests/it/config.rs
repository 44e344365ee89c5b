//! Configuration cases: `tests/config/good.*.toml` are accepted, with the warnings in the `.txt` file next to them if there
//! is one; `tests/config/bad.*.toml` are rejected with the errors in the `.txt` file.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use spendwatch_config::effective::{EffectiveConfig, HIDDEN};
use spendwatch_config::source::Environment;
use spendwatch_config::{self as config, Config};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

const ROUTING_KEY: &str = "R0UTINGKEYcanary0123456789abcdef";

fn environment() -> Environment {
    let variables = [
        ("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary"),
        (
            "SLACK_WEBHOOK_URL",
            "https://hooks.example.com/services/canary",
        ),
        ("PAGERDUTY_ROUTING_KEY", ROUTING_KEY),
        ("EMPTY", " "),
    ];
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Creates a folder with valid and invalid secret files and all price tables.
fn folder_with_secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for (name, content, mode) in [
        ("good", "canary-of-a-whole-file", 0o600),
        ("empty", " \n", 0o600),
        ("http_url", "http://hook.example.com/canary", 0o600),
        ("writable", "canary-of-a-file", 0o666),
    ] {
        write(&secrets.join(name), content.as_bytes(), mode);
    }
    for table in price_tables() {
        let copy = folder.path().join(table.file_name().unwrap());
        fs::copy(&table, copy).unwrap();
    }
    folder
}

fn price_tables() -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir(cases()).unwrap();
    let paths = all.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension() == Some(OsStr::new("csv")))
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Returns whether a case is accepted, and its problems. `@FOLDER@` in it is replaced by a temporary folder; `# mode: 666` in
/// its first line sets the mode of the file.
fn problems_of(case: &Path) -> (bool, String) {
    let folder = folder_with_secrets();
    let root = folder.path().to_str().unwrap();
    let bytes = fs::read(case).unwrap();
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => text.replace("@FOLDER@", root).into_bytes(),
        Err(error) => error.into_bytes(),
    };
    let mode = bytes.strip_prefix(b"# mode: ").map_or(0o600, |rest| {
        u32::from_str_radix(std::str::from_utf8(&rest[..3]).unwrap(), 8).unwrap()
    });
    let file = folder.path().join(case.file_name().unwrap());
    write(&file, &bytes, mode);
    let (is_good, problems) = match config::load(Some(&file), &environment()) {
        Ok(config) => {
            assert!(
                !format!("{config:?}").contains("canary"),
                "{}",
                case.display()
            );
            (true, config.warnings)
        }
        Err(problems) => (false, problems.errors()),
    };
    let text: String = problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    let place = format!("{root}/");
    (is_good, text.replace(&place, "").replace(root, "@FOLDER@"))
}

#[test]
fn every_case_has_the_expected_problems() {
    let mut texts: BTreeSet<PathBuf> = BTreeSet::new();
    let mut tables: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("toml") => tables.insert(path),
            Some("txt") => texts.insert(path),
            Some("csv") => continue,
            _ => panic!(
                "`{}` is neither a case nor its expected text",
                path.display()
            ),
        };
    }
    assert!(tables.len() >= 80, "only {} cases", tables.len());
    let mut wrong = Vec::new();
    for table in &tables {
        let name = table.file_stem().unwrap().to_str().unwrap();
        let (should_be_good, is_case) = (name.starts_with("good."), name.starts_with("bad."));
        assert!(
            should_be_good || is_case,
            "`{name}` is neither good nor bad"
        );
        let beside = table.with_extension("txt");
        let expected = texts
            .remove(&beside)
            .then(|| fs::read_to_string(&beside).unwrap());
        assert!(
            should_be_good || expected.is_some(),
            "`{name}` has no expected text"
        );
        let (is_good, text) = problems_of(table);
        assert!(!text.contains("canary"), "{name} shows a secret: {text}");
        if is_good != should_be_good || text != expected.unwrap_or_default() {
            wrong.push(format!("=== {name}: accepted {is_good}, problems\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(texts.is_empty(), "texts without a case: {texts:?}");
}

/// A configuration whose variables are set and whose files exist, including those in system folders.
struct Staged {
    text: String,
    environment: Environment,
    _folder: tempfile::TempDir,
}

fn staged(text: &str) -> Staged {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("{}/", folder.path().display());
    let text = text
        .replace("/run/secrets/", &root)
        .replace("/etc/spendwatch/", &root)
        .replace("/etc/ssl/", &root);
    let prices = fs::read(cases().join("good.prices.csv")).unwrap();
    for name in between(&text, &root, "\"") {
        let content = if name.ends_with(".csv") {
            prices.as_slice()
        } else {
            b"canary-of-a-whole-file"
        };
        write(&folder.path().join(name), content, 0o600);
    }
    let value = |name| match name {
        "PAGERDUTY_ROUTING_KEY" => ROUTING_KEY,
        _ => "https://example.com/canary",
    };
    let environment = between(&text, "env = \"", "\"")
        .map(|name| (name.to_owned(), value(name).to_owned()))
        .collect();
    Staged {
        text,
        environment,
        _folder: folder,
    }
}

fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before)
        .skip(1)
        .map(move |rest| rest.split(after).next().unwrap())
}

/// Adds a minimal organization to a fragment without one.
fn whole(text: &str) -> String {
    if text.contains("[[organizations]]") {
        text.to_owned()
    } else {
        format!("[[organizations]]\nadmin_key = {{ env = \"ANTHROPIC_ADMIN_KEY\" }}\n{text}")
    }
}

#[track_caller]
fn read(what: &str, text: &str) -> Config {
    let staged = staged(&whole(text));
    match config::read(&staged.text, None, &staged.environment) {
        Ok(config) => config,
        Err(problems) => panic!("{what}:\n{problems}\n{text}"),
    }
}

/// Formats a configuration without its file, warnings and values as they were read.
fn essence(config: Config) -> String {
    let config = Config {
        file: None,
        warnings: Vec::new(),
        effective: EffectiveConfig::default(),
        ..config
    };
    format!("{config:#?}")
}

/// Returns the TOML blocks of a page, each with the text before it.
fn blocks(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let (mut lead, mut rest) = (String::new(), text.as_str());
    while let Some((before, after)) = rest.split_once("```toml\n") {
        lead.push_str(before);
        let (block, after) = after.split_once("```").unwrap();
        blocks.push((std::mem::take(&mut lead), block.to_owned()));
        rest = after;
    }
    blocks
}

#[test]
fn every_block_in_the_documentation_is_a_valid_configuration() {
    for (page, at_least) in [("docs/configuration.md", 16), ("README.md", 1)] {
        let blocks = blocks(page);
        assert!(blocks.len() >= at_least, "{page}: {}", blocks.len());
        for (_, block) in &blocks {
            assert_eq!(read(page, block).warnings, [], "{page}:\n{block}");
        }
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let blocks = blocks("docs/configuration.md");
    let twins: Vec<_> = blocks
        .windows(2)
        .filter(|pair| {
            pair[0]
                .0
                .trim_end()
                .ends_with("<!-- the same as the next block -->")
        })
        .collect();
    assert_eq!(twins.len(), 1);
    for pair in twins {
        let (documented, minimal) = (read("documented", &pair[0].1), read("minimal", &pair[1].1));
        let shown = [&documented, &minimal].map(|config| config.effective.to_toml());
        assert_eq!(shown[0], shown[1]);
        assert_eq!(essence(documented), essence(minimal));
    }
}

/// Every default in the tables is also in the block of all defaults, which the test above compares.
#[test]
fn every_default_of_the_tables_is_compared() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(page).unwrap();
    let (tables, rest) = text.split_once("## All defaults").unwrap();
    let (block, _) = rest.split_once("```\n\n```toml").unwrap();
    let mut n_compared = 0;
    for line in tables.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [key, _, default, ..] = cells.as_slice() else {
            continue;
        };
        let key = key.trim_start_matches("| ").trim_matches('`');
        let is_value = default.starts_with('`') && default.ends_with('`');
        if is_value
            && key
                .chars()
                .all(|sign| sign.is_ascii_lowercase() || sign == '_')
        {
            let setting = format!("{key} = {}", default.trim_matches('`'));
            assert!(block.contains(&setting), "`{setting}` is not compared");
            n_compared += 1;
        }
    }
    assert!(n_compared >= 35, "only {n_compared} defaults were found");
}

#[test]
fn the_template_is_valid_even_with_everything_uncommented() {
    let plain = read("template", config::TEMPLATE);
    assert_eq!((plain.rules.len(), plain.notifiers.len()), (3, 1));
    let first = config::TEMPLATE.find("[[organizations]]").unwrap();
    let used: Vec<&str> = config::TEMPLATE[first..]
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    let full = read("everything", &used.join("\n"));
    assert_eq!(full.organizations.len(), 2);
    assert_eq!((full.rules.len(), full.notifiers.len()), (9, 7));
    assert_eq!((plain.warnings, full.warnings), (vec![], vec![]));
}

#[test]
fn the_template_shows_the_defaults() {
    let minimal = read("minimal", "");
    let template = read("template", config::TEMPLATE);
    let singles = |config: &Config| {
        format!(
            "{:?}",
            (
                &config.organizations,
                &config.poll_schedule,
                &config.poll,
                &config.store,
                &config.http,
                &config.metrics,
                &config.log,
                &config.audit
            )
        )
    };
    assert_eq!(singles(&template), singles(&minimal));
}

#[test]
fn shown_configurations_parse_to_the_same() {
    let mut texts = vec![config::TEMPLATE.to_owned()];
    texts.extend(
        blocks("docs/configuration.md")
            .into_iter()
            .map(|(_, block)| block),
    );
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("good.") && name.ends_with(".toml") {
            let text = fs::read_to_string(&path).unwrap();
            texts.push(
                text.replace("@FOLDER@", "/run/secrets")
                    .replace("secrets/secrets/", "secrets/"),
            );
        }
    }
    assert!(texts.len() > 30, "{}", texts.len());
    for text in texts {
        let staged = staged(&whole(&text));
        let config = config::read(&staged.text, None, &staged.environment).unwrap();
        let shown = config.effective.to_toml();
        assert!(!shown.contains("canary"), "{shown}");
        let again = shown.replace(HIDDEN, "https://example.com/some-secret");
        let again = match config::read(&again, None, &staged.environment) {
            Ok(again) => again,
            Err(problems) => panic!("{problems}\n{shown}"),
        };
        assert_eq!(again.effective.to_toml(), shown);
        assert_eq!(essence(again), essence(config), "{shown}");
    }
}

/// The program with `SPENDWATCH_CONFIG` set: exit code, standard output, standard error.
fn check_config(named: &OsStr, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .arg("check-config")
        .args(arguments)
        .env("SPENDWATCH_CONFIG", named)
        .env("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn unreadable_files_are_reported_and_never_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let check = |named: &OsStr, expected: &str| {
        let (code, stdout, stderr) = check_config(named, &[]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        let result = stderr.replace(folder.path().to_str().unwrap(), "FOLDER");
        assert_eq!(result, format!("error: {expected}\n"));
    };
    let missing = |path: &str| {
        format!(
            "cannot read the configuration file: No such file or directory (os error 2): {path}; check `--config` and \
             `SPENDWATCH_CONFIG`, or run `spendwatch init` to write a starter file"
        )
    };
    let inside = |name: &str| folder.path().join(name).into_os_string();
    check(&inside("missing.toml"), &missing("FOLDER/missing.toml"));
    check(
        folder.path().as_os_str(),
        "expected a file, found a folder: FOLDER; name the file in it with `--config` or `SPENDWATCH_CONFIG`",
    );
    fs::write(inside("a.toml"), b"[log]\n# gr\xf6\xdfer\n").unwrap();
    check(
        &inside("a.toml"),
        "not UTF-8: FOLDER/a.toml:2; save the file as UTF-8",
    );
    check(
        OsStr::from_bytes(b"missing-\xf6"),
        &missing("missing-\u{fffd}"),
    );
}

#[test]
fn check_config_shows_the_effective_configuration_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(
        &file,
        "[[organizations]]\nadmin_key = \"canary-in-plain-text\"\n",
    )
    .unwrap();
    let (code, shown, result) = check_config(file.as_os_str(), &["--show"]);
    assert_eq!(code, Some(0), "{result}");
    assert!(
        result.starts_with("warning: ") && result.contains("secret in plain text"),
        "{result}"
    );
    assert!(
        shown.contains("admin_key = \"[hidden]\"\ntimeout = \"30s\""),
        "{shown}"
    );
    assert!(
        shown.contains("[http]\nlisten = \"127.0.0.1:9899\""),
        "{shown}"
    );
    assert!(!format!("{shown}{result}").contains("canary"));
    let (code, summary, _) = check_config(file.as_os_str(), &[]);
    let expected = "is valid: 1 organization, 0 rules, 1 notifier\n";
    assert!(code == Some(0) && summary.ends_with(expected), "{summary}");
}

/// Without the feature, an AWS secret is an error that states what to do.
#[test]
fn aws_secrets_are_accepted_if_the_build_supports_them() {
    let read = |source: &str| {
        let text = format!("organizations = [{{ admin_key = {source} }}]\n");
        config::read(&text, None, &environment()).map_err(|problems| problems.to_string())
    };
    let whole = r#"{ aws_secret = "prod/claude", field = "key", region = "us-east-1" }"#;
    if cfg!(feature = "aws") {
        let shown = read(whole).unwrap().effective.to_toml();
        assert!(shown.contains(&format!("admin_key = {whole}")), "{shown}");
    } else {
        let result = read(whole).unwrap_err();
        assert!(result.contains("`organizations[0].admin_key.aws_secret` needs AWS support, which this build does not have"), "{result}");
    }
    for (source, expected) in [
        (r#"{ aws_secret = "" }"#, "aws_secret` is empty"),
        (
            r#"{ aws_secret = "a", env = "ANTHROPIC_ADMIN_KEY" }"#,
            "must have exactly one source",
        ),
        (
            r#"{ env = "ANTHROPIC_ADMIN_KEY", region = "us-east-1" }"#,
            "region` applies only with `aws_secret`",
        ),
        (r#"{ aws_secret = 5 }"#, "aws_secret` is a number"),
    ] {
        let result = read(source).unwrap_err();
        assert!(result.contains(expected), "{source}: {result}");
    }
}

/// The daemon can write to the folder of the store, but often not to its working folder.
#[test]
fn the_audit_log_is_next_to_the_store_by_default() {
    let file = |rest: &str| {
        let text = format!(
            "organizations = [{{ admin_key = {{ env = \"ANTHROPIC_ADMIN_KEY\" }} }}]\n{rest}"
        );
        let config = config::read(&text, None, &environment()).unwrap();
        config.audit.file.display().to_string()
    };
    let store = "store = { url = \"sqlite:///var/lib/spendwatch/spendwatch.db\" }\n";
    assert_eq!(file(""), "spendwatch-audit.jsonl");
    assert_eq!(file(store), "/var/lib/spendwatch/spendwatch-audit.jsonl");
    assert_eq!(
        file(&format!("{store}audit = {{ file = \"a.jsonl\" }}\n")),
        "a.jsonl"
    );
}
