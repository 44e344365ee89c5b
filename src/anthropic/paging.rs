//! Walks through a list page by page: pure. Ends in an error rather than never, or silently short.

use std::collections::HashSet;

/// Rows asked for on one page: the most that a server of the guide dialect gives.
pub const PAGE_LIMIT: u32 = 100;
/// The most that the real service gives.
pub const REAL_PAGE_LIMIT: u32 = 1000;
/// No list has more pages than this.
const MAX_PAGES: u32 = 10_000;

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
    /// In the server's order; those that do not count are left out.
    pub rows: Vec<T>,
    /// Of all rows, also of those that are left out.
    pub ids: Vec<String>,
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
    /// The list is complete.
    End,
}

/// What a server must not do with its pages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingFault {
    /// More is promised and nothing given.
    #[error("`has_more` is true, but the page has no rows")]
    EmptyPage,
    /// Would lead in a circle.
    #[error("`has_more` is true, but the cursor `{0}` was already used")]
    RepeatedCursor(String),
    /// The same row twice.
    #[error("the id `{0}` stands in the list twice")]
    RepeatedRow(String),
    /// A list without end.
    #[error("the list has more than {MAX_PAGES} pages")]
    Endless,
}

impl Paging {
    /// The number of the page that is to be asked for, from 1.
    pub fn page(&self) -> u32 {
        self.n_pages + 1
    }

    /// Takes a page with the ids of its rows.
    pub fn take<'a>(
        &mut self,
        ids: impl IntoIterator<Item = &'a str>,
        end: PageEnd,
    ) -> Result<Next, PagingFault> {
        let mut last_row = None;
        for id in ids {
            if !self.rows_seen.insert(id.to_owned()) {
                return Err(PagingFault::RepeatedRow(id.to_owned()));
            }
            last_row = Some(id);
        }
        if !end.has_more {
            return Ok(Next::End);
        }
        let last_row = last_row.ok_or(PagingFault::EmptyPage)?;
        // Where the server does not say where to go on, its last row says it: to stop here would be a short list.
        let cursor = end.last_id.unwrap_or_else(|| last_row.to_owned());
        if !self.cursors_seen.insert(cursor.clone()) {
            return Err(PagingFault::RepeatedCursor(cursor));
        }
        self.n_pages += 1;
        if self.n_pages >= MAX_PAGES {
            return Err(PagingFault::Endless);
        }
        Ok(Next::After(cursor))
    }
}

/// Where one stands in a report, whose pages are strung together by cursors that say nothing else.
#[derive(Debug, Default)]
pub struct Cursors(HashSet<String>);

impl Cursors {
    /// The number of the page that is to be asked for, from 1.
    pub fn page(&self) -> u32 {
        u32::try_from(self.0.len()).map_or(u32::MAX, |n| n + 1)
    }

    /// Takes a page's own account of where the next one begins; `None` on the last one.
    pub fn take(&mut self, next: Option<&str>, is_empty: bool) -> Result<(), PagingFault> {
        let Some(cursor) = next else {
            return Ok(());
        };
        if is_empty {
            return Err(PagingFault::EmptyPage);
        }
        if !self.0.insert(cursor.to_owned()) {
            return Err(PagingFault::RepeatedCursor(cursor.to_owned()));
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
        assert_eq!(cursors.take(Some("b"), true), Err(PagingFault::EmptyPage));
        let circle = Err(PagingFault::RepeatedCursor("a".to_owned()));
        assert_eq!(cursors.take(Some("a"), false), circle);
        assert_eq!(cursors.take(None, true), Ok(()));
        let more = |n: u32| cursors.take(Some(&n.to_string()), false).err();
        assert_eq!((0..MAX_PAGES).find_map(more), Some(PagingFault::Endless));
    }

    fn more(last_id: &str) -> PageEnd {
        PageEnd {
            has_more: true,
            last_id: Some(last_id.to_owned()),
        }
    }

    #[track_caller]
    fn check(pages: &[(&[&str], PageEnd)], expected: &Result<Next, PagingFault>) {
        let mut paging = Paging::default();
        let mut last = Ok(Next::End);
        for (ids, end) in pages {
            last = paging.take(ids.iter().copied(), end.clone());
        }
        assert_eq!(last, *expected);
    }

    #[test]
    fn pages() {
        let after = |id: &str| Ok(Next::After(id.to_owned()));
        check(&[(&[], PageEnd::default())], &Ok(Next::End));
        check(&[(&["a", "b"], PageEnd::default())], &Ok(Next::End));
        check(&[(&["a", "b"], more("b"))], &after("b"));
        check(&[(&["a", "b"], more("x"))], &after("x"));
        check(&[(&["a"], more("a")), (&["b"], more("b"))], &after("b"));
        let unsaid = PageEnd {
            has_more: true,
            last_id: None,
        };
        check(&[(&["a", "b"], unsaid)], &after("b"));
        let ended = PageEnd {
            has_more: false,
            last_id: Some("b".to_owned()),
        };
        check(&[(&["a"], more("a")), (&["b"], ended)], &Ok(Next::End));
    }

    #[test]
    fn faults() {
        check(&[(&[], more("a"))], &Err(PagingFault::EmptyPage));
        let circle = Err(PagingFault::RepeatedCursor("a".to_owned()));
        check(&[(&["a"], more("a")), (&["b"], more("a"))], &circle);
        let twice = Err(PagingFault::RepeatedRow("a".to_owned()));
        check(&[(&["a", "a"], PageEnd::default())], &twice);
        check(&[(&["a"], more("a")), (&["a"], more("b"))], &twice);
    }

    #[test]
    fn a_list_without_end_ends() {
        let mut paging = Paging::default();
        let n_taken = (0_u32..)
            .find(|n| {
                paging
                    .take([n.to_string().as_str()], more(&n.to_string()))
                    .is_err()
            })
            .unwrap();
        assert_eq!(n_taken + 1, MAX_PAGES);
    }
}
