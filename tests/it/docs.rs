//! Everything in README.md and `docs/` that can be wrong without a reader noticing: configurations, commands, links, length.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Marks the next TOML block as part of a configuration.
const FRAGMENT: &str = "<!-- fragment -->";
/// The rest of a configuration around a fragment.
const MINIMAL: &str = "[[organizations]]\nadmin_key = { env = \"ANTHROPIC_ADMIN_KEY\" }\n\n";
/// Its blocks are tested in `config.rs`.
const REFERENCE: &str = "docs/configuration.md";
const MAX_README: usize = 8 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns README.md and `docs/*.md`, as paths from the root, with their texts.
fn pages() -> BTreeMap<String, String> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    let text = |name: &String| fs::read_to_string(root().join(name)).unwrap();
    names
        .into_iter()
        .map(|name| (name.clone(), text(&name)))
        .collect()
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: String,
    /// First line of its content, from 1.
    line: usize,
    content: String,
    is_fragment: bool,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut is_open, mut line_before) = (false, "");
    for (n, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(language) => {
                is_open = true;
                blocks.push(Block {
                    language: language.to_owned(),
                    line: n + 2,
                    content: String::new(),
                    is_fragment: line_before == FRAGMENT,
                });
            }
            None if is_open => {
                let block = blocks.last_mut().unwrap();
                block.content.push_str(line);
                block.content.push('\n');
            }
            None => {
                if !line.trim().is_empty() {
                    line_before = line;
                }
            }
        }
    }
    assert!(!is_open, "a fenced block has no end");
    blocks
}

/// Returns the text outside of fenced blocks and code spans.
fn prose(page: &str) -> String {
    let mut is_open = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.starts_with("```") {
            is_open = !is_open;
        } else if !is_open {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// Runs `check-config` on a configuration whose variables are set and whose files exist.
fn check_config(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let own = format!("{}/", folder.path().display());
    let mut text = text.to_owned();
    for there in [
        "/run/secrets/",
        "/run/credentials/spendwatch.service/",
        "/etc/spendwatch/",
        "/etc/ssl/",
    ] {
        text = text.replace(there, &own);
    }
    for path in between(&text, &own, "\"") {
        let content = match path.rsplit_once('.') {
            Some((_, "csv")) if path.contains("price") => {
                fs::read_to_string(root().join("tests/config/good.prices.csv")).unwrap()
            }
            Some((_, "csv")) => "subject,limit\nSearch,5000\n".to_owned(),
            _ => "canary-of-a-whole-file".to_owned(),
        };
        write(&folder.path().join(path), &content);
    }
    let variables = between(&text, "env = \"", "\"").into_iter().map(|name| {
        let value = match name {
            "PAGERDUTY_ROUTING_KEY" => "R0UTINGKEYcanary0123456789abcdef",
            _ => "https://example.com/canary",
        };
        (name.to_owned(), value)
    });
    let variables: Vec<_> = variables.collect();
    let file = folder.path().join("spendwatch.toml");
    write(&file, &text);
    Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .arg("check-config")
        .arg("--config")
        .arg(&file)
        .envs(variables)
        .output()
        .unwrap()
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    let rests = text.split(before).skip(1);
    rests
        .map(|rest| rest.split(after).next().unwrap())
        .collect()
}

#[test]
fn every_configuration_is_valid() {
    let mut n_checked = 0;
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        if page == REFERENCE {
            continue;
        }
        for block in blocks(&text) {
            if block.language != "toml" {
                continue;
            }
            let whole = match block.is_fragment {
                true => format!("{MINIMAL}{}", block.content),
                false => block.content,
            };
            let output = check_config(&whole);
            let stderr = String::from_utf8(output.stderr).unwrap();
            if !output.status.success() || stderr.contains("warning: ") {
                wrong.push(format!("{page}:{}\n{stderr}", block.line));
            }
            n_checked += 1;
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(n_checked >= 20, "only {n_checked} configurations");
}

/// Returns the commands of a block of shell lines, each as its words; comments and redirections are dropped.
fn shell_commands(text: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words) = (Vec::new(), Vec::new());
    let (mut word, mut is_word) = (String::new(), false);
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\'' => {
                is_word = true;
                word.extend(signs.by_ref().take_while(|sign| *sign != '\''));
            }
            '"' => {
                is_word = true;
                word.extend(signs.by_ref().take_while(|sign| *sign != '"'));
            }
            '\\' if signs.peek() == Some(&'\n') => {
                signs.next();
            }
            '#' if !is_word => while signs.next_if(|sign| *sign != '\n').is_some() {},
            ' ' | '\n' | '|' | ';' | '&' | '>' => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
                if sign != ' ' && !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
            }
            sign => {
                is_word = true;
                word.push(sign);
            }
        }
    }
    if is_word {
        words.push(word);
    }
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

