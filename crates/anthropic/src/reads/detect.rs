//! Detects a server's kind and dialect by requests that only some servers support.

use std::sync::Arc;

use crate::AdminApi;
use crate::error::{DetectError, FetchError};
use crate::reads::report_pages::{ReportPages, ReportRequest};
use crate::reads::reports;
use crate::wire::report::BucketSpan;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::Granularity;

impl AdminApi {
    /// Detects the kind of server without requesting reports, which the key may not be allowed to read.
    pub async fn detect_server(&self) -> Result<ServerKind, DetectError> {
        let server = match self.organization(ServerKind::Real).await {
            Ok(_) => ServerKind::Real,
            Err(error) if error.is_unknown_path() => {
                self.organization(ServerKind::Guide).await?;
                ServerKind::Guide
            }
            // A rejected key, a failing server or a proxy's page says nothing about the server.
            Err(error) => return Err(error.into()),
        };
        self.set_server(server);
        Ok(server)
    }

    /// Detects the server's dialect and sets its default rate. Anthropic's Admin API has `/v1/organizations/me`, and is then tried for
    /// the `analytics` and the older reports; a `guide` server has only `/v1/organizations`.
    pub async fn detect_dialect(&self) -> Result<Dialect, DetectError> {
        let dialect = match self.detect_server().await? {
            ServerKind::Guide => Dialect::Guide,
            ServerKind::Real => self.detect_report().await?,
        };
        self.set_dialect(dialect);
        Ok(dialect)
    }

    /// Checks that the server supports a configured dialect.
    pub async fn check_dialect(&self, dialect: Dialect) -> Result<(), FetchError> {
        self.set_dialect(dialect);
        let span = self.last_hour();
        match dialect {
            Dialect::Guide => self.organization(ServerKind::Guide).await.map(|_| ()),
            Dialect::Analytics => self.probe(reports::analytics_probe(span)).await,
            Dialect::Reports => self.probe(reports::reports_probe(span)).await,
        }
    }

    fn last_hour(&self) -> BucketSpan {
        let this_hour = Hour::containing(self.0.clock.now());
        BucketSpan {
            granularity: Granularity::Hour,
            hours: HourSpan {
                start: this_hour.plus(-1),
                end: this_hour,
            },
        }
    }

    async fn detect_report(&self) -> Result<Dialect, FetchError> {
        let span = self.last_hour();
        match self.probe(reports::analytics_probe(span)).await {
            Ok(()) => Ok(Dialect::Analytics),
            Err(error) if error.is_unavailable() => self
                .probe(reports::reports_probe(span))
                .await
                .map(|()| Dialect::Reports),
            Err(error) => Err(error),
        }
    }

    async fn probe<T>(&self, report: ReportRequest<T>) -> Result<(), FetchError> {
        let mut pages = ReportPages::new(Arc::clone(&self.0), report);
        pages.next().await.map(|_| ())
    }
}
