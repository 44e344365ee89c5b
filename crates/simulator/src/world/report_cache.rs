//! Newest reports of the real API, for their later pages. A row is rendered only when its page is requested.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

type Write = Box<dyn Fn(usize) -> String + Send + Sync>;

/// Rows of a report, rendered on demand.
pub struct LazyRows {
    pub n_rows: usize,
    /// JSON fields appended to each page, with a leading comma.
    pub extra_fields: String,
    write: Write,
}

impl LazyRows {
    /// Creates `n_rows` rows; `write` renders the row at an index as JSON.
    pub fn new(n_rows: usize, write: impl Fn(usize) -> String + Send + Sync + 'static) -> LazyRows {
        LazyRows {
            n_rows,
            extra_fields: String::new(),
            write: Box::new(write),
        }
    }

    /// Renders a row as JSON.
    pub fn row(&self, index: usize) -> String {
        (self.write)(index)
    }
}

impl fmt::Debug for LazyRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.n_rows)
    }
}

/// Maximum number of reports.
const MAX_REPORTS: usize = 8;

/// Newest reports by query hash and time.
#[derive(Debug, Clone, Default)]
pub struct ReportCache(Vec<(u64, Timestamp, Arc<LazyRows>)>);

impl ReportCache {
    /// Returns the report of a query: for the first page one of this time, for later pages the newest.
    pub fn get(&self, hash: u64, is_first: bool, now: Timestamp) -> Option<Arc<LazyRows>> {
        let mut reports = self.0.iter();
        let cached = reports.find(|(key, at, _)| *key == hash && (*at == now || !is_first));
        cached.map(|(.., report)| Arc::clone(report))
    }

    /// Adds the newest report of a query.
    pub fn insert(&mut self, hash: u64, now: Timestamp, report: Arc<LazyRows>) {
        self.0.retain(|(key, ..)| *key != hash);
        if self.0.len() == MAX_REPORTS {
            self.0.remove(0);
        }
        self.0.push((hash, now, report));
    }

    /// Removes all reports.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
