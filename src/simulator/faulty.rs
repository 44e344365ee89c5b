//! What a fault makes of an answer: of its body, of its stream, and of the time that it takes.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};

use crate::domain::span::Hour;
use crate::simulator::answers::Route;
use crate::simulator::edit;
use crate::simulator::faults::Fault;
use crate::simulator::refusal::Query;
use crate::simulator::reply::Reply;
use crate::simulator::service::Pages;
use crate::simulator::shared::Shared;

/// The answer to a request that a fault strikes; `usual` gives the right answer to a query.
pub async fn faulty(
    shared: &Arc<Shared>,
    route: Route,
    query: &Query,
    fault: Fault,
    usual: impl Fn(&Query) -> Reply,
) -> Response {
    match fault {
        Fault::Status(status, body, retry_after) => {
            let reply = Reply::json(status, body);
            match retry_after {
                Some(value) => reply.with_header(header::RETRY_AFTER, value),
                None => reply,
            }
            .into_response()
        }
        Fault::Html(status) => Reply::html(status).into_response(),
        Fault::Body(body) => Reply::json(200, body).into_response(),
        Fault::Redirect => redirect("http://127.0.0.1:9/elsewhere"),
        Fault::RedirectTo(address) => redirect(&address),
        Fault::CutOff => cut_off(&usual(query)),
        Fault::Reset => broken(&Reply::json(200, "{}".to_owned()), Bytes::new()),
        Fault::LostAnswer => broken(&usual(query), Bytes::new()),
        Fault::LostStatus(status) => {
            drop(usual(query));
            Reply::html(status).into_response()
        }
        Fault::Endless => endless(),
        Fault::Gzip => gzip(usual(query)),
        Fault::GzipBomb(n_bytes) => gzip(Reply {
            body: vec![b' '; n_bytes].into(),
            ..usual(query)
        }),
        Fault::NotGzip => usual(query)
            .with_header(header::CONTENT_ENCODING, "gzip")
            .into_response(),
        Fault::Stall => usual(query).with_body(Body::from_stream(stream::pending::<Piece>())),
        Fault::Silence => {
            shared.gate.wait().await;
            usual(query).into_response()
        }
        Fault::StallAfter(n_bytes) => stall_after(shared, &usual(query), n_bytes),
        Fault::Delay(delay) => {
            shared.clock.sleep(delay).await;
            usual(query).into_response()
        }
        Fault::Drip(n_bytes, pause) => drip(shared, &usual(query), n_bytes, pause),
        Fault::Truncated => {
            let mut reply = usual(query);
            reply.body.truncate(reply.body.len() / 2);
            reply.into_response()
        }
        Fault::Padded(n_bytes) => usual(query)
            .edited(|body| format!("{body}{}", " ".repeat(n_bytes)))
            .into_response(),
        Fault::EndlessPages => paged(route, query, usual, endless_page),
        Fault::EmptyPage => paged(route, query, usual, |body, number| {
            with_more(&no_rows(body), number)
        }),
        Fault::SamePage => paged(route, query, usual, |body, _| with_more(body, None)),
        Fault::NoRows => usual(query).edited(no_rows).into_response(),
        Fault::MissingRows(hours) => edited_rows(usual(query), |rows| {
            rows.retain(|row| start_of(row).is_none_or(|start| !hours.contains(start)));
        }),
        Fault::DuplicateRow => edited_rows(usual(query), |rows| rows.extend(rows.first().cloned())),
        Fault::Reversed => edited_rows(usual(query), |rows| rows.reverse()),
        Fault::WithoutField(name) => usual(query)
            .edited(|body| edit::without_field(body, &name))
            .into_response(),
        Fault::Field(name, json) => usual(query)
            .edited(|body| edit::with_field(body, &name, &json))
            .into_response(),
    }
}

/// A piece of a body.
type Piece = Result<Bytes, Infallible>;

/// The first page, edited; `number` is which one was asked for after it: 1, 2, …
fn paged(
    route: Route,
    query: &Query,
    usual: impl Fn(&Query) -> Reply,
    edit: impl FnOnce(&str, Option<u64>) -> String,
) -> Response {
    let cursor = match route.pages() {
        Pages::None => return usual(query).into_response(),
        Pages::ById => "after_id",
        Pages::ByCursor => "page",
    };
    let asked = query.iter().find(|(name, _)| name == cursor);
    let number = asked.map(|(_, id)| endless_number(id) + 1);
    let is_kept = |(name, _): &&(String, String)| name != cursor;
    let first = usual(&query.iter().filter(is_kept).cloned().collect());
    first.edited(|body| edit(body, number)).into_response()
}

