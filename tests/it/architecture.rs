//! Checks the layers: a module uses only layers above its own, and the domain uses no clock, network, disk or log.
//!
//! Rust does not forbid import cycles inside a crate, and they grow unnoticed. `docs/architecture.md` explains the layers.

use std::collections::BTreeMap;
use std::path::Path;

use crate::source::{Module, ModulePath, parse, read_crate};

/// Top modules by layer, in reading order. Modules in one layer do not use each other.
const LAYERS: [&[&str]; 8] = [
    &["domain"],
    &[
        "clock",
        "secret",
        "outbound",
        "process",
        "template",
        "private_file",
        "subprocess",
    ],
    &["audit", "config", "metrics"],
    &[
        "anthropic",
        "store",
        "notify",
        "secrets",
        "simulator",
        "export",
        "secret_sink",
    ],
    &["app", "table"],
    &["admin", "cycle", "delivery", "heartbeat", "http"],
    &["daemon"],
    &["cli"],
];

/// Paths that the domain must not mention. A path matches if it starts or ends with one of these.
const NOT_IN_THE_DOMAIN: [&str; 32] = [
    // clock
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::system",
    // network
    "std::net",
    "reqwest",
    "axum",
    "lettre",
    // disk, process and environment
    "std::fs",
    "std::io",
    "std::path",
    "std::env",
    "std::process",
    "rusqlite",
    // log
    "tracing",
    "println",
    "eprintln",
    "print",
    "eprint",
    "dbg",
    // waiting, threads and tasks
    "tokio",
    "async",
    "await",
    "std::thread",
    // randomness
    "fastrand",
    "uuid",
    // shapes of a protocol, a file or a table
    "serde",
    "serde_json",
    "toml",
];

type Crate = BTreeMap<ModulePath, Module>;

#[test]
fn modules_use_only_layers_above() {
    let found = violations(&read_crate(&source_folder()));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_domain_uses_no_clock_network_disk_or_log() {
    let modules = read_crate(&source_folder());
    let found: Vec<String> = modules
        .iter()
        .filter(|(path, _)| path.first().is_some_and(|first| first == "domain"))
        .flat_map(|(path, module)| foreign_mentions(path, module))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Promise 9: changes are made only by `admin`, which audits them; modules that only read do not use it.
#[test]
fn only_admin_api_commands_can_change_anything() {
    let modules = read_crate(&source_folder());
    let uses = |path: &[String], wanted: &[&str]| {
        let module = &modules[path];
        let mut used = module.uses.iter();
        used.any(|used| {
            used.len() >= wanted.len() && used.iter().zip(wanted).all(|(one, other)| one == other)
        })
    };
    let who = |wanted: &[&str]| -> Vec<String> {
        let found = modules.keys().filter(|path| uses(path, wanted));
        found.map(|path| path.join("::")).collect()
    };
    // One file uses verbs other than GET.
    let says = |word: &str| -> Vec<String> {
        let says = |module: &Module| {
            module
                .mentions
                .iter()
                .any(|said| said.join("::").ends_with(word))
        };
        let found = modules.iter().filter(|(path, module)| {
            path.first().is_some_and(|first| first == "anthropic") && says(module)
        });
        found.map(|(path, _)| path.join("::")).collect()
    };
    for verb in ["Method::POST", "Method::PATCH", "Method::DELETE"] {
        assert_eq!(says(verb), ["anthropic::write_request"], "{verb}");
    }
    // An intent is created by the audit log, required by one function, and completed by the session that began it.
    assert_eq!(
        who(&["audit", "Intent"]),
        ["admin::session", "anthropic::admin_writes"]
    );
    let changers = who(&["admin"]);
    let is_command = |path: &String| path.starts_with("admin::") || path.starts_with("cli::admin");
    assert!(
        changers.iter().all(is_command) && changers.len() > 5,
        "{changers:?}"
    );
}

fn source_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns every use of a lower or the same layer.
fn violations(modules: &Crate) -> Vec<String> {
    let mut found = undeclared_order(modules);
    for (path, module) in modules.iter().filter(|(path, _)| !path.is_empty()) {
        if !is_declared(modules, path) {
            found.push(format!("{} is not declared", path.join("::")));
            continue;
        }
        for used in &module.uses {
            let target = file_of(modules, used);
            if let Some(why) = refusal(modules, path, &target) {
                found.push(format!(
                    "{} uses {}: {why}",
                    path.join("::"),
                    used.join("::")
                ));
            }
        }
    }
    found
}

/// Checks that the root declares the modules from the top layer down.
fn undeclared_order(modules: &Crate) -> Vec<String> {
    let Some(root) = modules.get(&Vec::new()) else {
        return vec!["there is no crate root".to_owned()];
    };
    let mut found = Vec::new();
    let mut lowest = 0;
    for child in &root.children {
        match layer(child) {
            None => found.push(format!(
                "{child} has no layer: add it to tests/it/architecture.rs"
            )),
            Some(layer) if layer < lowest => {
                found.push(format!("{child} is declared after a lower layer"));
            }
            Some(layer) => lowest = layer,
        }
    }
    found
}

/// Returns whether every module on the path to a file declares the next.
fn is_declared(modules: &Crate, path: &[String]) -> bool {
    (0..path.len()).all(|depth| {
        modules
            .get(&path[..depth])
            .is_some_and(|parent| parent.children.contains(&path[depth]))
    })
}

fn layer(top: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&top))
}

