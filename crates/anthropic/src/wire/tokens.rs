//! Decodes token counts, which the `analytics` and `reports` dialects write alike. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use spendwatch_domain::usage::bucket::Tokens;

/// Token counts of a row in both kinds of reports.
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
struct CacheCreationWire<'a> {
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
    /// Returns tokens by type. Input and output are required, other types default to 0; an invalid count is recorded and is 0.
    pub fn tokens(&self, location: ResponseLocation, errors: &mut Vec<DecodeError>) -> Tokens {
        let created: CacheCreationWire<'_> =
            decode::optional_object(location, self.cache_creation, errors);
        let mut count = |field, raw, is_required| match (raw, is_required) {
            (Some(raw), _) => decode::or_default(decode::tokens(location, field, raw), errors),
            (None, true) => {
                decode::or_default(Err(DecodeError::Missing { location, field }), errors)
            }
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

    /// Returns the number of web searches, 0 if it is missing; adds an error if it is invalid.
    pub fn web_searches(&self, location: ResponseLocation, errors: &mut Vec<DecodeError>) -> i64 {
        let tools: ToolsWire<'_> = decode::optional_object(location, self.server_tool_use, errors);
        let field = "server_tool_use.web_search_requests";
        tools.web_search_requests.map_or(0, |raw| {
            decode::or_default(decode::tokens(location, field, raw), errors)
        })
    }
}
