//! What stands on the bill of a line: the kinds of its tokens, searches of the web, the running of code.

use crate::simulator::lines::Manner;
use crate::simulator::world::Used;

/// What a search of the web costs, in 10⁻⁶ USD.
const SEARCH_MICROS: i64 = 10_000;

/// One position of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The line as it is, undivided.
    Whole,
    Tokens(TokenKind),
    WebSearch,
    CodeExecution,
    /// A correction of a day.
    Adjustment,
}

/// Kinds of tokens, each with its own price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Input that no cache had.
    Input,
    /// Kept for five minutes.
    CacheWrite5m,
    /// Kept for an hour.
    CacheWrite1h,
    /// Input that a cache had.
    CacheRead,
    Output,
}

impl Charge {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// A number below [`Charge::COUNT`], another for each.
    pub fn place(self) -> usize {
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

    /// `cost_type`. An adjustment has none of its own.
    pub fn cost_type(self) -> Option<&'static str> {
        match self {
            Charge::Whole => None,
            Charge::Tokens(_) => Some("tokens"),
            Charge::WebSearch => Some("web_search"),
            Charge::CodeExecution | Charge::Adjustment => Some("code_execution"),
        }
    }

    /// `token_type`.
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

/// A line undivided.
pub fn whole(_: &Manner, used: &Used, charges: &mut Vec<(Charge, Used)>) {
    charges.push((Charge::Whole, *used));
}

/// A line's money by position. What is not for searches is shared evenly among the kinds of tokens that there are.
pub fn positions(manner: &Manner, used: &Used, charges: &mut Vec<(Charge, Used)>) {
    let money = |micros: i64| Used {
        micros,
        ..Used::default()
    };
    if manner.is_of_day {
        charges.push((Charge::Adjustment, money(used.micros)));
        return;
    }
    if manner.model.is_empty() {
        charges.push((Charge::CodeExecution, money(used.micros)));
        return;
    }
    let searches = (used.web_searches * SEARCH_MICROS).min(used.micros.max(0));
    if searches > 0 {
        charges.push((Charge::WebSearch, money(searches)));
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
        // Too little for a whole token.
        kinds.push((TokenKind::Output, 0));
    }
    let n = i64::try_from(kinds.len()).expect("five at most");
    let (even, last) = money(used.micros - searches).shares(n);
    for (place, (kind, _)) in kinds.iter().enumerate() {
        let share = if place + 1 == kinds.len() { last } else { even };
        charges.push((Charge::Tokens(*kind), share));
    }
}
