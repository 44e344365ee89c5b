//! What the service says of a change that was carried out.

use crate::domain::admin::settings::Organization;
use crate::domain::directory::Workspace;
use crate::domain::ids::ApiKeyId;
use crate::domain::listing::ListedInvite;
use crate::secret::Secret;

/// A change that was carried out.
#[derive(Debug)]
pub struct Written {
    /// What the service says of it.
    pub told: Told,
    /// By which the service finds the request again.
    pub request_id: Option<String>,
}

/// What the service says of a change.
#[derive(Debug)]
pub enum Told {
    /// That it is done, and no more that matters.
    Done,
    Invite(ListedInvite),
    Key(NewKey),
    Workspace(Workspace),
    /// The organization as it is now.
    Organization(Box<Organization>),
}

/// A key that was made, with the secret that is told this once.
#[derive(Debug)]
pub struct NewKey {
    pub id: ApiKeyId,
    pub secret: Secret,
}
