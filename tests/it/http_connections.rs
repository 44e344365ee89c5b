//! Clients that hold connections open are disconnected in time and do not affect others.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use spendwatch_base::clock::Clock;
use spendwatch_base::process::raise_descriptor_limit;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::http_silences::HttpFixture;
use crate::program::{Home, Program, get};
use crate::receiver::{Answer, Receiver};

/// More than the daemon's limit of open files.
const N_CONNECTIONS: usize = 1100;
/// Scrape timeout.
const SCRAPE_LIMIT: Duration = Duration::from_secs(10);
/// Client behavior: bytes sent first, and bytes sent repeatedly afterwards.
struct Kind {
    name: &'static str,
    first: Vec<u8>,
    drip: &'static [u8],
}

fn kind(name: &'static str, first: impl Into<Vec<u8>>, drip: &'static [u8]) -> Kind {
    Kind {
        name,
        first: first.into(),
        drip,
    }
}

fn kinds(address: &str) -> Vec<Kind> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // A frame of headers that announces more of them.
    let endless = [&preface[..], b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    let get = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n");
    let post = |length: &str| {
        format!(
            "POST /api/v1/silences HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    vec![
        kind("no byte", "", b""),
        kind("one byte", "G", b""),
        kind("HTTP/2 preface", preface, b""),
        kind("HTTP/2 headers", endless, b""),
        kind("unfinished headers", get.clone(), b""),
        kind("dripping headers", get.clone(), b"X-Y: z\r\n"),
        kind("unfinished body", post("Content-Length: 1000"), b""),
        kind("dripping body", post("Content-Length: 1000"), b" "),
        kind(
            "dripping chunks",
            post("Transfer-Encoding: chunked"),
            b"1\r\n \r\n",
        ),
        kind("response that is not read", format!("{get}\r\n"), b""),
    ]
}

async fn simulator() -> Simulator {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    Simulator::start(world, Clock::system()).await.unwrap()
}

/// Starts a daemon with a limit of open files.
fn run_limited(home: &Home, n_files: usize) -> Program {
    let script = format!("ulimit -n {n_files}; exec \"$0\" \"$@\"");
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    Program::start_by(home, &["sh", "-c", &script], &arguments, &[])
}

/// Sends a request from a local address; returns the first line of the response.
async fn ask_from(source: &str, address: &str, path: &str) -> String {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(format!("{source}:0").parse().unwrap())?;
        let mut stream = socket.connect(address.parse().unwrap()).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok::<String, std::io::Error>(response)
    };
    match timeout(SCRAPE_LIMIT, exchange).await {
        Ok(Ok(response)) => response.lines().next().unwrap_or_default().to_owned(),
        Ok(Err(error)) => format!("{error}"),
        Err(_) => "no response in time".to_owned(),
    }
}

/// Opens connections, which the server may close at any time.
fn flood(address: &str, kind: &Kind, n: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(&kind.first);
        let _ = stream.write(kind.drip);
        stream
    };
    (0..n).map(open).collect()
}

fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!(stream.read(&mut [0; 1024]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_requests_do_not_block_scrapes_alerts_or_shutdown() {
    raise_descriptor_limit().unwrap();
    let simulator = simulator().await;
    let hook = Receiver::start(|_| None).await;
    let home = Home::new();
    let thresholds: Vec<String> = (1..20)
        .map(|n| format!("{{ at = \"{}%\", severity = \"warning\" }}", n * 5))
        .collect();
    home.configure(
        &simulator,
        &format!(
            "[[rules]]\nname = \"month\"\nlimit_usd = 100\nthresholds = [{}]\n\
             [[notifiers]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{}\"\ngroup_wait = \"0s\"\n",
            thresholds.join(", "),
            hook.url
        ),
    );
    let mut program = run_limited(&home, 1024);
    let address = program.address();
    program.wait_for("cycle ok");
    let mut open = Vec::new();
    for (place, kind) in kinds(&address).iter().enumerate() {
        // Each alert uses a new connection.
        let closing = vec![("connection", "close".to_owned())];
        hook.answer(Answer::Reply(200, closing, "ok".to_owned()));
        open.push(flood(&address, kind, N_CONNECTIONS));
        for path in ["/healthz", "/metrics", "/"] {
            for source in ["127.0.0.2", "127.0.0.1"] {
                let line = ask_from(source, &address, path).await;
                assert_eq!(line, "HTTP/1.1 200 OK", "{path} beside {}", kind.name);
            }
        }
        let now = Clock::system().now();
        let model = "claude-sonnet-4-5";
        simulator.world().spend("workspace_a", model, now, "5");
        let posts = timeout(Duration::from_secs(60), hook.wait_for(place + 1));
        assert!(posts.await.is_ok(), "no alert beside {}", kind.name);
        if open.len() > 2 {
            open.remove(0);
        }
    }
    let clock = Clock::system();
    program.signal("TERM");
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert!(clock.monotonic() < Duration::from_secs(10));
    let log = log.join("\n");
    assert!(!log.contains("Too many open files"), "{log}");
    assert!(log.contains("HTTP connections reached the limit"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_at_most_half_of_the_connections_and_keeps_the_newest() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, "max_connections = 4\n");
    let mut program = Program::run(&home);
    let address = program.address();
    let mut open = flood(&address, &kind("no byte", "", b""), 10);
    // Accepted after the others.
    let line = ask_from("127.0.0.2", &address, "/healthz").await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    let stay: Vec<usize> = (0..10).filter(|n| is_open(&mut open[*n])).collect();
    assert_eq!(stay, [8, 9]);
    program.wait_for("`max_connections` is 4, one address may use half of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn few_file_descriptors_lower_the_connection_limit() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, "");
    let mut program = run_limited(&home, 80);
    program.wait_for("`http.max_connections` lowered from 512 to 10");
    let address = program.address();
    let _open = flood(&address, &kind("no byte", "", b""), 100);
    for source in ["127.0.0.2", "127.0.0.1"] {
        let line = ask_from(source, &address, "/metrics").await;
        assert_eq!(line, "HTTP/1.1 200 OK");
    }
    program.wait_for("cycle ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_file_limit_is_raised_to_the_hard_limit() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, "");
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let script = "ulimit -Sn 100; ulimit -Hn 2000; exec \"$0\" \"$@\"";
    let mut program = Program::start_by(&home, &["sh", "-c", script], &arguments, &[]);
    let address = program.address();
    let metrics = get(&address, "/metrics");
    assert!(metrics.contains("\nprocess_max_fds 2000\n"), "{metrics}");
    assert!(!program.lines.join("\n").contains("lowered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_recovers_from_running_out_of_file_descriptors() {
    let simulator = simulator().await;
    let home = Home::new();
    home.configure(&simulator, "");
    let mut program = Program::run(&home);
    let address = program.address();
    program.wait_for("cycle ok");
    let id = Pid::from_raw(program.id().try_into().unwrap());
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: Some(1000),
    };
    prlimit(id, Resource::Nofile, limit(3)).unwrap();
    let silent = TcpStream::connect(&address).unwrap();
    program.wait_for("cannot accept HTTP connections");
    // Cycles continue meanwhile, and the error is logged once.
    for _ in 0..3 {
        program.wait_for("cycle ");
    }
    prlimit(id, Resource::Nofile, limit(1000)).unwrap();
    let line = ask_from("127.0.0.1", &address, "/healthz").await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    drop(silent);
    program.signal("TERM");
    let (_, log) = program.ended();
    let n_logged = log
        .iter()
        .filter(|line| line.contains("cannot accept HTTP connections"))
        .count();
    assert_eq!(n_logged, 1, "{log:?}");
}

/// Returns the seconds until a connection is closed on which bytes are sent every second.
fn closed_after(fixture: &HttpFixture, stream: &mut TcpStream, drip: &[u8]) -> u64 {
    // Lets the server process each second.
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let is_timeout = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    };
    for second in 0..200 {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return second,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => {}
            Err(_) => return second,
        }
        if matches!(stream.write(drip), Err(error) if !is_timeout(&error)) {
            return second;
        }
        fixture.stage.clock.advance(Duration::from_secs(1));
    }
    panic!("never closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_requests_time_out_even_if_bytes_keep_coming() {
    let fixture = HttpFixture::new().await;
    for kind in kinds(&fixture.address()) {
        if kind.name == "response that is not read" {
            continue;
        }
        let mut stream = TcpStream::connect(fixture.address()).unwrap();
        stream.write_all(&kind.first).unwrap();
        let seconds = closed_after(&fixture, &mut stream, kind.drip);
        let expected = if kind.name.starts_with("HTTP/2") {
            0..=3
        } else {
            9..=60
        };
        assert!(expected.contains(&seconds), "{}: {seconds} s", kind.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_rejected() {
    let fixture = HttpFixture::new().await;
    let kinds = kinds(&fixture.address());
    for kind in kinds.iter().filter(|kind| kind.name.starts_with("HTTP/2")) {
        let mut stream = TcpStream::connect(fixture.address()).unwrap();
        stream.write_all(&kind.first).unwrap();
        let mut response = Vec::new();
        // The connection may be reset, because not everything was read.
        let _ = stream.read_to_end(&mut response);
        assert!(
            response.is_empty() || response.starts_with(b"HTTP/1.1 4"),
            "{response:?}"
        );
    }
}

/// Requests more than the system buffers and reads `n_read` bytes per second; returns the second of the disconnect.
async fn unread_closed_after(fixture: &HttpFixture, n_read: usize) -> u64 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = fixture.address().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.repeat(10).as_bytes()).unwrap();
    // The first response has begun.
    stream.read_exact(&mut [0; 16]).unwrap();
    stream.set_nonblocking(true).unwrap();
    for second in 0..5000 {
        // Other clients are served meanwhile.
        assert_eq!(fixture.get("/healthz").0, 200);
        let _ = stream.read(&mut vec![0; n_read]);
        let written = stream.write(b"G");
        if written.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
            return second;
        }
        fixture.stage.clock.advance(Duration::from_secs(1));
    }
    panic!("never closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_responses_time_out() {
    let fixture = HttpFixture::new().await;
    for n in 0..5000 {
        let name = format!("organization-{n}-{}", "x".repeat(100));
        fixture.app.counters.add_organization(&name.as_str().into());
    }
    for n_read in [0, 1] {
        let seconds = unread_closed_after(&fixture, n_read).await;
        assert!(seconds >= 9, "{n_read}: {seconds} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_alive_until_the_idle_timeout() {
    let fixture = HttpFixture::new().await;
    let mut stream = TcpStream::connect(fixture.address()).unwrap();
    let request = format!(
        "GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n",
        fixture.address()
    );
    for _ in 0..3 {
        stream.set_read_timeout(None).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"healthy\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            response.push(byte[0]);
        }
        // Lets the server notice that everything was sent.
        for _ in 0..5 {
            assert_eq!(fixture.get("/healthz").0, 200);
        }
        fixture.stage.clock.advance(Duration::from_secs(60));
    }
    // The clock has run for 60 s since the last response.
    let seconds = closed_after(&fixture, &mut stream, b"");
    assert!((10..=60).contains(&seconds), "{seconds} s");
}
