//! Access rules over real sockets: request hosts, and clients that guess the bearer token.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::http_silences::HttpFixture;

const TOKEN: &str = "canary-token-of-http";
/// As long as the token.
const WRONG: &str = "canary-token-of-hexa";

/// Sends a request from a local address; returns the whole response.
async fn send_from(source: &str, address: &str, request: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// Sends request lines without a body; returns the status.
async fn status(address: &str, lines: &[&str]) -> u16 {
    let request = format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
    status_of(&send_from("127.0.0.1", address, &request).await)
}

fn status_of(response: &str) -> u16 {
    response.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn requests_must_name_exactly_one_host() {
    let fixture = HttpFixture::new().await;
    let address = fixture.address();
    let host = format!("Host: {address}");
    let own_target = format!("GET http://{address}/healthz HTTP/1.1");
    for path in ["/", "/api/v1/alerts", "/healthz", "/metrics"] {
        let line = format!("GET {path} HTTP/1.1");
        let other_target = format!("GET http://evil.example{path} HTTP/1.1");
        assert_eq!(status(&address, &[&line, &host]).await, 200, "{path}");
        for lines in [
            &[&line[..], &host, &host][..],
            &[&line, &host, "Host: evil.example"],
            &[&line, "Host: evil.example", &host],
            &[&line],
            &[&line, "Host:"],
            &[&line, "Host: a, b"],
            &[&other_target, &host],
        ] {
            assert_eq!(status(&address, lines).await, 400, "{lines:?}");
        }
    }
    assert_eq!(status(&address, &[&own_target, &host]).await, 200);
}

#[tokio::test]
async fn a_foreign_host_gets_only_metrics_and_health() {
    let fixture = HttpFixture::new().await;
    let address = fixture.address();
    let fingerprint = fixture.fingerprint().await;
    for (path, expected) in [
        ("/", 403),
        ("/api/v1/alerts", 403),
        ("/api/v1/silences", 403),
        (&format!("/alerts/{fingerprint}"), 403),
        (&format!("/api/v1/alerts/{fingerprint}"), 403),
        ("/healthz", 200),
        ("/metrics", 200),
    ] {
        let line = format!("GET {path} HTTP/1.1");
        for host in ["Host: evil.example", "Host: 127.0.0.1.evil.example:80"] {
            let found = status(&address, &[&line, host]).await;
            assert_eq!(found, expected, "{path} {host}");
        }
    }
}

/// A client with a local address.
struct Client<'a> {
    source: &'a str,
    address: &'a str,
}

impl Client<'_> {
    async fn send(&self, line: &str, token: Option<&str>) -> String {
        let authorization = token.map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n{authorization}Connection: close\r\n\r\n",
            self.address
        );
        send_from(self.source, self.address, &request).await
    }

    async fn status(&self, line: &str, token: Option<&str>) -> u16 {
        status_of(&self.send(line, token).await)
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn token_guessing_is_rate_limited_and_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fixture = HttpFixture::with(Some(TOKEN), "127.0.0.1:0").await;
    let address = &fixture.address();
    let [guesser, other] = ["127.0.0.2", "127.0.0.3"].map(|source| Client { source, address });
    let lines = [
        "GET /metrics",
        "GET /",
        "GET /api/v1/alerts",
        "POST /-/reload",
        "DELETE /api/v1/silences/a",
    ];
    for line in lines {
        for _ in 0..3 {
            assert_eq!(guesser.status(line, None).await, 401, "{line}");
        }
    }
    assert_eq!(guesser.status("GET /metrics", Some(TOKEN)).await, 200);
    // Simultaneous attempts are limited like sequential ones.
    let guesses = (0..30).map(|n| guesser.status(lines[n % lines.len()], Some(WRONG)));
    let statuses = futures_util::future::join_all(guesses).await;
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(401), count(429)), (10, 20), "{statuses:?}");
    let response = guesser.send("GET /metrics", Some(TOKEN)).await;
    assert_eq!(status_of(&response), 429, "{response}");
    assert!(response.contains("\r\nretry-after: 5\r\n"), "{response}");
    assert!(response.contains("retry in 5 s"), "{response}");
    assert_eq!(guesser.status("GET /metrics", None).await, 401);
    assert_eq!(guesser.status("GET /healthz", Some(WRONG)).await, 200);
    assert_eq!(other.status("GET /metrics", Some(TOKEN)).await, 200);
    assert_eq!(other.status("GET /metrics", Some(WRONG)).await, 401);
    fixture.stage.clock.advance(Duration::from_secs(5));
    assert_eq!(guesser.status("GET /metrics", Some(TOKEN)).await, 200);
    assert_eq!(guesser.status("GET /metrics", Some(WRONG)).await, 401);
    assert_eq!(guesser.status("GET /metrics", Some(WRONG)).await, 429);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let logged: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once(" WARN spendwatch::http::attempts: "))
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        logged,
        [
            "received 1 wrong bearer token from 127.0.0.2",
            "received 10 wrong bearer tokens from 127.0.0.2, answering 429 but for one attempt per 5 s",
            "received 1 wrong bearer token from 127.0.0.3",
        ]
    );
    assert!(!text.contains("canary"), "{text}");
}
