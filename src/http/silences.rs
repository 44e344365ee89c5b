//! `/api/v1/silences` and acknowledgements. They are written to the store as by commands, and apply from the daemon's next
//! evaluation.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::alerts;
use crate::http::fields::{RequestError, RequestFields};
use crate::table::alerts as alert_table;
use spendwatch_audit::Operation;
use spendwatch_config::durations;
use spendwatch_domain::alerts::silence::{
    self, Acknowledgement, LabelMatcher, MAX_MATCHERS, OutOfBounds, Silence, SilenceEnd,
};
use spendwatch_store::alerts::PrefixMatch;
use spendwatch_store::suppressions::{AckOutcome, AddSilenceOutcome, Attribution};

/// Query parameters of `GET /api/v1/silences`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SilenceQuery {
    #[serde(default)]
    all: bool,
}

/// `GET /api/v1/silences`: lists active and future silences, last end first.
pub async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<SilenceQuery>, QueryRejection>,
) -> Result<Json<Value>, RequestError> {
    let Query(query) = query.map_err(|error| RequestError::Request(error.body_text()))?;
    let now = app.clock.now();
    let silences = app.store.silences(now, query.all).await?;
    Ok(Json(
        silences.iter().map(|one| silence_json(one, now)).collect(),
    ))
}

/// `POST /api/v1/silences`: 201 with the new silence.
pub async fn add(
    State(app): State<Arc<App>>,
    fields: RequestFields,
) -> Result<(StatusCode, Json<Value>), RequestError> {
    let now = app.clock.now();
    let silence = read_silence(fields, app.random.id(), now)?;
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
    let refusal = |added: &AddSilenceOutcome| added.rejection().map(|full| full.to_string());
    let added = app.audited(&operation, added, refusal).await??;
    if let Some(full) = added.rejection() {
        return Err(RequestError::Conflict(full.to_string()));
    }
    let (id, end) = (&silence.id, silence.span.end);
    tracing::info!("added silence {id} over HTTP, until {end}");
    Ok((StatusCode::CREATED, Json(silence_json(&silence, now))))
}

