//! Walks through a list page by page: pure. Ends in an error rather than never, or silently short.

use std::collections::HashSet;

use crate::anthropic::fault::Fault;

/// Rows asked for on one page: the most that a server of the guide dialect gives.
pub const PAGE_LIMIT: u32 = 100;
/// The most that the real service gives.
pub const REAL_PAGE_LIMIT: u32 = 1000;
/// No list has more pages than this.
const MAX_PAGES: u32 = 10_000;
/// No report has more pages than this in a row that hold nothing.
const MAX_EMPTY_PAGES: u32 = 100;

/// What a page says about itself. A missing `has_more` means no further page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageEnd {
    /// Whether there is another page.
    pub has_more: bool,
    /// Where the next page begins, if the server says it.
    pub last_id: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage<T> {
    /// Each with its id, in the server's order; `None` for one that does not count.
    pub rows: Vec<(String, Option<T>)>,
    /// Rows that could not be read, or not all of them.
    pub unreadable: Vec<Fault>,
    /// Whether it is the last one.
    pub end: PageEnd,
}

/// Where one stands in a list.
#[derive(Debug, Default)]
pub struct Paging {
    n_pages: u32,
    rows_seen: HashSet<String>,
    cursors_seen: HashSet<String>,
}

/// What to do after a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask for the page after this id.
    After(String),
    End,
}

/// What a server must not do with its pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingFault {
    /// More is promised and nothing given.
    #[error("`has_more` is true, but the page has no rows")]
    EmptyPage,
    #[error("{MAX_EMPTY_PAGES} pages in a row are empty, and another one is promised")]
    EndlesslyEmpty,
    /// Would lead in a circle.
    #[error("another page is promised, but the cursor `{0}` was already used")]
    RepeatedCursor(String),
    /// Nothing but rows that were on earlier pages, and more is promised.
    #[error("every row of the page was listed before, and another page is promised")]
    RepeatedRows,
    #[error("the list has more than {MAX_PAGES} pages")]
    Endless,
}

impl Paging {
    /// The number of the page that is to be asked for, from 1.
    pub fn page(&self) -> u32 {
        self.n_pages + 1
    }

    /// Takes a page. Leaves out the rows that were listed before, and gives their ids.
    pub fn take<T>(&mut self, page: &mut ListPage<T>) -> Result<(Next, Vec<String>), PagingFault> {
        let last_row = page.rows.last().map(|(id, _)| id.clone());
        let mut repeated = Vec::new();
        page.rows.retain(|(id, _)| {
            let is_new = self.rows_seen.insert(id.clone());
            if !is_new {
                repeated.push(id.clone());
            }
            is_new
        });
        if !page.end.has_more {
            return Ok((Next::End, repeated));
        }
        if page.rows.is_empty() && !repeated.is_empty() {
            return Err(PagingFault::RepeatedRows);
        }
        // Where the server does not say where to go on, its last row says it: to stop here would be a short list.
        let last_id = page.end.last_id.clone();
        let cursor = if page.rows.is_empty() && page.unreadable.is_empty() {
            None
        } else {
            last_id.or(last_row)
        };
        let cursor = cursor.ok_or(PagingFault::EmptyPage)?;
        if !self.cursors_seen.insert(cursor.clone()) {
            return Err(PagingFault::RepeatedCursor(cursor));
        }
        self.n_pages += 1;
        if self.n_pages >= MAX_PAGES {
            return Err(PagingFault::Endless);
        }
        Ok((Next::After(cursor), repeated))
    }
}

/// The position in a report whose pages are linked by opaque cursors. An empty page is legal, and
/// only a page without a cursor is the last one.
#[derive(Debug, Default)]
pub struct Cursors {
    seen: HashSet<String>,
    n_empty: u32,
}

impl Cursors {
    /// The number of the page that is to be asked for, from 1.
    pub fn page(&self) -> u32 {
        u32::try_from(self.seen.len()).map_or(u32::MAX, |n| n + 1)
    }

