//! An answer as a value, before it becomes a response.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::simulator::refusal::Refusal;
use crate::simulator::wire;

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    /// `content-type`.
    pub content_type: &'static str,
    /// Another header; one that cannot be sent is left out.
    pub header: Option<(HeaderName, String)>,
    pub body: Bytes,
}

impl Reply {
    /// JSON.
    pub fn json(status: u16, body: String) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            content_type: "application/json",
            header: None,
            body: body.into(),
        }
    }

    /// What a proxy says.
    pub fn html(status: u16) -> Reply {
        let reply = Reply::json(status, String::new());
        let status = reply.status;
        Reply {
            content_type: "text/html",
            body: format!("<html>\n<body><h1>{status}</h1></body>\n</html>\n").into(),
            ..reply
        }
    }

    /// The dialect's own error.
    pub fn refusal(refusal: &Refusal) -> Reply {
        let reply = Reply::json(
            refusal.status,
            wire::error(refusal.kind, &refusal.message, refusal.code),
        );
        match refusal.is_final {
            true => reply.with_header(HeaderName::from_static("x-should-retry"), "false"),
            false => reply,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: impl Into<String>) -> Reply {
        Reply {
            header: Some((name, value.into())),
            ..self
        }
    }

    /// With another body.
    #[must_use]
    pub fn edited(self, edit: impl FnOnce(&str) -> String) -> Reply {
        let edited = edit(&String::from_utf8_lossy(&self.body));
        Reply {
            body: edited.into(),
            ..self
        }
    }

    /// As it is.
    pub fn into_response(self) -> Response {
        let body = Body::from(self.body.clone());
        self.with_body(body)
    }

    /// Its head, with a body that comes in another way.
    pub fn with_body(&self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(self.content_type);
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Some((name, value)) = &self.header
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(name, value);
        }
        response
    }
}
