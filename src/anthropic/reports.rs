//! The `reports` dialect: the older usage report, in tokens, and the cost report, by day. Pure.
//!
//! Buckets come in order, one for each interval, those without usage empty. A page is translated whole or refused whole.
//! Null says two things: what was not asked for, or the default workspace, or no key. Who asks knows which.
//!
//! Source: Anthropic, Usage and Cost API.

use std::collections::HashSet;
use std::hash::Hash;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::domain::ids::{ApiKeyId, ModelName, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Granularity, Tokens};

/// One page of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// By the first hour of their bucket, in order.
    pub rows: Vec<(Hour, T)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// What was used, and how. A dimension that was not asked for is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedRow {
    /// What sets it apart from the other rows of its bucket.
    pub group: UsedGroup,
    /// By class.
    pub tokens: Tokens,
    /// Searches of the web, which are billed by number.
    pub web_searches: i64,
}

/// Of whom, of what, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UsedGroup {
    /// `None` is the default workspace, where workspaces were asked for.
    pub workspace: Option<WorkspaceId>,
    /// The full id.
    pub model: Option<ModelName>,
    /// `None` is usage without a key, where keys were asked for.
    pub api_key: Option<ApiKeyId>,
    /// `standard`, `batch`, `priority` and others.
    pub service_tier: Option<String>,
    /// `0-200k` or `200k-1M`.
    pub context_window: Option<String>,
    /// `global`, `us` or `not_available`.
    pub inference_geo: Option<String>,
    /// `standard` or `fast`.
    pub speed: Option<String>,
}

/// What was billed on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// What sets it apart from the other rows of its day.
    pub group: CostGroup,
    /// As it stands on the bill.
    pub billed: Usd,
}

/// Of whom, and for what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CostGroup {
    /// `None` is the default workspace, where workspaces were asked for.
    pub workspace: Option<WorkspaceId>,
    /// The line of the bill, where descriptions were asked for. What follows is filled only then.
    pub description: Option<String>,
    /// Of tokens.
    pub model: Option<ModelName>,
    /// `tokens`, `web_search`, `code_execution`, `session_usage`.
    pub cost_type: Option<String>,
    /// Of tokens: which class.
    pub token_type: Option<String>,
    /// Of tokens: `standard` or `batch`.
    pub service_tier: Option<String>,
    /// Of tokens.
    pub context_window: Option<String>,
    /// Of tokens.
    pub inference_geo: Option<String>,
}

/// `GET /v1/organizations/usage_report/messages`, one page.
pub fn used(
    body: &[u8],
    granularity: Granularity,
    hours: HourSpan,
) -> Result<Page<UsedRow>, Fault> {
    page(body, granularity, hours, |place, raw| {
        let wire: UsedWire<'_> = fault::read_row(place, raw)?;
        let count = |field: &str, raw: Option<&RawValue>| {
            raw.map_or(Ok(0), |raw| fault::count(place, field, raw))
        };
        let required = |field: &'static str, raw: Option<&RawValue>| match raw {
            Some(raw) => fault::count(place, field, raw),
            None => Err(Fault::Missing { place, field }),
        };
        let created = wire.cache_creation.unwrap_or_default();
        let tools = wire.server_tool_use.unwrap_or_default();
        let group = UsedGroup {
            workspace: wire.workspace_id.map(WorkspaceId::new),
            model: wire.model.map(ModelName::new),
            api_key: wire.api_key_id.map(ApiKeyId::new),
            service_tier: wire.service_tier,
            context_window: wire.context_window,
            inference_geo: wire.inference_geo,
            speed: wire.speed,
        };
        let row = UsedRow {
            group: group.clone(),
            tokens: Tokens {
                input: required("uncached_input_tokens", wire.uncached_input_tokens)?,
                output: required("output_tokens", wire.output_tokens)?,
                cache_read: count("cache_read_input_tokens", wire.cache_read_input_tokens)?,
                cache_write_5m: count(
                    "cache_creation.ephemeral_5m_input_tokens",
                    created.ephemeral_5m_input_tokens,
                )?,
                cache_write_1h: count(
                    "cache_creation.ephemeral_1h_input_tokens",
                    created.ephemeral_1h_input_tokens,
                )?,
            },
            web_searches: count(
                "server_tool_use.web_search_requests",
                tools.web_search_requests,
            )?,
        };
        Ok((group, row))
    })
}

