//! Error response of the simulated API.

use serde_json::json;

/// Error response of either API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    /// Error type as the API names it.
    pub kind: &'static str,
    pub message: String,
    /// Sends `x-should-retry: false`.
    pub is_final: bool,
    pub code: Option<&'static str>,
}

impl ApiError {
    /// Creates an error without a code.
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            kind,
            message: message.into(),
            is_final: false,
            code: None,
        }
    }

    /// Status 400.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "invalid_request_error", message)
    }

    /// Status 404.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(404, "not_found_error", message)
    }

    /// Status 405.
    pub fn not_allowed(message: impl Into<String>) -> ApiError {
        ApiError::new(405, "invalid_request_error", message)
    }

    /// Status 409.
    pub fn conflict(message: impl Into<String>) -> ApiError {
        ApiError::new(409, "conflict_error", message)
    }

    /// Sets the error code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> ApiError {
        ApiError {
            code: Some(code),
            ..self
        }
    }

    /// Renders the response body.
    pub fn body(&self) -> String {
        let mut error = json!({"type": self.kind, "message": self.message});
        if let Some(code) = self.code {
            error["details"] = json!({"error_code": code});
        }
        json!({"type": "error", "error": error}).to_string()
    }
}
