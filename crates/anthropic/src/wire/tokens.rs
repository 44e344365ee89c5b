//! Decodes token counts, which the `analytics` and `reports` dialects write alike. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::field::{Field, ReportCount, Row};
use spendwatch_domain::usage::bucket::Tokens;

/// Token counts of a row in both kinds of reports.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub struct TokensWire<'a> {
    uncached_input_tokens: Field<ReportCount>,
    output_tokens: Field<ReportCount>,
    cache_read_input_tokens: Field<ReportCount>,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow)]
    server_tool_use: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct CacheCreationWire {
    ephemeral_5m_input_tokens: Field<ReportCount>,
    ephemeral_1h_input_tokens: Field<ReportCount>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct ToolsWire {
    web_search_requests: Field<ReportCount>,
}

impl TokensWire<'_> {
    /// Returns tokens by type, and the number of web searches. Input and output are required, other counts default to 0; an invalid
    /// count is recorded and is 0.
    pub fn counts(self, row: &mut Row) -> (Tokens, i64) {
        let created: CacheCreationWire = row.object(self.cache_creation);
        let input = row.required("uncached_input_tokens", self.uncached_input_tokens);
        let output = row.required("output_tokens", self.output_tokens);
        let mut optional =
            |field, value: Field<ReportCount>| row.optional(field, value).unwrap_or_default().0;
        let tokens = Tokens {
            input: input.0,
            output: output.0,
            cache_read: optional("cache_read_input_tokens", self.cache_read_input_tokens),
            cache_write_5m: optional(
                "cache_creation.ephemeral_5m_input_tokens",
                created.ephemeral_5m_input_tokens,
            ),
            cache_write_1h: optional(
                "cache_creation.ephemeral_1h_input_tokens",
                created.ephemeral_1h_input_tokens,
            ),
        };
        let tools: ToolsWire = row.object(self.server_tool_use);
        let searches = row.optional(
            "server_tool_use.web_search_requests",
            tools.web_search_requests,
        );
        (tokens, searches.unwrap_or_default().0)
    }
}
