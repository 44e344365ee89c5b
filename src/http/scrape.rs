//! `GET /metrics`: gauges as they were made ready after the newest cycle, and the daemon's own series.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::app::App;
use crate::domain::ids::NotifierName;
use crate::metrics::negotiation::{content_type, negotiate};
use crate::metrics::own::{self, Post};
use crate::store::error::StoreError;

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
    let posts = posts(&app).await.unwrap_or_else(|error| {
        tracing::warn!("the scrape is without the state of delivery: {error}");
        BTreeMap::new()
    });
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

async fn posts(app: &App) -> Result<BTreeMap<NotifierName, Post>, StoreError> {
    let counts = app.store.outbox_counts().await?;
    let mut posts = BTreeMap::new();
    for name in app.bells.names() {
        let count = counts.get(&name);
        let post = Post {
            n_waiting: count.map_or(0, |counts| counts.n_waiting),
            n_dead: count.map_or(0, |counts| counts.n_dead),
        };
        posts.insert(name, post);
    }
    Ok(posts)
}
