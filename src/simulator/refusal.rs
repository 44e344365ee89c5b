//! Why there is no answer, and what was asked.

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// The dialect's name for it.
    pub kind: &'static str,
    pub message: String,
    /// Says that it need not be asked again.
    pub is_final: bool,
    /// For programs, where there is one.
    pub code: Option<&'static str>,
}

/// Parameters in their order, decoded.
pub type Query = Vec<(String, String)>;

impl Refusal {
    /// 400.
    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal {
            status: 400,
            kind: "invalid_request_error",
            message: message.into(),
            is_final: false,
            code: None,
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Refusal {
        Refusal {
            status: 404,
            kind: "not_found_error",
            message: message.into(),
            is_final: false,
            code: None,
        }
    }

    /// 405.
    pub fn not_allowed(message: impl Into<String>) -> Refusal {
        Refusal {
            status: 405,
            kind: "invalid_request_error",
            message: message.into(),
            is_final: false,
            code: None,
        }
    }

    /// With a code for programs.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Refusal {
        Refusal {
            code: Some(code),
            ..self
        }
    }

    /// 409.
    pub fn conflict(message: impl Into<String>) -> Refusal {
        Refusal {
            status: 409,
            kind: "conflict_error",
            ..Refusal::bad(message)
        }
    }
}
