//! Files that spendwatch creates: links are not followed, modes are restrictive, and checks change nothing.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::geteuid;
use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::program::Home;

/// A folder with a store and a configuration.
struct OwnFiles {
    home: Home,
    key: String,
}

impl OwnFiles {
    /// With an unreachable server.
    fn new() -> OwnFiles {
        OwnFiles::at("http://127.0.0.1:9", "sk-ant-admin-canary")
    }

    fn at(base_url: &str, key: &str) -> OwnFiles {
        let home = Home::new();
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nbase_url = \"{base_url}\"\nadmin_key = {{ env = \"KEY\" }}\n\
             [store]\nurl = \"sqlite://{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
            home.path("s.db").display()
        );
        write(&home.path("spendwatch.toml"), &text, 0o600);
        let own = OwnFiles {
            home,
            key: key.to_owned(),
        };
        own.fill();
        own
    }

    fn fill(&self) {
        drop(Store::open_for_daemon(&self.path("s.db"), Clock::system().now()).unwrap());
    }

    /// Returns why a daemon cannot open the store.
    #[track_caller]
    fn open_error(&self) -> String {
        let opened = Store::open_for_daemon(&self.path("s.db"), Clock::system().now());
        error_chain(&opened.unwrap_err())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(arguments)
            .arg("--config")
            .arg(self.path("spendwatch.toml"))
            .current_dir(self.home.folder.path())
            .env("KEY", &self.key)
            .output()
            .unwrap()
    }

    /// Returns whether `doctor` fails, and its output.
    fn doctor(&self) -> (bool, String) {
        let output = self.run(&["doctor"]);
        let text = String::from_utf8(output.stdout).unwrap();
        (!output.status.success(), text)
    }

    #[track_caller]
    fn output_of(&self, exit: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{text}");
        text
    }

    fn silence(&self) -> Output {
        self.run(&[
            "silence",
            "add",
            "rule=a",
            "--for",
            "1h",
            "--comment",
            "quiet",
        ])
    }

    /// Returns contents, modes and times of all files in the folder.
    fn contents(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, i64, i64)> {
        let files = fs::read_dir(self.home.folder.path()).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let found = path.metadata().unwrap();
            let bytes = fs::read(&path).unwrap();
            (
                path,
                (bytes, found.mode(), found.mtime(), found.mtime_nsec()),
            )
        });
        files.collect()
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o777
}

