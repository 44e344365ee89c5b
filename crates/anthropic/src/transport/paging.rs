//! Decides which page of a list to request next. Pure.
//!
//! A list that is endless, repeats itself or breaks off is an error, never a silently shorter list.

use std::collections::HashSet;

use crate::transport::decode::DecodeError;

/// Maximum pages of a list.
const MAX_PAGES: u32 = 10_000;
/// Maximum consecutive empty pages of a report.
const MAX_EMPTY_PAGES: u32 = 100;

/// How a page refers to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageEnd {
    pub has_more: bool,
    /// Cursor of the next page, if the server sends one.
    pub last_id: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage<T> {
    /// With their ids, in the server's order; `None` for a skipped row.
    pub rows: Vec<(String, Option<T>)>,
    /// Rows with at least one invalid field.
    pub unreadable: Vec<DecodeError>,
    pub end: PageEnd,
}

/// One page of a list whose pages are linked by cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorPage<T> {
    /// In the server's order, without skipped rows.
    pub rows: Vec<T>,
    /// Rows with at least one invalid field.
    pub unreadable: Vec<DecodeError>,
    pub is_empty: bool,
    /// Cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Position in a list whose pages are linked by the ids of their rows.
#[derive(Debug, Default)]
pub struct IdPaging {
    n_pages: u32,
    seen_ids: HashSet<String>,
    seen_cursors: HashSet<String>,
}

/// How to request the page after a page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextPage {
    After(String),
    End,
}

/// Why a list cannot be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    #[error("`has_more` is true, but the page is empty")]
    EmptyPage,
    #[error("{MAX_EMPTY_PAGES} consecutive pages are empty, and there is a next page")]
    EndlesslyEmpty,
    #[error("the cursor `{0}` of the next page was already used")]
    RepeatedCursor(String),
    #[error("every row of the page was on an earlier page, and there is a next page")]
    RepeatedRows,
    #[error("the list has more than {MAX_PAGES} pages")]
    Endless,
}

impl IdPaging {
    /// Returns the number of the next page to request, from 1.
    pub fn page(&self) -> u32 {
        self.n_pages + 1
    }

    /// Moves past a page. Removes rows that were listed before and returns their ids.
    pub fn advance<T>(
        &mut self,
        page: &mut ListPage<T>,
    ) -> Result<(NextPage, Vec<String>), PagingError> {
        let last_row = page.rows.last().map(|(id, _)| id.clone());
        let mut repeated = Vec::new();
        page.rows.retain(|(id, _)| {
            let is_new = self.seen_ids.insert(id.clone());
            if !is_new {
                repeated.push(id.clone());
            }
            is_new
        });
        if !page.end.has_more {
            return Ok((NextPage::End, repeated));
        }
        if page.rows.is_empty() && !repeated.is_empty() {
            return Err(PagingError::RepeatedRows);
        }
        // Without a cursor from the server, the last row's id is the cursor; stopping here would cut the list.
        let last_id = page.end.last_id.clone();
        let cursor = if page.rows.is_empty() && page.unreadable.is_empty() {
            None
        } else {
            last_id.or(last_row)
        };
        let cursor = cursor.ok_or(PagingError::EmptyPage)?;
        if !self.seen_cursors.insert(cursor.clone()) {
            return Err(PagingError::RepeatedCursor(cursor));
        }
        self.n_pages += 1;
        if self.n_pages >= MAX_PAGES {
            return Err(PagingError::Endless);
        }
        Ok((NextPage::After(cursor), repeated))
    }
}

/// Position in a report whose pages are linked by opaque cursors. Empty pages are valid; only a page without a cursor is the last.
#[derive(Debug, Default)]
pub struct CursorPaging {
    seen: HashSet<String>,
    n_empty: u32,
}

impl CursorPaging {
    /// Returns the number of the next page to request, from 1.
    pub fn page(&self) -> u32 {
        u32::try_from(self.seen.len()).map_or(u32::MAX, |n| n + 1)
    }

