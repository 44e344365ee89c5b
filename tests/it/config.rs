//! The configuration by its cases: `tests/config/good.*.toml` are accepted, `tests/config/bad.*.toml` are refused with the
//! text beside them. A good one that has a text beside it is accepted with these warnings.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use spendwatch::config;
use spendwatch::config::source::Environment;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn environment() -> Environment {
    let variables = [
        ("ANTHROPIC_ADMIN_KEY", "sk-ant-admin-canary"),
        (
            "SLACK_WEBHOOK_URL",
            "https://hooks.example.com/services/canary",
        ),
        ("EMPTY", " "),
    ];
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A folder with files that hold secrets, good ones and bad ones.
fn folder_with_secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    for (name, content, mode) in [
        ("good", "canary-of-a-file", 0o600),
        ("empty", " \n", 0o600),
        ("writable", "canary-of-a-file", 0o666),
    ] {
        write(&secrets.join(name), content.as_bytes(), mode);
    }
    folder
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What is told of a case, and whether it is accepted. `@FOLDER@` in it is a folder of its own, `# mode: 666` in its first
/// line is the mode of the file.
fn told(case: &Path) -> (bool, String) {
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
    let told: String = problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    let place = format!("{root}/");
    (is_good, told.replace(&place, "").replace(root, "@FOLDER@"))
}

#[test]
fn every_case_is_told_as_it_should_be() {
    let mut texts: BTreeSet<PathBuf> = BTreeSet::new();
    let mut tables: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("toml") => tables.insert(path),
            Some("txt") => texts.insert(path),
            _ => panic!(
                "`{}` is neither a case nor what is told of one",
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
            "`{name}` has no text beside it"
        );
        let (is_good, told) = told(table);
        assert!(
            !told.contains("canary"),
            "a secret is told of {name}: {told}"
        );
        if is_good != should_be_good || told != expected.unwrap_or_default() {
            wrong.push(format!("=== {name}: accepted {is_good}, told\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(texts.is_empty(), "texts without a case: {texts:?}");
}
