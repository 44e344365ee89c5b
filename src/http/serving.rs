//! The accept loop and what serves one connection: HTTP/1 alone, with a deadline for every wait.
//!
//! hyper has a deadline for headers only, so the phases are followed here: on the socket, at the start of a request, and
//! at the end of its body and of the response's.

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

use crate::clock::Clock;
use crate::http::connections::{Connections, Phase, Place, Progress, Source};

/// More than any honest client sends.
const MAX_HEADERS: usize = 64;
/// Of the head of a request, and of a response that waits to be sent, in bytes.
const MAX_BUFFER: usize = 64 * 1024;
/// How long an answer that is under way at the end may take.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How long nothing is accepted after the system refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A trouble that lasts is logged again after this time.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The address of the client, or of the proxy in front of it; an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// What serves connections.
pub struct Serving {
    pub routes: Router,
    pub connections: Arc<Connections>,
    pub clock: Clock,
    pub stop: CancellationToken,
}

impl Serving {
    /// Accepts connections until it is stopped; then answers what is under way.
    pub async fn run(self, listener: TcpListener) {
        let tracker = TaskTracker::new();
        let abandon = CancellationToken::new();
        let (mut crowded, mut refused) = (Logged::default(), Logged::default());
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let progress = Arc::new(Progress::new(self.clock.clone()));
                    let source = Source::of(address.ip());
                    let admission = self.connections.admit(source, &progress).await;
                    if admission.is_crowded && crowded.is_due(&self.clock) {
                        let max = self.connections.max();
                        tracing::warn!(
                            "HTTP connections reached their limit, closing the longest waiting ones; `max_connections` is {max}, \
                             and one address may have half of it; the newest connection is from {}",
                            address.ip()
                        );
                    }
                    if let Some(place) = admission.place {
                        let connection = Connection {
                            address,
                            routes: self.routes.clone(),
                            progress,
                            place,
                            stop: self.stop.clone(),
                            abandon: abandon.clone(),
                        };
                        tracker.spawn(connection.run(stream));
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if refused.is_due(&self.clock) {
                        tracing::error!("cannot accept HTTP connections, trying again: {error}");
                    }
                    // It may be descriptors that are missing.
                    self.connections.cut_one();
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = self.clock.sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
        drop(listener);
        tracker.close();
        if tokio::time::timeout(END_LIMIT, tracker.wait())
            .await
            .is_err()
        {
            abandon.cancel();
            tracker.wait().await;
        }
    }
}

/// The client left before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// When something was logged last.
#[derive(Debug, Default)]
struct Logged(Option<Duration>);

impl Logged {
    /// Whether it is logged now.
    fn is_due(&mut self, clock: &Clock) -> bool {
        let now = clock.running();
        let is_due = self.0.is_none_or(|at| now >= at + LOG_INTERVAL);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

/// One open connection.
struct Connection {
    address: SocketAddr,
    routes: Router,
    progress: Arc<Progress>,
    place: Place,
    stop: CancellationToken,
    abandon: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // A response goes out in pieces: without this the last one waits 40 ms for the client to acknowledge the others.
        // Where it cannot be set, that is all that follows.
        let _ = stream.set_nodelay(true);
        let progress = &self.progress;
        let io = TokioIo::new(Watched {
            stream,
            progress: Arc::clone(progress),
        });
        let routes = TowerToHyperService::new(self.routes.clone());
        let peer = Peer(self.address.ip().to_canonical());
        let service =
            service_fn(|request| answer(routes.clone(), request, peer, Arc::clone(progress)));
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
                () = self.place.cut.cancelled() => return,
                () = self.abandon.cancelled() => return,
                phase = &mut expired => {
                    tracing::debug!("closed the HTTP connection of {}: {}", self.address, phase.missing());
                    return;
                }
                () = self.stop.cancelled(), if !is_stopping => {
                    if matches!(progress.phase(), Phase::Opened | Phase::Headers | Phase::Idle) {
                        return;
                    }
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!("the HTTP connection of {} failed: {error}", self.address);
                    }
                    return;
                }
            }
        }
    }
}

async fn answer(
    routes: TowerToHyperService<Router>,
    mut request: Request<Incoming>,
    peer: Peer,
    progress: Arc<Progress>,
) -> Result<axum::http::Response<Followed<Body>>, Infallible> {
    progress.sent_before().await;
    progress.began_request(!request.body().is_end_stream());
    request.extensions_mut().insert(peer);
    let body_end = End::Request(Arc::clone(&progress));
    let request = request.map(|body| Followed {
        body,
        end: Some(body_end),
    });
    let response = routes.call(request).await?;
    progress.began_response();
    Ok(response.map(|body| Followed {
        body,
        end: Some(End::Response(progress)),
    }))
}

/// A body whose end is noted: that it was read to its end, or dropped.
struct Followed<B> {
    body: B,
    end: Option<End>,
}

enum End {
    Request(Arc<Progress>),
    Response(Arc<Progress>),
}

impl<B> Followed<B> {
    fn note_end(&mut self) {
        match self.end.take() {
            Some(End::Request(progress)) => progress.ended_body(),
            Some(End::Response(progress)) => progress.ended_response(),
            None => {}
        }
    }
}

impl<B> Drop for Followed<B> {
    fn drop(&mut self) {
        self.note_end();
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Followed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.note_end();
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

/// A socket whose traffic is noted.
struct Watched {
    stream: TcpStream,
    progress: Arc<Progress>,
}

impl Watched {
    fn note_sent(&self, sent: &io::Result<usize>) {
        if sent.as_ref().is_ok_and(|n| *n > 0) {
            self.progress.sent();
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.progress.received();
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
        self.note_sent(&sent);
        Poll::Ready(sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        self.note_sent(&sent);
        Poll::Ready(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this only when it has nothing left to be sent.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
