//! `/api/v1/silences` and acknowledgements: what keeps quiet, written into the store as the commands do, and heeded at the
//! daemon's next decision.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::audit::Operation;
use crate::config::durations;
use crate::domain::silence::{
    self, Acknowledgement, End, LabelMatcher, MAX_MATCHERS, OutOfBounds, Silence,
};
use crate::http::alerts;
use crate::http::fields::{Fields, Wrong};
use crate::sheet::alerts as sheet;
use crate::store::alerts::Found;
use crate::store::quiet::{Acknowledged, Added, Signature};

/// Which silences are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Also those that have ended.
    #[serde(default)]
    all: bool,
}

/// `GET /api/v1/silences`: those in force or to come, the last to end first.
pub async fn list(
    State(app): State<Arc<App>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, Wrong> {
    let Query(which) = which.map_err(|error| Wrong::Request(error.body_text()))?;
    let now = app.clock.now();
    let silences = app.store.silences(now, which.all).await?;
    Ok(Json(silences.iter().map(|one| tell(one, now)).collect()))
}

/// `POST /api/v1/silences`: 201 with the new silence.
pub async fn add(
    State(app): State<Arc<App>>,
    fields: Fields,
) -> Result<(StatusCode, Json<Value>), Wrong> {
    let now = app.clock.now();
    let silence = read_silence(fields, app.chance.id(), now)?;
    let matchers: Vec<String> = silence.matchers.iter().map(ToString::to_string).collect();
    let operation = Operation {
        organization: None,
        action: "silences.add",
        target: &silence.id,
        arguments: &[
            ("matchers", matchers.join(" ")),
            ("ends_at", silence.span.end.to_string()),
            ("author", silence.author.clone()),
            ("comment", silence.comment.clone()),
        ],
    };
    let added = app.store.add_silence(&silence, now);
    let judge = |added: &Added| added.refusal().map(|full| full.to_string());
    let added = app.audited(&operation, added, judge).await??;
    if let Some(full) = added.refusal() {
        return Err(Wrong::Conflict(full.to_string()));
    }
    let (id, end) = (&silence.id, silence.span.end);
    tracing::info!("silence {id} was added over HTTP, until {end}");
    Ok((StatusCode::CREATED, Json(tell(&silence, now))))
}

/// `DELETE /api/v1/silences/{id}`: it ends now, if it had not ended before.
pub async fn end(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Wrong> {
    // The store takes what an id begins with, as people type it. A program has the whole.
    if app.store.silence(&id).await?.is_none() {
        return Err(Wrong::NotFound(format!("there is no silence `{id}`")));
    }
    let operation = Operation {
        organization: None,
        action: "silences.remove",
        target: &id,
        arguments: &[],
    };
    let ended = app.store.end_silence(&id, app.clock.now());
    app.audited(&operation, ended, |_| None).await??;
    tracing::info!("silence {id} was ended over HTTP");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/alerts/{fingerprint}/ack`: it is not repeated until it gets worse.
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, Wrong> {
    let taken_up = take_up(&app, &fingerprint, fields).await?;
    let taken_up = sheet::row_as_json(&sheet::acknowledgement(&taken_up));
    Ok(Json(json!({ "id": fingerprint, "acknowledged": taken_up })))
}

/// Somebody takes up an alert: the fields say who, and perhaps why.
pub async fn take_up(
    app: &App,
    fingerprint: &str,
    mut fields: Fields,
) -> Result<Acknowledgement, Wrong> {
    fields.only(&["author", "comment"])?;
    let by = Signature {
        author: fields.required_text("author")?,
        comment: fields.text("comment")?.unwrap_or_default(),
    };
    silence::check_signature(&by.author, &by.comment).map_err(out_of_bounds)?;
    alerts::find(&app.store, fingerprint).await?;
    let now = app.clock.now();
    let operation = Operation {
        organization: None,
        action: "alerts.ack",
        target: fingerprint,
        arguments: &[
            ("author", by.author.clone()),
            ("comment", by.comment.clone()),
        ],
    };
    let judge = |found: &Found<Acknowledged>| match found {
        Found::One(Acknowledged::Done(_)) => None,
        Found::One(Acknowledged::NotFiring(_)) | Found::Nothing | Found::Many(_) => {
            Some("it does not fire".to_owned())
        }
    };
    let acknowledged = app.store.acknowledge(fingerprint, by.clone(), now);
    let row = match app.audited(&operation, acknowledged, judge).await?? {
        Found::One(Acknowledged::Done(row)) => row,
        Found::One(Acknowledged::NotFiring(_)) => {
            return Err(Wrong::Conflict(
                "the alert does not fire: only what fires is taken up".to_owned(),
            ));
        }
        Found::Nothing | Found::Many(_) => return Err(alerts::none(fingerprint)),
    };
    tracing::info!("alert {fingerprint} was taken up over HTTP");
    Ok(Acknowledgement {
        at: now,
        author: by.author,
        comment: by.comment,
        line: row.alert.line().clone(),
    })
}

fn read_silence(mut fields: Fields, id: String, now: Timestamp) -> Result<Silence, Wrong> {
    fields.only(&[
        "matchers",
        "starts_at",
        "ends_at",
        "for",
        "author",
        "comment",
    ])?;
    let matchers = fields.read_list("matchers", MAX_MATCHERS, LabelMatcher::parse)?;
    let start = fields.read("starts_at", read_time)?;
    let ends_at = fields.read("ends_at", read_time)?;
    let (field, end) = match (ends_at, fields.read("for", read_length)?) {
        (Some(at), None) => ("ends_at", End::At(at)),
        (None, Some(length)) => ("for", End::After(length)),
        (Some(_), Some(_)) => {
            let message = "`ends_at` and `for` exclude each other";
            return Err(Wrong::Request(message.to_owned()));
        }
        (None, None) => {
            let message = "`ends_at` is missing, or `for` in its place";
            return Err(Wrong::Request(message.to_owned()));
        }
    };
    let span = silence::span(start, end, now)
        .map_err(|error| Wrong::Request(format!("`{field}` is wrong: {error}")))?;
    let silence = Silence {
        id,
        span,
        matchers,
        author: fields.required_text("author")?,
        comment: fields.required_text("comment")?,
    };
    silence.check(now).map_err(out_of_bounds)?;
    Ok(silence)
}

fn out_of_bounds(error: OutOfBounds) -> Wrong {
    Wrong::Request(error.to_string())
}

fn read_time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse()
        .map_err(|_| "is no time with an offset, like `2026-11-30T08:00:00Z`")
}

fn read_length(text: &str) -> Result<SignedDuration, &'static str> {
    durations::parse(text).ok_or("is no duration, like `30m`, `4h` or `2d`")
}

/// As `spendwatch silence list --output json` has it.
fn tell(silence: &Silence, now: Timestamp) -> Value {
    let matchers = silence.matchers.iter().map(ToString::to_string);
    let mut told = json!({
        "id": silence.id,
        "state": silence.state(now).as_str(),
        "starts_at": silence.span.start.to_string(),
        "ends_at": silence.span.end.to_string(),
        "matchers": matchers.collect::<Vec<String>>(),
        "author": silence.author,
        "comment": silence.comment,
    });
    if let Some(problem) = silence.problem() {
        told["problem"] = problem.into();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn read(body: &str) -> Result<Silence, Wrong> {
        let fields = Fields::parse(body.as_bytes())?;
        read_silence(fields, "one".to_owned(), NOW.parse().unwrap())
    }

    #[track_caller]
    fn check_wrong(body: &str, expected: &str) {
        let told = read(body).unwrap_err().to_string();
        assert!(told.starts_with(expected), "{body}: {told}");
        assert!(told.len() < 300, "{told}");
    }

    /// A body that is right but for one field, which is given or replaced.
    fn with(field: &str, value: Value) -> String {
        let mut body = json!({
            "matchers": ["rule=month"], "for": "4h", "author": "ada", "comment": "load test",
        });
        body[field] = value;
        body.to_string()
    }

    #[test]
    fn a_silence_has_a_start_and_an_end_or_a_length() {
        let span = |body: &str| {
            let span = read(body).unwrap().span;
            [span.start, span.end].map(|at| at.to_string())
        };
        assert_eq!(
            span(&with("starts_at", Value::Null)),
            [NOW, "2026-11-24T16:00:00Z"]
        );
        assert_eq!(
            span(&with("starts_at", json!("2026-11-25T00:00:00+01:00"))),
            ["2026-11-24T23:00:00Z", "2026-11-25T03:00:00Z"]
        );
        let until = r#"{"matchers":["a!~b|c"],"ends_at":"2026-11-24T12:00:01Z","author":"ada","comment":"x"}"#;
        assert_eq!(span(until), [NOW, "2026-11-24T12:00:01Z"]);
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (field, value, expected) in [
            (
                "matcher",
                json!([]),
                "`matcher` is an unknown field; did you mean `matchers`?",
            ),
            (
                "xyz",
                json!(1),
                "`xyz` is an unknown field; here is matchers, starts_at",
            ),
            ("matchers", Value::Null, "`matchers` is missing"),
            ("matchers", json!("rule=x"), "`matchers` must be a list"),
            (
                "matchers",
                json!([]),
                "`matchers` must have at least one and at most 50",
            ),
            (
                "matchers",
                json!(vec!["a=b"; 51]),
                "`matchers` must have at least one and at most 50",
            ),
            (
                "matchers",
                json!(["a=b", 1]),
                "`matchers[1]` must be a text",
            ),
            (
                "matchers",
                json!(["rule"]),
                "`matchers[0]` is wrong: `rule` has none of",
            ),
            (
                "matchers",
                json!(["rule=~("]),
                "`matchers[0]` is wrong: `rule=~(` the pattern cannot be read",
            ),
            ("for", Value::Null, "`ends_at` is missing, or `for`"),
            ("for", json!(4), "`for` must be a text"),
            ("for", json!("4"), "`for` is wrong: `4` is no duration"),
            (
                "for",
                json!("0s"),
                "`for` is wrong: the silence would end at 2026-11-24T12:00:00Z",
            ),
            (
                "ends_at",
                json!("2026-12-01T00:00:00Z"),
                "`ends_at` and `for` exclude",
            ),
            (
                "starts_at",
                json!("2026-11-24T07:00:00Z"),
                "`for` is wrong: the silence would end",
            ),
            (
                "starts_at",
                json!("tomorrow"),
                "`starts_at` is wrong: `tomorrow` is no time",
            ),
            (
                "starts_at",
                json!("2026-11-25T00:00"),
                "`starts_at` is wrong",
            ),
            ("author", json!(" "), "`author` is empty"),
            ("comment", Value::Null, "`comment` is missing"),
            (
                "author",
                json!("a".repeat(201)),
                "the author has 201 bytes, at most 200 are allowed",
            ),
            (
                "comment",
                json!("c".repeat(2001)),
                "the comment has 2001 bytes, at most 2000 are allowed",
            ),
            ("for", json!("367d"), "a silence lasts at most 366 days"),
            (
                "starts_at",
                json!("2028-01-01T00:00:00Z"),
                "a silence begins at most 366 days from now",
            ),
            (
                "starts_at",
                json!("9999-12-30T22:00:00Z"),
                "a silence begins at most 366 days from now",
            ),
            (
                "matchers",
                json!([format!("rule={}", "x".repeat(60_000))]),
                "`matchers[0]` is wrong: `rule=xxx",
            ),
            (
                "matchers",
                json!([format!("rule={}a{}", "{".repeat(260), "}".repeat(260))]),
                "`matchers[0]` is wrong: `rule={{{",
            ),
            (
                "matchers",
                json!(["rule=~a)|(?:b"]),
                "`matchers[0]` is wrong: `rule=~a)|(?:b` the pattern cannot be read: unopened group",
            ),
        ] {
            check_wrong(&with(field, value), expected);
        }
        check_wrong("", "the body is no JSON: EOF");
        check_wrong("[]", "the body must be a JSON object");
        check_wrong(&"[".repeat(1000), "the body is no JSON: recursion");
        let past =
            r#"{"matchers":["a=b"],"ends_at":"2026-11-24T12:00:00Z","author":"ada","comment":"x"}"#;
        check_wrong(past, "`ends_at` is wrong: the silence would end");
    }
}
