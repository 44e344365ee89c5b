//! Matchers of silences, compiled when they are first read and not in each decision.

use std::collections::HashMap;

use crate::domain::silence::LabelMatcher;

/// The matchers of silences that have not ended, by their stored text.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) by_text: HashMap<String, Vec<LabelMatcher>>,
    /// Whether it was logged that some silences exceed the bounds.
    pub(super) is_excess_logged: bool,
}
