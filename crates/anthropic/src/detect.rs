//! Detects a server's dialect by requests that only some servers support.

use std::sync::Arc;

use crate::error::{DetectError, FetchError};
use crate::report::BucketSpan;
use crate::report_pages::{ReportPages, ReportRequest};
use crate::{AdminApi, report_requests};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::bucket::Granularity;

impl AdminApi {
    /// Detects the server's dialect and sets its default rate. Anthropic's Admin API has `/v1/organizations/me`, and is then tried for
    /// the `analytics` and the older reports; a `guide` server has only `/v1/organizations`.
    pub async fn detect_dialect(&self) -> Result<Dialect, DetectError> {
        let dialect = match self.real_organization().await {
            Ok(_) => self.detect_report().await,
            Err(error) if error.is_unknown_path() => {
                self.guide_organization().await.map(|_| Dialect::Guide)
            }
            // A rejected key, a failing server or a proxy's page says nothing about the dialect.
            Err(error) => Err(error),
        };
        let dialect = dialect?;
        self.set_dialect(dialect);
        Ok(dialect)
    }

    /// Checks that the server supports a configured dialect.
    pub async fn check_dialect(&self, dialect: Dialect) -> Result<(), FetchError> {
        self.set_dialect(dialect);
        let span = self.last_hour();
        match dialect {
            Dialect::Guide => self.guide_organization().await.map(|_| ()),
            Dialect::Analytics => {
                self.probe(report_requests::analytics_cost_probe(span))
                    .await
            }
            Dialect::Reports => self.probe(report_requests::usage_report_probe(span)).await,
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
        match self
            .probe(report_requests::analytics_cost_probe(span))
            .await
        {
            Ok(()) => Ok(Dialect::Analytics),
            Err(error) if error.is_unavailable() => self
                .probe(report_requests::usage_report_probe(span))
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
