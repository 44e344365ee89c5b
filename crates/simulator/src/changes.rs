//! Applies changes in either API.

use jiff::Timestamp;

use crate::api::{RequestHeaders, SimulatedApi};
use crate::api_error::ApiError;
use crate::change_request::ChangeRequest;
use crate::world::World;
use crate::{guide_changes, real_changes};

/// Applies a change and returns the response body.
pub fn apply(
    world: &mut World,
    request: &ChangeRequest,
    headers: &RequestHeaders,
    now: Timestamp,
) -> Result<String, ApiError> {
    match world.api {
        SimulatedApi::Guide => guide_changes::apply(world, request, now),
        SimulatedApi::Real(_) => real_changes::apply(world, request, headers, now),
    }
}
