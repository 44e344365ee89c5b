//! Request headers and path parameter that the real API reads.

use axum::http::HeaderValue;

use crate::request::SimulatorRequest;

/// Request headers and path parameter that the real API reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeaders {
    /// `anthropic-version`.
    pub version: String,
    /// Values of `anthropic-beta`.
    pub betas: Vec<String>,
    /// Workspace id in the path.
    pub workspace: Option<String>,
}

impl RequestHeaders {
    /// Reads a request; missing headers are empty.
    pub fn parse(request: &SimulatorRequest) -> RequestHeaders {
        let text = |name: &str| {
            let value = request.headers().get(name).map(HeaderValue::to_str);
            value.and_then(Result::ok).unwrap_or_default().to_owned()
        };
        let betas = text("anthropic-beta");
        let betas = betas
            .split(',')
            .map(str::trim)
            .filter(|beta| !beta.is_empty());
        let path: Vec<&str> = request.uri().path().split('/').collect();
        RequestHeaders {
            version: text("anthropic-version"),
            betas: betas.map(str::to_owned).collect(),
            workspace: match path.as_slice() {
                [_, _, _, "workspaces", id, _] => Some((*id).to_owned()),
                _ => None,
            },
        }
    }

    /// Returns whether the request names a beta.
    pub fn has_beta(&self, beta: &str) -> bool {
        self.betas.iter().any(|name| name == beta)
    }
}
