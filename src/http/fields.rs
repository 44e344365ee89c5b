//! A body of JSON or of a form field by field, and why a request is not carried out: what is wrong is told with the field's name.

use std::fmt::Display;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::audit::files::AuditError;
use crate::config::near::nearest;
use crate::outbound::causes;
use crate::store::error::StoreError;

/// No honest body has more.
const MAX_BODY: usize = 64 * 1024;
/// How many characters of a wrong text an error shows.
const MAX_SHOWN: usize = 80;

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// The body says that it is something else, or nothing.
    #[error("the body must be {0}")]
    MediaType(&'static str),
    /// Something in it is not as it must be.
    #[error("{0}")]
    Request(String),
    /// There is none.
    #[error("{0}")]
    NotFound(String),
    /// Not in the state it is in.
    #[error("{0}")]
    Conflict(String),
    #[error("{}", causes(.0))]
    Store(#[from] StoreError),
    /// It is not done, since nobody would know of it.
    #[error("{0}; nothing was changed")]
    Audit(#[from] AuditError),
}

impl Wrong {
    /// The status of the answer, and what it says. A failure of ours is logged here, once.
    pub fn told(&self) -> (StatusCode, String) {
        let status = match self {
            Wrong::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Wrong::Request(_) => StatusCode::BAD_REQUEST,
            Wrong::NotFound(_) => StatusCode::NOT_FOUND,
            Wrong::Conflict(_) => StatusCode::CONFLICT,
            Wrong::Store(_) | Wrong::Audit(_) => {
                tracing::error!("a request failed: {self}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, self.to_string())
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let (status, told) = self.told();
        (status, Json(json!({ "error": told }))).into_response()
    }
}

/// The fields of a body that are not read yet. `null` is as good as nothing.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl<S: Sync> FromRequest<S> for Fields {
    type Rejection = Wrong;

    async fn from_request(request: Request, _: &S) -> Result<Fields, Wrong> {
        if !has_type(request.headers(), "application/json") {
            return Err(Wrong::MediaType(
                "JSON, and its `content-type` `application/json`",
            ));
        }
        Fields::parse(&body(request.into_body()).await?)
    }
}

/// What a page's form sends: every field is a text.
#[derive(Debug)]
pub struct Filled(pub Fields);

impl<S: Sync> FromRequest<S> for Filled {
    type Rejection = Wrong;

    async fn from_request(request: Request, _: &S) -> Result<Filled, Wrong> {
        if !has_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(Wrong::MediaType(
                "a form, and its `content-type` `application/x-www-form-urlencoded`",
            ));
        }
        let (head, content) = request.into_parts();
        let content = Body::from(body(content).await?);
        let request = Request::from_parts(head, content);
        match Form::<Vec<(String, String)>>::from_request(request, &()).await {
            Ok(Form(pairs)) => Fields::of_form(pairs).map(Filled),
            Err(error) => Err(Wrong::Request(error.body_text())),
        }
    }
}

async fn body(body: Body) -> Result<Bytes, Wrong> {
    to_bytes(body, MAX_BODY).await.map_err(|_| {
        Wrong::Request(format!(
            "the body has more than {MAX_BODY} bytes, or was cut off"
        ))
    })
}

impl Fields {
    /// The fields of a JSON object.
    pub fn parse(body: &[u8]) -> Result<Fields, Wrong> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(_) => Err(Wrong::Request(
                "the body must be a JSON object, like `{\"author\": \"ada\"}`".to_owned(),
            )),
            Err(error) => Err(Wrong::Request(format!("the body is no JSON: {error}"))),
        }
    }

    fn of_form(pairs: Vec<(String, String)>) -> Result<Fields, Wrong> {
        let mut fields = Map::new();
        for (name, value) in pairs {
            if fields.contains_key(&name) {
                return Err(Wrong::Request(format!("`{name}` is given twice")));
            }
            fields.insert(name, Value::from(value));
        }
        Ok(Fields(fields))
    }

    /// There are no others than these.
    pub fn only(&self, known: &[&str]) -> Result<(), Wrong> {
        let Some(unknown) = self.0.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        let hint = nearest(unknown, known.iter().copied()).map_or_else(
            || format!("here is {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Err(Wrong::Request(format!(
            "`{unknown}` is an unknown field; {hint}"
        )))
    }

    /// What is given as a text, which stays unread.
    pub fn peek(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Wrong> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => text(name, value).map(Some),
        }
    }

    /// A text that says something.
    pub fn required_text(&mut self, name: &str) -> Result<String, Wrong> {
        match self.text(name)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(Wrong::Request(format!("`{name}` is empty"))),
            None => Err(Wrong::Request(format!("`{name}` is missing"))),
        }
    }

    /// What a text says.
    pub fn read<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Wrong> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        read_text(name, &text, read).map(Some)
    }

    /// What each text of a list says; the list has at least one and at most `max`.
    pub fn read_list<T, E: Display>(
        &mut self,
        name: &str,
        max: usize,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Wrong> {
        let values = match self.0.remove(name) {
            None | Some(Value::Null) => {
                return Err(Wrong::Request(format!("`{name}` is missing")));
            }
            Some(Value::Array(values)) => values,
            Some(_) => return Err(Wrong::Request(format!("`{name}` must be a list"))),
        };
        if values.is_empty() || values.len() > max {
            let message = format!("`{name}` must have at least one and at most {max}");
            return Err(Wrong::Request(message));
        }
        let read_one = |(index, value)| {
            let name = format!("{name}[{index}]");
            read_text(&name, &text(&name, value)?, &read)
        };
        values.into_iter().enumerate().map(read_one).collect()
    }
}

fn text(name: &str, value: Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Wrong::Request(format!("`{name}` must be a text"))),
    }
}

fn read_text<T, E: Display>(
    name: &str,
    text: &str,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Wrong> {
    read(text).map_err(|error| {
        let shown = match text.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        Wrong::Request(format!("`{name}` is wrong: `{shown}` {error}"))
    })
}

/// Whatever parameters it has.
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
    fn only_json_is_read_whatever_its_parameters() {
        for (given, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonp", false),
            ("text/plain; application/json", false),
        ] {
            let headers = [(header::CONTENT_TYPE, given.parse().unwrap())];
            let headers = headers.into_iter().collect();
            assert_eq!(has_type(&headers, "application/json"), expected, "{given}");
        }
        assert!(!has_type(&HeaderMap::new(), "application/json"));
    }
}
