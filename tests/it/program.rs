//! Runs the daemon as a process: reads its output, sends it requests and signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;

/// Longer than anything takes, even on a slow machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A folder with a configuration and a store.
pub struct Home {
    pub folder: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Home {
        Home {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration of one organization on a simulator, polled every second, followed by `rest`.
    pub fn configure(&self, simulator: &Simulator, rest: &str) {
        let key = self.path("key");
        write_secret(&key, simulator.key().expose());
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nbase_url = \"{}\"\nadmin_key = {{ file = \"{}\" }}\n\
             max_requests_per_minute = 0\ntimeout = \"5s\"\n\
             [poll]\nschedule = \"* * * * * *\"\n\
             [store]\nurl = \"sqlite://{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{rest}",
            simulator.base_url(),
            key.display(),
            self.path("spendwatch.db").display(),
        );
        fs::write(self.path("spendwatch.toml"), text).unwrap();
    }

    /// Runs a command on the configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.command_with(arguments, &[])
    }

    /// Runs a command with these environment variables.
    pub fn command_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(arguments)
            .envs(environment.iter().copied())
            .arg("--config")
            .arg(self.path("spendwatch.toml"))
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    /// Runs a command, checks its exit status and returns its JSON output.
    #[track_caller]
    pub fn json(&self, exit: i32, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(&[arguments, &["--output", "json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub fn write_secret(path: &Path, secret: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, secret).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns a monthly rule and a console notifier.
pub fn month_rule(limit: &str) -> String {
    format!(
        "[[rules]]\nname = \"month\"\nlimit_usd = {limit}\n[[notifiers]]\nname = \"console\"\ntype = \"console\"\ngroup_wait = \"0s\"\n"
    )
}

/// A running daemon, killed on drop.
pub struct Program {
    child: Child,
    log: Receiver<String>,
    out: Receiver<String>,
    /// Lines of the log read so far.
    pub lines: Vec<String>,
}

impl Program {
    /// Starts `spendwatch run` on a configuration.
    pub fn run(home: &Home) -> Program {
        let config = home.path("spendwatch.toml");
        Program::start(home, &["run", "--config", config.to_str().unwrap()], &[])
    }

    pub fn start(home: &Home, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
        let program = env!("CARGO_BIN_EXE_spendwatch");
        Program::start_as(program, home, arguments, environment)
    }

    /// Starts it by another program, which receives its path and arguments after its own.
    pub fn start_by(
        home: &Home,
        starter: &[&str],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Program {
        let command = [starter, &[env!("CARGO_BIN_EXE_spendwatch")], arguments].concat();
        Program::start_as(command[0], home, &command[1..], environment)
    }

    pub fn start_as(
        program: &str,
        home: &Home,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Program {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(home.folder.path())
            .env_remove("SPENDWATCH_CONFIG")
            .env_remove("ANTHROPIC_ADMIN_KEY")
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines(child.stderr.take().unwrap());
        let out = lines(child.stdout.take().unwrap());
        Program {
            child,
            log,
            out,
            lines: Vec::new(),
        }
    }

    /// Waits for a line of the log that contains a text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let clock = Clock::system();
        while let Ok(line) = self
            .log
            .recv_timeout(LIMIT.saturating_sub(clock.monotonic()))
        {
            self.lines.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
        panic!(
            "the log does not contain `{text}`:\n{}",
            self.lines.join("\n")
        );
    }

    /// Waits until the log contains all texts, in any order.
    #[track_caller]
    pub fn wait_for_all(&mut self, texts: &[&str]) {
        for text in texts {
            if !self.lines.iter().any(|line| line.contains(text)) {
                self.wait_for(text);
            }
        }
    }

    /// Waits for a line of standard output that contains a text.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str) -> String {
        let clock = Clock::system();
        let mut printed = Vec::new();
        while let Ok(line) = self
            .out
            .recv_timeout(LIMIT.saturating_sub(clock.monotonic()))
        {
            if line.contains(text) {
                return line;
            }
            printed.push(line);
        }
        panic!(
            "never printed `{text}`:\n{}\nlog:\n{}",
            printed.join("\n"),
            self.lines.join("\n")
        );
    }

    /// Returns the unread lines of standard output so far.
    pub fn output(&self) -> Vec<String> {
        self.out.try_iter().collect()
    }

    /// Waits for the start and returns host and port.
    #[track_caller]
    pub fn address(&mut self) -> String {
        let line = self.wait_for("metrics at http://");
        let (_, rest) = line.split_once("http://").unwrap();
        rest.split('/').next().unwrap().to_owned()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end and returns its exit status and log.
    pub fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().unwrap();
        let mut lines = std::mem::take(&mut self.lines);
        lines.extend(self.log.iter());
        (status, lines)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// Sends a request head and returns the whole response.
pub fn send_request(address: &str, head: &str) -> String {
    String::from_utf8_lossy(&send_request_bytes(address, head)).into_owned()
}

/// Like [`send_request`], for a binary response.
pub fn send_request_bytes(address: &str, head: &str) -> Vec<u8> {
    exchange(address, &format!("{head}\r\nConnection: close\r\n\r\n"))
}

/// Sends a whole request with `Connection: close` and returns the whole response.
pub fn exchange(address: &str, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    response
}

/// Sends a GET request.
pub fn get(address: &str, path: &str) -> String {
    send_request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}"))
}

/// Requests a reload, as `curl -X POST` does.
pub fn post_reload(address: &str) -> String {
    send_request(
        address,
        &format!("POST /-/reload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0"),
    )
}
