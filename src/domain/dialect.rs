//! Dialects: how a server speaks the Admin API.

use std::fmt;

/// How a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Every path directly under `/v1`.
    Guide,
    Analytics,
    /// The older usage and cost reports.
    Reports,
}

impl Dialect {
    /// All, in the order in which they are told.
    pub const ALL: [Dialect; 3] = [Dialect::Guide, Dialect::Analytics, Dialect::Reports];

    /// The word in configuration and store.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Guide => "guide",
            Dialect::Analytics => "analytics",
            Dialect::Reports => "reports",
        }
    }

    /// The dialect of a word; `None` for any other.
    pub fn parse(word: &str) -> Option<Dialect> {
        Dialect::ALL
            .into_iter()
            .find(|dialect| dialect.name() == word)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
