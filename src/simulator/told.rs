//! An answer in rows, or in buckets of them, each of which is written only when its page is asked for.

use std::fmt;

type Write = Box<dyn Fn(usize) -> String + Send + Sync>;

/// All rows of an answer, ready to be written.
pub struct Told {
    pub n_rows: usize,
    /// What stands behind the pages' own fields, from its comma on.
    pub more: String,
    write: Write,
}

impl Told {
    /// So many rows, each written as JSON by its place.
    pub fn new(n_rows: usize, write: impl Fn(usize) -> String + Send + Sync + 'static) -> Told {
        Told {
            n_rows,
            more: String::new(),
            write: Box::new(write),
        }
    }

    /// One row as JSON.
    pub fn row(&self, place: usize) -> String {
        (self.write)(place)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.n_rows)
    }
}
