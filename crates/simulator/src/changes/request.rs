//! A write request and its validated fields.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::request::SimulatorRequest;

/// A write request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRequest {
    pub method: String,
    /// Path segments below `/v1`.
    pub path: Vec<String>,
    /// JSON, or empty.
    pub body: Vec<u8>,
}

impl ChangeRequest {
    /// Reads a request whose path is below `/v1`.
    pub fn parse(request: &SimulatorRequest) -> ChangeRequest {
        let path = request.uri().path().strip_prefix("/v1/");
        ChangeRequest {
            method: request.method().to_string(),
            path: path
                .into_iter()
                .flat_map(|path| path.split('/'))
                .map(str::to_owned)
                .collect(),
            body: request.body().to_vec(),
        }
    }

    /// Returns the endpoint name that faults use.
    pub fn name(&self) -> &'static str {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["organizations"] => "organizations",
            ["users", "invite"] => "users_invite",
            ["users", _] | ["organizations", "users", _] => "user",
            ["api_keys"] | ["organizations", "api_keys"] => "api_keys",
            ["api_keys", _] | ["organizations", "api_keys", _] => "api_key",
            ["workspaces"] | ["organizations", "workspaces"] => "workspaces",
            ["organizations", "invites"] => "invites",
            ["organizations", "invites", _] => "invite",
            ["organizations", "workspaces", _] => "workspace",
            ["organizations", "workspaces", _, "archive"] => "workspace_archive",
            ["organizations", "workspaces", _, "members"] => "members",
            ["organizations", "workspaces", _, "members", _] => "member",
            _ => "write_only",
        }
    }

    /// Returns the fields of the body; all `required` and no others than `optional` are allowed.
    pub fn fields(
        &self,
        required: &[&str],
        optional: &[&str],
    ) -> Result<Map<String, Value>, ApiError> {
        let body: Value = serde_json::from_slice(&self.body)
            .map_err(|_| ApiError::bad_request("the body is not JSON"))?;
        let Value::Object(fields) = body else {
            return Err(ApiError::bad_request("the body is not an object"));
        };
        let is_known =
            |name: &&String| required.contains(&name.as_str()) || optional.contains(&name.as_str());
        if let Some(unknown) = fields.keys().find(|name| !is_known(name)) {
            return Err(ApiError::bad_request(format!(
                "{unknown}: Extra inputs are not permitted"
            )));
        }
        match required.iter().find(|name| !fields.contains_key(**name)) {
            Some(missing) => Err(ApiError::bad_request(format!("{missing}: Field required"))),
            None => Ok(fields),
        }
    }
}

/// Returns a non-empty string field.
pub fn text(fields: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(_) | None => Err(ApiError::bad_request(format!(
            "{name} must be a non-empty string"
        ))),
    }
}

/// Returns a string field whose value must be in `allowed`.
pub fn one_of(
    fields: &Map<String, Value>,
    name: &str,
    allowed: &[&str],
) -> Result<String, ApiError> {
    let text = text(fields, name)?;
    if allowed.contains(&text.as_str()) {
        Ok(text)
    } else {
        Err(ApiError::bad_request(format!("{name} cannot be {text}")))
    }
}

/// Returns a timestamp field, or `None` if it is null or missing.
pub fn timestamp(fields: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let at = text.parse();
            at.map(Some)
                .map_err(|_| ApiError::bad_request(format!("{name} is not a timestamp")))
        }
        Some(_) => Err(ApiError::bad_request(format!("{name} is not a timestamp"))),
    }
}
