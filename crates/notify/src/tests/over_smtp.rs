//! Mail over SMTP with a test server, encrypted and not.

use std::time::Duration;

use crate::Notifier;
use crate::envelope::{Envelope, Links};
use crate::outcome::{Delivery, RetrySchedule, SettingsError};
use crate::receivers::email::EmailNotifier;
use crate::samples::{at, fact};
use smtp::{CLOSE, Encryption, MailServer};
use spendwatch_base::receiver::{EmailSettings, MailTls};
use spendwatch_base::secret::Secret;
use spendwatch_domain::alerts::notification::Reason;

#[path = "../../../../tests/fakes/smtp.rs"]
mod smtp;

/// A notifier that trusts the server's certificate.
fn email(server: &MailServer, tls: MailTls, login: Option<&str>) -> Notifier {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &server.certificate).unwrap();
    let settings = settings(server.port, tls, login);
    let time_limit = Duration::from_secs(10);
    Notifier::Email(
        EmailNotifier::new(settings, Some(&ca_file))
            .unwrap()
            .with_time_limit(time_limit),
    )
}

fn settings(port: u16, tls: MailTls, login: Option<&str>) -> EmailSettings<Secret> {
    EmailSettings {
        host: "localhost".to_owned(),
        port,
        tls,
        username: login.map(|_| "daemon".to_owned()),
        password: login.map(|password| Secret::new(password.to_owned())),
        from: "Spend Watch <spendwatch@example.com>".to_owned(),
        to: Vec::new(),
        helo: None,
    }
}

async fn send(notifier: &Notifier, recipient: &str) -> Delivery {
    let envelope = Envelope {
        id: "id-000001",
        notifier: &"cfo-mail".into(),
        facts: &[fact(Reason::First)],
        created_at: at("2026-11-24T13:05:00Z"),
        now: at("2026-11-24T13:05:00Z"),
        n_attempts: 0,
        is_replay: false,
        links: &Links::default(),
        recipient: Some(recipient),
        thread: None,
        n_posted: 0,
    };
    notifier.send(&envelope).await
}

