//! `GET /metrics`: the gauges rendered after the latest cycle, and the daemon's own series.

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
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_metrics::daemon::{self, DeliveryGauges};
use spendwatch_metrics::negotiation::{content_type, negotiate};

/// Maximum time that a scrape waits for the store, which may be busy with a long read.
const STORE_TIMEOUT: Duration = Duration::from_millis(250);

/// Responds in the format and encoding that the headers ask for.
pub async fn scrape(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let (accept, encoding) = (text(header::ACCEPT), text(header::ACCEPT_ENCODING));
    let negotiated = negotiate(accept.as_deref(), encoding.as_deref());
    let deliveries = delivery_gauges(&app).await;
    let exposition = app.published.exposition();
    let daemon_text = daemon::render(
        &app.counters,
        &app.published.request_counts(),
        &deliveries,
        &exposition,
        negotiated.format,
    );
    let chunks = exposition.response_chunks(daemon_text, negotiated.format, negotiated.is_gzip);
    let length: usize = chunks.iter().map(bytes::Bytes::len).sum();
    let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
    let common = [
        (
            header::CONTENT_TYPE,
            content_type(negotiated.format).to_owned(),
        ),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::VARY, "accept, accept-encoding".to_owned()),
    ];
    if negotiated.is_gzip {
        (common, [(header::CONTENT_ENCODING, "gzip")], body).into_response()
    } else {
        (common, body).into_response()
    }
}

/// Returns the delivery state, or that of the last scrape if the store is slow or fails.
async fn delivery_gauges(app: &App) -> BTreeMap<NotifierName, DeliveryGauges> {
    let counts = tokio::select! {
        counts = app.store.outbox_counts() => Some(counts),
        () = app.clock.sleep(STORE_TIMEOUT) => None,
    };
    match counts {
        Some(Ok(counts)) => {
            let gauges = |name: NotifierName| {
                let counts = counts.get(&name);
                let gauges = DeliveryGauges {
                    n_waiting: counts.map_or(0, |counts| counts.n_waiting),
                    n_dead: counts.map_or(0, |counts| counts.n_dead),
                };
                (name, gauges)
            };
            app.published
                .set_delivery_gauges(app.wakeups.names().into_iter().map(gauges).collect());
        }
        Some(Err(error)) => {
            tracing::warn!("cannot read the delivery state, serving the previous one: {error}");
        }
        None => tracing::debug!("the store is busy, serving the previous delivery state"),
    }
    app.published.delivery_gauges()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::body::to_bytes;
    use jiff::Timestamp;
    use tokio::sync::Notify;

    use super::*;
    use crate::app::published::PublishedState;
    use crate::app::wakeups::Wakeups;
    use spendwatch_base::clock::{Clock, ManualClock, Random};
    use spendwatch_config::source::Environment;
    use spendwatch_metrics::counters::Counters;
    use spendwatch_store::Store;

    #[tokio::test]
    async fn a_busy_store_does_not_delay_a_scrape() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spendwatch.db");
        let store = Store::open_for_daemon(&path, Timestamp::UNIX_EPOCH).unwrap();
        let wakeups = Wakeups::default();
        wakeups.for_notifier(&"slack".into());
        let published = PublishedState::default();
        let dead = DeliveryGauges {
            n_waiting: 0,
            n_dead: 7,
        };
        published.set_delivery_gauges([("slack".into(), dead)].into());
        let counters = Counters::new("test");
        counters.add_notifier(&"slack".into());
        let app = Arc::new(App {
            environment: Environment::new(),
            store: store.clone(),
            clock: Clock::Manual(clock.clone()),
            random: Random::seeded(1),
            audit: None,
            counters: Arc::new(counters),
            wakeups,
            cycle_completed: Notify::new(),
            published,
        });
        let scrape_text = async || {
            let response = scrape(State(Arc::clone(&app)), HeaderMap::new()).await;
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let shows = |text: &str, n: u64| {
            text.contains(&format!(
                "spendwatch_notifications_dead{{notifier=\"slack\"}} {n}\n"
            ))
        };

        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let read = tokio::spawn(async move {
            let until_released = move || {
                begun.send(()).unwrap();
                released.recv().unwrap_err();
            };
            store.while_reader_blocked(until_released).await;
        });
        has_begun.await.unwrap();
        let (text, ()) = tokio::join!(scrape_text(), async {
            tokio::task::yield_now().await;
            clock.advance(STORE_TIMEOUT);
        });
        assert!(shows(&text, 7), "{text}");
        drop(release);
        read.await.unwrap();
        assert!(shows(&scrape_text().await, 0));
    }
}
