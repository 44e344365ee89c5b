//! Scrapes the same series over HTTP, compared with a static file in memory on the same kind of server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use spendwatch::app::App;
use spendwatch::app::published::PublishedState;
use spendwatch::app::wakeups::Wakeups;
use spendwatch::http::access::AccessPolicy;
use spendwatch::http::{HandlerState, HttpServer};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config::sections::HttpConfig;
use spendwatch_config::source::Environment;
use spendwatch_metrics::counters::Counters;
use spendwatch_metrics::gauges::Renderer;
use spendwatch_store::Store;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use crate::Extent;
use crate::harness::organization;
use crate::rendering::{N_WORKSPACES, Shown};
use crate::report::{Goal, Report, alternately};

pub fn run(report: &mut Report, _: Extent) {
    let runtime = Runtime::new().expect("threads");
    let (server, asking) = runtime.block_on(daemon());
    for (name, encoding) in [("plain", "identity"), ("gzip", "gzip")] {
        let mut scraper = Client::to(server.address(), "/metrics", encoding);
        let file = Bytes::from(scraper.fetch());
        let mut reader = Client::to(runtime.block_on(file_server(file)), "/file", encoding);
        let (scraped, read) = alternately(31, || scraper.fetch(), || reader.fetch());
        report.add(
            &format!("scraping 100,000 series, {name}: one scrape"),
            scraped.median() * 1e3,
            "ms",
            Goal::None,
        );
        report.add(
            &format!("scraping 100,000 series, {name}, against a static file"),
            scraped.median() / read.median(),
            "×",
            Goal::AtMost(2.0),
        );
    }
    drop(asking);
}

type Asking = mpsc::Receiver<tokio::sync::oneshot::Sender<Result<(), String>>>;

/// Starts the daemon's HTTP server with all series published.
async fn daemon() -> (HttpServer, Asking) {
    let organization = organization();
    let published = PublishedState::default();
    let rendered = Shown::new(N_WORKSPACES).render(&mut Renderer::default());
    published.set_gauges(&organization, rendered);
    let counters = Counters::new("bench");
    counters.add_organization(&organization);
    let app = App {
        environment: Environment::new(),
        store: Store::in_memory().expect("memory"),
        clock: Clock::system(),
        random: Random::seeded(1),
        audit: None,
        counters: Arc::new(counters),
        wakeups: Wakeups::default(),
        cycle_completed: Notify::new(),
        published,
    };
    let listener = listen();
    let address = listener.local_addr().expect("an address");
    let http = HttpConfig {
        listen: address,
        external_url: None,
        bearer_token: None,
        public_metrics: true,
        max_connections: 512,
    };
    let access = AccessPolicy::from_config(&http, address, &app.environment).await;
    let (asked, asking) = mpsc::channel(1);
    let served = HandlerState {
        app: Arc::new(app),
        reload_requests: asked,
    };
    let access = access.expect("no secret to find");
    let server = HttpServer::start(listener, served, access, 512);
    (server.expect("a server"), asking)
}

async fn file_server(file: Bytes) -> SocketAddr {
    let listener = listen();
    let address = listener.local_addr().expect("an address");
    let routes: Router = Router::new().route("/file", get(move || async move { file }));
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn listen() -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    listener
}

/// A minimal client with one connection.
struct Client {
    stream: BufReader<TcpStream>,
    request: String,
}

impl Client {
    fn to(address: SocketAddr, path: &str, encoding: &str) -> Client {
        let stream = TcpStream::connect(address).expect("a server");
        Client {
            stream: BufReader::new(stream),
            request: format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: {encoding}\r\n\r\n"
            ),
        }
    }

    fn fetch(&mut self) -> Vec<u8> {
        let request = self.request.as_bytes();
        self.stream.get_mut().write_all(request).expect("a server");
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            self.stream.read_line(&mut line).expect("a head");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        body
    }
}
