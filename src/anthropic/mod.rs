//! The Admin API of one organization, in the words of the domain.
//!
//! [`AdminApi`] asks; `transport` sends each question in its turn and tries again; `paging` walks through lists;
//! `guide`, `analytics`, `reports`, `real` and `limits` know what the answers mean. The questions of the `guide` dialect stand
//! here, those to the real service in `service`. What changes something goes through `writing`, which wants the proof that the
//! audit log knows of it; nobody else sends anything but GET.

pub mod redaction;

pub mod error;
pub mod fault;
pub mod json_text;
pub mod limiter;
pub mod paging;
pub mod refusal;
pub mod retry;

// One question, with all of the above; and what the answers mean.
pub mod transport;

pub mod lists;
pub mod orders;
pub mod report;
pub mod tokens;
pub mod written;

pub mod analytics;
pub mod guide;
pub mod limits;
pub mod real;
pub mod reports;

// Beside what the daemon reads; and what changes something.
pub mod guide_admin;
pub mod real_admin;

pub mod guide_orders;
pub mod real_orders;

// Page by page, and what is asked.
pub mod pages;

pub mod questions;

// The questions to the real service, and who that is.
pub mod service;

pub mod detect;

// What people ask and change by commands.
pub mod people;
pub mod writing;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::anthropic::error::{FetchError, Problem, SetupError};
use crate::anthropic::fault::Fault;
use crate::anthropic::guide::{MonthUsage, Unread};
use crate::anthropic::limiter::{Limiter, Rate, Share};
use crate::anthropic::paging::PAGE_LIMIT;
use crate::anthropic::redaction::Redaction;
use crate::anthropic::transport::{MAX_BODY_BYTES, Question, Transport};
use crate::clock::{Chance, Clock, ServerNow};
use crate::domain::dialect::Dialect;
use crate::domain::directory::{OrganizationInfo, Workspace};
use crate::domain::ids::OrganizationName;
use crate::domain::listing::{ListedKey, ListedUser};
use crate::domain::skew::{ClockProblem, differs};
use crate::domain::span::{Day, HourSpan};
use crate::domain::usage::{Answer, Granularity, Part, Unreadable};
use crate::metrics::requests::{Endpoint, RequestCounts};
use crate::outbound::{self, Outbound};
use crate::secret::Secret;

/// For the connection, if the whole request may take that long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The version of the API that is spoken unless configured. A newer one is understood, too.
pub const API_VERSION: &str = "2023-06-01";
/// Requests in a minute of the guide dialect, unless configured.
const GUIDE_PER_MINUTE: u32 = 60;
/// Requests in a minute of the real service, unless configured. Its limits are not told, and others share them.
const REAL_PER_MINUTE: u32 = 20;

/// The endpoints that a dialect asks.
const fn endpoints(dialect: Dialect) -> &'static [Endpoint] {
    match dialect {
        Dialect::Guide => Endpoint::GUIDE,
        Dialect::Analytics => Endpoint::ANALYTICS,
        Dialect::Reports => Endpoint::REPORTS,
    }
}

/// How to reach one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name that errors carry.
    pub organization: OrganizationName,
    /// With or without `/v1`, with or without a slash at the end.
    pub base_url: String,
    /// For one request, from the connection to the last byte.
    pub timeout: Duration,
    /// Requests under way at once; at least one.
    pub max_concurrency: usize,
    /// Of all of spendwatch; `None` is the dialect's own limit, 0 is no limit.
    pub max_requests_per_minute: Option<u32>,
    /// Whose part of them this client may use.
    pub share: Share,
    /// The version of the API that every request names; [`API_VERSION`] unless configured.
    pub api_version: String,
    pub ca_file: Option<PathBuf>,
}

/// Where nothing is configured.
const fn per_minute(dialect: Dialect) -> u32 {
    match dialect {
        Dialect::Guide => GUIDE_PER_MINUTE,
        Dialect::Analytics | Dialect::Reports => REAL_PER_MINUTE,
    }
}

/// The Admin API of one organization. Clones share the rate, the key and the connections. Its calls may be dropped at
/// any moment.
#[derive(Debug, Clone)]
pub struct AdminApi(Arc<Transport>);

