//! How a server speaks, by what it answers to questions that only some of them know.

use std::sync::Arc;

use crate::anthropic::error::{DetectError, FetchError};
use crate::anthropic::pages::{Pages, Report};
use crate::anthropic::report::Asked;
use crate::anthropic::{AdminApi, questions};
use crate::domain::dialect::Dialect;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::Granularity;

impl AdminApi {
    /// Asks the server how it speaks, and keeps to its rate. The real service knows `/v1/organizations/me`, and is asked for
    /// its newer report and then for its older one; a guide server has the organization one level above.
    pub async fn detect_dialect(&self) -> Result<Dialect, DetectError> {
        let dialect = match self.me().await {
            Ok(_) => self.which_report().await,
            Err(error) if error.is_unknown_path() => {
                self.organization().await.map(|_| Dialect::Guide)
            }
            // What tells nothing of the dialect: a refused key, a server in trouble, a page of a proxy.
            Err(error) => Err(error),
        };
        let dialect = dialect?;
        self.set_dialect(dialect);
        Ok(dialect)
    }

    /// Whether usage can be read in a dialect that is configured, and not asked for.
    pub async fn try_dialect(&self, dialect: Dialect) -> Result<(), FetchError> {
        self.set_dialect(dialect);
        let asked = self.last_hour();
        match dialect {
            Dialect::Guide => self.organization().await.map(|_| ()),
            Dialect::Analytics => self.is_there(questions::least_billed(asked)).await,
            Dialect::Reports => self.is_there(questions::least_messages(asked)).await,
        }
    }

    fn last_hour(&self) -> Asked {
        let this_hour = Hour::of(self.0.clock.now());
        Asked {
            granularity: Granularity::Hour,
            hours: HourSpan {
                start: this_hour.plus(-1),
                end: this_hour,
            },
        }
    }

    async fn which_report(&self) -> Result<Dialect, FetchError> {
        let asked = self.last_hour();
        match self.is_there(questions::least_billed(asked)).await {
            Ok(()) => Ok(Dialect::Analytics),
            Err(error) if error.is_not_for_us() => self
                .is_there(questions::least_messages(asked))
                .await
                .map(|()| Dialect::Reports),
            Err(error) => Err(error),
        }
    }

    async fn is_there<T>(&self, report: Report<T>) -> Result<(), FetchError> {
        let mut pages = Pages::new(Arc::clone(&self.0), report);
        pages.next().await.map(|_| ())
    }
}
