//! Why there is no answer, and what was asked.

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The dialect's name for it.
    pub kind: &'static str,
    /// For people.
    pub message: String,
    /// Says that it need not be asked again.
    pub is_final: bool,
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
        }
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Refusal {
        Refusal {
            status: 404,
            kind: "not_found_error",
            message: message.into(),
            is_final: false,
        }
    }

    /// 405.
    pub fn not_allowed(message: impl Into<String>) -> Refusal {
        Refusal {
            status: 405,
            kind: "invalid_request_error",
            message: message.into(),
            is_final: false,
        }
    }
}
