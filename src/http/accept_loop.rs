//! Accepts connections and serves them over HTTP/1 only, with a deadline for every wait.
//!
//! hyper has a deadline for headers only, so the phases are tracked here: on the socket, at the start of a request, and at
//! the end of the request and response bodies.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::Request;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::connections::{ClientSource, ConnectionSlot, Connections};
use crate::http::progress::{ConnectionPhase, ConnectionProgress};
use spendwatch_base::clock::Clock;

/// More than any well-behaved client sends.
const MAX_HEADERS: usize = 64;
/// Maximum bytes of request headers, and of buffered response data.
const MAX_BUFFER: usize = 64 * 1024;
/// Time for responses in progress at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after the system failed to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A lasting problem is logged again after this time.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Address of the client, or of the proxy in front of it; an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Server that accepts connections.
pub struct AcceptLoop {
    pub routes: Router,
    pub connections: Arc<Connections>,
    pub clock: Clock,
    pub stop: CancellationToken,
}

impl AcceptLoop {
    /// Accepts connections until stopped, then completes the requests in progress.
    pub async fn run(self, listener: TcpListener) {
        let tracker = TaskTracker::new();
        let abandon = CancellationToken::new();
        let (mut limit_log, mut error_log) = (LogLimiter::default(), LogLimiter::default());
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let progress = Arc::new(ConnectionProgress::new(self.clock.clone()));
                    let source = ClientSource::new(address.ip());
                    let admission = self.connections.admit(source, &progress).await;
                    if admission.limit_reached && limit_log.is_due(&self.clock) {
                        let max = self.connections.max();
                        tracing::warn!(
                            "HTTP connections reached the limit, closing the longest waiting ones; `max_connections` is {max}, \
                             one address may use half of it; newest connection from {}",
                            address.ip()
                        );
                    }
                    if let Some(slot) = admission.slot {
                        let connection = Connection {
                            address,
                            routes: self.routes.clone(),
                            progress,
                            slot,
                            stop: self.stop.clone(),
                            abandon: abandon.clone(),
                        };
                        tracker.spawn(connection.run(stream));
                    }
                }
                Err(error) if is_client_error(&error) => {}
                Err(error) => {
                    if error_log.is_due(&self.clock) {
                        tracing::error!("cannot accept HTTP connections, retrying: {error}");
                    }
                    // The process may be out of file descriptors.
                    self.connections.evict_one();
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = self.clock.sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
        drop(listener);
        tracker.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, tracker.wait())
            .await
            .is_err()
        {
            abandon.cancel();
            tracker.wait().await;
        }
    }
}

/// Returns whether the client disconnected before it was accepted.
fn is_client_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Limits how often a message is logged.
#[derive(Debug, Default)]
struct LogLimiter(Option<Duration>);

impl LogLimiter {
    fn is_due(&mut self, clock: &Clock) -> bool {
        let now = clock.monotonic();
        let is_due = self.0.is_none_or(|at| now >= at + LOG_INTERVAL);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

struct Connection {
    address: SocketAddr,
    routes: Router,
    progress: Arc<ConnectionProgress>,
    slot: ConnectionSlot,
    stop: CancellationToken,
    abandon: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Without this, the last packet of a response waits 40 ms for the client to acknowledge the others. A failure only
        // costs this delay.
        let _ = stream.set_nodelay(true);
        let progress = &self.progress;
        let io = TokioIo::new(Watched {
            stream,
            progress: Arc::clone(progress),
        });
        let routes = TowerToHyperService::new(self.routes.clone());
        let peer = Peer(self.address.ip().to_canonical());
        let service =
            service_fn(|request| handle(routes.clone(), request, peer, Arc::clone(progress)));
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_BUFFER);
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut expired = pin!(progress.expired());
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                () = self.slot.evicted.cancelled() => return,
                () = self.abandon.cancelled() => return,
                phase = &mut expired => {
                    tracing::debug!("closed HTTP connection from {}: {}", self.address, phase.timeout_reason());
                    return;
                }
                () = self.stop.cancelled(), if !is_stopping => {
                    if matches!(progress.phase(), ConnectionPhase::Opened | ConnectionPhase::Headers | ConnectionPhase::Idle) {
                        return;
                    }
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!("HTTP connection from {} failed: {error}", self.address);
                    }
                    return;
                }
            }
        }
    }
}

async fn handle(
    routes: TowerToHyperService<Router>,
    mut request: Request<Incoming>,
    peer: Peer,
    progress: Arc<ConnectionProgress>,
) -> Result<axum::http::Response<TrackedBody<Body>>, Infallible> {
    progress.wait_until_flushed().await;
    progress.on_request_headers(!request.body().is_end_stream());
    request.extensions_mut().insert(peer);
    let body_end = BodyEnd::Request(Arc::clone(&progress));
    let request = request.map(|body| TrackedBody {
        body,
        end: Some(body_end),
    });
    let response = routes.call(request).await?;
    progress.on_response_headers();
    Ok(response.map(|body| TrackedBody {
        body,
        end: Some(BodyEnd::Response(progress)),
    }))
}

/// Body that records its end: when it is read completely, or dropped.
struct TrackedBody<B> {
    body: B,
    end: Option<BodyEnd>,
}

enum BodyEnd {
    Request(Arc<ConnectionProgress>),
    Response(Arc<ConnectionProgress>),
}

impl<B> TrackedBody<B> {
    fn record_end(&mut self) {
        match self.end.take() {
            Some(BodyEnd::Request(progress)) => progress.on_request_end(),
            Some(BodyEnd::Response(progress)) => progress.on_response_end(),
            None => {}
        }
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.record_end();
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.record_end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Socket that records its traffic.
struct Watched {
    stream: TcpStream,
    progress: Arc<ConnectionProgress>,
}

impl Watched {
    fn record_sent(&self, sent: &io::Result<usize>) {
        if sent.as_ref().is_ok_and(|n| *n > 0) {
            self.progress.on_sent();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > n_before {
            self.progress.on_received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.record_sent(&sent);
        Poll::Ready(sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        self.record_sent(&sent);
        Poll::Ready(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this only when it has nothing left to send.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.progress.on_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
