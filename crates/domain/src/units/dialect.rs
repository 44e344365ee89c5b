//! Dialects of the Admin API.

use std::fmt;

/// The dialect of the Admin API that a server uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// A gateway that serves users, keys and usage directly under `/v1`; not Anthropic's own API.
    Guide,
    Analytics,
    /// The older usage and cost reports.
    Reports,
}

impl Dialect {
    /// All dialects, in display order.
    pub const ALL: [Dialect; 3] = [Dialect::Guide, Dialect::Analytics, Dialect::Reports];

    /// Returns the word used in configuration and the store.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Guide => "guide",
            Dialect::Analytics => "analytics",
            Dialect::Reports => "reports",
        }
    }

    /// Parses the word used in configuration and the store.
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