/// `GET /v1/organizations/cost_report`, one page: days alone.
pub fn cost(body: &[u8], hours: HourSpan) -> Result<Page<CostRow>, Fault> {
    page(body, Granularity::Day, hours, |place, raw| {
        let wire: CostWire<'_> = fault::read_row(place, raw)?;
        let currency = wire.currency.as_deref().unwrap_or("USD");
        if currency != "USD" {
            return Err(Fault::value(place, "currency", currency, "not USD"));
        }
        let group = CostGroup {
            workspace: wire.workspace_id.map(WorkspaceId::new),
            description: wire.description,
            model: wire.model.map(ModelName::new),
            cost_type: wire.cost_type,
            token_type: wire.token_type,
            service_tier: wire.service_tier,
            context_window: wire.context_window,
            inference_geo: wire.inference_geo,
        };
        let amount = wire.amount.ok_or(Fault::Missing {
            place,
            field: "amount",
        })?;
        let row = CostRow {
            group: group.clone(),
            billed: fault::cents(place, "amount", amount)?,
        };
        Ok((group, row))
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: Option<bool>,
    next_page: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct BucketWire<'a> {
    starting_at: Timestamp,
    ending_at: Timestamp,
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UsedWire<'a> {
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
    workspace_id: Option<String>,
    model: Option<String>,
    api_key_id: Option<String>,
    service_tier: Option<String>,
    context_window: Option<String>,
    inference_geo: Option<String>,
    speed: Option<String>,
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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    currency: Option<String>,
    workspace_id: Option<String>,
    description: Option<String>,
    model: Option<String>,
    cost_type: Option<String>,
    token_type: Option<String>,
    service_tier: Option<String>,
    context_window: Option<String>,
    inference_geo: Option<String>,
}

/// A page of either report. `row` gives what sets a row apart in its bucket, and the row. Rows are counted from 1 through all
/// buckets of the page.
fn page<G: Eq + Hash, T>(
    body: &[u8],
    granularity: Granularity,
    hours: HourSpan,
    row: impl Fn(Place, &RawValue) -> Result<(G, T), Fault>,
) -> Result<Page<T>, Fault> {
    let wire: PageWire<'_> = fault::read(body)?;
    let mut rows = Vec::new();
    let mut after = None;
    for (place, raw) in (1..).map(Place::Bucket).zip(&wire.data) {
        let bucket: BucketWire<'_> = fault::read_row(place, raw)?;
        let hour = first_hour(place, &bucket, granularity, hours)?;
        if after.is_some_and(|before| hour <= before) {
            let at = bucket.starting_at.to_string();
            let problem = "not after the bucket before it";
            return Err(Fault::value(place, "starting_at", &at, problem));
        }
        after = Some(hour);
        let mut seen = HashSet::new();
        for raw in bucket.results {
            let place = Place::Row(rows.len() + 1);
            let (group, told) = row(place, raw)?;
            if !seen.insert(group) {
                let at = bucket.starting_at.to_string();
                let problem = "whose group an earlier row has already";
                return Err(Fault::value(place, "starting_at", &at, problem));
            }
            rows.push((hour, told));
        }
    }
    let next = wire.next_page.filter(|page| !page.is_empty());
    if wire.has_more == Some(true) && next.is_none() {
        return Err(Fault::Missing {
            place: Place::Answer,
            field: "next_page",
        });
    }
    Ok(Page {
        rows,
        next: next.filter(|_| wire.has_more != Some(false)),
    })
}

/// Where a bucket begins: one of those that were asked for, whole.
fn first_hour(
    place: Place,
    bucket: &BucketWire<'_>,
    granularity: Granularity,
    hours: HourSpan,
) -> Result<Hour, Fault> {
    let told = |field, at: Timestamp, problem| Fault::value(place, field, &at.to_string(), problem);
    let hour = Hour::of(bucket.starting_at);
    let n_hours = match granularity {
        Granularity::Hour => 1,
        Granularity::Day => 24,
    };
    let is_first = match granularity {
        Granularity::Hour => true,
        Granularity::Day => hour.day().first_hour() == hour,
    };
    let (start, end) = (bucket.starting_at, bucket.ending_at);
    if !is_first || hour.start() != start || end != hour.plus(n_hours).start() {
        let problem = "not the start of a bucket as it was asked for";
        return Err(told("starting_at", start, problem));
    }
    if !hours.contains(hour) {
        return Err(told("starting_at", start, "outside of what was asked for"));
    }
    Ok(hour)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::span::Day;

    fn hours() -> HourSpan {
        let day = |day| Day::from_date(jiff::civil::date(2026, 11, day)).first_hour();
        HourSpan {
            start: day(1),
            end: day(5),
        }
    }

    fn pages(results: &[(&str, &str, Vec<Value>)]) -> Value {
        let bucket = |(start, end, results): &(&str, &str, Vec<Value>)| json!({"starting_at": start, "ending_at": end, "results": results});
        let data: Vec<Value> = results.iter().map(bucket).collect();
        json!({"data": data, "has_more": false, "next_page": null})
    }

    const SECOND: (&str, &str) = ("2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z");
    const THIRD: (&str, &str) = ("2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z");

    fn used_row(workspace: &Value) -> Value {
        json!({"uncached_input_tokens": 812000, "cache_read_input_tokens": 90400, "output_tokens": 44100,
               "cache_creation": {"ephemeral_5m_input_tokens": 7000, "ephemeral_1h_input_tokens": 0},
               "server_tool_use": {"web_search_requests": 3},
               "model": "claude-opus-5-5", "workspace_id": workspace, "api_key_id": "apikey_01Ab", "account_id": null,
               "service_tier": "standard", "context_window": "0-200k", "inference_geo": "global"})
    }

    fn cost_row(amount: &Value) -> Value {
        json!({"amount": amount, "currency": "USD", "workspace_id": "wrkspc_01Ab",
               "description": "Claude Opus 5.5 Usage - Output Tokens", "cost_type": "tokens", "model": "claude-opus-5-5",
               "token_type": "output_tokens", "service_tier": "standard", "context_window": "0-200k",
               "inference_geo": "global"})
    }

    #[test]
    fn the_documented_answers_are_read() {
        let rows = vec![used_row(&Value::Null), used_row(&json!("wrkspc_01Ab"))];
        let body = pages(&[(SECOND.0, SECOND.1, rows), (THIRD.0, THIRD.1, vec![])]);
        let page = used(body.to_string().as_bytes(), Granularity::Day, hours()).unwrap();
        let (hour, row) = &page.rows[0];
        assert_eq!(hour.start().to_string(), SECOND.0);
        assert_eq!((row.tokens.sum(), row.web_searches), (953_500, 3));
        assert_eq!(
            (row.group.workspace.as_ref(), page.rows.len(), page.next),
            (None, 2, None)
        );

        let body = pages(&[(SECOND.0, SECOND.1, vec![cost_row(&json!("20417.3508"))])]);
        let page = cost(body.to_string().as_bytes(), hours()).unwrap();
        assert_eq!(page.rows[0].1.billed.to_string(), "204.173508");
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_its_place() {
        let check = |body: Value, expected: &str| {
            let told = cost(body.to_string().as_bytes(), hours()).unwrap_err();
            assert_eq!(told.to_string(), expected);
        };
        let row = || cost_row(&json!("1"));
        check(
            pages(&[(SECOND.0, SECOND.1, vec![row(), row()])]),
            "row 2: `starting_at` is `2026-11-02T00:00:00Z`, whose group an earlier row has already",
        );
        check(
            pages(&[
                (SECOND.0, SECOND.1, vec![row()]),
                (SECOND.0, SECOND.1, vec![]),
            ]),
            "bucket 2: `starting_at` is `2026-11-02T00:00:00Z`, not after the bucket before it",
        );
        check(
            pages(&[("2026-11-02T01:00:00Z", SECOND.1, vec![])]),
            "bucket 1: `starting_at` is `2026-11-02T01:00:00Z`, not the start of a bucket as it was asked for",
        );
        check(
            pages(&[("2026-12-02T00:00:00Z", "2026-12-03T00:00:00Z", vec![])]),
            "bucket 1: `starting_at` is `2026-12-02T00:00:00Z`, outside of what was asked for",
        );
        check(
            pages(&[(SECOND.0, SECOND.1, vec![cost_row(&json!("-3"))])]),
            "row 1: `amount` is `\"-3\"`, below zero",
        );
        check(
            json!({"data": [], "has_more": true, "next_page": null}),
            "`next_page` is missing",
        );
    }
}
