//! Splits usage into charges: token types, web searches, code execution.

use crate::platform::usage_records::UsageTraits;
use crate::world::amounts::SimulatedUsage;

/// Price of a web search, in 10⁻⁶ USD.
const SEARCH_MICROS: i64 = 10_000;

/// Kind of charge on a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    Whole,
    Tokens(TokenKind),
    WebSearch,
    CodeExecution,
    Adjustment,
}

/// Token types, each with its own price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    Input,
    CacheWrite5m,
    CacheWrite1h,
    CacheRead,
    Output,
}

impl Charge {
    /// Number of charges.
    pub const COUNT: usize = 9;

    /// Returns a unique index below [`Charge::COUNT`].
    pub fn index(self) -> usize {
        match self {
            Charge::Whole => 0,
            Charge::WebSearch => 1,
            Charge::CodeExecution => 2,
            Charge::Adjustment => 3,
            Charge::Tokens(TokenKind::Input) => 4,
            Charge::Tokens(TokenKind::CacheWrite5m) => 5,
            Charge::Tokens(TokenKind::CacheWrite1h) => 6,
            Charge::Tokens(TokenKind::CacheRead) => 7,
            Charge::Tokens(TokenKind::Output) => 8,
        }
    }

    /// Returns the `cost_type`; the API has none for adjustments, so they share one.
    pub fn cost_type(self) -> Option<&'static str> {
        match self {
            Charge::Whole => None,
            Charge::Tokens(_) => Some("tokens"),
            Charge::WebSearch => Some("web_search"),
            Charge::CodeExecution | Charge::Adjustment => Some("code_execution"),
        }
    }

    /// Returns the `token_type`.
    pub fn token_type(self) -> Option<&'static str> {
        match self {
            Charge::Tokens(TokenKind::Input) => Some("uncached_input_tokens"),
            Charge::Tokens(TokenKind::CacheWrite5m) => {
                Some("cache_creation.ephemeral_5m_input_tokens")
            }
            Charge::Tokens(TokenKind::CacheWrite1h) => {
                Some("cache_creation.ephemeral_1h_input_tokens")
            }
            Charge::Tokens(TokenKind::CacheRead) => Some("cache_read_input_tokens"),
            Charge::Tokens(TokenKind::Output) => Some("output_tokens"),
            Charge::Whole | Charge::WebSearch | Charge::CodeExecution | Charge::Adjustment => None,
        }
    }
}

/// Does not split usage.
pub fn undivided(
    _: &UsageTraits,
    used: &SimulatedUsage,
    charges: &mut Vec<(Charge, SimulatedUsage)>,
) {
    charges.push((Charge::Whole, *used));
}

/// Splits the amount by charge. Everything except searches is divided evenly among the token types with usage.
pub fn by_charge(
    traits: &UsageTraits,
    used: &SimulatedUsage,
    charges: &mut Vec<(Charge, SimulatedUsage)>,
) {
    let amount = |micros: i64| SimulatedUsage {
        micros,
        ..SimulatedUsage::default()
    };
    if traits.is_daily {
        charges.push((Charge::Adjustment, amount(used.micros)));
        return;
    }
    if traits.model.is_empty() {
        charges.push((Charge::CodeExecution, amount(used.micros)));
        return;
    }
    let searches = (used.web_searches * SEARCH_MICROS).min(used.micros.max(0));
    if searches > 0 {
        charges.push((Charge::WebSearch, amount(searches)));
    }
    let mut kinds = vec![
        (TokenKind::Input, used.input),
        (TokenKind::CacheWrite5m, used.cache_write_5m),
        (TokenKind::CacheWrite1h, used.cache_write_1h),
        (TokenKind::CacheRead, used.cache_read),
        (TokenKind::Output, used.output),
    ];
    kinds.retain(|(_, n_tokens)| *n_tokens > 0);
    if kinds.is_empty() {
        // The usage is less than one token.
        kinds.push((TokenKind::Output, 0));
    }
    let n = i64::try_from(kinds.len()).expect("five at most");
    let (even, last) = amount(used.micros - searches).split(n);
    for (index, (kind, _)) in kinds.iter().enumerate() {
        let share = if index + 1 == kinds.len() { last } else { even };
        charges.push((Charge::Tokens(*kind), share));
    }
}