/// Returns the arguments of `spendwatch`, or `None` for another program.
fn arguments(words: &[String]) -> Option<&[String]> {
    let is_assignment = |word: &&String| {
        word.split_once('=')
            .is_some_and(|(name, _)| is_variable(name))
    };
    let n_assignments = words.iter().take_while(is_assignment).count();
    let (program, rest) = words.get(n_assignments..)?.split_first()?;
    let texts: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (program.as_str(), texts.as_slice()) {
        ("sudo", ["-u", _, ..]) => arguments(&rest[2..]),
        ("docker", ["exec", _, ..]) => arguments(&rest[2..]),
        ("cargo", ["run", ..]) => {
            let separator = texts.iter().position(|word| *word == "--")?;
            Some(&rest[separator + 1..])
        }
        (program, _) if program == "spendwatch" || program.ends_with("/spendwatch") => Some(rest),
        _ => None,
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|sign| sign.is_ascii_uppercase() || sign.is_ascii_digit() || sign == '_')
}

/// Returns the shell lines of a block: all of `sh`, those after a prompt of `console`.
fn shell_lines(block: &Block) -> String {
    if block.language == "sh" {
        return block.content.clone();
    }
    let lines = block.content.lines();
    let typed = lines.filter_map(|line| line.strip_prefix("$ "));
    typed.map(|line| format!("{line}\n")).collect()
}

#[test]
fn shell_lines_are_split_into_commands() {
    let check = |text: &str, expected: &[&[&str]]| {
        let commands = shell_commands(text);
        let found: Vec<&[String]> = commands
            .iter()
            .filter_map(|words| arguments(words))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("spendwatch run", &[&["run"]]);
    check("# spendwatch a\nspendwatch b # c\n", &[&["b"]]);
    check(
        "A=1 B_2='x y' spendwatch check --limit \\\n 50\n",
        &[&["check", "--limit", "50"]],
    );
    check(
        "spendwatch a 'b # c' \"d|e\" | jq .x > f; spendwatch g",
        &[&["a", "b # c", "d|e"], &["g"]],
    );
    check(
        "sudo -u x spendwatch a\ndocker exec y spendwatch b && ./c/spendwatch d",
        &[&["a"], &["b"], &["d"]],
    );
    check(
        "cargo run --release -- demo\ncargo run\necho spendwatch a",
        &[&["demo"]],
    );
}

#[test]
fn every_command_is_accepted() {
    let mut commands: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for (page, text) in pages() {
        for block in blocks(&text) {
            if !["sh", "console"].contains(&block.language.as_str()) {
                continue;
            }
            for words in shell_commands(&shell_lines(&block)) {
                if let Some(arguments) = arguments(&words) {
                    let place = format!("{page}:{}", block.line);
                    commands.insert(arguments.to_vec(), place);
                }
            }
        }
    }
    assert!(commands.len() >= 40, "only {} commands", commands.len());
    let mut wrong = Vec::new();
    for (arguments, place) in &commands {
        if let Err(problem) = check_command(arguments) {
            wrong.push(format!(
                "{place}: spendwatch {}\n{problem}",
                arguments.join(" ")
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn check_command(arguments: &[String]) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let help = String::from_utf8(output.stdout).unwrap();
    let known: BTreeSet<&str> = help
        .split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '-')
        .collect();
    for argument in arguments {
        let flag = argument.split('=').next().unwrap();
        if flag.starts_with("--") && !known.contains(flag) {
            return Err(format!("no `{flag}` in its help"));
        }
    }
    Ok(())
}

#[test]
fn the_readme_is_short() {
    let n_bytes = pages()["README.md"].len();
    assert!(n_bytes <= MAX_README, "README.md has {n_bytes} bytes");
}

/// Returns the targets of links and images.
fn links(prose: &str) -> Vec<&str> {
    between(prose, "](", ")")
}

/// Returns the anchors of a page's headings, as GitHub names them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_open = false;
    for line in page.lines() {
        is_open ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if is_open || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|sign| sign.is_alphanumeric() || [' ', '-', '_'].contains(sign))
            .map(|sign| if sign == ' ' { '-' } else { sign })
            .collect();
        let mut anchor = slug.clone();
        let mut n = 0;
        while !anchors.insert(anchor) {
            n += 1;
            anchor = format!("{slug}-{n}");
        }
    }
    anchors
}

#[test]
fn headings_have_the_anchors_of_github() {
    let page = "# `type = \"slack\"`: a, b\n## A b\n### A b\n#none\n```sh\n# comment\n```\n";
    let expected = ["a-b", "a-b-1", "type--slack-a-b"];
    assert_eq!(anchors(page), expected.map(str::to_owned).into());
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut n_links = 0;
    for (page, text) in pages() {
        let prose = prose(&text);
        for link in links(&prose) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            n_links += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => root().join(&page),
                path => beside(&page).join(path),
            };
            if !target.exists() {
                wrong.push(format!("{page}: no file `{link}`"));
            } else if !anchor.is_empty() {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                if !headings.contains(anchor) {
                    wrong.push(format!("{page}: no heading `{link}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(n_links >= 50, "only {n_links} links");
}

fn beside(page: &str) -> PathBuf {
    root().join(page).parent().unwrap().to_owned()
}
