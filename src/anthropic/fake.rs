//! A server for the tests: real sockets on an ephemeral port, and answers from a script, byte by byte, so that they
//! can also be cut, endless or late. Each connection carries one request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What a request gets.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes; then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes; then nothing, with the connection open.
    Stall(Vec<u8>),
    /// These bytes; then `x`, for as long as anyone reads.
    Endless(Vec<u8>),
}

/// The server and what it has seen.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct Seen {
    script: VecDeque<Reply>,
    requests: Vec<String>,
    n_open: usize,
    most_open: usize,
}

impl Reply {
    pub(super) fn new(status: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        Reply::Bytes(format!("{head}{body}").into_bytes())
    }

    pub(super) fn ok(body: &str) -> Reply {
        Reply::new("200 OK", "content-type: application/json\r\n", body)
    }

    pub(super) fn status(status: u16) -> Reply {
        Reply::new(&format!("{status} Whatever"), "", "")
    }

    /// Closes the connection without a word.
    pub(super) fn hang_up() -> Reply {
        Reply::Bytes(Vec::new())
    }
}

impl Fake {
    /// Answers from the script in turn; a request beyond it gets a 418.
    pub(super) async fn start(script: impl IntoIterator<Item = Reply>) -> Fake {
        let fake = Fake::start_closed(script).await;
        fake.gate.add_permits(1_000_000);
        fake
    }

    /// Holds each answer back until it is let out.
    pub(super) async fn start_closed(script: impl IntoIterator<Item = Reply>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Fake {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        fake.seen.lock().unwrap().script = script.into_iter().collect();
        let (seen, gate) = (Arc::clone(&fake.seen), Arc::clone(&fake.gate));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&gate)));
            }
        });
        fake
    }

    /// Lets so many answers out.
    pub(super) fn let_out(&self, n: usize) {
        self.gate.add_permits(n);
    }

    /// The head of each request so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }

    /// The most requests that were under way at once.
    pub(super) fn most_open(&self) -> usize {
        self.seen.lock().unwrap().most_open
    }

    /// The path and query of each request so far.
    pub(super) fn targets(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
        self.requests().iter().map(target).collect()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>, gate: Arc<Semaphore>) {
    let head = read_head(&mut stream).await;
    if head.is_empty() {
        return;
    }
    let reply = {
        let mut seen = seen.lock().unwrap();
        seen.requests.push(head);
        seen.n_open += 1;
        seen.most_open = seen.most_open.max(seen.n_open);
        seen.script.pop_front().unwrap_or(Reply::status(418))
    };
    gate.acquire().await.unwrap().forget();
    seen.lock().unwrap().n_open -= 1;
    // The client may be gone already; that is its right.
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        Reply::Endless(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}
