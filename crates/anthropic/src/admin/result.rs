//! Results of successful writes.

use spendwatch_base::secret::Secret;
use spendwatch_domain::admin::settings::OrganizationDetails;
use spendwatch_domain::org::directory::Workspace;
use spendwatch_domain::org::listing::ListedInvite;
use spendwatch_domain::units::ids::ApiKeyId;

/// The response to a successful write.
#[derive(Debug)]
pub struct WriteResponse {
    pub result: WriteResult,
    /// Identifies the request to Anthropic's support.
    pub request_id: Option<String>,
}

/// What a successful write returned.
#[derive(Debug)]
pub enum WriteResult {
    Done,
    Invite(ListedInvite),
    Key(NewKey),
    Workspace(Workspace),
    Organization(Box<OrganizationDetails>),
}

/// A new key with its secret, which is never returned again.
#[derive(Debug)]
pub struct NewKey {
    pub id: ApiKeyId,
    pub secret: Secret,
}
