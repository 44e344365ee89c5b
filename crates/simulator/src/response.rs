//! A response with its whole body in memory, so that faults can modify it.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::api_error::ApiError;

/// Response whose body is in memory.
#[derive(Debug, Clone)]
pub struct BufferedResponse {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// Additional header; dropped if its value is invalid.
    pub header: Option<(HeaderName, String)>,
    pub body: Bytes,
}

impl BufferedResponse {
    /// Creates a JSON response.
    pub fn json(status: u16, body: String) -> BufferedResponse {
        BufferedResponse {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            content_type: "application/json",
            header: None,
            body: body.into(),
        }
    }

    /// Creates an HTML error page, as proxies send.
    pub fn html(status: u16) -> BufferedResponse {
        let response = BufferedResponse::json(status, String::new());
        let status = response.status;
        BufferedResponse {
            content_type: "text/html",
            body: format!("<html>\n<body><h1>{status}</h1></body>\n</html>\n").into(),
            ..response
        }
    }

    /// Creates the API's own error response.
    pub fn error(error: &ApiError) -> BufferedResponse {
        let response = BufferedResponse::json(error.status, error.body());
        match error.is_final {
            true => response.with_header(HeaderName::from_static("x-should-retry"), "false"),
            false => response,
        }
    }

    /// Sets the additional header.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: impl Into<String>) -> BufferedResponse {
        BufferedResponse {
            header: Some((name, value.into())),
            ..self
        }
    }

    /// Replaces the body with the result of `edit`.
    #[must_use]
    pub fn map_body(self, edit: impl FnOnce(&str) -> String) -> BufferedResponse {
        let body = edit(&String::from_utf8_lossy(&self.body));
        BufferedResponse {
            body: body.into(),
            ..self
        }
    }

    /// Converts to an HTTP response.
    pub fn into_response(self) -> Response {
        let body = Body::from(self.body.clone());
        self.with_body(body)
    }

    /// Creates an HTTP response with this status and headers but another body.
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
