//! Checks the structure where Cargo does not: the order of modules within a crate, who may change anything through the Admin
//! API, and what the domain must not use. Cargo checks the layers themselves, by the manifests of the members.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a standard library without IO still offers, and the domain does not use. Other libraries are up to its manifest.
const NOT_IN_THE_DOMAIN: [&str; 17] = [
    "std::time::Instant",
    "std::time::SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    "std::net",
    "std::fs",
    "std::io",
    "std::path",
    "std::env",
    "std::process",
    "std::thread",
    "println!",
    "eprintln!",
    "print!",
    "async ",
    ".await",
];

/// The code of a crate by module path, without comments and tests. The root has the empty path.
type Modules = BTreeMap<Vec<String>, String>;

#[test]
fn modules_use_only_modules_declared_before_them() {
    let mut n_modules = 0;
    for (name, src) in crates() {
        let modules = read_crate(&src);
        n_modules += modules.len();
        let found = violations(&modules);
        assert!(found.is_empty(), "{name}\n{}", found.join("\n"));
    }
    assert!(n_modules > 200, "{n_modules}");
}

#[test]
fn the_domain_has_no_clock_network_disk_or_log() {
    for (path, code) in read_crate(&root().join("crates/domain/src")) {
        for word in NOT_IN_THE_DOMAIN {
            assert!(!mentions(&code, word), "{}: {word}", path.join("::"));
        }
    }
}

/// Changes go through `admin`, which records each of them in the audit log first.
#[test]
fn only_admin_commands_change_anything() {
    let root = root();
    let modules_with = |src: &str, word: &str| -> Vec<String> {
        let modules = read_crate(&root.join(src));
        let with = modules.iter().filter(|(_, code)| mentions(code, word));
        with.map(|(path, _)| path.join("::")).collect()
    };
    for verb in ["Method::POST", "Method::PATCH", "Method::DELETE"] {
        assert_eq!(
            modules_with("crates/anthropic/src", verb),
            ["admin::request"],
            "{verb}"
        );
    }
    assert_eq!(
        modules_with("crates/anthropic/src", "Intent"),
        ["admin::write"]
    );
    assert_eq!(modules_with("src", "Intent"), ["admin::session"]);
    let users = modules_with("src", "crate::admin::");
    let is_command = |path: &String| path.starts_with("admin::") || path.starts_with("cli::admin");
    assert!(users.len() > 5 && users.iter().all(is_command), "{users:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The root package and the members, by name.
fn crates() -> Vec<(String, PathBuf)> {
    let mut crates = vec![("spendwatch".to_owned(), root().join("src"))];
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().display().to_string();
        crates.push((name, path.join("src")));
    }
    crates
}

fn read_crate(src: &Path) -> Modules {
    let mut modules = Modules::new();
    let mut folders = vec![(src.to_owned(), Vec::new())];
    while let Some((folder, path)) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_stem().unwrap().display().to_string();
            let below =
                |name: String| -> Vec<String> { path.iter().cloned().chain([name]).collect() };
            if file.is_dir() {
                folders.push((file, below(name)));
            } else if file.extension().is_some_and(|extension| extension == "rs") {
                let path = match name.as_str() {
                    "lib" | "mod" => path.clone(),
                    "main" => continue,
                    _ => below(name),
                };
                modules.insert(path, without_tests(&fs::read_to_string(file).unwrap()));
            }
        }
    }
    let tests: Vec<_> = modules
        .iter()
        .flat_map(|(path, code)| test_modules(path, code))
        .collect();
    modules.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
    modules
}

/// Modules that are declared for tests alone.
fn test_modules(path: &[String], code: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let names = pairs.filter_map(|pair| declared(pair[1]));
    names
        .map(|name| path.iter().cloned().chain([name.to_owned()]).collect())
        .collect()
}

/// The name of the module that a line declares in a file of its own.
fn declared(line: &str) -> Option<&str> {
    let name = line
        .strip_prefix("pub ")
        .unwrap_or(line)
        .strip_prefix("mod ")?;
    name.strip_suffix(';')
}

/// Without line comments, and without the module of tests at its end.
fn without_tests(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.fold(String::new(), |code, line| code + line + "\n")
}

/// Whether a code has a word that does not continue a longer one.
fn mentions(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let before = at.checked_sub(1).map(|before| code.as_bytes()[before]);
        let after = code.as_bytes().get(at + word.len());
        let may_continue = !word.ends_with(|end: char| end.is_alphanumeric());
        !before.is_some_and(is_part) && (may_continue || !after.copied().is_some_and(is_part))
    })
}

fn violations(modules: &Modules) -> Vec<String> {
    let mut found = Vec::new();
    for (path, code) in modules {
        for used in uses(modules, code) {
            // A folder's own file and the files in it may use each other.
            if used.starts_with(path) || path.starts_with(&used) {
                continue;
            }
            let n_shared = path.iter().zip(&used).take_while(|(a, b)| a == b).count();
            let declared: Vec<&str> = modules[&path[..n_shared]]
                .lines()
                .filter_map(declared)
                .collect();
            let position =
                |path: &[String]| declared.iter().position(|name| *name == path[n_shared]);
            match (position(path), position(&used)) {
                (Some(own), Some(other)) if other < own => {}
                _ => found.push(format!(
                    "{} uses {}, which is declared later",
                    path.join("::"),
                    used.join("::")
                )),
            }
        }
    }
    found
}

/// The modules that a code names by a path from the root of its crate.
fn uses(modules: &Modules, code: &str) -> Vec<Vec<String>> {
    let mut used = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let path: Vec<String> = rest[..end.unwrap_or(rest.len())]
            .split("::")
            .map(str::to_owned)
            .collect();
        let longest = (1..=path.len())
            .rev()
            .map(|n| &path[..n])
            .find(|path| modules.contains_key(*path));
        used.extend(longest.map(<[String]>::to_vec));
    }
    used
}

#[test]
fn a_use_of_a_later_module_is_found() {
    let check = |text: &str, expected: &[&str]| {
        let code = |path: &str, text: &str| {
            let path: Vec<String> = path
                .split("::")
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            (path, without_tests(text))
        };
        let modules = Modules::from([
            code("", "pub mod units;\n\npub mod store;\n"),
            code("units", "pub mod money;\n\npub mod usage;\n"),
            code("units::money", text),
            code("units::usage", "use crate::units::money::Usd;"),
            code("store", "mod rows;"),
            code(
                "store::rows",
                "use crate::store::Store; use crate::units::usage::Bucket;",
            ),
        ]);
        assert_eq!(violations(&modules), expected, "{text}");
    };
    check("use std::fmt;", &[]);
    check(
        "// use crate::store::Store;\n#[cfg(test)]\nmod tests {\n use crate::store::Store; }",
        &[],
    );
    check(
        "use crate::units::usage::Bucket;",
        &["units::money uses units::usage, which is declared later"],
    );
    check(
        "fn f() { crate::store::rows::read(); }",
        &["units::money uses store::rows, which is declared later"],
    );
}

#[test]
fn forbidden_words_are_found_whole() {
    assert!(mentions("use std::fs::File;", "std::fs"));
    assert!(mentions("async fn f() {}", "async "));
    assert!(mentions("jiff::Timestamp::now()", "Timestamp::now"));
    assert!(!mentions("eprintln!()", "println!"));
    assert!(!mentions("my_std::fsx", "std::fs"));
}