fn edited_rows(reply: Reply, change: impl FnOnce(&mut Vec<String>)) -> Response {
    reply
        .edited(|body| edit::with_rows(body, change))
        .into_response()
}

/// More is promised: where pages go by a cursor, under one that was never told, or else always under the same.
fn with_more(body: &str, number: Option<u64>) -> String {
    let next = format!("\"endless_{}\"", number.unwrap_or(0));
    let body = edit::with_field(body, "next_page", &next);
    edit::with_field(&body, "has_more", "true")
}

fn no_rows(body: &str) -> String {
    let body = edit::with_rows(body, Vec::clear);
    let body = edit::with_field(&body, "has_more", "false");
    let body = edit::with_field(&body, "next_page", "null");
    let body = edit::with_field(&body, "first_id", "null");
    edit::with_field(&body, "last_id", "null")
}

/// The first page as it is, and after it (`number`: 1, 2, …) one row at a time; in a list under an id that was never told.
fn endless_page(body: &str, number: Option<u64>) -> String {
    let body = with_more(body, number);
    let Some(number) = number else {
        return body;
    };
    let id = format!("\"endless_{number}\"");
    let body = edit::with_rows(&body, |rows| {
        rows.truncate(1);
        for row in rows {
            *row = edit::with_field(row, "id", &id);
        }
    });
    let body = edit::with_field(&body, "first_id", &id);
    edit::with_field(&body, "last_id", &id)
}

/// Which endless page ends with an id; the first page is 0.
fn endless_number(id: &str) -> u64 {
    let number = id.strip_prefix("endless_").map(str::parse);
    number.and_then(Result::ok).unwrap_or(0)
}

/// The first hour of a usage row of hours or days.
fn start_of(row: &str) -> Option<Hour> {
    let row: serde_json::Value = serde_json::from_str(row).ok()?;
    let date = row.get("date").or_else(|| row.get("starting_at"))?;
    let date = date.as_str()?;
    let start = match date.len() {
        10 => format!("{date}T00:00:00Z"),
        _ => date.to_owned(),
    };
    Some(Hour::of(start.parse().ok()?))
}

fn redirect(address: &str) -> Response {
    Reply::json(302, String::new())
        .with_header(header::LOCATION, address)
        .into_response()
}

/// The head promises the whole body, and half of it comes.
fn cut_off(reply: &Reply) -> Response {
    broken(reply, reply.body.slice(..reply.body.len() / 2))
}

/// The head promises the whole body, so much of it comes, and the connection closes.
fn broken(reply: &Reply, first: Bytes) -> Response {
    let is_nothing = first.is_empty();
    let rest = stream::once(async move {
        if !is_nothing {
            // What was written before goes out first.
            tokio::task::yield_now().await;
        }
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let pieces = stream::iter((!is_nothing).then_some(Ok(first))).chain(rest);
    let mut response = reply.with_body(Body::from_stream(pieces));
    let length = HeaderValue::from(reply.body.len());
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    response
}

fn stall_after(shared: &Arc<Shared>, reply: &Reply, n_bytes: usize) -> Response {
    let mut rest = reply.body.clone();
    let first = rest.split_to(n_bytes.min(rest.len()));
    let shared = Arc::clone(shared);
    let rest = stream::once(async move {
        shared.gate.wait().await;
        rest
    });
    let pieces = stream::iter([first]).chain(rest).map(Piece::Ok);
    reply.with_body(Body::from_stream(pieces))
}

fn drip(shared: &Arc<Shared>, reply: &Reply, n_bytes: usize, pause: Duration) -> Response {
    let clock = shared.clock.clone();
    let pieces: Vec<Bytes> = reply
        .body
        .chunks(n_bytes.max(1))
        .map(|piece| reply.body.slice_ref(piece))
        .collect();
    let pieces = stream::iter(pieces).then(move |piece| {
        let clock = clock.clone();
        async move {
            clock.sleep(pause).await;
            Piece::Ok(piece)
        }
    });
    reply.with_body(Body::from_stream(pieces))
}

fn endless() -> Response {
    let filler = stream::repeat(Bytes::from(vec![b' '; 64 * 1024])).map(Piece::Ok);
    Reply::json(200, String::new()).with_body(Body::from_stream(filler))
}

fn gzip(reply: Reply) -> Response {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(&reply.body);
    let body = written.and_then(|()| encoder.finish());
    Reply {
        body: body.expect("writing to memory").into(),
        ..reply
    }
    .with_header(header::CONTENT_ENCODING, "gzip")
    .into_response()
}