/// Returns the longest prefix of a path that is a file; the rest are items in it.
fn file_of(modules: &Crate, used: &[String]) -> ModulePath {
    (0..=used.len())
        .rev()
        .map(|length| used[..length].to_vec())
        .find(|path| modules.contains_key(path))
        .unwrap_or_default()
}

/// Returns why one file may not use another; `None` if it may.
fn refusal(modules: &Crate, user: &[String], used: &[String]) -> Option<&'static str> {
    if used.is_empty() {
        return Some("nothing is re-exported at the root");
    }
    if user == used || used.starts_with(user) {
        // A folder's module may use every file in the folder.
        return None;
    }
    if user.starts_with(used) {
        // A file may use its folder's module, unless that uses the file, which would be a cycle.
        let room = &user[..=used.len()];
        let door = &modules[used];
        let is_cycle = door.uses.iter().any(|path| path.starts_with(room));
        return is_cycle.then_some("they use each other; move what both need into a file above");
    }
    let shared = user
        .iter()
        .zip(used)
        .take_while(|(left, right)| left == right)
        .count();
    if shared == 0 {
        return match (layer(&user[0]), layer(&used[0])) {
            (Some(own), Some(other)) if other < own => None,
            (Some(own), Some(other)) if other == own => Some("it is in the same layer"),
            _ => Some("it is in a lower layer"),
        };
    }
    let order = &modules[&user[..shared]].children;
    let place = |path: &[String]| order.iter().position(|child| *child == path[shared]);
    match (place(user), place(used)) {
        (Some(own), Some(other)) if other < own => None,
        _ => Some("it is declared later in that folder"),
    }
}

