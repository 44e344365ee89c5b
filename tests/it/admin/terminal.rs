//! On a terminal: questions, secrets that are shown once, progress.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Dialect, Office, words};

/// A command whose three streams are a terminal.
pub struct Terminal {
    child: Child,
    ours: File,
    shown: String,
}

impl Terminal {
    pub fn run(office: &Office, line: &str) -> Terminal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spendwatch"));
        let config = office.home.path("spendwatch.toml");
        command.args(words(line)).arg("--config").arg(config);
        Terminal::start(command, None)
    }

    /// On a terminal of so many columns; without a number it does not state its size.
    pub fn start(mut command: Command, n_columns: Option<u16>) -> Terminal {
        // What the caller of the tests has set must not decide what a terminal shows.
        for name in ["NO_COLOR", "COLUMNS"] {
            if !command.get_envs().any(|(key, _)| key == name) {
                command.env_remove(name);
            }
        }
        // Without a type, a terminal counts as one that cannot redraw a line.
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

    /// Reads until a text is shown.
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

    /// Reads to the end; gives the exit code, and all that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut bytes = [0; 1024];
        // A terminal that nobody holds any more is an error, and the end.
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
async fn a_question_names_the_thing_and_only_yes_goes_on() {
    let office = Dialect::Guide.office().await;
    for (answer, code) in [
        ("n\n", 1),
        ("\n", 1),
        ("YES please\n", 1),
        ("\u{4}", 1),
        ("y\n", 0),
    ] {
        let mut terminal = Terminal::run(&office, "users remove bo@example.com");
        terminal.until("Remove user `bo@example.com` (user_2) from organization `acme`?");
        terminal.until("[y/N] ");
        terminal.answer(answer);
        let (exit, shown) = terminal.end();
        assert_eq!(exit, Some(code), "{answer:?}\n{shown}");
        assert_eq!(office.has_user("user_2"), code == 1);
        assert_eq!(shown.contains("nothing was changed"), code == 1, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_lock_somebody_out_is_asked_twice() {
    let office = Dialect::Guide.office().await;
    for (second, ranges) in [("n\n", "203.0.113.0/24"), ("yes\n", "10.0.0.0/8")] {
        let mut terminal = Terminal::run(&office, "org update --allowed-ip-ranges 10.0.0.0/8");
        terminal.until("allowed_ip_ranges: 203.0.113.0/24 -> 10.0.0.0/8");
        terminal.until("fewer people may enter? [y/N] ");
        terminal.answer("y\n");
        terminal.until("This can lock you out of organization `acme`, too. Are you sure? [y/N] ");
        terminal.answer(second);
        let (_, shown) = terminal.end();
        assert_eq!(
            office.simulator.world().settings.allowed_ip_ranges,
            [ranges],
            "{shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_never_beside_json() {
    let office = Dialect::Guide.office().await;
    let terminal = Terminal::run(&office, "keys create deploy --workspace Search");
    let (exit, shown) = terminal.end();
    let secret = office.simulator.world().secrets[0].clone();
    assert_eq!(
        (exit, shown.matches(&secret).count()),
        (Some(0), 1),
        "{shown}"
    );
    assert!(shown.contains("the only time that it is shown"), "{shown}");
    let terminal = Terminal::run(
        &office,
        "keys create deploy --workspace Search --output json",
    );
    let (exit, shown) = terminal.end();
    assert_eq!(exit, Some(2), "{shown}");
    assert_eq!(office.simulator.world().secrets.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_shown_before_the_question_and_progress_meanwhile() {
    let office = Dialect::Real.office().await;
    let mut terminal = Terminal::run(&office, "offboard ada@example.com");
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