impl AdminApi {
    /// Builds the client; sends nothing.
    pub fn new(
        settings: Settings,
        key: Secret,
        clock: Clock,
        chance: Chance,
        requests: Arc<RequestCounts>,
    ) -> Result<AdminApi, SetupError> {
        let base_url = base_url(&settings.base_url).map_err(|reason| SetupError::BaseUrl {
            organization: settings.organization.clone(),
            reason,
        })?;
        let outbound = Outbound {
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: settings.timeout,
            timeout: settings.timeout,
            ca_file: settings.ca_file,
        };
        let client =
            outbound::client_for(&outbound, &base_url).map_err(|source| SetupError::Client {
                organization: settings.organization.clone(),
                source,
            })?;
        let api_version =
            HeaderValue::from_str(&settings.api_version).map_err(|_| SetupError::ApiVersion {
                organization: settings.organization.clone(),
            })?;
        let per_minute = settings.max_requests_per_minute.unwrap_or(REAL_PER_MINUTE);
        let rate = Rate::share(per_minute, settings.share);
        requests.expect(&[Endpoint::OrganizationsMe]);
        Ok(AdminApi(Arc::new(Transport {
            organization: settings.organization,
            base_url,
            client,
            timeout: settings.timeout,
            max_body_bytes: MAX_BODY_BYTES,
            api_version,
            max_requests_per_minute: settings.max_requests_per_minute,
            share: settings.share,
            redaction: Redaction::new(&key),
            key: Mutex::new(key),
            limiter: Limiter::new(settings.max_concurrency, rate, clock.clone()),
            server_time: clock.add_server(),
            clock,
            chance,
            requests,
            unreadable: Mutex::default(),
        })))
    }

    /// Uses a key from the next attempt on. Whether it is another one than before.
    pub fn set_key(&self, key: Secret) -> bool {
        let mut held = self.0.key.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !held.equals(key.expose().as_bytes());
        self.0.redaction.set_key(&key);
        *held = key;
        is_new
    }

    /// Redacts these secrets, too, wherever the server returns them; the key and everything that looks like one always is.
    pub fn redact(&self, secrets: Vec<Secret>) {
        self.0.redaction.set_others(secrets);
    }

    /// Counts of the requests so far.
    pub fn requests(&self) -> &Arc<RequestCounts> {
        &self.0.requests
    }

    /// Returns the server's clock minus ours, in whole seconds; `None` before the first response with a `Date`.
    pub fn skew(&self) -> Option<SignedDuration> {
        match self.server_now() {
            ServerNow::Silent | ServerNow::Undated => None,
            ServerNow::At(theirs) => {
                let skew = theirs.duration_since(self.0.clock.now());
                Some(SignedDuration::from_secs(skew.as_secs()))
            }
        }
    }

    /// Returns the server's present time: its last `Date` plus the running time since.
    pub fn server_now(&self) -> ServerNow {
        self.0.server_now()
    }

    /// Returns what is wrong with this machine's clock by the server's; a server that sends no `Date` shows nothing.
    pub fn clock_problem(&self) -> Option<ClockProblem> {
        let ours = self.0.clock.now();
        match self.server_now() {
            ServerNow::At(theirs) if differs(ours, theirs) => {
                Some(ClockProblem::Differs { ours, theirs })
            }
            ServerNow::At(_) | ServerNow::Silent | ServerNow::Undated => None,
        }
    }

