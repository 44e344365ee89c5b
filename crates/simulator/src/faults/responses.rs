//! Responses with an injected fault: in the body, the stream, or its timing.

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

use crate::faults::ServerFault;
use crate::faults::edit;
use crate::faults::gate::Gate;
use crate::request::{Pagination, Query};
use crate::response::BufferedResponse;
use spendwatch_base::clock::Clock;
use spendwatch_domain::units::span::Hour;

/// Responds with a fault; `respond` returns the correct response to a query.
pub async fn respond_with_fault(
    (gate, clock): (&Arc<Gate>, &Clock),
    pagination: Pagination,
    query: &Query,
    fault: ServerFault,
    respond: impl Fn(&Query) -> BufferedResponse,
) -> Response {
    match fault {
        ServerFault::Status(status, body, retry_after) => {
            let response = BufferedResponse::json(status, body);
            match retry_after {
                Some(value) => response.with_header(header::RETRY_AFTER, value),
                None => response,
            }
            .into_response()
        }
        ServerFault::Html(status) => BufferedResponse::html(status).into_response(),
        ServerFault::Body(body) => BufferedResponse::json(200, body).into_response(),
        ServerFault::Redirect => redirect("http://127.0.0.1:9/elsewhere"),
        ServerFault::RedirectTo(address) => redirect(&address),
        ServerFault::CutOff => cut_off(&respond(query)),
        ServerFault::Reset => {
            broken_response(&BufferedResponse::json(200, "{}".to_owned()), Bytes::new())
        }
        ServerFault::LostResponse => broken_response(&respond(query), Bytes::new()),
        ServerFault::LostStatus(status) => {
            drop(respond(query));
            BufferedResponse::html(status).into_response()
        }
        ServerFault::Endless => endless(),
        ServerFault::Gzip => gzip(respond(query)),
        ServerFault::GzipBomb(n_bytes) => gzip(BufferedResponse {
            body: vec![b' '; n_bytes].into(),
            ..respond(query)
        }),
        ServerFault::NotGzip => respond(query)
            .with_header(header::CONTENT_ENCODING, "gzip")
            .into_response(),
        ServerFault::Stall => {
            respond(query).with_body(Body::from_stream(stream::pending::<BodyChunk>()))
        }
        ServerFault::NoResponse => {
            gate.wait().await;
            respond(query).into_response()
        }
        ServerFault::StallAfter(n_bytes) => stall_after(gate, &respond(query), n_bytes),
        ServerFault::Delay(delay) => {
            clock.sleep(delay).await;
            respond(query).into_response()
        }
        ServerFault::Drip(n_bytes, pause) => drip(clock, &respond(query), n_bytes, pause),
        ServerFault::Truncated => {
            let mut response = respond(query);
            response.body.truncate(response.body.len() / 2);
            response.into_response()
        }
        ServerFault::Padded(n_bytes) => respond(query)
            .map_body(|body| format!("{body}{}", " ".repeat(n_bytes)))
            .into_response(),
        ServerFault::EndlessPages => paged(pagination, query, respond, endless_page),
        ServerFault::EmptyPage => paged(pagination, query, respond, |body, number| {
            with_more(&no_rows(body), number)
        }),
        ServerFault::SamePage => paged(pagination, query, respond, |body, _| with_more(body, None)),
        ServerFault::NoRows => respond(query).map_body(no_rows).into_response(),
        ServerFault::MissingRows(hours) => edited_rows(respond(query), |rows| {
            rows.retain(|row| start_of(row).is_none_or(|start| !hours.contains(start)));
        }),
        ServerFault::DuplicateRow => {
            edited_rows(respond(query), |rows| rows.extend(rows.first().cloned()))
        }
        ServerFault::Reversed => edited_rows(respond(query), |rows| rows.reverse()),
        ServerFault::WithoutField(name) => respond(query)
            .map_body(|body| edit::without_field(body, &name))
            .into_response(),
        ServerFault::Field(name, json) => respond(query)
            .map_body(|body| edit::with_field(body, &name, &json))
            .into_response(),
    }
}

type BodyChunk = Result<Bytes, Infallible>;

