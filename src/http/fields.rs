//! Reads request bodies (JSON or form) field by field, and the errors of requests, which name the wrong field.

use std::fmt::Display;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use spendwatch_audit::files::AuditError;
use spendwatch_base::outbound::error_chain;
use spendwatch_config::near::nearest;
use spendwatch_store::error::StoreError;

/// In bytes.
const MAX_BODY: usize = 64 * 1024;
/// Maximum characters of a wrong value that an error shows.
const MAX_SHOWN: usize = 80;

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

/// Fields of a body that have not been read yet. `null` counts as missing.
#[derive(Debug)]
pub struct RequestFields(Map<String, Value>);

impl<S: Sync> FromRequest<S> for RequestFields {
    type Rejection = RequestError;

    async fn from_request(request: Request, _: &S) -> Result<RequestFields, RequestError> {
        if !has_type(request.headers(), "application/json") {
            return Err(RequestError::MediaType(
                "JSON, and its `content-type` `application/json`",
            ));
        }
        RequestFields::parse(&body(request.into_body()).await?)
    }
}

/// Fields of an HTML form, all strings.
#[derive(Debug)]
pub struct FormFields(pub RequestFields);

impl<S: Sync> FromRequest<S> for FormFields {
    type Rejection = RequestError;

    async fn from_request(request: Request, _: &S) -> Result<FormFields, RequestError> {
        if !has_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(RequestError::MediaType(
                "a form, and its `content-type` `application/x-www-form-urlencoded`",
            ));
        }
        let (parts, content) = request.into_parts();
        let content = Body::from(body(content).await?);
        let request = Request::from_parts(parts, content);
        match Form::<Vec<(String, String)>>::from_request(request, &()).await {
            Ok(Form(pairs)) => RequestFields::from_form(pairs).map(FormFields),
            Err(error) => Err(RequestError::Request(error.body_text())),
        }
    }
}

async fn body(body: Body) -> Result<Bytes, RequestError> {
    to_bytes(body, MAX_BODY).await.map_err(|_| {
        RequestError::Request(format!(
            "the body exceeds {MAX_BODY} bytes or is incomplete"
        ))
    })
}

impl RequestFields {
    /// Parses a JSON object.
    pub fn parse(body: &[u8]) -> Result<RequestFields, RequestError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(RequestFields(fields)),
            Ok(_) => Err(RequestError::Request(
                "the body must be a JSON object, for example `{\"author\": \"ada\"}`".to_owned(),
            )),
            Err(error) => Err(RequestError::Request(format!(
                "the body is not valid JSON: {error}"
            ))),
        }
    }

    fn from_form(pairs: Vec<(String, String)>) -> Result<RequestFields, RequestError> {
        let mut fields = Map::new();
        for (name, value) in pairs {
            if fields.contains_key(&name) {
                return Err(RequestError::Request(format!("`{name}` is given twice")));
            }
            fields.insert(name, Value::from(value));
        }
        Ok(RequestFields(fields))
    }

    /// Returns an error if there is any other field than `known`.
    pub fn reject_unknown(&self, known: &[&str]) -> Result<(), RequestError> {
        let Some(unknown) = self.0.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let hint = nearest(unknown, known.iter().copied()).map_or_else(
            || format!("expected one of {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Err(RequestError::Request(format!(
            "unknown field `{unknown}`; {hint}"
        )))
    }

    /// Returns a string field without consuming it.
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// Takes an optional string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, RequestError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text(name, value).map(Some),
        }
    }

    /// Takes a string that must not be empty.
    pub fn required_text(&mut self, name: &str) -> Result<String, RequestError> {
        match self.text(name)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(RequestError::Request(format!("`{name}` is empty"))),
            None => Err(RequestError::Request(format!("`{name}` is missing"))),
        }
    }

    /// Takes an optional string and parses it.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, RequestError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        parse_text(name, &text, parse).map(Some)
    }

    /// Takes a list of 1 to `max` strings and parses each.
    pub fn parsed_list<T, E: Display>(
        &mut self,
        name: &str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, RequestError> {
        let values = match self.0.remove(name) {
            None | Some(Value::Null) => {
                return Err(RequestError::Request(format!("`{name}` is missing")));
            }
            Some(Value::Array(values)) => values,
            Some(_) => return Err(RequestError::Request(format!("`{name}` must be a list"))),
        };
        if values.is_empty() || values.len() > max {
            let message = format!("`{name}` must have 1 to {max} entries");
            return Err(RequestError::Request(message));
        }
        let parse_one = |(index, value)| {
            let name = format!("{name}[{index}]");
            parse_text(&name, &text(&name, value)?, &parse)
        };
        values.into_iter().enumerate().map(parse_one).collect()
    }
}

fn text(name: &str, value: Value) -> Result<String, RequestError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(RequestError::Request(format!("`{name}` must be a string"))),
    }
}

fn parse_text<T, E: Display>(
    name: &str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, RequestError> {
    parse(text).map_err(|error| {
        let shown = match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        RequestError::Request(format!("`{name}`: `{shown}` {error}"))
    })
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
