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
    cache_creation: Option<CreatedWire<'a>>,
    #[serde(borrow)]
    server_tool_use: Option<ToolsWire<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CreatedWire<'a> {
    #[serde(borrow)]
    ephemeral_5m_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    ephemeral_1h_input_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ToolsWire<'a> {
    #[serde(borrow)]
    web_search_requests: Option<&'a RawValue>,
}

impl TokensWire<'_> {
    /// The tokens by class. Input and output must be there; what else is not told was not used.
    pub fn tokens(&self, place: Place) -> Result<Tokens, Fault> {
        let created = self.cache_creation.as_ref();
        let (m5, h1) = (
            created.and_then(|created| created.ephemeral_5m_input_tokens),
            created.and_then(|created| created.ephemeral_1h_input_tokens),
        );
        Ok(Tokens {
            input: required(place, "uncached_input_tokens", self.uncached_input_tokens)?,
            output: required(place, "output_tokens", self.output_tokens)?,
            cache_read: count(
                place,
                "cache_read_input_tokens",
                self.cache_read_input_tokens,
            )?,
            cache_write_5m: count(place, "cache_creation.ephemeral_5m_input_tokens", m5)?,
            cache_write_1h: count(place, "cache_creation.ephemeral_1h_input_tokens", h1)?,
        })
    }

    /// Searches of the web.
    pub fn web_searches(&self, place: Place) -> Result<i64, Fault> {
        let tools = self.server_tool_use.as_ref();
        let searches = tools.and_then(|tools| tools.web_search_requests);
        count(place, "server_tool_use.web_search_requests", searches)
    }
}

fn required(place: Place, field: &'static str, raw: Option<&RawValue>) -> Result<i64, Fault> {
    let raw = raw.ok_or(Fault::Missing { place, field })?;
    fault::tokens(place, field, raw)
}

fn count(place: Place, field: &'static str, raw: Option<&RawValue>) -> Result<i64, Fault> {
    raw.map_or(Ok(0), |raw| fault::tokens(place, field, raw))
}