    /// Takes a page's own account of where the next one begins; `None` on the last one.
    pub fn take(&mut self, next: Option<&str>, is_empty: bool) -> Result<(), PagingFault> {
        let Some(cursor) = next else {
            return Ok(());
        };
        if !self.seen.insert(cursor.to_owned()) {
            return Err(PagingFault::RepeatedCursor(cursor.to_owned()));
        }
        self.n_empty = if is_empty { self.n_empty + 1 } else { 0 };
        if self.n_empty >= MAX_EMPTY_PAGES {
            return Err(PagingFault::EndlesslyEmpty);
        }
        if self.page() > MAX_PAGES {
            return Err(PagingFault::Endless);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_ends_or_ends_in_an_error() {
        let mut cursors = Cursors::default();
        assert_eq!(cursors.page(), 1);
        assert_eq!(cursors.take(Some("a"), false), Ok(()));
        assert_eq!(cursors.page(), 2);
        assert_eq!(cursors.take(Some("b"), true), Ok(()), "empty, and legal");
        let circle = Err(PagingFault::RepeatedCursor("a".to_owned()));
        assert_eq!(cursors.take(Some("a"), false), circle);
        assert_eq!(cursors.take(None, true), Ok(()));
        let more = |n: u32| {
            cursors
                .take(Some(&n.to_string()), n.is_multiple_of(2))
                .err()
        };
        assert_eq!((0..MAX_PAGES).find_map(more), Some(PagingFault::Endless));
    }

    #[test]
    fn pages_that_stay_empty_end_in_an_error() {
        let mut cursors = Cursors::default();
        let more = |n: u32| cursors.take(Some(&n.to_string()), true).err();
        let n_taken = (1..MAX_PAGES).map(more).position(|fault| fault.is_some());
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

    /// What follows the last of some pages, and the ids of its rows that were listed before.
    #[track_caller]
    fn check(
        pages: &[(&[&str], PageEnd)],
        expected: &Result<Next, PagingFault>,
        repeated: &[&str],
    ) {
        let mut paging = Paging::default();
        let mut last = Ok((Next::End, Vec::new()));
        for (ids, end) in pages {
            last = paging.take(&mut page(ids, end.clone()));
        }
        let (next, ids) = match last {
            Ok((next, ids)) => (Ok(next), ids),
            Err(fault) => (Err(fault), Vec::new()),
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
    fn pages() {
        let after = |id: &str| Ok(Next::After(id.to_owned()));
        check(&[(&[], PageEnd::default())], &Ok(Next::End), &[]);
        check(&[(&["a", "b"], PageEnd::default())], &Ok(Next::End), &[]);
        check(&[(&["a", "b"], more("b"))], &after("b"), &[]);
        check(&[(&["a", "b"], more("x"))], &after("x"), &[]);
        check(
            &[(&["a"], more("a")), (&["b"], more("b"))],
            &after("b"),
            &[],
        );
        let unsaid = PageEnd {
            has_more: true,
            last_id: None,
        };
        check(&[(&["a", "b"], unsaid)], &after("b"), &[]);
        let ended = PageEnd {
            has_more: false,
            last_id: Some("b".to_owned()),
        };
        check(&[(&["a"], more("a")), (&["b"], ended)], &Ok(Next::End), &[]);
    }

    #[test]
    fn a_row_that_was_listed_before_costs_only_itself() {
        check(&[(&["a", "a"], PageEnd::default())], &Ok(Next::End), &["a"]);
        let after = Ok(Next::After("b".to_owned()));
        check(
            &[(&["a"], more("a")), (&["a", "b"], more("b"))],
            &after,
            &["a"],
        );
        let mut paging = Paging::default();
        let mut twice = page(&["a", "b", "a"], PageEnd::default());
        paging.take(&mut twice).unwrap();
        assert_eq!(twice.rows.len(), 2);
    }

    #[test]
    fn faults() {
        check(&[(&[], more("a"))], &Err(PagingFault::EmptyPage), &[]);
        let circle = Err(PagingFault::RepeatedCursor("a".to_owned()));
        check(&[(&["a"], more("a")), (&["b"], more("a"))], &circle, &[]);
        let again = Err(PagingFault::RepeatedRows);
        check(&[(&["a"], more("a")), (&["a"], more("b"))], &again, &[]);
    }

    #[test]
    fn a_list_without_end_ends() {
        let mut paging = Paging::default();
        let n_taken = (0_u32..)
            .find(|n| {
                let id = n.to_string();
                paging.take(&mut page(&[&id], more(&id))).is_err()
            })
            .unwrap();
        assert_eq!(n_taken + 1, MAX_PAGES);
    }
}
