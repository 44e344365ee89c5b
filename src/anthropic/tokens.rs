//! Counts of tokens as both dialects of the service write them. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::domain::usage::Tokens;

/// The five classes, and what tools were used.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub struct TokensWire<'a> {
    #[serde(borrow)]
    uncached_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct CreatedWire<'a> {
    #[serde(borrow)]
    ephemeral_5m_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    ephemeral_1h_input_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct ToolsWire<'a> {
    #[serde(borrow)]
    web_search_requests: Option<&'a RawValue>,
}

impl TokensWire<'_> {
    /// The tokens by class. Input and output must be there; what else is not told was not used. A class that cannot be read is
    /// a fault, and 0.
    pub fn tokens(&self, place: Place, faults: &mut Vec<Fault>) -> Tokens {
        let created: CreatedWire<'_> = within(place, self.cache_creation, faults);
        let mut count = |field, raw, is_required| match (raw, is_required) {
            (Some(raw), _) => fault::readable(fault::tokens(place, field, raw), faults),
            (None, true) => fault::readable(Err(Fault::Missing { place, field }), faults),
            (None, false) => 0,
        };
        Tokens {
            input: count("uncached_input_tokens", self.uncached_input_tokens, true),
            output: count("output_tokens", self.output_tokens, true),
            cache_read: count(
                "cache_read_input_tokens",
                self.cache_read_input_tokens,
                false,
            ),
            cache_write_5m: count(
                "cache_creation.ephemeral_5m_input_tokens",
                created.ephemeral_5m_input_tokens,
                false,
            ),
            cache_write_1h: count(
                "cache_creation.ephemeral_1h_input_tokens",
                created.ephemeral_1h_input_tokens,
                false,
            ),
        }
    }

    /// Searches of the web.
    pub fn web_searches(&self, place: Place, faults: &mut Vec<Fault>) -> i64 {
        let tools: ToolsWire<'_> = within(place, self.server_tool_use, faults);
        let field = "server_tool_use.web_search_requests";
        tools.web_search_requests.map_or(0, |raw| {
            fault::readable(fault::tokens(place, field, raw), faults)
        })
    }
}

/// What an object holds that may be absent.
fn within<'a, T: Deserialize<'a> + Default>(
    place: Place,
    raw: Option<&'a RawValue>,
    faults: &mut Vec<Fault>,
) -> T {
    raw.map_or_else(T::default, |raw| {
        fault::readable(fault::read_row(place, raw), faults)
    })
}
