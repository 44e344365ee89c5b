//! POST, PATCH and DELETE in either API. Changes persist.

pub mod request;

pub mod guide;

#[cfg(feature = "platform")]
pub mod platform;

use jiff::{SignedDuration, Timestamp};

use crate::api::SimulatedApi;
use crate::api_error::ApiError;
use crate::changes::request::ChangeRequest;
#[cfg(feature = "platform")]
use crate::platform::headers::RequestHeaders;
use crate::request::{Pagination, RequestProperties, SimulatorRequest};
use crate::world::World;
use crate::world::directory::{SimulatedInvite, SimulatedUser};

/// Applies a change and returns the response body.
pub fn apply(
    world: &mut World,
    request: &SimulatorRequest,
    now: Timestamp,
) -> Result<String, ApiError> {
    let change = ChangeRequest::parse(request);
    world.clear_cached_reports();
    match world.api {
        SimulatedApi::Guide => guide::apply(world, &change, now),
        #[cfg(feature = "platform")]
        SimulatedApi::Platform(_) => {
            platform::apply(world, &change, &RequestHeaders::parse(request), now)
        }
        #[cfg(not(feature = "platform"))]
        SimulatedApi::Platform(_) => Err(ApiError::not_found("no such path")),
    }
}

/// Returns the properties that faults match.
pub fn properties(request: &SimulatorRequest) -> RequestProperties<'_> {
    RequestProperties {
        endpoint: ChangeRequest::parse(request).name(),
        method: request.method().as_str(),
        workspace: None,
        page: None,
        pagination: Pagination::None,
    }
}

fn user_mut<'a>(world: &'a mut World, id: &str) -> Result<&'a mut SimulatedUser, ApiError> {
    let user = world.users.iter_mut().find(|user| user.id == id);
    user.ok_or_else(|| ApiError::not_found("no such user"))
}

impl World {
    fn new_invite(
        &mut self,
        email: String,
        role: String,
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> &SimulatedInvite {
        let id = self.new_id("invite_");
        self.invites.push(SimulatedInvite {
            id,
            email,
            role,
            status: "pending".to_owned(),
            invited_at: now,
            expires_at: now + lifetime,
        });
        self.invites.last().expect("just added")
    }

    /// Returns a new unique id.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.n_created += 1;
        format!("{prefix}made{:05}", self.n_created)
    }

    /// Accepts an invitation, creating the user.
    pub fn accept_invite(&mut self, email: &str) {
        let invite = self.invites.iter_mut().find(|invite| invite.email == email);
        let Some(invite) = invite else {
            return;
        };
        invite.status = "accepted".to_owned();
        let role = invite.role.clone();
        let id = self.new_id("user_");
        self.users.push(SimulatedUser {
            id,
            email: email.to_owned(),
            name: email.to_owned(),
            role,
            status: "active".to_owned(),
            last_active_at: None,
        });
    }
}
