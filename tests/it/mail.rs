//! Mail sent to an independent mail server and parsed by an independent parser.
//!
//! `scripts/test` names the Python that has the server; without it these tests do nothing.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use spendwatch_base::receiver::{EmailSettings, MailTls};
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_notify::envelope::{Envelope, Links};
use spendwatch_notify::outcome::Delivery;
use spendwatch_notify::receivers::email::EmailNotifier;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::at;
use crate::outbox_fixture::fact;

/// Ends when its standard input closes, at the latest on drop.
struct MailServer {
    _process: Child,
    output: Lines<BufReader<ChildStdout>>,
    port: u16,
    folder: tempfile::TempDir,
}

impl MailServer {
    /// Returns `None` if no suitable Python exists.
    async fn start() -> Option<MailServer> {
        #[expect(
            clippy::disallowed_methods,
            reason = "where the tools of the tests are is no configuration of the program"
        )]
        let Ok(python) = std::env::var("SPENDWATCH_TEST_SMTPD_PYTHON") else {
            eprintln!("left out: SPENDWATCH_TEST_SMTPD_PYTHON names no Python with aiosmtpd");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("ca.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/smtpd.py");
        let mut process = Command::new(python)
            .args([script.as_path(), &certificate, &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = output.next_line().await.unwrap().unwrap().parse().unwrap();
        Some(MailServer {
            _process: process,
            output,
            port,
            folder,
        })
    }

    fn email(&self, password: &str) -> EmailNotifier {
        let settings = EmailSettings {
            host: "localhost".to_owned(),
            port: self.port,
            tls: MailTls::StartTlsRequired,
            username: Some("daemon".to_owned()),
            password: Some(Secret::new(password.to_owned())),
            from: "Spend Watch <spendwatch@example.com>".to_owned(),
            to: Vec::new(),
            helo: None,
        };
        let ca_file = self.folder.path().join("ca.pem");
        EmailNotifier::new(settings, Some(&ca_file)).unwrap()
    }

    /// Returns the next accepted mail.
    async fn mail(&mut self) -> Value {
        let line = self.output.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

async fn send(email: &EmailNotifier, recipient: &str, facts: &[Fact]) -> Delivery {
    let now = at("2026-11-24T13:05:00Z");
    let envelope = Envelope {
        id: "id-000001",
        notifier: &"cfo-mail".into(),
        facts,
        created_at: now,
        now,
        n_attempts: 0,
        is_replay: false,
        links: &Links::default(),
        recipient: Some(recipient),
        thread: None,
        n_posted: 0,
    };
    email.send(&envelope).await
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap();
    headers
        .iter()
        .filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .map(|header| header[1].as_str().unwrap())
        .collect()
}

fn facts(name: &str) -> Vec<Fact> {
    vec![fact(name, 1, Reason::First, at("2026-11-24T13:05:00Z"))]
}

#[tokio::test]
async fn independent_server_accepts_and_parses_our_mail() {
    let Some(mut server) = MailServer::start().await else {
        return;
    };
    let email = server.email("canary-0003");
    let sent = send(&email, "Chief <cfo@example.com>", &facts("Süche & Söhne")).await;
    assert_eq!(sent, Delivery::Delivered);
    let mail = server.mail().await;
    assert_eq!(mail["from"], "spendwatch@example.com");
    assert_eq!(mail["to"], serde_json::json!(["cfo@example.com"]));
    assert_eq!(
        (&mail["is_encrypted"], &mail["is_authenticated"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&mail["defects"], &mail["has_bare_line_ends"]),
        (&0.into(), &false.into())
    );
    assert!(mail["longest_line"].as_u64().unwrap() <= 998);
    assert_eq!(
        header(&mail, "from"),
        ["Spend Watch <spendwatch@example.com>"]
    );
    assert_eq!(header(&mail, "to"), ["Chief <cfo@example.com>"]);
    let subject = header(&mail, "subject");
    assert!(subject[0].contains("Süche & Söhne"), "{subject:?}");
    let message_id = header(&mail, "message-id")[0];
    assert!(message_id.starts_with("<id-000001.") && message_id.ends_with("@example.com>"));
    assert_eq!(header(&mail, "auto-submitted"), ["auto-generated"]);
    assert_eq!(mail["date"], "2026-11-24T13:05:00+00:00");
    for name in ["in-reply-to", "references", "list-id"] {
        assert_eq!(header(&mail, name).len(), 1, "{name}");
    }
    assert_eq!(mail["type"], "multipart/alternative");
    for (place, kind, name) in [
        (0, "text/plain", "Süche & Söhne"),
        (1, "text/html", "Süche &amp; Söhne"),
    ] {
        let part = &mail["parts"][place];
        assert_eq!((&part["type"], &part["defects"]), (&kind.into(), &0.into()));
        let text = part["text"].as_str().unwrap();
        assert!(text.contains(name) && text.contains("120.00"), "{text}");
    }
    assert_eq!(mail["parts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn case_27_names_add_no_headers() {
    let Some(mut server) = MailServer::start().await else {
        return;
    };
    let email = server.email("canary-0003");
    let hostile = facts("<!channel> & \"x\"\r\nBcc: a@b\r\n\r\n.\r\nQUIT\r\n<script>\u{202e}\u{0}");
    let sent = send(&email, "cfo@example.com", &hostile).await;
    assert_eq!(sent, Delivery::Delivered);
    let mail = server.mail().await;
    assert_eq!(mail["to"], serde_json::json!(["cfo@example.com"]));
    assert_eq!(
        (&mail["defects"], &mail["has_bare_line_ends"]),
        (&0.into(), &false.into())
    );
    assert_eq!(header(&mail, "bcc"), Vec::<&str>::new());
    let html = mail["parts"][1]["text"].as_str().unwrap();
    assert!(
        !html.contains("<script>") && !html.contains("<!channel>"),
        "{html}"
    );
}

#[tokio::test]
async fn encoded_words_in_names_are_shown_verbatim() {
    let Some(mut server) = MailServer::start().await else {
        return;
    };
    let email = server.email("canary-0003");
    for name in ["=?utf-8?q?=E2=80=AEevil?=", "ä =?utf-8?b?4oCuZXZpbA==?= ö"] {
        let to = format!("\"{name}\" <cfo@example.com>");
        let sent = send(&email, &to, &facts(name)).await;
        assert_eq!(sent, Delivery::Delivered);
        let mail = server.mail().await;
        let subject = header(&mail, "subject");
        assert!(subject[0].contains(name), "{subject:?}");
        let to = header(&mail, "to");
        assert!(to[0].contains(name), "{to:?}");
    }
}

#[tokio::test]
async fn case_24_and_26_recipients_are_separate_and_repeats_keep_the_message_id() {
    let Some(mut server) = MailServer::start().await else {
        return;
    };
    let email = server.email("canary-0003");
    let unknown = send(&email, "unknown@example.com", &facts("Alpha")).await;
    assert!(
        matches!(&unknown, Delivery::Drop { error } if error.contains("no such user")),
        "{unknown:?}"
    );
    for _ in 0..2 {
        let sent = send(&email, "cfo@example.com", &facts("Alpha")).await;
        assert_eq!(sent, Delivery::Delivered);
    }
    let ids = [server.mail().await, server.mail().await]
        .map(|mail| header(&mail, "message-id")[0].to_owned());
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn wrong_password_parks_and_is_not_shown() {
    let Some(server) = MailServer::start().await else {
        return;
    };
    let sent = send(
        &server.email("canary-0009"),
        "cfo@example.com",
        &facts("Alpha"),
    )
    .await;
    let Delivery::Park {
        error,
        is_probed: true,
    } = &sent
    else {
        panic!("{sent:?}");
    };
    assert!(
        error.contains("535") && !error.contains("canary"),
        "{error}"
    );
}