    /// Takes the rows of lists that could not be read since this was last called: each is named, and is missing from its list
    /// or lacks something there.
    pub fn take_unreadable(&self) -> Vec<FetchError> {
        let mut noted = self
            .0
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *noted)
    }

    /// How the server speaks, as soon as that is known: where nothing else is configured, so many requests are sent as the
    /// dialect allows. Nothing changes when it is told again.
    pub fn set_dialect(&self, dialect: Dialect) {
        let transport = &self.0;
        if transport.max_requests_per_minute.is_none() {
            let rate = Rate::share(per_minute(dialect), transport.share);
            transport.limiter.change(rate);
        }
        transport.requests.expect(endpoints(dialect));
    }

    /// How many requests in a minute this client may send to a server of this dialect; `None` if there is no limit.
    pub fn max_per_minute(&self, dialect: Dialect) -> Option<u32> {
        let configured = self.0.max_requests_per_minute;
        self.0
            .share
            .of(configured.unwrap_or_else(|| per_minute(dialect)))
    }

    /// What the API says about the organization itself.
    pub async fn organization(&self) -> Result<OrganizationInfo, FetchError> {
        let question = Question::about(Endpoint::Organizations);
        let body = self.0.ask(&question).await?;
        let (info, faults) = self.translated(&question, guide::organization(&body))?;
        for fault in &faults {
            self.0.note_unreadable(&question, fault);
        }
        Ok(info)
    }

    /// All workspaces, of every page; or an error, never a part of them.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, FetchError> {
        let query = vec![("limit", PAGE_LIMIT.to_string())];
        lists::by_id(&self.0, Endpoint::Workspaces, query, guide::workspaces).await
    }

    /// All API keys, in whatever state, of every page.
    pub async fn guide_api_keys(&self) -> Result<Vec<ListedKey>, FetchError> {
        let query = vec![("limit", PAGE_LIMIT.to_string())];
        lists::by_id(&self.0, Endpoint::ApiKeys, query, guide::api_keys).await
    }

    /// All people of the organization, of every page.
    pub async fn guide_users(&self) -> Result<Vec<ListedUser>, FetchError> {
        let query = vec![("limit", PAGE_LIMIT.to_string())];
        lists::by_id(&self.0, Endpoint::Users, query, guide::users).await
    }

    /// Usage of one workspace or of the whole, by hour or day, for the days from `first` to `last`, both included; and what of it
    /// could not be read.
    pub async fn usage(
        &self,
        part: &Part,
        granularity: Granularity,
        first: Day,
        last: Day,
    ) -> Result<(Answer, Vec<Unreadable>), FetchError> {
        let granularity_name = match granularity {
            Granularity::Hour => "hour",
            Granularity::Day => "day",
        };
        let query = usage_query(part, granularity_name, first, last);
        let question = self.usage_question(part, &query)?;
        let body = self.0.ask(&question).await?;
        let usage = guide::usage(&body, part, granularity, first, last);
        let (answer, unread) = self.translated(&question, usage)?;
        Ok((answer, self.named(&question, unread)))
    }

    /// Usage by month, in order of time; and what of it could not be read. A month of which only some days are asked for holds
    /// just these.
    pub async fn usage_by_month(
        &self,
        part: &Part,
        first: Day,
        last: Day,
    ) -> Result<(Vec<MonthUsage>, Vec<Unreadable>), FetchError> {
        let query = usage_query(part, "month", first, last);
        let question = self.usage_question(part, &query)?;
        let body = self.0.ask(&question).await?;
        let months = guide::usage_by_month(&body, first, last);
        let (months, unread) = self.translated(&question, months)?;
        Ok((months, self.named(&question, unread)))
    }

    fn named(&self, question: &Question<'_>, unread: Unread) -> Vec<Unreadable> {
        let named = |(hours, fault): (HourSpan, Fault)| Unreadable {
            hours,
            reason: self.0.faulty(question, &fault).to_string(),
        };
        unread.into_iter().map(named).collect()
    }

    fn usage_question<'a>(
        &self,
        part: &'a Part,
        query: &'a [(&'static str, String)],
    ) -> Result<Question<'a>, FetchError> {
        let question = Question {
            query,
            workspace: part.workspace_id(),
            ..Question::about(Endpoint::Usage)
        };
        match part {
            Part::Workspace(_) | Part::Whole => Ok(question),
            Part::Unattributed => Err(self.0.error(&question, Problem::NotAskable)),
        }
    }

    fn translated<T>(
        &self,
        question: &Question<'_>,
        translation: Result<T, Fault>,
    ) -> Result<T, FetchError> {
        translation.map_err(|fault| self.0.faulty(question, &fault))
    }
}

fn usage_query(
    part: &Part,
    granularity: &str,
    first: Day,
    last: Day,
) -> Vec<(&'static str, String)> {
    let mut query = vec![
        ("start_date", first.date().to_string()),
        ("end_date", last.date().to_string()),
        ("granularity", granularity.to_owned()),
    ];
    match part {
        Part::Workspace(id) => query.push(("workspace_id", id.as_str().to_owned())),
        Part::Whole | Part::Unattributed => {}
    }
    query
}

/// The base of all addresses: without `/v1` and without a slash at the end.
fn base_url(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text.trim()).map_err(|_| "is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("must begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or a fragment");
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let path = path.trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
