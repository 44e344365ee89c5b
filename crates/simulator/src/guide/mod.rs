//! Endpoints of the guide's API. Strict about parameters; without HTTP.

pub mod wire;

pub mod usage;

pub mod lists;

use jiff::{Timestamp, tz::TimeZone};

use crate::api_error::ApiError;
use crate::parameters::reject_unknown;
use crate::request::{Pagination, Query, RequestProperties, SimulatorRequest};
use crate::world::World;
use spendwatch_domain::units::span::{Day, Hour, HourSpan};

/// Endpoint of the guide's API, below `/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuideEndpoint {
    /// `/organizations`
    Organization,
    /// `/workspaces`
    Workspaces,
    /// `/users`
    Users,
    /// `/api_keys`
    Keys,
    /// `/usage`
    Usage,
    /// `/users/invite`, `/users/{id}`, `/api_keys/{id}`: not readable.
    WriteOnly,
}

impl GuideEndpoint {
    /// Parses a path without query.
    pub fn parse(path: &str) -> Option<GuideEndpoint> {
        let mut parts = path.strip_prefix("/v1/")?.split('/');
        match (parts.next()?, parts.next(), parts.next()) {
            ("organizations", None, None) => Some(GuideEndpoint::Organization),
            ("workspaces", None, None) => Some(GuideEndpoint::Workspaces),
            ("users", None, None) => Some(GuideEndpoint::Users),
            ("api_keys", None, None) => Some(GuideEndpoint::Keys),
            ("usage", None, None) => Some(GuideEndpoint::Usage),
            ("users" | "api_keys", Some(id), None) if !id.is_empty() => {
                Some(GuideEndpoint::WriteOnly)
            }
            _ => None,
        }
    }

    /// Returns the endpoint name that faults use.
    fn name(self) -> &'static str {
        match self {
            GuideEndpoint::Organization => "organizations",
            GuideEndpoint::Workspaces => "workspaces",
            GuideEndpoint::Users => "users",
            GuideEndpoint::Keys => "api_keys",
            GuideEndpoint::Usage => "usage",
            GuideEndpoint::WriteOnly => "write_only",
        }
    }

    fn pagination(self) -> Pagination {
        match self {
            GuideEndpoint::Workspaces | GuideEndpoint::Users | GuideEndpoint::Keys => {
                Pagination::ById
            }
            GuideEndpoint::Organization | GuideEndpoint::Usage | GuideEndpoint::WriteOnly => {
                Pagination::None
            }
        }
    }

    /// Returns the properties that faults match.
    pub fn properties<'a>(
        self,
        world: &World,
        request: &'a SimulatorRequest,
        query: &'a Query,
    ) -> RequestProperties<'a> {
        let parameter = query.iter().find(|(name, _)| name == "workspace_id");
        let workspace = parameter.map_or("", |(_, id)| id.as_str());
        RequestProperties {
            endpoint: self.name(),
            method: request.method().as_str(),
            workspace: (self == GuideEndpoint::Usage).then_some(workspace),
            page: lists::page_number(world, self, query),
            pagination: self.pagination(),
        }
    }
}

/// Returns the response body of a GET request.
pub fn respond(
    world: &mut World,
    endpoint: GuideEndpoint,
    query: &Query,
    now: Timestamp,
) -> Result<String, ApiError> {
    match endpoint {
        GuideEndpoint::Organization => {
            reject_unknown(query, &[])?;
            Ok(organization(world, now))
        }
        GuideEndpoint::Workspaces | GuideEndpoint::Users => {
            reject_unknown(query, &["limit", "after_id"])?;
            lists::list(world, endpoint, query)
        }
        GuideEndpoint::Keys => {
            reject_unknown(query, &["limit", "after_id", "workspace_id"])?;
            lists::list(world, endpoint, query)
        }
        GuideEndpoint::Usage => {
            let known = ["start_date", "end_date", "granularity", "workspace_id"];
            reject_unknown(query, &known)?;
            usage::usage(world, query, now)
        }
        GuideEndpoint::WriteOnly => Err(ApiError::not_allowed("method not allowed")),
    }
}

fn organization(world: &mut World, now: Timestamp) -> String {
    let first = TimeZone::UTC.to_datetime(now).date().first_of_month();
    let hours = HourSpan {
        start: Day::from_date(first).first_hour(),
        end: Hour::containing(now).plus(1),
    };
    let micros = world.spent(None, hours, now).pico() / 1_000_000;
    wire::organization(world, i64::try_from(micros).unwrap_or(i64::MAX))
}
