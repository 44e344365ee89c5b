//! Parses Rust source far enough to find what it uses: tokens without comments and strings, paths that start at the crate,
//! and modules in the order of their declaration.
//!
//! Items under `#[cfg(test)]` are skipped, because tests may use anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A path from the crate root: `domain::money::Usd` is `["domain", "money", "Usd"]`.
pub(crate) type ModulePath = Vec<String>;

/// One source file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Modules declared in it, in order.
    pub(crate) children: Vec<String>,
    /// Paths that start at `crate`, `self` or `super`, as paths from the crate root.
    pub(crate) uses: Vec<ModulePath>,
    /// All paths in it (`std::fs::read`), and each single word as a path of one segment.
    pub(crate) mentions: Vec<ModulePath>,
    /// Modules declared for tests only.
    pub(crate) test_children: Vec<String>,
}

/// Parses every file below `src/`, by module path; the crate root is the empty path.
pub(crate) fn read_crate(src: &Path) -> BTreeMap<ModulePath, Module> {
    let mut modules = BTreeMap::new();
    for file in rust_files(src) {
        let relative = file.strip_prefix(src).unwrap();
        let Some(path) = module_path(relative) else {
            continue;
        };
        modules.insert(
            path.clone(),
            parse(&path, &fs::read_to_string(&file).unwrap()),
        );
    }
    let for_tests: Vec<ModulePath> = modules
        .iter()
        .flat_map(|(path, module)| module.test_children.iter().map(|child| join(path, child)))
        .collect();
    modules.retain(|path, _| !for_tests.iter().any(|test| path.starts_with(test)));
    modules
}

/// Parses one file.
pub(crate) fn parse(own_path: &[String], text: &str) -> Module {
    let all = tokens(text);
    let (code, test_children) = without_tests(&all);
    let children = declared_modules(&code);
    let mentions = mentioned_paths(&code);
    let uses = mentions
        .iter()
        .filter(|path| path.len() > 1)
        .filter_map(|path| from_the_root(own_path, path))
        .collect();
    Module {
        children,
        uses,
        mentions,
        test_children,
    }
}

/// Returns every `.rs` file below a folder.
fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the module path of a file below `src/`; `None` for the root of the binary, which is a different crate.
fn module_path(relative: &Path) -> Option<ModulePath> {
    let mut path: ModulePath = relative
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    match path.last().map(String::as_str) {
        Some("main") if path.len() == 1 => return None,
        Some("lib") if path.len() == 1 => path.clear(),
        Some("mod") => drop(path.pop()),
        _ => {}
    }
    Some(path)
}

fn join(path: &[String], child: &str) -> ModulePath {
    path.iter().cloned().chain([child.to_owned()]).collect()
}

/// Returns words, `::` and single signs. Comments, strings, characters and lifetimes are dropped.
fn tokens(text: &str) -> Vec<String> {
    let signs: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < signs.len() {
        let next = signs.get(at + 1).copied().unwrap_or(' ');
        match signs[at] {
            '/' if next == '/' => at = end_of_line(&signs, at),
            '/' if next == '*' => at = end_of_block_comment(&signs, at),
            '"' => at = end_of_text(&signs, at),
            '\'' => at = end_of_character(&signs, at),
            ':' if next == ':' => {
                found.push("::".to_owned());
                at += 2;
            }
            sign if sign.is_alphanumeric() || sign == '_' => {
                let end = (at..signs.len())
                    .find(|end| !(signs[*end].is_alphanumeric() || signs[*end] == '_'))
                    .unwrap_or(signs.len());
                let word: String = signs[at..end].iter().collect();
                at = match raw_text(&signs, &word, end) {
                    Some(after) => after,
                    None => {
                        found.push(word);
                        end
                    }
                };
            }
            sign if sign.is_whitespace() => at += 1,
            sign => {
                found.push(sign.to_string());
                at += 1;
            }
        }
    }
    found
}

fn end_of_line(signs: &[char], at: usize) -> usize {
    (at..signs.len())
        .find(|end| signs[*end] == '\n')
        .unwrap_or(signs.len())
}

