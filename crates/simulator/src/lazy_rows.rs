//! Rows (or buckets) of a report that are rendered only when their page is requested.

use std::fmt;

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
