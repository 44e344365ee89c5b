//! `GET /metrics`: gauges as they were made ready after the newest cycle, and the daemon's own series.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::app::App;
use crate::domain::ids::NotifierName;
use crate::metrics::negotiation::{content_type, negotiate};
use crate::metrics::own::{self, Post};

/// A scrape does not wait longer for the store, which may be in the middle of a long reading.
const PATIENCE: Duration = Duration::from_millis(250);

/// In the format and encoding that the headers ask for.
pub async fn scrape(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let (accept, encoding) = (text(header::ACCEPT), text(header::ACCEPT_ENCODING));
    let wanted = negotiate(accept.as_deref(), encoding.as_deref());
    let posts = posts(&app).await;
    let exposition = app.board.exposition();
    let own = own::render(
        &app.counters,
        &app.board.requests(),
        &posts,
        &exposition,
        wanted.format,
    );
    let pieces = exposition.answer(own, wanted.format, wanted.is_gzip);
    let length: usize = pieces.iter().map(bytes::Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    let common = [
        (header::CONTENT_TYPE, content_type(wanted.format).to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::VARY, "accept, accept-encoding".to_owned()),
    ];
    if wanted.is_gzip {
        (common, [(header::CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        (common, body).into_response()
    }
}

/// The state of delivery, or what it was at the last scrape where the store is slow or fails.
async fn posts(app: &App) -> BTreeMap<NotifierName, Post> {
    let counts = tokio::select! {
        counts = app.store.outbox_counts() => Some(counts),
        () = app.clock.sleep(PATIENCE) => None,
    };
    match counts {
        Some(Ok(counts)) => {
            let post = |name: NotifierName| {
                let counts = counts.get(&name);
                let post = Post {
                    n_waiting: counts.map_or(0, |counts| counts.n_waiting),
                    n_dead: counts.map_or(0, |counts| counts.n_dead),
                };
                (name, post)
            };
            app.board
                .show_posts(app.bells.names().into_iter().map(post).collect());
        }
        Some(Err(error)) => tracing::warn!("the scrape shows an older state of delivery: {error}"),
        None => tracing::debug!("the scrape shows an older state of delivery: the store is busy"),
    }
    app.board.posts()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::body::to_bytes;
    use jiff::Timestamp;
    use tokio::sync::Notify;

    use super::*;
    use crate::app::bells::Bells;
    use crate::app::board::Board;
    use crate::clock::{Chance, Clock, ManualClock};
    use crate::config::source::Environment;
    use crate::metrics::counters::Counters;
    use crate::store::Store;

    #[tokio::test]
    async fn a_store_in_the_middle_of_a_long_reading_does_not_hold_up_a_scrape() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spendwatch.db");
        let store = Store::open_for_daemon(&path, Timestamp::UNIX_EPOCH).unwrap();
        let bells = Bells::default();
        bells.of(&"slack".into());
        let board = Board::default();
        let dead = Post {
            n_waiting: 0,
            n_dead: 7,
        };
        board.show_posts([("slack".into(), dead)].into());
        let app = Arc::new(App {
            environment: Environment::new(),
            store: store.clone(),
            clock: Clock::Manual(clock.clone()),
            chance: Chance::seeded(1),
            audit: None,
            counters: Arc::new(Counters::new(&[], &["slack".into()], "test")),
            bells,
            pulse: Notify::new(),
            board,
        });
        let scraped = async || {
            let answer = scrape(State(Arc::clone(&app)), HeaderMap::new()).await;
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let shows = |text: &str, n: u64| {
            text.contains(&format!(
                "spendwatch_notifications_dead{{notifier=\"slack\"}} {n}\n"
            ))
        };

        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let reading = tokio::spawn(async move {
            let until_released = move || {
                begun.send(()).unwrap();
                released.recv().unwrap_err();
            };
            store.held_up(until_released).await;
        });
        has_begun.await.unwrap();
        let (text, ()) = tokio::join!(scraped(), async {
            tokio::task::yield_now().await;
            clock.advance(PATIENCE);
        });
        assert!(shows(&text, 7), "{text}");
        drop(release);
        reading.await.unwrap();
        assert!(shows(&scraped().await, 0));
    }
}
