//! Rung 6: what is served over HTTP. Handlers read the board, and write what keeps quiet into the store as commands do;
//! only a reload asks the daemon for something.

pub mod access;
pub mod connections;

pub mod attempts;

pub mod fields;
pub mod health;

pub mod alerts;
pub mod quiet;

pub mod page;

pub mod scrape;

pub mod serving;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::access::{Access, Door, Refusal};
use crate::http::attempts::Attempts;
use crate::http::connections::{Connections, Source};
use crate::http::serving::{Peer, Serving};

/// What the handlers work with.
#[derive(Clone)]
pub struct Served {
    pub app: Arc<App>,
    /// Asks the daemon for a reload; the answer is what was wrong.
    pub asking: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

impl FromRef<Served> for Arc<App> {
    fn from_ref(served: &Served) -> Arc<App> {
        Arc::clone(&served.app)
    }
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    access: Arc<ArcSwap<Access>>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on a listener, at most `max_connections` at a time.
    pub fn start(
        listener: TcpListener,
        served: Served,
        access: Access,
        max_connections: usize,
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        tell_of_access(&access);
        let access = Arc::new(ArcSwap::from_pointee(access));
        let connections = Arc::new(Connections::new(max_connections));
        let stop = CancellationToken::new();
        let serving = Serving {
            clock: served.app.clock.clone(),
            routes: routes(served, &access),
            connections: Arc::clone(&connections),
            stop: stop.clone(),
        };
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(serving.run(listener));
        Ok(Server {
            address,
            access,
            connections,
            stop,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Other rules from the next request on.
    pub fn set_access(&self, access: Access) {
        tell_of_access(&access);
        self.access.store(Arc::new(access));
    }

    /// Another number of connections, for new ones.
    pub fn set_max_connections(&self, max: usize) {
        self.connections.set_max(max);
    }

    /// Takes no more requests; those under way are answered.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end.
    pub async fn ended(&mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!("the HTTP server ended badly: {error}");
        }
    }
}

fn tell_of_access(access: &Access) {
    if access.is_narrow() {
        tracing::info!(
            "only `/metrics` and the health paths are served: this is not loopback, and `[http]` has no `bearer_token`"
        );
    }
}

fn routes(served: Served, access: &Arc<ArcSwap<Access>>) -> Router {
    let attempts = Arc::new(Attempts::default());
    let clock = served.app.clock.clone();
    let guard = |door: Door| {
        let (access, attempts) = (Arc::clone(access), Arc::clone(&attempts));
        let clock = clock.clone();
        middleware::from_fn(move |request: Request, next: Next| {
            let (access, headers) = (access.load(), request.headers());
            let judged = if access.compares_token(door, headers) {
                let judge = || access.judge(door, headers);
                attempts.check(source_of(&request), clock.running(), judge)
            } else {
                access.judge(door, headers)
            };
            async move {
                match judged {
                    Ok(()) => next.run(request).await,
                    Err(refusal) => refuse(refusal),
                }
            }
        })
    };
    let health = Router::new()
        .route("/-/healthy", get(health::healthy))
        .route("/healthz", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/readyz", get(health::ready))
        .route_layer(guard(Door::Health));
    let metrics = Router::new()
        .route("/metrics", get(scrape::scrape))
        .route_layer(guard(Door::Metrics));
    let reads = Router::new()
        .route("/", get(page::overview))
        .route("/alerts/{fingerprint}", get(page::alert))
        .route("/alerts/{fingerprint}/ack", get(page::return_to_alert))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/{fingerprint}", get(alerts::show))
        .route("/api/v1/silences", get(quiet::list))
        .route_layer(guard(Door::Read));
    let writes = Router::new()
        .route("/alerts/{fingerprint}/ack", post(page::acknowledge))
        .route("/-/reload", post(reload))
        .route("/api/v1/silences", post(quiet::add))
        .route("/api/v1/silences/{id}", delete(quiet::end))
        .route("/api/v1/alerts/{fingerprint}/ack", post(quiet::acknowledge))
        .route_layer(guard(Door::Write));
    let all = health.merge(metrics).merge(reads).merge(writes);
    let host = middleware::from_fn(async |request: Request, next: Next| {
        match access::check_host(request.version(), request.uri(), request.headers()) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refuse(refusal),
        }
    });
    all.layer(host).with_state(served)
}

/// Returns whose attempts a request counts to. Requests without a known address share one source.
fn source_of(request: &Request) -> Source {
    let peer = request.extensions().get::<Peer>();
    Source::of(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0))
}

fn refuse(refusal: Refusal) -> Response {
    let mut response = (refusal.status(), format!("{refusal}\n")).into_response();
    let headers = response.headers_mut();
    if let Refusal::TooManyAttempts(seconds) = refusal {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    } else if refusal.status() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// `POST /-/reload`: 200 when the new configuration is in force, 500 with what is wrong when the old one goes on.
async fn reload(State(served): State<Served>) -> (StatusCode, String) {
    let (reply, answer) = oneshot::channel();
    let stopping = || {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is stopping\n".to_owned(),
        )
    };
    if served.asking.send(reply).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(())) => (
            StatusCode::OK,
            "the configuration was read again and is in force\n".to_owned(),
        ),
        Ok(Err(problems)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problems}\n")),
        Err(_) => stopping(),
    }
}
