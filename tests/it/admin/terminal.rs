//! Questions, secrets and progress on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{AdminFixture, Dialect, words};

/// Command with a terminal as standard input, output and error.
pub struct Terminal {
    child: Child,
    ours: File,
    shown: String,
}

impl Terminal {
    pub fn run(fixture: &AdminFixture, line: &str) -> Terminal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
        let config = fixture.home.path("spendwatch.toml");
        command.args(words(line)).arg("--config").arg(config);
        Terminal::start(command, None)
    }

    /// Runs a command on a terminal with this many columns, or of unknown size.
    pub fn start(mut command: Command, n_columns: Option<u16>) -> Terminal {
        // The environment of the test run must not affect the output.
        for name in ["NO_COLOR", "COLUMNS"] {
            if !command.get_envs().any(|(key, _)| key == name) {
                command.env_remove(name);
            }
        }
        // Without `TERM`, the terminal is assumed not to redraw lines.
        if !command.get_envs().any(|(key, _)| key == "TERM") {
            command.env("TERM", "xterm");
        }
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let open = || -> OwnedFd {
            rustix::fs::open(
                name.as_c_str(),
                OFlags::RDWR | OFlags::NOCTTY,
                Mode::empty(),
            )
            .unwrap()
        };
        if let Some(n_columns) = n_columns {
            let size = Winsize {
                ws_row: 50,
                ws_col: n_columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&ours, size).unwrap();
        }
        let child = command
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .unwrap();
        Terminal {
            child,
            ours: File::from(ours),
            shown: String::new(),
        }
    }

    /// Reads until a text appears.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        let mut bytes = [0; 1024];
        while !self.shown.contains(text) {
            match self.ours.read(&mut bytes) {
                Ok(n) if n > 0 => self.shown.push_str(&String::from_utf8_lossy(&bytes[..n])),
                Ok(_) | Err(_) => panic!("never showed `{text}`:\n{}", self.shown),
            }
        }
    }

    pub fn answer(&mut self, line: &str) {
        self.ours.write_all(line.as_bytes()).unwrap();
    }

    /// Reads to the end and returns the exit code and the whole output.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut bytes = [0; 1024];
        // Reading a closed terminal is an error and marks the end.
        while let Ok(n) = self.ours.read(&mut bytes) {
            if n == 0 {
                break;
            }
            self.shown.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        (self.child.wait().unwrap().code(), self.shown)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn question_names_target_and_only_yes_confirms() {
    let fixture = Dialect::Guide.fixture().await;
    for (answer, code) in [
        ("n\n", 1),
        ("\n", 1),
        ("YES please\n", 1),
        ("\u{4}", 1),
        ("y\n", 0),
    ] {
        let mut terminal = Terminal::run(&fixture, "users remove bo@example.com");
        terminal.until("Remove user `bo@example.com` (user_2) from organization `acme`?");
        terminal.until("[y/N] ");
        terminal.answer(answer);
        let (exit, shown) = terminal.end();
        assert_eq!(exit, Some(code), "{answer:?}\n{shown}");
        assert_eq!(fixture.has_user("user_2"), code == 1);
        assert_eq!(shown.contains("no change"), code == 1, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restricting_settings_need_two_confirmations() {
    let fixture = Dialect::Guide.fixture().await;
    for (second, ranges) in [("n\n", "203.0.113.0/24"), ("yes\n", "10.0.0.0/8")] {
        let mut terminal = Terminal::run(&fixture, "org update --allowed-ip-ranges 10.0.0.0/8");
        terminal.until("allowed_ip_ranges: 203.0.113.0/24 -> 10.0.0.0/8");
        terminal.until("Fewer users may have access. [y/N] ");
        terminal.answer("y\n");
        terminal.until("This can also lock you out of organization `acme`. Are you sure? [y/N] ");
        terminal.answer(second);
        let (_, shown) = terminal.end();
        assert_eq!(
            fixture.simulator.world().settings.allowed_ip_ranges,
            [ranges],
            "{shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_is_shown_once_and_never_with_json() {
    let fixture = Dialect::Guide.fixture().await;
    let terminal = Terminal::run(&fixture, "keys create deploy --workspace Search");
    let (exit, shown) = terminal.end();
    let secret = fixture.simulator.world().secrets[0].clone();
    assert_eq!(
        (exit, shown.matches(&secret).count()),
        (Some(0), 1),
        "{shown}"
    );
    assert!(shown.contains("The secret is not shown again"), "{shown}");
    let terminal = Terminal::run(
        &fixture,
        "keys create deploy --workspace Search --output json",
    );
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(2), "{shown}");
    assert_eq!(fixture.simulator.world().secrets.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_precedes_question_and_progress_is_shown() {
    let fixture = Dialect::Real.fixture().await;
    let mut terminal = Terminal::run(&fixture, "offboard ada@example.com");
    terminal.until("keys.revoke");
    terminal.until("Revoke 2 keys of `user_1` (ada@example.com) and remove them");
    assert!(
        terminal.shown.contains("reading keys"),
        "{}",
        terminal.shown
    );
    terminal.answer("y\n");
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(0), "{shown}");
    assert!(
        shown
            .lines()
            .all(|line| line.split('\r').all(|piece| piece.chars().count() < 200))
    );
}
