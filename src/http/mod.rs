//! The HTTP server: metrics, health, the alert page and the JSON API.
//!
//! Handlers read published state, and write silences and acknowledgements to the store as commands do. Only a reload sends
//! a request to the daemon.

pub mod origin;
pub mod progress;

pub mod access;
pub mod connections;

pub mod attempts;

pub mod body;
pub mod health;

pub mod alerts;
pub mod silences;

pub mod page;

pub mod scrape;

pub mod accept_loop;

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
use crate::http::accept_loop::{AcceptLoop, Peer};
use crate::http::access::{AccessDenied, AccessPolicy, RouteClass};
use crate::http::attempts::TokenAttempts;
use crate::http::connections::{ClientSource, Connections};

/// State shared by all handlers.
#[derive(Clone)]
pub struct HandlerState {
    pub app: Arc<App>,
    /// Requests a reload from the daemon, which replies with the problems found.
    pub reload_requests: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

impl FromRef<HandlerState> for Arc<App> {
    fn from_ref(state: &HandlerState) -> Arc<App> {
        Arc::clone(&state.app)
    }
}

/// Running HTTP server.
pub struct HttpServer {
    address: SocketAddr,
    access: Arc<ArcSwap<AccessPolicy>>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves on a listener with at most `max_connections` open connections.
    pub fn start(
        listener: TcpListener,
        state: HandlerState,
        access: AccessPolicy,
        max_connections: usize,
    ) -> io::Result<HttpServer> {
        let address = listener.local_addr()?;
        log_access(&access);
        let access = Arc::new(ArcSwap::from_pointee(access));
        let connections = Arc::new(Connections::new(max_connections));
        let stop = CancellationToken::new();
        let accept_loop = AcceptLoop {
            clock: state.app.clock.clone(),
            routes: routes(state, &access),
            connections: Arc::clone(&connections),
            stop: stop.clone(),
        };
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept_loop.run(listener));
        Ok(HttpServer {
            address,
            access,
            connections,
            stop,
            task,
        })
    }

    /// Returns the address of the HTTP server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Applies a new access policy from the next request on.
    pub fn set_access(&self, access: AccessPolicy) {
        log_access(&access);
        self.access.store(Arc::new(access));
    }

    /// Changes the connection limit for new connections.
    pub fn set_max_connections(&self, max: usize) {
        self.connections.set_max(max);
    }

    /// Stops accepting requests; those in progress complete.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the server has stopped.
    pub async fn wait(&mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!("HTTP server failed: {error}");
        }
    }
}

fn log_access(access: &AccessPolicy) {
    if access.serves_only_metrics() {
        tracing::info!(
            "serving only `/metrics` and health checks: the address is not loopback and `[http]` has no `bearer_token`"
        );
    }
}

fn routes(state: HandlerState, access: &Arc<ArcSwap<AccessPolicy>>) -> Router {
    let attempts = Arc::new(TokenAttempts::default());
    let clock = state.app.clock.clone();
    let guard = |class: RouteClass| {
        let (access, attempts) = (Arc::clone(access), Arc::clone(&attempts));
        let clock = clock.clone();
        middleware::from_fn(move |request: Request, next: Next| {
            let (access, headers) = (access.load(), request.headers());
            let result = if access.compares_token(class, headers) {
                let authorize = || access.authorize(class, headers);
                attempts.check(source_of(&request), clock.monotonic(), authorize)
            } else {
                access.authorize(class, headers)
            };
            async move {
                match result {
                    Ok(()) => next.run(request).await,
                    Err(denial) => denied(denial),
                }
            }
        })
    };
    let health = Router::new()
        .route("/-/healthy", get(health::healthy))
        .route("/healthz", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/readyz", get(health::ready))
        .route_layer(guard(RouteClass::Health));
    let metrics = Router::new()
        .route("/metrics", get(scrape::scrape))
        .route_layer(guard(RouteClass::Metrics));
    let reads = Router::new()
        .route("/", get(page::overview))
        .route("/alerts/{fingerprint}", get(page::alert))
        .route("/alerts/{fingerprint}/ack", get(page::return_to_alert))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/alerts/{fingerprint}", get(alerts::show))
        .route("/api/v1/silences", get(silences::list))
        .route_layer(guard(RouteClass::Read));
    let writes = Router::new()
        .route("/alerts/{fingerprint}/ack", post(page::acknowledge))
        .route("/-/reload", post(reload))
        .route("/api/v1/silences", post(silences::add))
        .route("/api/v1/silences/{id}", delete(silences::end))
        .route(
            "/api/v1/alerts/{fingerprint}/ack",
            post(silences::acknowledge),
        )
        .route_layer(guard(RouteClass::Write));
    let all = health.merge(metrics).merge(reads).merge(writes);
    let host = middleware::from_fn(async |request: Request, next: Next| {
        match access::check_host(request.version(), request.uri(), request.headers()) {
            Ok(()) => next.run(request).await,
            Err(denial) => denied(denial),
        }
    });
    all.layer(host).with_state(state)
}

/// Returns the source whose attempts a request counts against. Requests without a known address share one source.
fn source_of(request: &Request) -> ClientSource {
    let peer = request.extensions().get::<Peer>();
    ClientSource::new(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0))
}

fn denied(denial: AccessDenied) -> Response {
    let mut response = (denial.status(), format!("{denial}\n")).into_response();
    let headers = response.headers_mut();
    if let AccessDenied::TooManyAttempts(seconds) = denial {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    } else if denial.status() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// `POST /-/reload`: 200 if the new configuration is active, 500 with its problems if the current one stays.
async fn reload(State(state): State<HandlerState>) -> (StatusCode, String) {
    let (reply, response) = oneshot::channel();
    let stopping = || {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is shutting down\n".to_owned(),
        )
    };
    if state.reload_requests.send(reply).await.is_err() {
        return stopping();
    }
    match response.await {
        Ok(Ok(())) => (StatusCode::OK, "configuration reloaded\n".to_owned()),
        Ok(Err(problems)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{problems}\n")),
        Err(_) => stopping(),
    }
}