fn foreign_mentions(path: &[String], module: &Module) -> Vec<String> {
    let forbidden: Vec<ModulePath> = NOT_IN_THE_DOMAIN
        .iter()
        .map(|text| text.split("::").map(str::to_owned).collect())
        .collect();
    module
        .mentions
        .iter()
        .filter(|mentioned| {
            forbidden
                .iter()
                .any(|foreign| mentioned.starts_with(foreign) || mentioned.ends_with(foreign))
        })
        .map(|mentioned| format!("{} mentions {}", path.join("::"), mentioned.join("::")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a crate from texts by module path.
    fn crate_of(files: &[(&str, &str)]) -> Crate {
        files
            .iter()
            .map(|(path, text)| {
                let path: ModulePath = path
                    .split("::")
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect();
                let module = parse(&path, text);
                (path, module)
            })
            .collect()
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(violations(&crate_of(files)), expected);
    }

    const ROOT: &str = "pub mod domain; pub mod clock; pub mod store; pub mod notify;";
    const DOMAIN: &str = "pub mod money; pub mod usage;";

    #[test]
    fn higher_layers_may_be_used() {
        check(
            &[
                ("", ROOT),
                ("domain", DOMAIN),
                ("domain::money", ""),
                ("domain::usage", "use crate::domain::money::Usd;"),
                ("clock", "use crate::domain::money::Usd;"),
                (
                    "store",
                    "mod rows; pub use crate::store::rows::Row; use crate::clock::Clock;",
                ),
                ("store::rows", "use crate::domain::usage::Bucket;"),
                ("notify", ""),
            ],
            &[],
        );
    }

    #[test]
    fn lower_layers_must_not_be_used() {
        check(
            &[
                ("", ROOT),
                ("domain", "use crate::clock::Clock;"),
                ("clock", ""),
                ("store", ""),
                ("notify", ""),
            ],
            &["domain uses clock::Clock: it is in a lower layer"],
        );
    }

    #[test]
    fn modules_of_one_layer_must_not_use_each_other() {
        check(
            &[
                ("", ROOT),
                ("store", "fn f() { crate::notify::send(); }"),
                ("notify", ""),
            ],
            &["store uses notify::send: it is in the same layer"],
        );
    }

    #[test]
    fn later_siblings_must_not_be_used() {
        check(
            &[
                ("", ROOT),
                ("domain", DOMAIN),
                ("domain::money", "use super::usage::Bucket;"),
                ("domain::usage", ""),
            ],
            &["domain::money uses domain::usage::Bucket: it is declared later in that folder"],
        );
    }

    #[test]
    fn a_folder_and_its_file_must_not_use_each_other() {
        let folder = "mod rows; pub struct Store; use crate::store::rows::Row;";
        check(
            &[
                ("", ROOT),
                ("store", folder),
                ("store::rows", "use crate::store::Store;"),
            ],
            &[
                "store::rows uses store::Store: they use each other; move what both need into a file above",
            ],
        );
        check(
            &[
                ("", ROOT),
                ("store", "mod rows; pub struct Store;"),
                ("store::rows", "use crate::store::Store;"),
            ],
            &[],
        );
    }

    #[test]
    fn undeclared_files_are_reported() {
        check(
            &[
                ("", "pub mod domain;"),
                ("domain", ""),
                ("domain::money", ""),
                ("store::rows", ""),
            ],
            &[
                "domain::money is not declared",
                "store::rows is not declared",
            ],
        );
    }

    #[test]
    fn tests_may_use_anything() {
        check(
            &[
                ("", ROOT),
                (
                    "domain",
                    "#[cfg(test)] mod tests { use crate::store::Store; }",
                ),
                ("store", ""),
            ],
            &[],
        );
    }

    #[test]
    fn the_root_declares_known_modules_in_order() {
        check(
            &[("", "pub mod store; pub mod domain; pub mod utils;")],
            &[
                "domain is declared after a lower layer",
                "utils has no layer: add it to tests/it/architecture.rs",
            ],
        );
        check(
            &[
                ("", "pub mod domain; pub use crate::domain::Usd;"),
                ("domain", "use crate::Usd;"),
            ],
            &["domain uses Usd: nothing is re-exported at the root"],
        );
    }

    #[test]
    fn foreign_words_are_found_in_the_domain() {
        let check = |text: &str, expected: &[&str]| {
            let path = ["domain".to_owned(), "money".to_owned()];
            assert_eq!(
                foreign_mentions(&path, &parse(&path, text)),
                expected,
                "{text}"
            );
        };
        check("use jiff::Timestamp; fn f(now: Timestamp) {}", &[]);
        check("// std::fs and tokio are not used here", &[]);
        check(
            "fn f() { jiff::Timestamp::now(); }",
            &["domain::money mentions jiff::Timestamp::now"],
        );
        check(
            "use std::{fmt, fs::File};",
            &["domain::money mentions std::fs::File"],
        );
        check(
            "fn f() { println!(); }",
            &["domain::money mentions println"],
        );
        check("async fn f() {}", &["domain::money mentions async"]);
        check(
            "use tracing::info;",
            &["domain::money mentions tracing::info"],
        );
        check(
            "#[derive(serde::Serialize)] struct A;",
            &["domain::money mentions serde::Serialize"],
        );
    }
}