/// Edits the first page; `number` is that of the requested page after it: 1, 2, …
fn paged(
    pagination: Pagination,
    query: &Query,
    respond: impl Fn(&Query) -> BufferedResponse,
    edit: impl FnOnce(&str, Option<u64>) -> String,
) -> Response {
    let cursor = match pagination {
        Pagination::None => return respond(query).into_response(),
        Pagination::ById => "after_id",
        Pagination::ByCursor => "page",
    };
    let parameter = query.iter().find(|(name, _)| name == cursor);
    let number = parameter.map(|(_, id)| endless_number(id) + 1);
    let is_other = |(name, _): &&(String, String)| name != cursor;
    let first = respond(&query.iter().filter(is_other).cloned().collect());
    first.map_body(|body| edit(body, number)).into_response()
}

fn edited_rows(response: BufferedResponse, change: impl FnOnce(&mut Vec<String>)) -> Response {
    response
        .map_body(|body| edit::with_rows(body, change))
        .into_response()
}

/// Sets `has_more`, with a cursor that was never sent, or for lists with the same last id.
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

/// Returns the first page unchanged, and after it (`number`: 1, 2, …) one row per page, in lists with a new id.
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

/// Returns the number of the endless page that ends with an id; the first page is 0.
fn endless_number(id: &str) -> u64 {
    let number = id.strip_prefix("endless_").map(str::parse);
    number.and_then(Result::ok).unwrap_or(0)
}

/// Returns the first hour of a usage row.
fn start_of(row: &str) -> Option<Hour> {
    let row: serde_json::Value = serde_json::from_str(row).ok()?;
    let date = row.get("date").or_else(|| row.get("starting_at"))?;
    let date = date.as_str()?;
    let start = match date.len() {
        10 => format!("{date}T00:00:00Z"),
        _ => date.to_owned(),
    };
    Some(Hour::containing(start.parse().ok()?))
}

fn redirect(address: &str) -> Response {
    BufferedResponse::json(302, String::new())
        .with_header(header::LOCATION, address)
        .into_response()
}

/// Declares the whole body but sends half of it.
fn cut_off(response: &BufferedResponse) -> Response {
    broken_response(response, response.body.slice(..response.body.len() / 2))
}

/// Declares the whole body, sends `first`, and closes the connection.
fn broken_response(original: &BufferedResponse, first: Bytes) -> Response {
    let is_empty = first.is_empty();
    let rest = stream::once(async move {
        if !is_empty {
            // Lets the first chunk be sent.
            tokio::task::yield_now().await;
        }
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let chunks = stream::iter((!is_empty).then_some(Ok(first))).chain(rest);
    let mut response = original.with_body(Body::from_stream(chunks));
    let length = HeaderValue::from(original.body.len());
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    response
}

fn stall_after(gate: &Arc<Gate>, response: &BufferedResponse, n_bytes: usize) -> Response {
    let mut rest = response.body.clone();
    let first = rest.split_to(n_bytes.min(rest.len()));
    let gate = Arc::clone(gate);
    let rest = stream::once(async move {
        gate.wait().await;
        rest
    });
    let chunks = stream::iter([first]).chain(rest).map(BodyChunk::Ok);
    response.with_body(Body::from_stream(chunks))
}

fn drip(clock: &Clock, response: &BufferedResponse, n_bytes: usize, pause: Duration) -> Response {
    let clock = clock.clone();
    let chunks: Vec<Bytes> = response
        .body
        .chunks(n_bytes.max(1))
        .map(|chunk| response.body.slice_ref(chunk))
        .collect();
    let chunks = stream::iter(chunks).then(move |chunk| {
        let clock = clock.clone();
        async move {
            clock.sleep(pause).await;
            BodyChunk::Ok(chunk)
        }
    });
    response.with_body(Body::from_stream(chunks))
}

fn endless() -> Response {
    let filler = stream::repeat(Bytes::from(vec![b' '; 64 * 1024])).map(BodyChunk::Ok);
    BufferedResponse::json(200, String::new()).with_body(Body::from_stream(filler))
}

fn gzip(response: BufferedResponse) -> Response {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(&response.body);
    let body = written.and_then(|()| encoder.finish());
    BufferedResponse {
        body: body.expect("writing to memory").into(),
        ..response
    }
    .with_header(header::CONTENT_ENCODING, "gzip")
    .into_response()
}