/// Creates various obstacles at a path.
fn obstacles() -> [fn(&Path, &Path); 5] {
    [
        |path, _| write(path, "an old file", 0o666),
        |path, victim| symlink(victim, path).unwrap(),
        |path, victim| fs::hard_link(victim, path).unwrap(),
        |path, _| {
            let made = Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
        |path, _| symlink(path.with_extension("nowhere"), path).unwrap(),
    ]
}

#[test]
fn a_backup_is_a_new_file_despite_obstacles() {
    for obstacle in obstacles() {
        let own = OwnFiles::new();
        write(&own.path("victim"), "untouched", 0o644);
        for name in ["b.db.partial", "b.db.partial-wal", "b.db.partial-journal"] {
            obstacle(&own.path(name), &own.path("victim"));
        }
        own.output_of(0, &["store", "backup", "b.db"]);
        let made = own.path("b.db").symlink_metadata().unwrap();
        assert!(made.is_file() && made.nlink() == 1);
        assert_eq!(mode(&own.path("b.db")), 0o600);
        assert_eq!(fs::read(own.path("victim")).unwrap(), b"untouched");
        assert_eq!(mode(&own.path("victim")), 0o644);
        let left: Vec<PathBuf> = own.contents().into_keys().collect();
        let is_left = |path: &&PathBuf| path.display().to_string().contains("partial");
        assert_eq!(left.iter().find(is_left), None);
        own.output_of(1, &["store", "backup", "b.db"]);
    }
    // A folder cannot be replaced, and an existing side file would become part of the backup.
    let own = OwnFiles::new();
    fs::create_dir(own.path("b.db.partial")).unwrap();
    let text = own.output_of(1, &["store", "backup", "b.db"]);
    assert!(
        text.contains("cannot create the backup's partial file"),
        "{text}"
    );
    write(&own.path("c.db-wal"), "somebody's log", 0o600);
    let text = own.output_of(1, &["store", "backup", "c.db"]);
    assert!(text.contains("c.db-wal` already exists"), "{text}");
    symlink(own.path("nowhere"), own.path("d.db")).unwrap();
    own.output_of(1, &["store", "backup", "d.db"]);
    assert!(!own.path("nowhere").exists());
}

#[test]
fn store_lock_audit_log_and_head_follow_no_links_and_have_mode_0600() {
    let files = [
        "s.db",
        "s.db.lock",
        "spendwatch-audit.jsonl",
        "spendwatch-audit.jsonl.head",
    ];
    for name in files {
        let own = OwnFiles::new();
        assert_eq!(own.silence().status.code(), Some(0));
        fs::set_permissions(own.path(name), Permissions::from_mode(0o666)).unwrap();
        assert_eq!(own.silence().status.code(), Some(0));
        own.fill();
        assert_eq!(mode(&own.path(name)), 0o600, "{name}");
        for link in [
            (|from, to| symlink(from, to)) as fn(PathBuf, PathBuf) -> std::io::Result<()>,
            |from, to| fs::hard_link(from, to),
        ] {
            fs::rename(own.path(name), own.path("victim")).unwrap();
            link(own.path("victim"), own.path(name)).unwrap();
            fs::set_permissions(own.path("victim"), Permissions::from_mode(0o644)).unwrap();
            let before = fs::read(own.path("victim")).unwrap();
            let text = if name == "s.db.lock" {
                own.open_error()
            } else {
                let output = own.silence();
                assert_eq!(output.status.code(), Some(1), "{name}");
                String::from_utf8(output.stderr).unwrap()
            };
            let is_named = text.contains("symbolic link") || text.contains("2 hard links");
            assert!(is_named && text.contains(name), "{text}");
            assert_eq!(fs::read(own.path("victim")).unwrap(), before, "{name}");
            assert_eq!(mode(&own.path("victim")), 0o644, "{name}");
            fs::remove_file(own.path(name)).unwrap();
            fs::rename(own.path("victim"), own.path(name)).unwrap();
        }
    }
}

#[test]
fn files_of_other_users_are_not_used() {
    if !geteuid().is_root() {
        // Only root can create such a file.
        return;
    }
    for name in ["s.db", "s.db-wal", "s.db.lock", "spendwatch-audit.jsonl"] {
        let own = OwnFiles::new();
        let folder = own.home.folder.path();
        fs::set_permissions(folder, Permissions::from_mode(0o1777)).unwrap();
        fs::remove_file(own.path("s.db")).unwrap();
        write(&own.path(name), "", 0o666);
        std::os::unix::fs::chown(own.path(name), Some(65_534), None).unwrap();
        let text = if name.contains("audit") {
            own.fill();
            String::from_utf8(own.silence().stderr).unwrap()
        } else {
            own.open_error()
        };
        assert!(text.contains("belongs to user 65534"), "{text}");
    }
}

#[test]
fn files_are_private_with_any_umask() {
    for umask in ["000", "277"] {
        let own = OwnFiles::new();
        let script = format!(
            "umask {umask}; \"$0\" silence add rule=a --for 1h --comment quiet --config spendwatch.toml && \
             \"$0\" store backup b.db --config spendwatch.toml && \"$0\" init new.toml"
        );
        let output = Command::new("/bin/sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_spendwatch")])
            .current_dir(own.home.folder.path())
            .env("KEY", "sk-ant-admin-canary")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for path in own.contents().into_keys() {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "new.toml" {
                assert_eq!(mode(&path) & 0o022, 0, "{name}");
            } else {
                assert_eq!(mode(&path), 0o600, "{name} with umask {umask}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_check_and_doctor_change_nothing() {
    let simulator = Simulator::start(World::empty(), Clock::system())
        .await
        .unwrap();
    let own = OwnFiles::at(&simulator.base_url(), simulator.key().expose());
    fs::remove_file(own.path("s.db.lock")).unwrap();
    let check = |n_files: usize| {
        let before = own.contents();
        assert_eq!(before.len(), n_files);
        own.output_of(0, &["store", "check"]);
        let (is_bad, text) = own.doctor();
        assert!(!is_bad, "{text}");
        assert!(own.contents() == before, "a file was changed");
        text
    };
    let text = check(2);
    assert!(text.contains("ok       store"), "{text}");
    assert!(text.contains("warning  audit"), "{text}");
    assert_eq!(own.silence().status.code(), Some(0));
    let text = check(4);
    assert!(text.contains("ok       audit"), "{text}");
    // A write-ahead log left behind by a killed daemon.
    let store = Store::open_for_daemon(&own.path("s.db"), Clock::system().now()).unwrap();
    assert_eq!(own.silence().status.code(), Some(0));
    let copies: Vec<(PathBuf, Vec<u8>)> = ["s.db", "s.db-wal"]
        .map(|name| (own.path(name), fs::read(own.path(name)).unwrap()))
        .into();
    drop(store);
    for (path, bytes) in copies {
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    check(6);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_checks_owner_and_mode_of_every_file() {
    let simulator = Simulator::start(World::empty(), Clock::system())
        .await
        .unwrap();
    let own = OwnFiles::at(&simulator.base_url(), simulator.key().expose());
    assert_eq!(own.silence().status.code(), Some(0));
    write(&own.path("limits.csv"), "subject,limit\nSearch,5\n", 0o600);
    write(&own.path("token"), "a-token-of-twenty-characters", 0o600);
    let text = fs::read_to_string(own.path("spendwatch.toml")).unwrap();
    let text = format!(
        "{text}bearer_token = {{ file = \"token\" }}\n\
         [[rules]]\nname = \"a\"\nfor_each = \"workspace\"\nlimits_file = \"limits.csv\"\n"
    );
    write(&own.path("spendwatch.toml"), &text, 0o600);
    let files = [
        "s.db",
        "s.db.lock",
        "spendwatch-audit.jsonl",
        "spendwatch-audit.jsonl.head",
        "spendwatch.toml",
        "limits.csv",
        "token",
    ];
    let (is_bad, text) = own.doctor();
    assert!(!is_bad && !text.contains("others can"), "{text}");
    for name in files {
        let is_listed =
            |line: &str| line.starts_with("ok       file") && line.contains(&format!("{name}:"));
        assert!(text.lines().any(is_listed), "{name}: {text}");
        fs::set_permissions(own.path(name), Permissions::from_mode(0o666)).unwrap();
        let (_, text) = own.doctor();
        let is_bad = |line: &str| {
            line.starts_with("bad") && line.contains(&format!("{name}: others can write it"))
        };
        let is_refused = |line: &str| {
            line.starts_with("bad") && line.contains(name) && line.contains("chmod go-w")
        };
        assert!(
            text.lines().any(|line| is_bad(line) || is_refused(line)),
            "{name}: {text}"
        );
        assert_eq!(mode(&own.path(name)), 0o666, "it is left as it is");
        fs::set_permissions(own.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(own.home.folder.path(), Permissions::from_mode(0o777)).unwrap();
    let (_, text) = own.doctor();
    assert!(
        text.contains("everyone can create, and often replace, files in it"),
        "{text}"
    );
}
