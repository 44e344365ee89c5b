//! `/api/v1/silences` and acknowledgements. They are written to the store as by commands, and apply from the daemon's next
//! evaluation.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::app::App;
use crate::http::alerts;
use crate::http::body::{JsonBody, RequestError, check_not_empty, optional, parse_text};
use crate::table::alerts as alert_table;
use spendwatch_audit::Operation;
use spendwatch_config::durations;
use spendwatch_domain::alerts::silence::{
    self, Acknowledgement, CapacityError, LabelMatcher, MAX_MATCHERS, OutOfBounds, Silence,
    SilenceEnd,
};
use spendwatch_store::alerts::suppressions::{AckOutcome, Attribution};
use spendwatch_store::prefix_match::PrefixMatch;

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
    JsonBody(new): JsonBody<NewSilence>,
) -> Result<(StatusCode, Json<Value>), RequestError> {
    let now = app.clock.now();
    let silence = new.check(app.random.id(), now)?;
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
    let refusal = |added: &Option<CapacityError>| added.map(|full| full.to_string());
    let added = app.audited(&operation, added, refusal).await??;
    if let Some(full) = added {
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
    JsonBody(by): JsonBody<AckFields>,
) -> Result<Json<Value>, RequestError> {
    let acknowledgement = acknowledge_alert(&app, &fingerprint, by).await?;
    let acknowledged = alert_table::row_as_json(&alert_table::acknowledgement(&acknowledgement));
    Ok(Json(
        json!({ "id": fingerprint, "acknowledged": acknowledged }),
    ))
}

/// Body of an acknowledgement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckFields {
    pub author: String,
    pub comment: Option<String>,
}

/// Acknowledges an alert with the author and optional comment in `fields`.
pub async fn acknowledge_alert(
    app: &App,
    fingerprint: &str,
    by: AckFields,
) -> Result<Acknowledgement, RequestError> {
    check_not_empty("author", &by.author)?;
    let by = Attribution {
        author: by.author,
        comment: by.comment.unwrap_or_default(),
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

/// Body of a request that creates a silence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSilence {
    matchers: Vec<Matcher>,
    #[serde(default, deserialize_with = "time")]
    starts_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "time")]
    ends_at: Option<Timestamp>,
    #[serde(default, rename = "for", deserialize_with = "duration")]
    length: Option<SignedDuration>,
    author: String,
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Matcher(LabelMatcher);

impl TryFrom<String> for Matcher {
    type Error = String;

    fn try_from(text: String) -> Result<Matcher, String> {
        parse_text(&text, LabelMatcher::parse).map(Matcher)
    }
}

fn time<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Timestamp>, D::Error> {
    optional(text, |text| {
        text.parse()
            .map_err(|_| "is not a time with offset, for example `2026-11-30T08:00:00Z`")
    })
}

fn duration<'de, D: Deserializer<'de>>(text: D) -> Result<Option<SignedDuration>, D::Error> {
    optional(text, |text| {
        durations::parse(text).ok_or("is not a duration, for example `30m`, `4h` or `2d`")
    })
}

impl NewSilence {
    fn check(self, id: String, now: Timestamp) -> Result<Silence, RequestError> {
        let request = |message: &str| RequestError::Request(message.to_owned());
        if self.matchers.is_empty() || self.matchers.len() > MAX_MATCHERS {
            let message = format!("`matchers` must have 1 to {MAX_MATCHERS} entries");
            return Err(request(&message));
        }
        let (field, end) = match (self.ends_at, self.length) {
            (Some(at), None) => ("ends_at", SilenceEnd::At(at)),
            (None, Some(length)) => ("for", SilenceEnd::After(length)),
            (Some(_), Some(_)) => return Err(request("use either `ends_at` or `for`, not both")),
            (None, None) => return Err(request("`ends_at` or `for` is missing")),
        };
        let span = silence::span(self.starts_at, end, now)
            .map_err(|error| request(&format!("`{field}`: {error}")))?;
        check_not_empty("author", &self.author)?;
        check_not_empty("comment", &self.comment)?;
        let silence = Silence {
            id,
            span,
            matchers: self.matchers.into_iter().map(|one| one.0).collect(),
            author: self.author,
            comment: self.comment,
        };
        silence.check(now).map_err(out_of_bounds)?;
        Ok(silence)
    }
}

fn out_of_bounds(error: OutOfBounds) -> RequestError {
    RequestError::Request(error.to_string())
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
    use crate::http::body::parse_json;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn read(body: &str) -> Result<Silence, RequestError> {
        let new: NewSilence = parse_json(body.as_bytes())?;
        new.check("one".to_owned(), NOW.parse().unwrap())
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
                "unknown field `xyz`, expected one of `matchers`, `starts_at`",
            ),
            (
                "matchers",
                Value::Null,
                "`matchers`: invalid type: null, expected a sequence",
            ),
            (
                "matchers",
                json!("rule=x"),
                "`matchers`: invalid type: string \"rule=x\", expected a sequence",
            ),
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
                "`matchers[1]`: invalid type: integer `1`, expected a string",
            ),
            ("matchers", json!(["rule"]), "`matchers[0]`: `rule` "),
            (
                "matchers",
                json!(["rule=~("]),
                "`matchers[0]`: `rule=~(` has an invalid pattern",
            ),
            ("for", Value::Null, "`ends_at` or `for` is missing"),
            (
                "for",
                json!(4),
                "`for`: invalid type: integer `4`, expected a string",
            ),
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
            (
                "comment",
                Value::Null,
                "`comment`: invalid type: null, expected a string",
            ),
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
        check_wrong("{\"matchers\":[]}", "`author` is missing");
        let long = json!("x".repeat(1000));
        check_wrong(&with("matchers", long), "`matchers`: invalid type");
        check_wrong("[]", "the body must be a JSON object");
        check_wrong(&"[".repeat(1000), "the body is not valid JSON: recursion");
        let past =
            r#"{"matchers":["a=b"],"ends_at":"2026-11-24T12:00:00Z","author":"ada","comment":"x"}"#;
        check_wrong(past, "`ends_at`: the silence would end");
    }
}
