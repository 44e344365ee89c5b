//! Test server on a loopback port that sends scripted bytes, so that responses can be truncated, endless or late. Each connection
//! carries one request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

#[derive(Clone)]
pub(super) enum CannedResponse {
    /// Sends these bytes, then closes the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes, then keeps the connection open.
    Stall(Vec<u8>),
    /// Sends these bytes, then `x` until the client disconnects.
    Endless(Vec<u8>),
}

pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<FakeState>>,
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct FakeState {
    script: VecDeque<CannedResponse>,
    requests: Vec<String>,
    n_open: usize,
    max_open: usize,
}

impl CannedResponse {
    pub(super) fn new(status: &str, headers: &str, body: &str) -> CannedResponse {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        CannedResponse::Bytes(format!("{head}{body}").into_bytes())
    }

    pub(super) fn ok(body: &str) -> CannedResponse {
        CannedResponse::new("200 OK", "content-type: application/json\r\n", body)
    }

    pub(super) fn status(status: u16) -> CannedResponse {
        CannedResponse::new(&format!("{status} Status"), "", "")
    }

    pub(super) fn hang_up() -> CannedResponse {
        CannedResponse::Bytes(Vec::new())
    }
}

impl FakeServer {
    /// Starts a server that sends the scripted responses in order, then 418.
    pub(super) async fn start(script: impl IntoIterator<Item = CannedResponse>) -> FakeServer {
        let fake = FakeServer::start_held(script).await;
        fake.gate.add_permits(1_000_000);
        fake
    }

    /// Starts a server that holds every response until it is released.
    pub(super) async fn start_held(script: impl IntoIterator<Item = CannedResponse>) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = FakeServer {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        fake.state.lock().unwrap().script = script.into_iter().collect();
        let (state, gate) = (Arc::clone(&fake.state), Arc::clone(&fake.gate));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&state), Arc::clone(&gate)));
            }
        });
        fake
    }

    /// Sends `n` of the responses that are held back.
    pub(super) fn release(&self, n: usize) {
        self.gate.add_permits(n);
    }

    /// Returns the head of each request so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Returns the maximum number of concurrent requests.
    pub(super) fn max_open(&self) -> usize {
        self.state.lock().unwrap().max_open
    }

    /// Returns path and query of each request so far.
    pub(super) fn targets(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
        self.requests().iter().map(target).collect()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<FakeState>>, gate: Arc<Semaphore>) {
    let head = read_head(&mut stream).await;
    if head.is_empty() {
        return;
    }
    let response = {
        let mut state = state.lock().unwrap();
        state.requests.push(head);
        state.n_open += 1;
        state.max_open = state.max_open.max(state.n_open);
        state
            .script
            .pop_front()
            .unwrap_or(CannedResponse::status(418))
    };
    gate.acquire().await.unwrap().forget();
    state.lock().unwrap().n_open -= 1;
    // The client may have disconnected.
    match response {
        CannedResponse::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        CannedResponse::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
        }
        CannedResponse::Endless(bytes) => {
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
