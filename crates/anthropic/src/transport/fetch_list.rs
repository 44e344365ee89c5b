//! Fetches complete lists: all rows or an error, never a part.

use crate::error::FetchError;
use crate::transport::decode::{DecodeError, ResponseLocation};
use crate::transport::paging::{CursorPage, CursorPaging, IdPaging, ListPage, NextPage};
use crate::transport::{GetRequest, Transport};

/// Fetches a list whose pages are linked by the ids of their rows; `on_page` receives the number of rows so far after every page.
pub async fn by_id<T>(
    transport: &Transport,
    base: GetRequest<'_>,
    mut query: Vec<(&'static str, String)>,
    parse: impl Fn(&[u8]) -> Result<ListPage<T>, DecodeError>,
    on_page: &(dyn Fn(usize) + Sync),
) -> Result<Vec<T>, FetchError> {
    let n_fixed = query.len();
    let mut paging = IdPaging::default();
    let mut all = Vec::new();
    loop {
        let request = GetRequest {
            query: &query,
            page: paging.page(),
            ..base
        };
        let body = transport.get(&request).await?;
        let mut page = transport.decoded(&request, parse(&body))?;
        let (next, repeated) = transport.decoded(&request, paging.advance(&mut page))?;
        for error in &page.unreadable {
            transport.record_unreadable(&request, error);
        }
        for id in repeated {
            let error = DecodeError::value(ResponseLocation::Body, "id", &id, "listed twice");
            transport.record_unreadable(&request, &error);
        }
        all.extend(page.rows.into_iter().filter_map(|(_, row)| row));
        on_page(all.len());
        match next {
            NextPage::End => return Ok(all),
            NextPage::After(id) => {
                query.truncate(n_fixed);
                query.push(("after_id", id));
            }
        }
    }
}

/// Fetches a list whose pages are linked by cursors.
pub async fn by_cursor<T>(
    transport: &Transport,
    base: GetRequest<'_>,
    parse: fn(&[u8]) -> Result<CursorPage<T>, DecodeError>,
) -> Result<Vec<T>, FetchError> {
    let mut query = Vec::new();
    let mut cursors = CursorPaging::default();
    let mut all = Vec::new();
    loop {
        let request = GetRequest {
            query: &query,
            page: cursors.page(),
            ..base
        };
        let body = transport.get(&request).await?;
        let page = transport.decoded(&request, parse(&body))?;
        let advanced = cursors.advance(page.next.as_deref(), page.is_empty);
        transport.decoded(&request, advanced)?;
        for error in &page.unreadable {
            transport.record_unreadable(&request, error);
        }
        all.extend(page.rows);
        match page.next {
            None => return Ok(all),
            Some(cursor) => query = vec![("page", cursor)],
        }
    }
}
