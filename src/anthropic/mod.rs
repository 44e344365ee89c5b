//! The Admin API: the calls, in domain words. One value per organization, cheap to clone.

pub mod error;
pub mod guide;
pub mod limiter;
pub mod retry;
pub mod transport;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::anthropic::error::{FetchError, Problem};
use crate::anthropic::guide::MonthUsage;
use crate::anthropic::transport::Transport;
use crate::clock::{Chance, Clock};
use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::OrganizationName;
use crate::domain::span::Day;
use crate::domain::usage::{Answer, Granularity, Part};
use crate::metrics::counters::Counters;
use crate::outbound::ClientError;
use crate::secret::Secret;

/// Rows on a page of a list: the most that the service gives.
const PAGE: usize = 100;
/// No list has more pages; beyond it the server is at fault.
const MAX_PAGES: usize = 10_000;

/// How to reach one organization.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its configured name.
    pub organization: OrganizationName,
    /// With or without `/v1`.
    pub base_url: String,
    /// One request.
    pub timeout: Duration,
    /// Requests at once.
    pub max_concurrency: usize,
    /// 0 is no limit.
    pub max_requests_per_minute: u32,
    /// An own root certificate.
    pub ca_file: Option<PathBuf>,
}

/// How the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The simplified Admin API whose paths hang directly under `/v1`.
    Guide,
}

/// Why the dialect is not known.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// It is another one.
    #[error(
        "`{base_url}` speaks the dialect of the real Admin API (`/v1/organizations/me` answers): not in this version"
    )]
    NotInThisVersion {
        /// Of the configuration.
        base_url: String,
    },
    /// Neither answer decides; asked again later.
    #[error(
        "cannot tell the dialect of `{base_url}` yet: {me}; {organization}; set `dialect = \"guide\"` to not ask"
    )]
    Undecided {
        /// Of the configuration.
        base_url: String,
        /// What `/v1/organizations/me` says.
        me: String,
        /// What `/v1/organizations` says.
        organization: String,
    },
    /// The key is refused.
    #[error(transparent)]
    Refused(FetchError),
}

/// The calls.
#[derive(Clone)]
pub struct AdminApi {
    transport: Arc<Transport>,
    base_url: String,
}

impl AdminApi {
    /// Nothing is sent yet.
    pub fn new(
        settings: &Settings,
        key: Secret,
        clock: Clock,
        chance: Chance,
        counters: Arc<Counters>,
    ) -> Result<AdminApi, ClientError> {
        let transport = Transport::new(settings, key, clock, chance, counters)?;
        Ok(AdminApi {
            transport: Arc::new(transport),
            base_url: settings.base_url.clone(),
        })
    }

    /// Sends another key from now on.
    pub fn set_key(&self, key: Secret) {
        self.transport.set_key(key);
    }

    /// A server speaks the guide dialect when `/v1/organizations/me` answers 404 or 405 and `/v1/organizations` answers 200
    /// with an id. Anything else decides nothing.
    pub async fn detect_dialect(&self) -> Result<Dialect, DetectError> {
        let base_url = self.base_url.clone();
        let me = match self
            .transport
            .get("organizations_me", "/organizations/me", &[], 1)
            .await
        {
            Ok(_) => return Err(DetectError::NotInThisVersion { base_url }),
            Err(error) => error,
        };
        let is_missing = matches!(
            me.problem,
            Problem::Status {
                status: 404 | 405,
                ..
            }
        );
        match self.organization().await {
            Ok(info) if is_missing && !info.id.is_empty() => Ok(Dialect::Guide),
            Ok(_) => Err(DetectError::Undecided {
                base_url,
                me: me.problem.to_string(),
                organization: "`/v1/organizations` answers 200".to_owned(),
            }),
            Err(error) if error.is_refused() => Err(DetectError::Refused(error)),
            Err(error) => Err(DetectError::Undecided {
                base_url,
                me: me.problem.to_string(),
                organization: error.problem.to_string(),
            }),
        }
    }

    /// The organization itself.
    pub async fn organization(&self) -> Result<OrganizationInfo, FetchError> {
        let body = self
            .transport
            .get("organizations", "/organizations", &[], 1)
            .await?;
        guide::organization(&body).map_err(|fault| self.fault("organizations", 1, fault))
    }

    /// Every workspace, over all pages.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, FetchError> {
        let endpoint = "workspaces";
        let mut workspaces: Vec<Workspace> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut after: Option<String> = None;
        for page in 1..=MAX_PAGES {
            let mut query = vec![("limit", PAGE.to_string())];
            query.extend(after.take().map(|id| ("after_id", id)));
            let body = self
                .transport
                .get(endpoint, "/workspaces", &query, page)
                .await?;
            let listed =
                guide::workspaces(&body).map_err(|fault| self.fault(endpoint, page, fault))?;
            for workspace in listed.rows {
                if !seen.insert(workspace.id.clone()) {
                    let fault = format!("workspace `{}` is listed twice", workspace.id);
                    return Err(self.fault(endpoint, page, fault));
                }
                workspaces.push(workspace);
            }
            match listed.next {
                Some(id) => after = Some(id),
                None => return Ok(workspaces),
            }
        }
        Err(self.fault(
            endpoint,
            MAX_PAGES,
            format!("the list has no end: more than {MAX_PAGES} pages"),
        ))
    }

    /// One part's usage in whole days of UTC, both inclusive. The remainder cannot be asked for.
    pub async fn usage(
        &self,
        part: &Part,
        granularity: Granularity,
        first: Day,
        last: Day,
    ) -> Result<Answer, FetchError> {
        let word = match granularity {
            Granularity::Hour => "hour",
            Granularity::Day => "day",
        };
        let body = self.get_usage(part, word, first, last).await?;
        guide::usage(&body, part, granularity, first, last)
            .map_err(|fault| self.fault("usage", 1, fault))
    }

    /// The same by calendar month of UTC.
    pub async fn usage_by_month(
        &self,
        part: &Part,
        first: Day,
        last: Day,
    ) -> Result<Vec<MonthUsage>, FetchError> {
        let body = self.get_usage(part, "month", first, last).await?;
        guide::usage_by_month(&body, first, last).map_err(|fault| self.fault("usage", 1, fault))
    }

    async fn get_usage(
        &self,
        part: &Part,
        word: &str,
        first: Day,
        last: Day,
    ) -> Result<Vec<u8>, FetchError> {
        let mut query = vec![
            ("start_date", first.date().to_string()),
            ("end_date", last.date().to_string()),
            ("granularity", word.to_owned()),
        ];
        match part {
            Part::Workspace(id) => query.push(("workspace_id", id.to_string())),
            Part::Whole => {}
            Part::Unattributed => {
                return Err(self.fault(
                    "usage",
                    1,
                    "the remainder is derived, not asked for".to_owned(),
                ));
            }
        }
        self.transport.get("usage", "/usage", &query, 1).await
    }

    fn fault(&self, endpoint: &'static str, page: usize, fault: String) -> FetchError {
        self.transport.error(endpoint, page, Problem::Faulty(fault))
    }
}
