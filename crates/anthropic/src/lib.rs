//! Client of the Admin API of one organization; translates its responses into domain types.
//!
//! [`AdminApi`] sends requests through `transport`, which queues, rate-limits and retries them; `wire` decodes the responses.
//! Methods take the [`ServerKind`] where servers differ. Only `admin` sends anything but GET, and it requires proof of an audit
//! log entry.

pub mod endpoint;

pub mod error;

pub mod error_text;

pub mod transport;

pub mod wire;

pub mod reads;

pub mod admin;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::endpoint::{Endpoint, RequestCounts};
use crate::error::{FetchError, SetupError};
use crate::transport::limiter::{Limiter, Rate, RateShare};
use crate::transport::redaction::Redaction;
use crate::transport::{MAX_BODY_BYTES, Transport};
use spendwatch_base::clock::{Clock, Random, ServerNow};
use spendwatch_base::lock;
use spendwatch_base::outbound::{self, HttpClientConfig};
use spendwatch_base::secret::Secret;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::skew::{ClockProblem, differs};

/// Maximum time to connect; `timeout` also applies.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Default `anthropic-version`; responses of newer versions are decoded too.
pub const API_VERSION: &str = "2023-06-01";
/// Default requests per minute in the `guide` dialect.
const GUIDE_PER_MINUTE: u32 = 60;
/// Default requests per minute to Anthropic's Admin API, whose limits are unpublished and shared by the whole organization.
const REAL_PER_MINUTE: u32 = 20;

/// Settings of the client for one organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    pub organization: OrganizationName,
    /// With or without `/v1` and a trailing slash.
    pub base_url: String,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// Maximum concurrent requests; at least one.
    pub max_concurrency: usize,
    /// For the daemon and commands together; `None` is the dialect's default, 0 is unlimited.
    pub max_requests_per_minute: Option<u32>,
    /// Which part of `max_requests_per_minute` this client may use.
    pub share: RateShare,
    /// Sent in the header `anthropic-version`.
    pub api_version: String,
    pub ca_file: Option<PathBuf>,
}

/// Returns the default requests per minute.
const fn default_per_minute(server: ServerKind) -> u32 {
    match server {
        ServerKind::Guide => GUIDE_PER_MINUTE,
        ServerKind::Real => REAL_PER_MINUTE,
    }
}

/// Client of one organization's Admin API. Clones share the rate limit, the key and the connections. All calls are
/// cancel-safe.
#[derive(Debug, Clone)]
pub struct AdminApi(Arc<Transport>);

impl AdminApi {
    /// Builds the client; sends nothing.
    pub fn new(
        settings: ApiSettings,
        key: Secret,
        clock: Clock,
        random: Random,
        requests: Arc<RequestCounts>,
    ) -> Result<AdminApi, SetupError> {
        let base_url = base_url(&settings.base_url).map_err(|reason| SetupError::BaseUrl {
            organization: settings.organization.clone(),
            reason,
        })?;
        let outbound = HttpClientConfig {
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
        let rate = Rate::for_share(per_minute, settings.share);
        requests.expect([Endpoint::OrganizationsMe]);
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
            random,
            requests,
            unreadable: Mutex::default(),
        })))
    }

    /// Replaces the key from the next attempt on. Returns whether it differs from the old one.
    pub fn set_key(&self, key: Secret) -> bool {
        let mut current = lock(&self.0.key);
        let is_new = !current.equals(key.expose().as_bytes());
        self.0.redaction.set_key(&key);
        *current = key;
        is_new
    }

    /// Also redacts these secrets in responses; the admin key and anything that looks like an Anthropic key is always redacted.
    pub fn redact(&self, secrets: Vec<Secret>) {
        self.0.redaction.set_others(secrets);
    }

    /// Returns the counts of requests so far.
    pub fn requests(&self) -> &Arc<RequestCounts> {
        &self.0.requests
    }

    /// Returns the server's clock minus ours, in whole seconds; `None` before the first response with a `Date`.
    pub fn skew(&self) -> Option<SignedDuration> {
        match self.server_now() {
            ServerNow::NoResponse | ServerNow::NoDate => None,
            ServerNow::At(theirs) => {
                let skew = theirs.duration_since(self.0.clock.now());
                Some(SignedDuration::from_secs(skew.as_secs()))
            }
        }
    }

    /// Returns the server's current time: its last `Date` plus the time elapsed since.
    pub fn server_now(&self) -> ServerNow {
        self.0.server_now()
    }

    /// Returns whether this machine's clock differs from the server's; `None` if the server sends no `Date`.
    pub fn clock_problem(&self) -> Option<ClockProblem> {
        let ours = self.0.clock.now();
        match self.server_now() {
            ServerNow::At(theirs) if differs(ours, theirs) => {
                Some(ClockProblem::Differs { ours, theirs })
            }
            ServerNow::At(_) | ServerNow::NoResponse | ServerNow::NoDate => None,
        }
    }

    /// Takes the errors of invalid list rows since the last call. Such a row is missing from its list, or lacks a field there.
    pub fn take_unreadable(&self) -> Vec<FetchError> {
        let mut recorded = lock(&self.0.unreadable);
        std::mem::take(&mut *recorded)
    }

    /// Sets the kind of server, and its default rate unless one is configured. Idempotent.
    pub fn set_server(&self, server: ServerKind) {
        let transport = &self.0;
        if transport.max_requests_per_minute.is_none() {
            let rate = Rate::for_share(default_per_minute(server), transport.share);
            transport.limiter.set_rate(rate);
        }
    }

    /// Like [`AdminApi::set_server`], and also counts the requests of this dialect from 0.
    pub fn set_dialect(&self, dialect: Dialect) {
        self.set_server(ServerKind::for_dialect(dialect));
        self.0.requests.expect(Endpoint::polled_in(dialect));
    }

    /// Returns this client's maximum requests per minute; `None` if unlimited.
    pub fn max_per_minute(&self, server: ServerKind) -> Option<u32> {
        let configured = self.0.max_requests_per_minute;
        self.0
            .share
            .max_per_minute(configured.unwrap_or_else(|| default_per_minute(server)))
    }
}

/// Parses the base URL and removes `/v1` and trailing slashes.
fn base_url(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text.trim()).map_err(|_| "is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("must start with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a query or fragment");
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let path = path.trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}
