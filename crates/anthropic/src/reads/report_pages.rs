//! Fetches a report page by page, on demand.

use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::error::FetchError;
use crate::transport::decode::DecodeError;
use crate::transport::paging::CursorPaging;
use crate::transport::{GetRequest, Transport};
use crate::wire::report::{BucketSpan, DuplicateCheck, PageResponse, ReportPage, RowError};
use spendwatch_domain::usage::report_rows::UnreadableRow;

/// Decodes one page.
pub type ParsePage<T> =
    fn(&[u8], BucketSpan, &mut DuplicateCheck) -> Result<PageResponse<T>, DecodeError>;

/// A report to fetch, and how to decode its pages.
#[derive(Debug, Clone)]
pub struct ReportRequest<T> {
    pub endpoint: Endpoint,
    /// Value of the `anthropic-beta` header.
    pub beta: Option<&'static str>,
    /// Parameters of every page, without the cursor.
    pub query: Vec<(&'static str, String)>,
    pub span: BucketSpan,
    pub parse: ParsePage<T>,
}

/// The pages of one report. Endless or repeated pages are an error.
#[derive(Debug)]
pub struct ReportPages<T> {
    transport: Arc<Transport>,
    report: ReportRequest<T>,
    duplicates: DuplicateCheck,
    cursors: CursorPaging,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Cursor of the next page; `None` for the first one.
    Open(Option<String>),
    Ended,
    /// Stays failed, so that an incomplete report cannot be mistaken for a complete one.
    Failed(FetchError),
}

impl<T> ReportPages<T> {
    /// Sends nothing until [`ReportPages::next`] is called.
    pub fn new(transport: Arc<Transport>, report: ReportRequest<T>) -> ReportPages<T> {
        ReportPages {
            transport,
            report,
            duplicates: DuplicateCheck::default(),
            cursors: CursorPaging::default(),
            state: State::Open(None),
        }
    }

    /// Returns the next page, or `None` after the last one. After an error, returns the same error again; to retry, start over with
    /// a new [`ReportPages`].
    pub async fn next(&mut self) -> Result<Option<ReportPage<T>>, FetchError> {
        let cursor = match &self.state {
            State::Open(cursor) => cursor.clone(),
            State::Ended => return Ok(None),
            State::Failed(error) => return Err(error.clone()),
        };
        match self.page(cursor).await {
            Ok((page, next)) => {
                self.state = match next {
                    Some(next) => State::Open(Some(next)),
                    None => State::Ended,
                };
                Ok(Some(page))
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Fetches one page and returns it with the cursor of the next one.
    async fn page(
        &mut self,
        cursor: Option<String>,
    ) -> Result<(ReportPage<T>, Option<String>), FetchError> {
        let mut query = self.report.query.clone();
        query.extend(cursor.map(|cursor| ("page", cursor)));
        let request = GetRequest {
            query: &query,
            beta: self.report.beta,
            page: self.cursors.page(),
            ..GetRequest::new(self.report.endpoint)
        };
        let body = self.transport.get(&request).await?;
        let response = (self.report.parse)(&body, self.report.span, &mut self.duplicates);
        let response = self.transport.decoded(&request, response)?;
        let advanced = self
            .cursors
            .advance(response.next.as_deref(), response.is_empty);
        self.transport.decoded(&request, advanced)?;
        let named = |unreadable: RowError| UnreadableRow {
            hours: unreadable.hours,
            workspace: unreadable.workspace,
            reason: self
                .transport
                .decode_error(&request, &unreadable.error)
                .to_string(),
        };
        let page = ReportPage {
            rows: response.rows,
            unreadable: response.unreadable.into_iter().map(named).collect(),
            refreshed_at: response.refreshed_at,
        };
        Ok((page, response.next))
    }
}