fn message_ids(server: &MailServer) -> Vec<String> {
    server
        .mails()
        .iter()
        .map(|mail| {
            let line = mail
                .data
                .lines()
                .find(|line| line.starts_with("Message-ID:"));
            line.unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn mail_is_sent_encrypted_with_a_login() {
    for (encryption, tls) in [
        (Encryption::Implicit, MailTls::Implicit),
        (Encryption::StartTls, MailTls::StartTlsRequired),
        (Encryption::StartTls, MailTls::StartTlsOpportunistic),
    ] {
        let server = MailServer::start(encryption).await;
        let email = email(&server, tls, Some("canary-0003"));
        assert_eq!(send(&email, "cfo@example.com").await, Delivery::Delivered);
        let mails = server.mails();
        assert!(mails[0].is_encrypted);
        assert_eq!(mails[0].from, "MAIL FROM:<spendwatch@example.com>");
        assert_eq!(mails[0].to, ["RCPT TO:<cfo@example.com>"]);
        assert!(
            mails[0]
                .data
                .contains("Subject: [critical] Search $5,630 of $5,000 (113%), November 2026")
        );
    }
}

#[tokio::test]
async fn ehlo_uses_the_configured_or_a_full_name() {
    let server = MailServer::start(Encryption::Never).await;
    let greeting = async |helo: Option<&str>| {
        let settings = EmailSettings {
            helo: helo.map(str::to_owned),
            ..settings(server.port, MailTls::None, None)
        };
        let email = Notifier::Email(EmailNotifier::new(settings, None).unwrap());
        let n_before = server.commands().len();
        assert_eq!(send(&email, "cfo@example.com").await, Delivery::Delivered);
        server.commands()[n_before].clone()
    };
    let name = "EHLO spendwatch.example.com";
    assert_eq!(greeting(Some("spendwatch.example.com")).await, name);
    let usual = greeting(None).await;
    let name = usual.strip_prefix("EHLO ").unwrap();
    assert!(
        name.contains('.') || name.starts_with("[IPv6:"),
        "{usual:?}"
    );
}

#[tokio::test]
async fn required_starttls_that_is_not_offered_sends_nothing() {
    let server = MailServer::start(Encryption::Never).await;
    let required = email(&server, MailTls::StartTlsRequired, Some("canary-0003"));
    let parked = Delivery::park("the mail server does not offer STARTTLS");
    assert_eq!(send(&required, "cfo@example.com").await, parked);
    let plain = email(&server, MailTls::StartTlsOpportunistic, None);
    assert_eq!(send(&plain, "cfo@example.com").await, Delivery::Delivered);
    assert!(!server.mails()[0].is_encrypted);
}

#[tokio::test]
async fn password_is_never_sent_in_clear_text() {
    let server = MailServer::start(Encryption::Never).await;
    let opportunistic = email(&server, MailTls::StartTlsOpportunistic, Some("canary-0003"));
    let delivery = send(&opportunistic, "cfo@example.com").await;
    assert!(matches!(delivery, Delivery::Park { .. }), "{delivery:?}");
    assert!(
        !server
            .commands()
            .iter()
            .any(|command| command.starts_with("AUTH"))
    );
    let refused = EmailNotifier::new(settings(25, MailTls::None, Some("canary-0003")), None);
    assert!(matches!(refused, Err(SettingsError::ClearTextLogin)));
}

#[tokio::test]
async fn untrusted_certificate_ends_the_attempt() {
    let server = MailServer::start(Encryption::Implicit).await;
    let settings = settings(server.port, MailTls::Implicit, None);
    let email = Notifier::Email(EmailNotifier::new(settings, None).unwrap());
    let delivery = send(&email, "cfo@example.com").await;
    assert!(
        matches!(
            delivery,
            Delivery::Retry {
                is_ambiguous: false,
                ..
            }
        ),
        "{delivery:?}"
    );
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn data_injected_before_the_handshake_is_rejected() {
    let server = MailServer::start(Encryption::StartTls).await;
    let email = email(&server, MailTls::StartTlsRequired, None);
    server.answer(
        "STARTTLS",
        "220 go ahead\r\n250-mail.example.com\r\n250 AUTH PLAIN",
    );
    let delivery = send(&email, "cfo@example.com").await;
    assert!(
        matches!(
            delivery,
            Delivery::Retry {
                is_ambiguous: false,
                ..
            }
        ),
        "{delivery:?}"
    );
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn case_24_one_refused_recipient_does_not_hold_up_the_others() {
    let server = MailServer::start(Encryption::StartTls).await;
    let email = email(&server, MailTls::StartTlsRequired, None);
    server.answer("RCPT TO:<b@example.com>", "550 5.1.1 no such user");
    assert_eq!(send(&email, "a@example.com").await, Delivery::Delivered);
    let refused = "mail server, the recipient: permanent error (550): 5.1.1 no such user";
    assert_eq!(
        send(&email, "b@example.com").await,
        Delivery::drop_message(refused)
    );
    assert_eq!(send(&email, "c@example.com").await, Delivery::Delivered);
    let ids = message_ids(&server);
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn case_25_greylisting_uses_the_slower_schedule() {
    let server = MailServer::start(Encryption::StartTls).await;
    let email = email(&server, MailTls::StartTlsRequired, None);
    server.answer("RCPT", "451 4.7.1 greylisted, come back later");
    let later = send(&email, "cfo@example.com").await;
    assert!(matches!(
        later,
        Delivery::Retry {
            schedule: RetrySchedule::Mail,
            is_ambiguous: false,
            ..
        }
    ));
    assert_eq!(send(&email, "cfo@example.com").await, Delivery::Delivered);
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn case_26_lost_reply_to_the_final_dot_repeats_the_message_id() {
    let server = MailServer::start(Encryption::StartTls).await;
    let email = email(&server, MailTls::StartTlsRequired, None);
    server.answer(".", CLOSE);
    let lost = send(&email, "cfo@example.com").await;
    assert!(
        matches!(
            lost,
            Delivery::Retry {
                is_ambiguous: true,
                schedule: RetrySchedule::Common,
                ..
            }
        ),
        "{lost:?}"
    );
    assert_eq!(send(&email, "cfo@example.com").await, Delivery::Delivered);
    let ids = message_ids(&server);
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[track_caller]
fn outcome(delivery: &Delivery) -> &'static str {
    match delivery {
        Delivery::Delivered | Delivery::Posted { .. } | Delivery::PartSent { .. } => "delivered",
        Delivery::Retry {
            schedule: RetrySchedule::Common,
            ..
        } => "retry",
        Delivery::Retry {
            schedule: RetrySchedule::Mail,
            ..
        } => "retry slowly",
        Delivery::Park { .. } => "park",
        Delivery::Drop { .. } => "drop",
    }
}

#[tokio::test]
async fn meaning_of_replies_depends_on_the_step() {
    let server = MailServer::start(Encryption::StartTls).await;
    let email = email(&server, MailTls::StartTlsRequired, Some("canary-0003"));
    for (command, reply, expected) in [
        ("CONNECT", "421 too busy", "retry"),
        ("CONNECT", "554 no service here", "park"),
        ("CONNECT", CLOSE, "retry"),
        ("STARTTLS", "454 TLS not available", "retry slowly"),
        ("AUTH", "535 5.7.8 wrong password canary-0003", "park"),
        ("AUTH", "454 4.7.0 temporary failure", "retry slowly"),
        ("MAIL", "550 5.7.1 sender refused", "park"),
        ("MAIL", "550 5.7.1 no mail for canary-0003", "park"),
        ("MAIL", "530 5.7.0 authentication required", "park"),
        ("MAIL", "452 4.3.1 disk full", "retry slowly"),
        ("RCPT", "421 4.3.2 shutting down", "retry"),
        ("RCPT", "530 5.7.0 authentication required", "park"),
        ("DATA", "554 5.5.1 no valid recipients", "drop"),
        (".", "552 5.3.4 too big", "drop"),
        (".", "451 4.3.0 try again", "retry slowly"),
        ("DATA", CLOSE, "retry"),
    ] {
        server.answer(command, reply);
        let delivery = send(&email, "cfo@example.com").await;
        assert_eq!(
            outcome(&delivery),
            expected,
            "{command} {reply} {delivery:?}"
        );
        assert!(!delivery.error().unwrap().contains("canary"));
    }
    assert!(server.mails().is_empty());
}

/// Sends once per reply and checks the outcome.
async fn check_replies(replies: &[(&str, &str, &str)]) {
    let server = MailServer::start(Encryption::StartTls).await;
    let email = email(&server, MailTls::StartTlsRequired, None);
    for (command, reply, expected) in replies {
        server.answer(command, reply);
        let delivery = send(&email, "relay.sender@example.com").await;
        assert_eq!(
            outcome(&delivery),
            *expected,
            "{command} {reply} {delivery:?}"
        );
    }
}

#[tokio::test]
async fn refusals_of_sender_host_or_login_never_drop_the_message() {
    check_replies(&[
        ("RCPT", "554 5.7.1 <h>: Helo command rejected: Access denied", "park"),
        ("RCPT", "504 5.5.2 <h>: Helo command rejected: need fully-qualified hostname", "park"),
        ("RCPT", "504 <h>: Helo command rejected: need fully-qualified hostname", "park"),
        ("DATA", "554 Helo command rejected: Host not found", "park"),
        ("RCPT", "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied", "park"),
        ("RCPT", "554 5.7.1 <cfo@example.com>: Relay access denied", "park"),
        ("RCPT", "550 relaying denied for cfo@example.com", "park"),
        ("RCPT", "553 5.1.8 <a@b>: Sender address rejected: Domain not found", "park"),
        ("RCPT", "553 Sender address rejected: not owned by user daemon", "park"),
        ("RCPT", "550 5.1.0 <a@b>: Sender address rejected: User unknown in virtual mailbox table", "park"),
        ("RCPT", "550 5.1.1 <a@b>: Sender address rejected: User unknown in local recipient table", "park"),
        ("RCPT", "550-Verification failed for <a@b>\r\n550-Unrouteable address\r\n550 Sender verify failed", "park"),
        ("DATA", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "park"),
        (".", "554 5.2.252 SendAsDenied; a@b not allowed to send as c@d", "park"),
        ("RCPT", "550-5.4.5 Daily user sending limit exceeded. For more information go to\r\n550 5.4.5 support.example.com", "park"),
        (".", "550 5.4.5 Daily sending quota exceeded", "park"),
        ("RCPT", "550 5.1.7 Invalid address", "park"),
        ("DATA", "535 5.7.8 authentication failed", "park"),
        (".", "550 5.7.26 unauthenticated mail is not accepted", "park"),
        (".", "554 5.3.0 system trouble", "park"),
        (".", "554 5.3.5 misconfigured", "park"),
        ("RCPT", "550 no", "park"),
        ("DATA", "554 transaction failed", "park"),
        (".", "550 mail.example.com 5.1.1.1 says 5.x.1 or 5.1 or 5.1.1234", "park"),
        (".", "554 4.7.1 come back later", "retry slowly"),
        ("RCPT", "450 5.1.1 greylisted", "retry slowly"),
        ("RCPT", "421 4.7.0 too many connections", "retry"),
    ])
    .await;
}

#[tokio::test]
async fn refusals_of_recipient_or_message_drop_it() {
    check_replies(&[
        (
            "RCPT",
            "550 5.1.1 <relay.sender@example.com>: Recipient address rejected: User unknown",
            "drop",
        ),
        (
            "RCPT",
            "550-mail.example.com\r\n550 5.1.1 no such user",
            "drop",
        ),
        (
            "RCPT",
            "550-5.1.1 The account does not exist.\r\n550 5.1.1 Look at the spelling",
            "drop",
        ),
        ("RCPT", "550 #5.1.1 no such user", "drop"),
        ("RCPT", "550 5.1.2 no such domain", "drop"),
        ("RCPT", "501 5.1.3 bad address", "drop"),
        ("RCPT", "551 5.1.6 moved", "drop"),
        ("RCPT", "556 5.1.10 null MX", "drop"),
        ("RCPT", "550 5.1.0 <x>: recipient address rejected", "drop"),
        ("RCPT", "550 5.2.1 mailbox disabled", "drop"),
        ("RCPT", "552 5.2.2 mailbox full", "drop"),
        (
            "RCPT",
            "550 5.4.1 Recipient address rejected: Access denied",
            "drop",
        ),
        ("RCPT", "550 user unknown", "drop"),
        (
            "RCPT",
            "550 5.5.0 Requested action not taken: mailbox unavailable",
            "drop",
        ),
        ("RCPT", "551 user not local", "drop"),
        (".", "552 5.3.4 too big", "drop"),
        (".", "552 message size exceeds fixed limit", "drop"),
        (".", "554 5.6.0 cannot be converted", "drop"),
    ])
    .await;
}

#[tokio::test]
async fn silent_server_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let email = EmailNotifier::new(settings(port, MailTls::None, None), None).unwrap();
    let email = Notifier::Email(email.with_time_limit(Duration::from_millis(50)));
    let expected = Delivery::retry("timeout waiting for the mail server");
    assert_eq!(send(&email, "cfo@example.com").await, expected);
}

#[tokio::test]
async fn endless_line_is_cut_off() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let talker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut n_written = 0_usize;
        let chunk = [b'2'; 4096];
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &chunk)
            .await
            .is_ok()
        {
            n_written += chunk.len();
        }
        n_written
    });
    let email = EmailNotifier::new(settings(port, MailTls::None, None), None).unwrap();
    let delivery = send(&Notifier::Email(email), "cfo@example.com").await;
    assert!(
        matches!(&delivery, Delivery::Retry { error, .. } if error.contains("sends too much data")),
        "{delivery:?}"
    );
    // Data in system buffers comes on top.
    assert!(talker.await.unwrap() < 16 * 1024 * 1024);
}

#[test]
fn addresses_with_extra_content_are_rejected() {
    for from in ["", "x", "a@b\r\nBcc: c@d", "a@b, c@d", "a@b\0"] {
        let settings = EmailSettings {
            from: from.to_owned(),
            ..settings(25, MailTls::None, None)
        };
        let refused = EmailNotifier::new(settings, None);
        assert!(
            matches!(refused, Err(SettingsError::Address { .. })),
            "{from:?}"
        );
    }
}
