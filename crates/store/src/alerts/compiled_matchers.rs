//! Caches compiled matchers of silences, because compiling them in each decision is expensive.

use std::collections::HashMap;

use spendwatch_domain::alerts::silence::LabelMatcher;

/// Matchers of silences that have not ended, by their stored text.
#[derive(Debug, Default)]
pub(crate) struct CompiledMatchers {
    pub(crate) by_text: HashMap<String, Vec<LabelMatcher>>,
    /// Whether the warning about silences over the limits was logged.
    pub(crate) is_excess_logged: bool,
}
