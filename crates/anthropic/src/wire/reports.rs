//! Decodes the `reports` dialect: the older usage report, in tokens, and the cost report, by day. Pure.
//!
//! There is one bucket per interval, empty without usage; rows of one group are summed. An invalid row makes only its own figure
//! unknown. Null means a dimension that was not requested, the default workspace, or no key, depending on the request.
//!
//! Source: Anthropic, Usage and Cost API.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::{Cents, Currency, Field, Row};
use crate::wire::report::{BucketSpan, DuplicateCheck, Group, GroupWire, PageResponse, billed};
use crate::wire::tokens::TokensWire;
use spendwatch_domain::units::span::{Hour, HourSpan};
use spendwatch_domain::usage::report_rows::{CostRow, TokenRow};

/// Decodes one page of `GET /v1/organizations/usage_report/messages`.
pub fn usage(
    body: &[u8],
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
) -> Result<PageResponse<TokenRow>, DecodeError> {
    page(
        body,
        span,
        duplicates,
        |row, hour, group, raw, duplicates| {
            let tokens: TokensWire<'_> = row.keep(decode::read_row(row.location, raw))?;
            group.tokens(row, "tokens", hour, tokens, &mut duplicates.total)
        },
    )
}

/// Decodes one page of `GET /v1/organizations/cost_report`: one row per line of the bill.
pub fn cost(
    body: &[u8],
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
) -> Result<PageResponse<CostRow>, DecodeError> {
    page(body, span, duplicates, |row, hour, group, raw, _| {
        let cost: CostWire = row.keep(decode::read_row(row.location, raw))?;
        let (currency, amount) = (("currency", cost.currency), ("amount", cost.amount));
        Some(CostRow {
            hour,
            cost_type: group.cost_type,
            dimensions: group.dimensions,
            billed: row.keep(billed(row.location, currency, amount))?,
            list: None,
            requests: None,
        })
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct BucketWire<'a> {
    starting_at: Field<Timestamp>,
    ending_at: Field<Timestamp>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire {
    amount: Field<Cents>,
    currency: Field<Currency>,
}

/// Decodes a page of either report; `decode` decodes the part that differs. Rows are numbered from 1 across all buckets of the page.
fn page<T>(
    body: &[u8],
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
    decode: impl Fn(&mut Row, Hour, Group, &RawValue, &mut DuplicateCheck) -> Option<T>,
) -> Result<PageResponse<T>, DecodeError> {
    let (mut page, data) = PageResponse::open(body)?;
    // Only the newer reports say so.
    page.refreshed_at = None;
    let mut locations = (1..).map(ResponseLocation::Row);
    for (location, raw) in (1..).map(ResponseLocation::Bucket).zip(data) {
        let (hour, results) = match bucket(location, raw, span, duplicates) {
            Ok(bucket) => bucket,
            Err((hours, error)) => {
                page.add_error(hours, None, error);
                continue;
            }
        };
        let hours = span.bucket_at(hour);
        for (raw, location) in results.into_iter().zip(&mut locations) {
            let group = decode::read_row(location, raw)
                .and_then(|group: GroupWire| group.group(location, "workspace_id"));
            match group {
                Ok(group) => page.add_row(location, hours, group, |row, group| {
                    decode(row, hour, group, raw, duplicates)
                }),
                Err(error) => page.add_error(hours, None, error),
            }
        }
    }
    Ok(page)
}

/// Decodes a bucket; an invalid one may affect any workspace, in the hours of the error.
fn bucket<'a>(
    location: ResponseLocation,
    raw: &'a RawValue,
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
) -> Result<(Hour, Vec<&'a RawValue>), (HourSpan, DecodeError)> {
    let wire: BucketWire<'a> =
        decode::read_row(location, raw).map_err(|error| (span.hours, error))?;
    let hour = span
        .parse_bucket(location, wire.starting_at, wire.ending_at)
        .map_err(|bucket| (bucket.hours, bucket.error))?;
    let invalid = |error| (span.bucket_at(hour), error);
    if !duplicates.buckets.insert(hour) {
        let problem = "a duplicate of an earlier bucket";
        let start = hour.start().to_string();
        let error = DecodeError::value(location, "starting_at", &start, problem);
        return Err(invalid(error));
    }
    let field = "results";
    let results = wire.results.ok_or(DecodeError::Missing { location, field });
    let results = results.and_then(|raw| {
        serde_json::from_str(raw.get())
            .map_err(|_| DecodeError::value(location, field, raw.get(), "not a list"))
    });
    Ok((hour, results.map_err(invalid)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use spendwatch_domain::units::span::{Day, HourSpan};
    use spendwatch_domain::usage::bucket::Granularity;

    fn span() -> BucketSpan {
        let day = |day| Day::from_date(jiff::civil::date(2026, 11, day)).first_hour();
        BucketSpan {
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
    fn documented_responses_are_decoded() {
        let rows = vec![used_row(&Value::Null), used_row(&json!("wrkspc_01Ab"))];
        let body = pages(&[(SECOND.0, SECOND.1, rows), (THIRD.0, THIRD.1, vec![])]);
        let page = usage(
            body.to_string().as_bytes(),
            span(),
            &mut DuplicateCheck::default(),
        )
        .unwrap();
        let row = &page.rows[0];
        assert_eq!(row.hour.start().to_string(), SECOND.0);
        assert_eq!((row.tokens.sum(), row.web_searches), (953_500, 3));
        assert_eq!(
            (
                row.dimensions.workspace.as_ref(),
                page.rows.len(),
                page.next
            ),
            (None, 2, None)
        );

        let body = pages(&[(SECOND.0, SECOND.1, vec![cost_row(&json!("20417.3508"))])]);
        let page = cost(
            body.to_string().as_bytes(),
            span(),
            &mut DuplicateCheck::default(),
        )
        .unwrap();
        assert_eq!(page.rows[0].billed.to_string(), "204.173508");
    }

    #[test]
    fn invalid_rows_and_buckets_are_reported_and_others_are_decoded() {
        let check = |body: Value, n_rows: usize, expected: &str| {
            let page = cost(
                body.to_string().as_bytes(),
                span(),
                &mut DuplicateCheck::default(),
            )
            .unwrap();
            let errors: Vec<String> = page
                .unreadable
                .iter()
                .map(|unreadable| unreadable.error.to_string())
                .collect();
            assert_eq!(
                (errors, page.rows.len()),
                (vec![expected.to_owned()], n_rows)
            );
        };
        let row = || cost_row(&json!("1"));
        let mut invalid = pages(&[
            (SECOND.0, SECOND.1, vec![row()]),
            (THIRD.0, THIRD.1, vec![]),
        ]);
        invalid["data"][1]["results"] = Value::Null;
        check(invalid, 1, "bucket 2: `results` is missing");
        check(
            pages(&[
                (SECOND.0, SECOND.1, vec![row()]),
                (SECOND.0, SECOND.1, vec![row()]),
            ]),
            1,
            "bucket 2: `starting_at` is `2026-11-02T00:00:00Z`, a duplicate of an earlier bucket",
        );
        check(
            pages(&[("2026-11-02T01:00:00Z", SECOND.1, vec![])]),
            0,
            "bucket 1: `starting_at` is `2026-11-02T01:00:00Z`, not the start of a requested bucket",
        );
        check(
            pages(&[
                ("2026-12-02T00:00:00Z", "2026-12-03T00:00:00Z", vec![row()]),
                (SECOND.0, SECOND.1, vec![row()]),
            ]),
            1,
            "bucket 1: `starting_at` is `2026-12-02T00:00:00Z`, outside the requested period",
        );
        check(
            pages(&[(SECOND.0, SECOND.1, vec![row(), cost_row(&json!("1,5"))])]),
            1,
            "row 2: `amount` is `\"1,5\"`, not a number of cents",
        );
        check(
            pages(&[(SECOND.0, SECOND.1, vec![json!("x"), row()])]),
            1,
            "row 1: `\"x\"` is not an object",
        );
        let endless = json!({"data": [], "has_more": true, "next_page": null}).to_string();
        let endless = cost(endless.as_bytes(), span(), &mut DuplicateCheck::default());
        assert_eq!(endless.unwrap_err().to_string(), "`next_page` is missing");
    }

    #[test]
    fn credits_repeated_groups_and_any_order_are_valid() {
        let row = |amount: &str| cost_row(&json!(amount));
        let body = pages(&[
            (THIRD.0, THIRD.1, vec![row("-3"), row("1"), row("1")]),
            (SECOND.0, SECOND.1, vec![row("2")]),
        ]);
        let page = cost(
            body.to_string().as_bytes(),
            span(),
            &mut DuplicateCheck::default(),
        )
        .unwrap();
        let billed: Vec<String> = page.rows.iter().map(|row| row.billed.to_string()).collect();
        assert_eq!(billed, ["-0.03", "0.01", "0.01", "0.02"]);
        assert_eq!(page.unreadable, []);
    }
}