/// `DELETE /api/v1/silences/{id}`: ends a silence now, unless it has already ended.
pub async fn end(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, RequestError> {
    // Unlike commands, the API accepts only full ids.
    if app.store.silence(&id).await?.is_none() {
        return Err(RequestError::NotFound(format!("no silence `{id}`")));
    }
    let operation = Operation {
        organization: None,
        action: "silences.remove",
        target: &id,
        arguments: &[],
    };
    let ended = app.store.end_silence(&id, app.clock.now());
    app.audited(&operation, ended, |_| None).await??;
    tracing::info!("ended silence {id} over HTTP");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/v1/alerts/{fingerprint}/ack`: acknowledges an alert.
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
    fields: RequestFields,
) -> Result<Json<Value>, RequestError> {
    let acknowledgement = acknowledge_alert(&app, &fingerprint, fields).await?;
    let acknowledged = alert_table::row_as_json(&alert_table::acknowledgement(&acknowledgement));
    Ok(Json(
        json!({ "id": fingerprint, "acknowledged": acknowledged }),
    ))
}

/// Acknowledges an alert with the author and optional comment in `fields`.
pub async fn acknowledge_alert(
    app: &App,
    fingerprint: &str,
    mut fields: RequestFields,
) -> Result<Acknowledgement, RequestError> {
    fields.reject_unknown(&["author", "comment"])?;
    let by = Attribution {
        author: fields.required_text("author")?,
        comment: fields.text("comment")?.unwrap_or_default(),
    };
    silence::check_author_and_comment(&by.author, &by.comment).map_err(out_of_bounds)?;
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
    let refusal = |found: &PrefixMatch<AckOutcome>| match found {
        PrefixMatch::One(AckOutcome::Done(_)) => None,
        PrefixMatch::One(AckOutcome::NotFiring(_))
        | PrefixMatch::NoMatch
        | PrefixMatch::Ambiguous(_) => Some("the alert is not firing".to_owned()),
    };
    let acknowledged = app.store.acknowledge(fingerprint, by.clone(), now);
    let row = match app.audited(&operation, acknowledged, refusal).await?? {
        PrefixMatch::One(AckOutcome::Done(row)) => row,
        PrefixMatch::One(AckOutcome::NotFiring(_)) => {
            return Err(RequestError::Conflict(
                "the alert is not firing; only firing alerts can be acknowledged".to_owned(),
            ));
        }
        PrefixMatch::NoMatch | PrefixMatch::Ambiguous(_) => {
            return Err(alerts::not_found(fingerprint));
        }
    };
    tracing::info!("acknowledged alert {fingerprint} over HTTP");
    Ok(Acknowledgement {
        at: now,
        author: by.author,
        comment: by.comment,
        threshold: row.alert.threshold().clone(),
    })
}

fn read_silence(
    mut fields: RequestFields,
    id: String,
    now: Timestamp,
) -> Result<Silence, RequestError> {
    fields.reject_unknown(&[
        "matchers",
        "starts_at",
        "ends_at",
        "for",
        "author",
        "comment",
    ])?;
    let matchers = fields.parsed_list("matchers", MAX_MATCHERS, LabelMatcher::parse)?;
    let start = fields.parsed("starts_at", read_time)?;
    let ends_at = fields.parsed("ends_at", read_time)?;
    let (field, end) = match (ends_at, fields.parsed("for", read_duration)?) {
        (Some(at), None) => ("ends_at", SilenceEnd::At(at)),
        (None, Some(length)) => ("for", SilenceEnd::After(length)),
        (Some(_), Some(_)) => {
            let message = "use either `ends_at` or `for`, not both";
            return Err(RequestError::Request(message.to_owned()));
        }
        (None, None) => {
            let message = "`ends_at` or `for` is missing";
            return Err(RequestError::Request(message.to_owned()));
        }
    };
    let span = silence::span(start, end, now)
        .map_err(|error| RequestError::Request(format!("`{field}`: {error}")))?;
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

fn out_of_bounds(error: OutOfBounds) -> RequestError {
    RequestError::Request(error.to_string())
}

fn read_time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse()
        .map_err(|_| "is not a time with offset, for example `2026-11-30T08:00:00Z`")
}

fn read_duration(text: &str) -> Result<SignedDuration, &'static str> {
    durations::parse(text).ok_or("is not a duration, for example `30m`, `4h` or `2d`")
}

/// Has the fields of `spendwatch silence list --output json`.
fn silence_json(silence: &Silence, now: Timestamp) -> Value {
    let matchers = silence.matchers.iter().map(ToString::to_string);
    let mut value = json!({
        "id": silence.id,
        "state": silence.state(now).as_str(),
        "starts_at": silence.span.start.to_string(),
        "ends_at": silence.span.end.to_string(),
        "matchers": matchers.collect::<Vec<String>>(),
        "author": silence.author,
        "comment": silence.comment,
    });
    if let Some(problem) = silence.problem() {
        value["problem"] = problem.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn read(body: &str) -> Result<Silence, RequestError> {
        let fields = RequestFields::parse(body.as_bytes())?;
        read_silence(fields, "one".to_owned(), NOW.parse().unwrap())
    }

    #[track_caller]
    fn check_wrong(body: &str, expected: &str) {
        let message = read(body).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{body}: {message}");
        assert!(message.len() < 300, "{message}");
    }

    /// Returns a valid body with one field set or replaced.
    fn with(field: &str, value: Value) -> String {
        let mut body = json!({
            "matchers": ["rule=month"], "for": "4h", "author": "ada", "comment": "load test",
        });
        body[field] = value;
        body.to_string()
    }

    #[test]
    fn a_silence_has_a_start_and_an_end_or_a_duration() {
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
    fn errors_name_the_wrong_field() {
        for (field, value, expected) in [
            (
                "matcher",
                json!([]),
                "unknown field `matcher`; did you mean `matchers`?",
            ),
            (
                "xyz",
                json!(1),
                "unknown field `xyz`; expected one of matchers, starts_at",
            ),
            ("matchers", Value::Null, "`matchers` is missing"),
            ("matchers", json!("rule=x"), "`matchers` must be a list"),
            (
                "matchers",
                json!([]),
                "`matchers` must have 1 to 50 entries",
            ),
            (
                "matchers",
                json!(vec!["a=b"; 51]),
                "`matchers` must have 1 to 50 entries",
            ),
            (
                "matchers",
                json!(["a=b", 1]),
                "`matchers[1]` must be a string",
            ),
            ("matchers", json!(["rule"]), "`matchers[0]`: `rule` "),
            (
                "matchers",
                json!(["rule=~("]),
                "`matchers[0]`: `rule=~(` has an invalid pattern",
            ),
            ("for", Value::Null, "`ends_at` or `for` is missing"),
            ("for", json!(4), "`for` must be a string"),
            ("for", json!("4"), "`for`: `4` is not a duration"),
            (
                "for",
                json!("0s"),
                "`for`: the silence would end at 2026-11-24T12:00:00Z",
            ),
            (
                "ends_at",
                json!("2026-12-01T00:00:00Z"),
                "use either `ends_at` or `for`",
            ),
            (
                "starts_at",
                json!("2026-11-24T07:00:00Z"),
                "`for`: the silence would end",
            ),
            (
                "starts_at",
                json!("tomorrow"),
                "`starts_at`: `tomorrow` is not a time",
            ),
            (
                "starts_at",
                json!("2026-11-25T00:00"),
                "`starts_at`: `2026-11-25T00:00` is not",
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
                "`matchers[0]`: `rule=xxx",
            ),
            (
                "matchers",
                json!([format!("rule={}a{}", "{".repeat(260), "}".repeat(260))]),
                "`matchers[0]`: `rule={{{",
            ),
            (
                "matchers",
                json!(["rule=~a)|(?:b"]),
                "`matchers[0]`: `rule=~a)|(?:b` has an invalid pattern: unopened group",
            ),
        ] {
            check_wrong(&with(field, value), expected);
        }
        check_wrong("", "the body is not valid JSON: EOF");
        check_wrong("[]", "the body must be a JSON object");
        check_wrong(&"[".repeat(1000), "the body is not valid JSON: recursion");
        let past =
            r#"{"matchers":["a=b"],"ends_at":"2026-11-24T12:00:00Z","author":"ada","comment":"x"}"#;
        check_wrong(past, "`ends_at`: the silence would end");
    }
}
