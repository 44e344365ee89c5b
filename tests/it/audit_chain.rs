//! `audit verify` and `audit anchor` on modified logs, and on logs left behind by a kill.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use spendwatch_base::clock::Clock;
use spendwatch_store::Store;

use crate::program::Home;

struct LogFixture {
    home: Home,
}

impl LogFixture {
    /// Creates a log with six entries.
    fn new() -> LogFixture {
        let home = Home::new();
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nadmin_key = {{ env = \"KEY\" }}\n[store]\nurl = \"sqlite://{}\"\n\
             [audit]\nfile = \"{}\"\n",
            home.path("s.db").display(),
            home.path("audit.jsonl").display()
        );
        fs::write(home.path("spendwatch.toml"), text).unwrap();
        drop(Store::open_for_daemon(&home.path("s.db"), Clock::system().now()).unwrap());
        let log = LogFixture { home };
        log.write();
        log.write();
        log.write();
        log
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(line.split_whitespace())
            .arg("--config")
            .arg(self.path("spendwatch.toml"))
            .env("KEY", "sk-ant-admin-canary")
            .output()
            .unwrap()
    }

    /// Adds two entries.
    fn write(&self) {
        let output = self.run("silence add rule=a --for 1h --comment quiet");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[track_caller]
    fn run_json(&self, exit: i32, line: &str) -> (serde_json::Value, String) {
        let output = self.run(&format!("{line} --output json"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{line}: {stderr}");
        let rows = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (rows, stderr)
    }

    #[track_caller]
    fn assert_intact(&self) {
        let (_, stderr) = self.run_json(0, "audit verify");
        assert!(!stderr.contains("error"), "{stderr}");
    }

    /// Returns the first finding without the folder.
    #[track_caller]
    fn finding(&self) -> String {
        let (rows, stderr) = self.run_json(1, "audit verify");
        assert_eq!(rows[0]["whole"], false, "{stderr}");
        let folder = format!("{}/", self.home.folder.path().display());
        let rows = rows[0]["broken"].as_str().unwrap().replace(&folder, "");
        assert!(stderr.replace(&folder, "").contains(&rows), "{stderr}");
        rows
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("audit.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn set_lines(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.path("audit.jsonl"), text).unwrap();
    }

    fn head(&self) -> Vec<u8> {
        fs::read(self.path("audit.jsonl.head")).unwrap()
    }

    fn set_head(&self, seq: u64, hash: &str) {
        fs::write(self.path("audit.jsonl.head"), format!("{seq:020} {hash}\n")).unwrap();
    }

    fn hash(&self, seq: usize) -> String {
        let entry: serde_json::Value = serde_json::from_str(&self.lines()[seq - 1]).unwrap();
        entry["hash"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_head_that_does_not_match_the_log_is_a_finding() {
    let log = LogFixture::new();
    log.assert_intact();
    let (lines, head) = (log.lines(), log.head());
    // One entry behind, as after a kill.
    log.set_head(5, &log.hash(5));
    log.assert_intact();
    let (_, stderr) = log.run_json(0, "audit verify");
    assert!(stderr.contains("the head is one entry behind"), "{stderr}");
    let old = "audit.jsonl.head`, line 1: the head names entry 4, but the log ends with entry 6";
    log.set_head(4, &log.hash(4));
    assert!(log.finding().contains(old), "{}", log.finding());
    log.set_head(6, &log.hash(5));
    let other = "audit.jsonl`, line 6: entry 6 was replaced";
    assert!(log.finding().contains(other), "{}", log.finding());
    log.set_head(9, &log.hash(6));
    let cut = "the log ends with entry 6, but entry 9 was written";
    assert!(log.finding().contains(cut), "{}", log.finding());
    fs::write(log.path("audit.jsonl.head"), "rubbish").unwrap();
    assert!(
        log.finding()
            .contains("audit.jsonl.head`, line 1: is not a valid head")
    );
    fs::write(log.path("audit.jsonl.head"), "").unwrap();
    assert!(log.finding().contains("the head names entry 0"));
    fs::remove_file(log.path("audit.jsonl.head")).unwrap();
    assert!(
        log.finding()
            .contains("audit.jsonl.head`, line 1: the head is missing")
    );
    // Still a finding after the head was created again.
    log.set_lines(&lines[..4]);
    log.write();
    assert!(
        log.finding()
            .contains("the head was missing or unreadable before entry 5")
    );
    log.set_lines(&lines);
    fs::write(log.path("audit.jsonl.head"), head).unwrap();
    log.assert_intact();
}

#[test]
fn a_log_without_its_end_its_beginning_or_a_file_is_a_finding() {
    let log = LogFixture::new();
    let lines = log.lines();
    log.set_lines(&lines[..5]);
    assert!(
        log.finding()
            .contains("line 6: the log ends with entry 5, but entry 6 was written")
    );
    log.set_lines(&[]);
    assert!(
        log.finding()
            .contains("the log ends with entry 0, but entry 6 was written")
    );
    fs::remove_file(log.path("audit.jsonl")).unwrap();
    assert!(
        log.finding()
            .contains("the log ends with entry 0, but entry 6 was written")
    );
    log.set_lines(&lines);
    let old_hash = log.hash(6);
    fs::rename(log.path("audit.jsonl"), log.path("audit.jsonl.1")).unwrap();
    log.write();
    fs::rename(log.path("audit.jsonl"), log.path("audit.jsonl.2")).unwrap();
    log.write();
    log.assert_intact();
    fs::rename(log.path("audit.jsonl.2"), log.path("aside")).unwrap();
    assert!(
        log.finding()
            .contains("audit.jsonl`, line 1: entry 9 does not follow entry 6")
    );
    fs::rename(log.path("aside"), log.path("audit.jsonl.2")).unwrap();
    log.assert_intact();
    fs::rename(log.path("audit.jsonl.1"), log.path("aside")).unwrap();
    let rows = log.finding();
    assert!(
        rows.contains(
            "audit.jsonl.2`, line 1: the log begins with entry 7: entries 1 to 6 are missing"
        ),
        "{rows}"
    );
    // An anchor with its last hash replaces it.
    log.run_json(0, &format!("audit verify --anchor {old_hash}"));
    log.run_json(1, &format!("audit verify --anchor {}", "ab".repeat(32)));
}

#[test]
fn every_change_of_the_log_is_reported() {
    let log = LogFixture::new();
    let lines = log.lines();
    let check = |change: fn(&mut Vec<String>), expected: &[&str]| {
        let mut changed = lines.clone();
        change(&mut changed);
        log.set_lines(&changed);
        let (rows, stderr) = log.run_json(1, "audit verify");
        let findings = rows[0]["findings"].as_array().unwrap();
        assert_eq!(findings.len(), expected.len(), "{stderr}");
        for (finding, expected) in findings.iter().zip(expected) {
            let place = format!("audit.jsonl`, {expected}");
            assert!(finding.as_str().unwrap().contains(&place), "{finding}");
        }
    };
    check(
        |lines| {
            lines[0] = lines[0].replace("rule=a", "rule=b");
            lines[3] = lines[3].replace("\"success\":true", "\"success\":false");
        },
        &["line 1: entry 1 was changed", "line 4: entry 4 was changed"],
    );
    check(
        |lines| lines.insert(2, lines[1].clone()),
        &["line 3: entry 2 does not follow entry 2"],
    );
    check(
        |lines| {
            lines.remove(2);
        },
        &["line 3: entry 4 does not follow entry 2"],
    );
    check(
        |lines| lines.push("rubbish".to_owned()),
        &["line 7: is not an entry"],
    );
}

#[test]
fn a_log_that_was_never_written_has_no_finding_and_no_anchor() {
    let log = LogFixture::new();
    fs::remove_file(log.path("audit.jsonl")).unwrap();
    fs::remove_file(log.path("audit.jsonl.head")).unwrap();
    log.assert_intact();
    let (rows, stderr) = log.run_json(0, "audit anchor");
    assert_eq!(rows.as_array().map(Vec::len), Some(0), "{stderr}");
    assert!(!log.path("audit.jsonl").exists() && !log.path("audit.jsonl.head").exists());
}

#[test]
fn an_anchor_detects_a_replaced_log() {
    let log = LogFixture::new();
    let (rows, _) = log.run_json(0, "audit anchor");
    assert_eq!(rows[0]["seq"], 6);
    let anchor = rows[0]["hash"].as_str().unwrap().to_owned();
    assert_eq!(anchor, log.hash(6));
    log.write();
    log.run_json(0, &format!("audit verify --anchor {anchor}"));
    // Replaced by another intact log.
    let other = LogFixture::new();
    for name in ["audit.jsonl", "audit.jsonl.head"] {
        fs::copy(other.path(name), log.path(name)).unwrap();
    }
    log.assert_intact();
    let (_, stderr) = log.run_json(1, &format!("audit verify --anchor {anchor}"));
    assert!(stderr.contains("no entry has the hash"), "{stderr}");
    // A log with findings has no anchor.
    log.set_head(3, &log.hash(3));
    log.run_json(1, "audit anchor");
}
