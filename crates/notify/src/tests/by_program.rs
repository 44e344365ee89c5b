//! The command notifier with real programs.

use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::Notifier;
use crate::envelope::{Envelope, Links};
use crate::json::alerts;
use crate::outcome::Delivery;
use crate::samples::{at, fact, workspace_facts};
use spendwatch_base::receiver::{CommandSettings, ReceiverSettings};
use spendwatch_domain::alerts::notification::{Fact, Reason};

fn command(argv: &[&str], timeout: Duration) -> Notifier {
    let path = ("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    let settings = CommandSettings {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        timeout,
        environment: vec![path],
    };
    Notifier::new(ReceiverSettings::Command(settings), false).unwrap()
}

/// A script of the shell, and its first argument.
fn script(text: &str, argument: &Path) -> Notifier {
    let argument = argument.to_str().unwrap();
    command(&["sh", "-c", text, argument], Duration::from_mins(1))
}

async fn send(notifier: &Notifier, facts: &[Fact]) -> Delivery {
    notifier.send(&envelope(facts, &Links::default())).await
}

fn envelope<'a>(facts: &'a [Fact], links: &'a Links) -> Envelope<'a> {
    static NAME: std::sync::LazyLock<spendwatch_domain::units::ids::NotifierName> =
        std::sync::LazyLock::new(|| "program".into());
    Envelope {
        id: "id-000001",
        notifier: &NAME,
        facts,
        created_at: at("2026-11-24T13:05:00Z"),
        now: at("2026-11-24T13:05:00Z"),
        n_attempts: 0,
        is_replay: false,
        links,
        recipient: None,
        thread: None,
        n_posted: 0,
    }
}

#[track_caller]
fn is_ambiguous(delivery: &Delivery, expected: &str) {
    assert!(
        matches!(delivery, Delivery::Retry { is_ambiguous: true, error, .. } if error == expected),
        "{delivery:?}"
    );
}

#[tokio::test]
async fn program_receives_the_message_and_a_clean_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (input, variables) = (folder.path().join("input"), folder.path().join("variables"));
    let facts = workspace_facts(250);
    let sent = send(&script("cat > \"$0\"", &input), &facts).await;
    assert_eq!(sent, Delivery::Delivered);
    let body: Value = serde_json::from_slice(&fs::read(input).unwrap()).unwrap();
    let links = Links::default();
    assert_eq!(body, alerts::payload(&envelope(&facts, &links), &facts));
    assert_eq!(body["alerts"].as_array().map(Vec::len), Some(250));

    let sent = send(&script("env > \"$0\"", &variables), &facts).await;
    assert_eq!(sent, Delivery::Delivered);
    let text = fs::read_to_string(variables).unwrap();
    let of_the_shell = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
    let mut variables: Vec<&str> = text
        .lines()
        .filter(|line| !of_the_shell.iter().any(|name| line.starts_with(name)))
        .collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        ["PATH=/usr/bin:/bin", "SPENDWATCH_MESSAGE_ID=id-000001"]
    );
}

#[tokio::test]
async fn exit_code_decides() {
    let facts = [fact(Reason::First)];
    for (code, expected) in [
        (0, Delivery::Delivered),
        (75, Delivery::retry("ended with exit status: 75: why")),
        (77, Delivery::park("ended with exit status: 77: why")),
        (78, Delivery::park("ended with exit status: 78: why")),
        (126, Delivery::park("ended with exit status: 126: why")),
        (127, Delivery::park("ended with exit status: 127: why")),
        (1, Delivery::drop_message("ended with exit status: 1: why")),
        (
            65,
            Delivery::drop_message("ended with exit status: 65: why"),
        ),
        (
            255,
            Delivery::drop_message("ended with exit status: 255: why"),
        ),
    ] {
        let program = script(
            "cat > /dev/null; echo why >&2; exit $0",
            Path::new(&code.to_string()),
        );
        assert_eq!(send(&program, &facts).await, expected, "{code}");
    }
    let killed = send(&script("kill -9 $$", Path::new("x")), &facts).await;
    is_ambiguous(&killed, "ended with signal: 9 (SIGKILL)");
}

#[tokio::test]
async fn program_that_cannot_be_run_parks() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "no program").unwrap();
    for (program, why) in [
        ("/no/such/program", "No such file or directory (os error 2)"),
        (text.to_str().unwrap(), "Permission denied (os error 13)"),
    ] {
        let sent = send(
            &command(&[program], Duration::from_secs(10)),
            &[fact(Reason::First)],
        )
        .await;
        assert_eq!(
            sent,
            Delivery::park(format!("cannot run the program: {why}"))
        );
    }
}

#[tokio::test]
async fn program_need_not_read_its_input() {
    let facts = workspace_facts(300);
    for text in ["exit 0", "exec 0<&-; exit 0", "head -c 10 > /dev/null"] {
        let sent = send(&script(text, Path::new("x")), &facts).await;
        assert_eq!(sent, Delivery::Delivered, "{text}");
    }
}

#[tokio::test]
async fn long_output_does_not_block_and_is_cut() {
    let text = "yes 'out' | head -c 3000000; printf 'a\\033[31m\\000b\\n' >&2; yes err | head -c 3000000 >&2; exit 1";
    let sent = send(&script(text, Path::new("x")), &[fact(Reason::First)]).await;
    let error = sent.error().unwrap();
    let (head, output) = error.split_once(": 1: ").unwrap();
    assert_eq!(head, "ended with exit status");
    assert!(
        output.starts_with("a [31m b err err") && output.ends_with('…'),
        "{output}"
    );
    assert_eq!(output.chars().count(), 201);
    assert!(!error.contains(char::is_control));
}

/// A named pipe, whose end is read when no writer is left.
fn pipe_in(folder: &Path) -> (std::path::PathBuf, pipe::Receiver) {
    let path = folder.join("pipe");
    assert!(
        Process::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let receiver = pipe::OpenOptions::new().open_receiver(&path).unwrap();
    (path, receiver)
}

/// Starts another long-running program, and runs long itself.
const LONG_RUNNING: &str = "exec > \"$0\"; sleep 600 & echo ready; echo wait >&2; sleep 600";

#[tokio::test]
async fn timeout_kills_the_process_group() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut pipe) = pipe_in(folder.path());
    let argv = ["sh", "-c", LONG_RUNNING, path.to_str().unwrap()];
    let program = command(&argv, Duration::from_secs(1));
    let sent = send(&program, &[fact(Reason::First)]).await;
    is_ambiguous(&sent, "killed after 1 s: wait");
    let mut output = String::new();
    pipe.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "ready\n");
}

#[tokio::test]
async fn aborted_attempt_kills_the_process_group() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut pipe) = pipe_in(folder.path());
    let program = script(LONG_RUNNING, &path);
    let attempt = tokio::spawn(async move { send(&program, &[fact(Reason::First)]).await });
    pipe.readable().await.unwrap();
    let mut ready = [0; 6];
    pipe.read_exact(&mut ready).await.unwrap();
    assert_eq!(&ready, b"ready\n");
    attempt.abort();
    assert!(attempt.await.unwrap_err().is_cancelled());
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}

#[tokio::test]
async fn background_processes_are_not_awaited() {
    let facts = [fact(Reason::First)];
    let sent = send(&script("sleep 5 & exit 0", Path::new("x")), &facts).await;
    assert_eq!(sent, Delivery::Delivered);
    let sent = send(
        &script("echo why >&2; sleep 5 & exit 3", Path::new("x")),
        &facts,
    )
    .await;
    let expected = Delivery::drop_message("ended with exit status: 3: why");
    assert_eq!(sent, expected);
}
