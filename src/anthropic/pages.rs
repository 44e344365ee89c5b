//! A report page by page: the next one is asked for when it is wanted, and whoever has enough stops.

use std::sync::Arc;

use crate::anthropic::error::FetchError;
use crate::anthropic::fault::Fault;
use crate::anthropic::paging::Cursors;
use crate::anthropic::report::{Asked, Page, Seen, Told, Unreadable};
use crate::anthropic::transport::{Question, Transport};
use crate::domain::report::UnreadableRow;
use crate::metrics::requests::Endpoint;

/// From an answer to its rows.
pub type Translate<T> = fn(&[u8], Asked, &mut Seen) -> Result<Told<T>, Fault>;

/// Which report is asked for, and what its answers mean.
#[derive(Debug, Clone)]
pub struct Report<T> {
    pub endpoint: Endpoint,
    /// What the server needs to be told to answer it.
    pub beta: Option<&'static str>,
    /// The same with every page.
    pub query: Vec<(&'static str, String)>,
    /// What is asked, in whole buckets.
    pub asked: Asked,
    pub translate: Translate<T>,
}

/// The pages of one report. It ends, or it ends in an error: pages without end, or in a circle, are one.
#[derive(Debug)]
pub struct Pages<T> {
    transport: Arc<Transport>,
    report: Report<T>,
    seen: Seen,
    cursors: Cursors,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The next page begins there; `None` for the first one.
    Open(Option<String>),
    Ended,
    /// A report that failed stays failed: it has no end that could be taken for its last page.
    Failed(FetchError),
}

impl<T> Pages<T> {
    /// Asks nothing yet.
    pub fn new(transport: Arc<Transport>, report: Report<T>) -> Pages<T> {
        Pages {
            transport,
            report,
            seen: Seen::default(),
            cursors: Cursors::default(),
            state: State::Open(None),
        }
    }

    /// The next page, or `None` after the last one. After an error there is nothing but that error: who wants to try again
    /// asks anew, from the first page on.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, FetchError> {
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

    /// One page, and where the next one begins.
    async fn page(
        &mut self,
        cursor: Option<String>,
    ) -> Result<(Page<T>, Option<String>), FetchError> {
        let mut query = self.report.query.clone();
        query.extend(cursor.map(|cursor| ("page", cursor)));
        let question = Question {
            query: &query,
            beta: self.report.beta,
            page: self.cursors.page(),
            ..Question::about(self.report.endpoint)
        };
        let body = self.transport.ask(&question).await?;
        let translate = self.report.translate;
        let told: Told<T> = translate(&body, self.report.asked, &mut self.seen)
            .map_err(|fault| self.transport.faulty(&question, &fault))?;
        self.cursors
            .take(told.next.as_deref(), told.is_empty)
            .map_err(|fault| self.transport.faulty(&question, &fault))?;
        let named = |unreadable: Unreadable| UnreadableRow {
            hours: unreadable.hours,
            workspace: unreadable.workspace,
            reason: self
                .transport
                .faulty(&question, &unreadable.fault)
                .to_string(),
        };
        let page = Page {
            rows: told.rows,
            unreadable: told.unreadable.into_iter().map(named).collect(),
            refreshed_at: told.refreshed_at,
        };
        Ok((page, told.next))
    }
}
