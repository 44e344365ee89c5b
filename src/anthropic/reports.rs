//! The `reports` dialect: the older usage report, in tokens, and the cost report, by day. Pure.
//!
//! Buckets come in order, one for each interval, those without usage empty. A page is translated whole or refused whole.
//! Null says two things: what was not asked for, or the default workspace, or no key. Who asks knows which.
//!
//! Source: Anthropic, Usage and Cost API.

use std::hash::Hash;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::report::{Asked, Page, Seen, Told, bounded, next_page};
use crate::anthropic::tokens::TokensWire;
use crate::domain::ids::{ApiKeyId, ModelName, WorkspaceId};
use crate::domain::report::{CostRow, How, UsedRow, Who};
use crate::domain::span::Hour;

/// `GET /v1/organizations/usage_report/messages`, one page.
pub fn used(body: &[u8], asked: Asked, seen: &mut Seen) -> Result<Told<UsedRow>, Fault> {
    let told = page(body, asked, seen, |place, hour, raw, group| {
        let wire: TokensWire<'_> = fault::read_row(place, raw)?;
        Ok(UsedRow {
            hour,
            how: How {
                service_tier: group.service_tier.clone(),
                context_window: group.context_window.clone(),
                inference_geo: group.inference_geo.clone(),
            },
            who: who(group),
            tokens: wire.tokens(place)?,
            web_searches: wire.web_searches(place)?,
        })
    })?;
    bounded(told, seen, "tokens", UsedRow::count)
}

/// `GET /v1/organizations/cost_report`, one page: a row for each line of the bill.
pub fn cost(body: &[u8], asked: Asked, seen: &mut Seen) -> Result<Told<CostRow>, Fault> {
    page(body, asked, seen, |place, hour, raw, group| {
        let wire: CostWire<'_> = fault::read_row(place, raw)?;
        let currency = wire.currency.as_deref().unwrap_or("USD");
        if currency != "USD" {
            return Err(Fault::value(place, "currency", currency, "not USD"));
        }
        let amount = wire.amount.ok_or(Fault::Missing {
            place,
            field: "amount",
        })?;
        Ok(CostRow {
            hour,
            cost_type: group.cost_type.clone(),
            who: who(group),
            billed: fault::cents(place, "amount", amount)?,
            list: None,
            requests: None,
        })
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

/// All that sets two rows of a bucket apart, in either report.
#[derive(Deserialize, Hash)]
#[serde(expecting = "an object")]
struct GroupWire {
    workspace_id: Option<String>,
    model: Option<String>,
    api_key_id: Option<String>,
    account_id: Option<String>,
    service_account_id: Option<String>,
    service_tier: Option<String>,
    context_window: Option<String>,
    inference_geo: Option<String>,
    speed: Option<String>,
    description: Option<String>,
    cost_type: Option<String>,
    token_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    currency: Option<String>,
}

/// A page of either report; `row` reads what the two have apart. Rows are counted from 1 through all buckets of the page.
fn page<T>(
    body: &[u8],
    asked: Asked,
    seen: &mut Seen,
    row: impl Fn(Place, Hour, &RawValue, GroupWire) -> Result<T, Fault>,
) -> Result<Told<T>, Fault> {
    let wire: PageWire<'_> = fault::read(body)?;
    let mut rows = Vec::new();
    for (place, raw) in (1..).map(Place::Bucket).zip(&wire.data) {
        let bucket: BucketWire<'_> = fault::read_row(place, raw)?;
        let hour = asked.bucket(place, bucket.starting_at, bucket.ending_at)?;
        seen.bucket(place, hour)?;
        for raw in bucket.results {
            let place = Place::Row(rows.len() + 1);
            let group: GroupWire = fault::read_row(place, raw)?;
            seen.row(place, hour, &group)?;
            rows.push(row(place, hour, raw, group)?);
        }
    }
    Ok(Told {
        page: Page {
            rows,
            refreshed_at: None,
        },
        next: next_page(wire.has_more, wire.next_page)?,
        is_empty: wire.data.is_empty(),
    })
}

fn who(wire: GroupWire) -> Who {
    Who {
        workspace: wire.workspace_id.map(WorkspaceId::new),
        model: wire.model.map(ModelName::new),
        api_key: wire.api_key_id.map(ApiKeyId::new),
        actor: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::span::{Day, HourSpan};
    use crate::domain::usage::Granularity;

    fn asked() -> Asked {
        let day = |day| Day::from_date(jiff::civil::date(2026, 11, day)).first_hour();
        Asked {
            granularity: Granularity::Day,
            hours: HourSpan {
                start: day(1),
                end: day(5),
            },
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
        let page = used(body.to_string().as_bytes(), asked(), &mut Seen::default()).unwrap();
        let row = &page.page.rows[0];
        assert_eq!(row.hour.start().to_string(), SECOND.0);
        assert_eq!((row.tokens.sum(), row.web_searches), (953_500, 3));
        assert_eq!(
            (row.who.workspace.as_ref(), page.page.rows.len(), page.next),
            (None, 2, None)
        );

        let body = pages(&[(SECOND.0, SECOND.1, vec![cost_row(&json!("20417.3508"))])]);
        let page = cost(body.to_string().as_bytes(), asked(), &mut Seen::default()).unwrap();
        assert_eq!(page.page.rows[0].billed.to_string(), "204.173508");
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_its_place() {
        let check = |body: Value, expected: &str| {
            let told =
                cost(body.to_string().as_bytes(), asked(), &mut Seen::default()).unwrap_err();
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