/// Block comments nest.
fn end_of_block_comment(signs: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < signs.len() {
        match (signs[at], signs.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_text(signs: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < signs.len() && signs[at] != '"' {
        at += if signs[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns the end of a character literal. A lifetime ends after its quote, so its name becomes an ordinary word.
fn end_of_character(signs: &[char], at: usize) -> usize {
    match (signs.get(at + 1), signs.get(at + 2)) {
        (Some('\\'), _) => (at + 3..signs.len())
            .find(|end| signs[*end] == '\'')
            .map_or(signs.len(), |end| end + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// Returns the end of `r"…"`, `r#"…"#` or `br#"…"#`, if the word before is such a prefix.
fn raw_text(signs: &[char], word: &str, after_word: usize) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let quote = (after_word..signs.len()).find(|at| signs[*at] != '#')?;
    if signs[quote] != '"' {
        return None;
    }
    let n_hashes = quote - after_word;
    (quote + 1..signs.len())
        .find(|at| {
            signs[*at] == '"'
                && signs[at + 1..].len() >= n_hashes
                && signs[at + 1..at + 1 + n_hashes]
                    .iter()
                    .all(|sign| *sign == '#')
        })
        .map(|end| end + 1 + n_hashes)
}

/// Returns the tokens outside of test items, and the names of test modules in separate files.
fn without_tests(all: &[String]) -> (Vec<String>, Vec<String>) {
    let mut code = Vec::new();
    let mut test_children = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if !is_test_attribute(&all[at..]) {
            code.push(all[at].clone());
            at += 1;
            continue;
        }
        let start = at;
        at = end_of_item(all, end_of_attribute(all, at));
        if all[at - 1] == ";"
            && let Some(place) = (start..at).find(|place| all[*place] == "mod")
        {
            test_children.push(all[place + 1].clone());
        }
    }
    (code, test_children)
}

/// `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn is_test_attribute(tokens: &[String]) -> bool {
    let starts_with = |words: &[&str]| {
        tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token == word)
    };
    starts_with(&["#", "[", "cfg", "(", "test", ")"])
        || starts_with(&["#", "[", "cfg", "(", "all", "(", "test"])
}

fn end_of_attribute(all: &[String], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in all.iter().enumerate().skip(start) {
        match token.as_str() {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    all.len()
}

/// Returns the position after the `;`, `,` or closing brace that ends the item, field or statement at `start`.
fn end_of_item(all: &[String], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in all.iter().enumerate().skip(start) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
    }
    all.len()
}

/// `mod name;`, in order.
fn declared_modules(code: &[String]) -> Vec<String> {
    code.windows(3)
        .filter(|window| window[0] == "mod" && window[2] == ";")
        .map(|window| window[1].clone())
        .collect()
}

/// Returns all paths, with `a::{b, c::d}` expanded; visibilities such as `pub(in crate::a)` are not paths.
fn mentioned_paths(code: &[String]) -> Vec<ModulePath> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let is_start = is_word(&code[at]) && (at == 0 || code[at - 1] != "::");
        if is_start
            && !(at > 0
                && code[at - 1] == "in"
                && code.get(at - 2).is_some_and(|token| token == "("))
        {
            at = path_tree(code, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|sign: char| sign.is_alphabetic() || sign == '_')
}

/// Parses one path with its branches, and returns the position after it.
fn path_tree(
    code: &[String],
    start: usize,
    before: &[String],
    found: &mut Vec<ModulePath>,
) -> usize {
    let mut path = before.to_vec();
    let mut at = start;
    loop {
        match code.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while at < code.len() && code[at] != "}" {
                    at = match code[at].as_str() {
                        "as" => at + 2,
                        word if is_word(word) => path_tree(code, at, &path, found),
                        _ => at + 1,
                    };
                }
                return at + 1;
            }
            Some(word) if is_word(word) => {
                if word != "self" || path.is_empty() {
                    path.push(word.to_owned());
                }
                at += 1;
            }
            // A glob or a turbofish ends the path.
            _ => break,
        }
        if code.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
    }
    found.push(path);
    at
}

/// Converts a path that starts at `crate`, `self` or `super` to one from the root; `None` for any other.
fn from_the_root(own_path: &[String], path: &[String]) -> Option<ModulePath> {
    let n_up = path.iter().take_while(|part| *part == "super").count();
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([own_path, &path[1..]].concat()),
        "super" => {
            let kept = own_path.len().saturating_sub(n_up);
            Some([&own_path[..kept], &path[n_up..]].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> ModulePath {
        text.split("::").map(str::to_owned).collect()
    }

    #[track_caller]
    fn check_uses(own_path: &str, text: &str, expected: &[&str]) {
        let uses = parse(&words(own_path), text).uses;
        let expected: Vec<ModulePath> = expected.iter().map(|path| words(path)).collect();
        assert_eq!(uses, expected, "{text}");
    }

    #[test]
    fn paths_are_found_in_every_form() {
        check_uses("a", "use crate::b::C;", &["b::C"]);
        check_uses("a", "pub use crate::b::C as D;", &["b::C"]);
        check_uses("a", "use crate::b::*;", &["b"]);
        check_uses(
            "a",
            "use crate::{b::C, d::{self, E, f::G as H}};",
            &["b::C", "d", "d::E", "d::f::G"],
        );
        check_uses(
            "a",
            "fn f() -> crate::b::C { crate::d::e::<u8>() }",
            &["b::C", "d::e"],
        );
        check_uses(
            "a::b",
            "use super::c::D; use self::e::F;",
            &["a::c::D", "a::b::e::F"],
        );
        check_uses("a::b::c", "use super::super::d::E;", &["a::d::E"]);
        check_uses("a", "use std::fmt; use other::b::C;", &[]);
    }

    #[test]
    fn comments_and_strings_are_ignored() {
        check_uses(
            "a",
            "// crate::b::C\n/* crate::b /* nested */ ::C */ /// [`crate::b::C`]\n",
            &[],
        );
        check_uses(
            "a",
            r##"const T: &str = "crate::b::C \" crate::b"; use crate::d::E;"##,
            &["d::E"],
        );
        check_uses(
            "a",
            "const T: &str = r#\"say \"crate::b::C\" twice\"#; use crate::d::E;",
            &["d::E"],
        );
        check_uses(
            "a",
            r"const Q: char = '\''; const R: char = '\u{22}'; use crate::d::E;",
            &["d::E"],
        );
        check_uses(
            "a",
            "fn f<'a>(x: &'a str) -> char { '\"' } use crate::d::E;",
            &["d::E"],
        );
        check_uses("a", "pub(crate) fn f() {} pub(in crate::a) fn g() {}", &[]);
    }

    #[test]
    fn test_items_are_skipped() {
        check_uses(
            "a",
            "#[cfg(test)]\nmod tests { use crate::b::C; fn f() { {} } }\nuse crate::d::E;",
            &["d::E"],
        );
        check_uses(
            "a",
            "#[cfg(test)]\n#[expect(dead_code)]\nuse crate::b::C;\nuse crate::d::E;",
            &["d::E"],
        );
        check_uses("a", "#[cfg(not(test))]\nuse crate::b::C;", &["b::C"]);
        let module = parse(
            &words("a"),
            "mod first;\npub mod second;\n#[cfg(test)]\nmod tests;",
        );
        assert_eq!(module.children, ["first", "second"]);
        assert_eq!(module.test_children, ["tests"]);
    }

    #[test]
    fn mentions_are_whole_paths() {
        let mentions = parse(
            &words("a"),
            "use std::{fs, net::TcpStream}; fn f() { now() }",
        )
        .mentions;
        assert!(mentions.contains(&words("std::fs")));
        assert!(mentions.contains(&words("std::net::TcpStream")));
        assert!(mentions.contains(&words("now")));
    }

    #[test]
    fn files_are_modules() {
        let check = |file: &str, expected: Option<&[&str]>| {
            let expected =
                expected.map(|path| path.iter().map(|part| (*part).to_owned()).collect());
            assert_eq!(module_path(Path::new(file)), expected, "{file}");
        };
        check("lib.rs", Some(&[]));
        check("main.rs", None);
        check("clock.rs", Some(&["clock"]));
        check("store/mod.rs", Some(&["store"]));
        check("store/ledger.rs", Some(&["store", "ledger"]));
    }
}
