//! Which API the simulator serves, and access to the endpoints of the real one.

use crate::api_error::ApiError;

/// Access to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointAccess {
    #[default]
    Open,
    /// Responds 403.
    Forbidden,
    /// Responds 404.
    Absent,
}

impl EndpointAccess {
    /// Returns an error unless access is open.
    pub fn check(self) -> Result<(), ApiError> {
        match self {
            EndpointAccess::Open => Ok(()),
            EndpointAccess::Forbidden => {
                let message = "this key lacks permission";
                Err(ApiError::new(403, "permission_error", message))
            }
            EndpointAccess::Absent => Err(ApiError::not_found("not enabled")),
        }
    }
}

/// Options of the simulated real API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlatformOptions {
    pub analytics: EndpointAccess,
    pub reports: EndpointAccess,
    pub spend_limits: EndpointAccess,
    /// Analytics reports omit `data_refreshed_at`.
    pub hides_watermark: bool,
}

/// API that the simulator serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SimulatedApi {
    #[default]
    Guide,
    Platform(PlatformOptions),
}
