//! Request bodies (JSON or form), which serde reads, and the errors of requests, which name the wrong field.

use std::fmt::Display;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};
use serde_json::{Map, Value, json};

use spendwatch_audit::files::AuditError;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::near::nearest;
use spendwatch_store::error::StoreError;

/// In bytes.
const MAX_BODY: usize = 64 * 1024;
/// Maximum characters of a wrong value that an error shows.
const MAX_SHOWN: usize = 80;
/// Maximum characters of an error about a field, because serde quotes wrong values in full.
const MAX_MESSAGE: usize = 250;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// `content-type` is wrong or missing.
    #[error("the body must be {0}")]
    MediaType(&'static str),
    #[error("{0}")]
    Request(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{}", error_chain(.0))]
    Store(#[from] StoreError),
    /// The request was not executed because it could not be audited.
    #[error("{0}; nothing was changed")]
    Audit(#[from] AuditError),
}

impl RequestError {
    /// Returns status and message of the response; logs internal errors.
    pub fn status_and_message(&self) -> (StatusCode, String) {
        let status = match self {
            RequestError::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            RequestError::Request(_) => StatusCode::BAD_REQUEST,
            RequestError::NotFound(_) => StatusCode::NOT_FOUND,
            RequestError::Conflict(_) => StatusCode::CONFLICT,
            RequestError::Store(_) | RequestError::Audit(_) => {
                tracing::error!("HTTP request failed: {self}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, self.to_string())
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let (status, message) = self.status_and_message();
        (status, Json(json!({ "error": message }))).into_response()
    }
}

/// A JSON object, read by serde.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = RequestError;

    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T>, RequestError> {
        if !has_type(request.headers(), "application/json") {
            return Err(RequestError::MediaType(
                "JSON, and its `content-type` `application/json`",
            ));
        }
        parse_json(&body(request.into_body()).await?).map(JsonBody)
    }
}

/// An HTML form, read by serde.
#[derive(Debug)]
pub struct FormBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for FormBody<T> {
    type Rejection = RequestError;

    async fn from_request(request: Request, _: &S) -> Result<FormBody<T>, RequestError> {
        if !has_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(RequestError::MediaType(
                "a form, and its `content-type` `application/x-www-form-urlencoded`",
            ));
        }
        let (parts, content) = request.into_parts();
        let content = Body::from(body(content).await?);
        let request = Request::from_parts(parts, content);
        let Form(pairs) = Form::<Vec<(String, String)>>::from_request(request, &())
            .await
            .map_err(|error| RequestError::Request(error.body_text()))?;
        let mut fields = Map::new();
        for (name, value) in pairs {
            if fields.contains_key(&name) {
                return Err(RequestError::Request(format!("`{name}` is given twice")));
            }
            fields.insert(name, Value::from(value));
        }
        read_fields(fields).map(FormBody)
    }
}

async fn body(body: Body) -> Result<Bytes, RequestError> {
    to_bytes(body, MAX_BODY).await.map_err(|_| {
        RequestError::Request(format!(
            "the body exceeds {MAX_BODY} bytes or is incomplete"
        ))
    })
}

/// Parses a JSON body. Errors name the path of the wrong value and suggest the nearest field name.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => read_fields(fields),
        Ok(_) => Err(RequestError::Request(
            "the body must be a JSON object, for example `{\"author\": \"ada\"}`".to_owned(),
        )),
        Err(error) => Err(RequestError::Request(format!(
            "the body is not valid JSON: {error}"
        ))),
    }
}

fn read_fields<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, RequestError> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let text = field_error(&error.path().to_string(), &error.inner().to_string());
        RequestError::Request(cut(&text, MAX_MESSAGE))
    })
}

/// Names the field that serde rejects, and the nearest known one if it is unknown.
fn field_error(path: &str, cause: &str) -> String {
    if let Some(field) = cause.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    let Some(unknown) = cause.strip_prefix("unknown field ") else {
        return format!("`{path}`: {cause}");
    };
    let mut names = unknown.split('`').skip(1).step_by(2);
    let given = names.next().unwrap_or_default();
    match nearest(given, names) {
        Some(near) => format!("unknown field `{given}`; did you mean `{near}`?"),
        None => cause.to_owned(),
    }
}

/// Parses an optional text for `deserialize_with`; `null` counts as missing.
pub fn optional<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| parse_text(&text, parse));
    parsed.transpose().map_err(D::Error::custom)
}

/// Parses a text; an error shows its start.
pub fn parse_text<T, E: Display>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    parse(text).map_err(|error| format!("`{}` {error}", cut(text, MAX_SHOWN)))
}

/// Rejects a text of white space only, with the name of its field.
pub fn check_not_empty(name: &str, text: &str) -> Result<(), RequestError> {
    if text.trim().is_empty() {
        return Err(RequestError::Request(format!("`{name}` is empty")));
    }
    Ok(())
}

fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Compares the media type without its parameters.
fn has_type(headers: &HeaderMap, expected: &str) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_compared_without_parameters() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonp", false),
            ("text/plain; application/json", false),
        ] {
            let headers = [(header::CONTENT_TYPE, content_type.parse().unwrap())];
            let headers = headers.into_iter().collect();
            assert_eq!(
                has_type(&headers, "application/json"),
                expected,
                "{content_type}"
            );
        }
        assert!(!has_type(&HeaderMap::new(), "application/json"));
    }
}
