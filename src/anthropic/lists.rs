//! Lists, read to their end: all of one, or an error, and never a part.

use crate::anthropic::error::FetchError;
use crate::anthropic::fault::{Fault, Place};
use crate::anthropic::paging::{Cursors, ListPage, Next, Paging};
use crate::anthropic::transport::{Question, Transport};
use crate::metrics::requests::Endpoint;

/// A list whose pages are strung together by the ids of their rows.
pub async fn by_id<T>(
    transport: &Transport,
    endpoint: Endpoint,
    query: Vec<(&'static str, String)>,
    translate: fn(&[u8]) -> Result<ListPage<T>, Fault>,
) -> Result<Vec<T>, FetchError> {
    let about = Question::about(endpoint);
    by_id_about(transport, about, query, translate, &|_| {}).await
}

/// The same: `about` says what is asked for, without a query, and `on_page` is told the rows so far.
pub async fn by_id_about<T>(
    transport: &Transport,
    about: Question<'_>,
    mut query: Vec<(&'static str, String)>,
    translate: fn(&[u8]) -> Result<ListPage<T>, Fault>,
    on_page: &(dyn Fn(usize) + Sync),
) -> Result<Vec<T>, FetchError> {
    let n_fixed = query.len();
    let mut paging = Paging::default();
    let mut all = Vec::new();
    loop {
        let question = Question {
            query: &query,
            page: paging.page(),
            ..about
        };
        let body = transport.ask(&question).await?;
        let mut page = translate(&body).map_err(|fault| transport.faulty(&question, &fault))?;
        let (next, repeated) = paging
            .take(&mut page)
            .map_err(|fault| transport.faulty(&question, &fault))?;
        for fault in &page.unreadable {
            transport.note_unreadable(&question, fault);
        }
        for id in repeated {
            let fault = Fault::value(Place::Answer, "id", &id, "listed twice");
            transport.note_unreadable(&question, &fault);
        }
        all.extend(page.rows.into_iter().filter_map(|(_, row)| row));
        on_page(all.len());
        match next {
            Next::End => return Ok(all),
            Next::After(id) => {
                query.truncate(n_fixed);
                query.push(("after_id", id));
            }
        }
    }
}

/// One page of a list whose pages are strung together by cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorPage<T> {
    /// In the server's order; those that do not count are left out.
    pub rows: Vec<T>,
    /// Rows that could not be read, or not all of them.
    pub unreadable: Vec<Fault>,
    /// Whether there is no row at all.
    pub is_empty: bool,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// A list whose pages are strung together by cursors: `about` says what is asked for, without a query.
pub async fn by_cursor<T>(
    transport: &Transport,
    about: Question<'_>,
    translate: fn(&[u8]) -> Result<CursorPage<T>, Fault>,
) -> Result<Vec<T>, FetchError> {
    let mut query = Vec::new();
    let mut cursors = Cursors::default();
    let mut all = Vec::new();
    loop {
        let question = Question {
            query: &query,
            page: cursors.page(),
            ..about
        };
        let body = transport.ask(&question).await?;
        let page = translate(&body).map_err(|fault| transport.faulty(&question, &fault))?;
        cursors
            .take(page.next.as_deref(), page.is_empty)
            .map_err(|fault| transport.faulty(&question, &fault))?;
        for fault in &page.unreadable {
            transport.note_unreadable(&question, fault);
        }
        all.extend(page.rows);
        match page.next {
            None => return Ok(all),
            Some(cursor) => query = vec![("page", cursor)],
        }
    }
}
