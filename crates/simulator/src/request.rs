//! A request as all endpoints read it, and its properties that faults match.

use axum::body::Bytes;
use axum::http::{Request, Uri};

/// Request whose body is in memory.
pub type SimulatorRequest = Request<Bytes>;

/// Decoded parameters in request order.
pub type Query = Vec<(String, String)>;

/// Returns the parameters; none if they are malformed.
pub fn query(uri: &Uri) -> Query {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| Query::new(), |query| query.0)
}

/// Kind of pagination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pagination {
    None,
    /// `after_id`, `has_more`.
    ById,
    /// `page`, `next_page`.
    ByCursor,
}

/// Properties of a request that faults match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestProperties<'a> {
    /// As in `FaultTarget::endpoint`.
    pub endpoint: &'static str,
    pub method: &'a str,
    /// Workspace of a usage request; `""` is the whole organization.
    pub workspace: Option<&'a str>,
    /// Starts at 1.
    pub page: Option<usize>,
    pub pagination: Pagination,
}