    /// Moves past a page whose cursor of the next page is `next`.
    pub fn advance(&mut self, next: Option<&str>, is_empty: bool) -> Result<(), PagingError> {
        let Some(cursor) = next else {
            return Ok(());
        };
        if !self.seen.insert(cursor.to_owned()) {
            return Err(PagingError::RepeatedCursor(cursor.to_owned()));
        }
        self.n_empty = if is_empty { self.n_empty + 1 } else { 0 };
        if self.n_empty >= MAX_EMPTY_PAGES {
            return Err(PagingError::EndlesslyEmpty);
        }
        if self.page() > MAX_PAGES {
            return Err(PagingError::Endless);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_and_circular_reports_are_errors() {
        let mut cursors = CursorPaging::default();
        assert_eq!(cursors.page(), 1);
        assert_eq!(cursors.advance(Some("a"), false), Ok(()));
        assert_eq!(cursors.page(), 2);
        assert_eq!(
            cursors.advance(Some("b"), true),
            Ok(()),
            "empty pages are valid"
        );
        let circle = Err(PagingError::RepeatedCursor("a".to_owned()));
        assert_eq!(cursors.advance(Some("a"), false), circle);
        assert_eq!(cursors.advance(None, true), Ok(()));
        let more = |n: u32| {
            cursors
                .advance(Some(&n.to_string()), n.is_multiple_of(2))
                .err()
        };
        assert_eq!((0..MAX_PAGES).find_map(more), Some(PagingError::Endless));
    }

    #[test]
    fn too_many_empty_pages_are_an_error() {
        let mut cursors = CursorPaging::default();
        let more = |n: u32| cursors.advance(Some(&n.to_string()), true).err();
        let n_taken = (1..MAX_PAGES).map(more).position(|error| error.is_some());
        assert_eq!(n_taken, usize::try_from(MAX_EMPTY_PAGES - 1).ok());
    }

    fn more(last_id: &str) -> PageEnd {
        PageEnd {
            has_more: true,
            last_id: Some(last_id.to_owned()),
        }
    }

    fn page(ids: &[&str], end: PageEnd) -> ListPage<()> {
        ListPage {
            rows: ids.iter().map(|id| ((*id).to_owned(), Some(()))).collect(),
            unreadable: Vec::new(),
            end,
        }
    }

    /// Checks the step after the last page, and which ids it repeats.
    #[track_caller]
    fn check(
        pages: &[(&[&str], PageEnd)],
        expected: &Result<NextPage, PagingError>,
        repeated: &[&str],
    ) {
        let mut paging = IdPaging::default();
        let mut last = Ok((NextPage::End, Vec::new()));
        for (ids, end) in pages {
            last = paging.advance(&mut page(ids, end.clone()));
        }
        let (next, ids) = match last {
            Ok((next, ids)) => (Ok(next), ids),
            Err(error) => (Err(error), Vec::new()),
        };
        assert_eq!(
            (&next, ids.as_slice()),
            (
                expected,
                repeated
                    .iter()
                    .map(|id| (*id).to_owned())
                    .collect::<Vec<_>>()
                    .as_slice()
            )
        );
    }

    #[test]
    fn next_pages() {
        let after = |id: &str| Ok(NextPage::After(id.to_owned()));
        check(&[(&[], PageEnd::default())], &Ok(NextPage::End), &[]);
        check(
            &[(&["a", "b"], PageEnd::default())],
            &Ok(NextPage::End),
            &[],
        );
        check(&[(&["a", "b"], more("b"))], &after("b"), &[]);
        check(&[(&["a", "b"], more("x"))], &after("x"), &[]);
        check(
            &[(&["a"], more("a")), (&["b"], more("b"))],
            &after("b"),
            &[],
        );
        let no_cursor = PageEnd {
            has_more: true,
            last_id: None,
        };
        check(&[(&["a", "b"], no_cursor)], &after("b"), &[]);
        let ended = PageEnd {
            has_more: false,
            last_id: Some("b".to_owned()),
        };
        check(
            &[(&["a"], more("a")), (&["b"], ended)],
            &Ok(NextPage::End),
            &[],
        );
    }

    #[test]
    fn repeated_rows_are_dropped() {
        check(
            &[(&["a", "a"], PageEnd::default())],
            &Ok(NextPage::End),
            &["a"],
        );
        let after = Ok(NextPage::After("b".to_owned()));
        check(
            &[(&["a"], more("a")), (&["a", "b"], more("b"))],
            &after,
            &["a"],
        );
        let mut paging = IdPaging::default();
        let mut twice = page(&["a", "b", "a"], PageEnd::default());
        paging.advance(&mut twice).unwrap();
        assert_eq!(twice.rows.len(), 2);
    }

    #[test]
    fn invalid_pages() {
        check(&[(&[], more("a"))], &Err(PagingError::EmptyPage), &[]);
        let circle = Err(PagingError::RepeatedCursor("a".to_owned()));
        check(&[(&["a"], more("a")), (&["b"], more("a"))], &circle, &[]);
        let again = Err(PagingError::RepeatedRows);
        check(&[(&["a"], more("a")), (&["a"], more("b"))], &again, &[]);
    }

    #[test]
    fn endless_lists_are_an_error() {
        let mut paging = IdPaging::default();
        let n_taken = (0_u32..)
            .find(|n| {
                let id = n.to_string();
                paging.advance(&mut page(&[&id], more(&id))).is_err()
            })
            .unwrap();
        assert_eq!(n_taken + 1, MAX_PAGES);
    }
}
