//! Decodes the two reports of the `analytics` dialect. Pure.
//!
//! Rows are flat and sparse: one per bucket and group with usage. Several rows of one group are valid and summed. An invalid row
//! makes only its own figure unknown. Unknown fields are ignored, and dimensions that were not requested are null.
//!
//! Source: Anthropic, Usage and Cost Analytics API (beta of October 2026).

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::{Cents, Currency, Field, ReportCount, Row};
use crate::wire::report::{BucketSpan, DuplicateCheck, Group, GroupWire, PageResponse, billed};
use crate::wire::tokens::TokensWire;
use spendwatch_domain::units::span::Hour;
use spendwatch_domain::usage::report_rows::{CostRow, TokenRow};

/// Decodes one page of `GET /v1/organizations/analytics/cost`.
pub fn cost(
    body: &[u8],
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
) -> Result<PageResponse<CostRow>, DecodeError> {
    page(body, span, |row, hour, group, Figures { cost, .. }| {
        let location = row.location;
        let cost: CostWire = figures(row, "cost", cost)?;
        let (currency, amount) = (
            ("cost.currency", cost.currency),
            ("cost.amount", cost.amount),
        );
        let billed = row.keep(billed(location, currency, amount))?;
        let list = row.optional("cost.list_amount", cost.list_amount);
        let requests = row.optional("cost.requests", cost.requests);
        let requests = requests.and_then(|ReportCount(n)| {
            row.keep(duplicates.total.add(location, "cost.requests", n))?;
            Some(n)
        });
        Some(CostRow {
            hour,
            cost_type: group.cost_type,
            dimensions: group.dimensions,
            billed,
            list: list.map(|Cents(usd)| usd),
            requests,
        })
    })
}

/// Decodes one page of `GET /v1/organizations/analytics/usage`.
pub fn usage(
    body: &[u8],
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
) -> Result<PageResponse<TokenRow>, DecodeError> {
    page(body, span, |row, hour, group, Figures { usage, .. }| {
        let tokens: TokensWire<'_> = figures(row, "usage", usage)?;
        group.tokens(row, "usage", hour, tokens, &mut duplicates.total)
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RowWire<'a> {
    starting_at: Field<Timestamp>,
    ending_at: Field<Timestamp>,
    #[serde(borrow)]
    group: Option<&'a RawValue>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire {
    amount: Field<Cents>,
    list_amount: Field<Cents>,
    currency: Field<Currency>,
    requests: Field<ReportCount>,
}

/// The objects with the figures of a row; each report has one of them.
struct Figures<'a> {
    cost: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
}

/// Decodes the required object that contains the figures of a row.
fn figures<'a, T: Deserialize<'a>>(
    row: &mut Row,
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Option<T> {
    let location = row.location;
    let raw = raw.ok_or(DecodeError::Missing { location, field });
    row.keep(raw.and_then(|raw| decode::read_row(location, raw)))
}

/// Decodes a page of either report; `decode` decodes the part that differs. An invalid bucket or workspace could be any.
fn page<T>(
    body: &[u8],
    span: BucketSpan,
    mut decode: impl FnMut(&mut Row, Hour, Group, Figures<'_>) -> Option<T>,
) -> Result<PageResponse<T>, DecodeError> {
    let (mut page, data) = PageResponse::open(body)?;
    for (location, raw) in (1..).map(ResponseLocation::Row).zip(data) {
        let wire: RowWire<'_> = match decode::read_row(location, raw) {
            Ok(wire) => wire,
            Err(error) => {
                page.add_error(span.hours, None, error);
                continue;
            }
        };
        let group = wire.group.map_or_else(
            || Ok(GroupWire::default()),
            |raw| decode::read_row(location, raw),
        );
        let group = group.and_then(|group| group.group(location, "group.workspace_id"));
        let figures = Figures {
            cost: wire.cost,
            usage: wire.usage,
        };
        let hour = span.parse_bucket(location, wire.starting_at, wire.ending_at);
        match (hour, group) {
            (Ok(hour), Ok(group)) => {
                page.add_row(location, span.bucket_at(hour), group, |row, group| {
                    decode(row, hour, group, figures)
                });
            }
            (Ok(hour), Err(error)) => page.add_error(span.bucket_at(hour), None, error),
            (Err(bucket), group) => {
                let workspace = group.ok().map(|group| group.dimensions.workspace);
                page.add_error(bucket.hours, workspace, bucket.error);
            }
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use spendwatch_domain::units::span::{Day, HourSpan};
    use spendwatch_domain::usage::bucket::Granularity;
    use spendwatch_domain::usage::report_rows::{Actor, Dimensions};

    fn span(granularity: Granularity) -> BucketSpan {
        let day = |day| Day::from_date(jiff::civil::date(2026, 11, day)).first_hour();
        BucketSpan {
            granularity,
            hours: HourSpan {
                start: day(1),
                end: day(4),
            },
        }
    }

    /// Returns the row of Anthropic's documentation with changes.
    fn cost_row(changes: &[(&str, Value)]) -> Value {
        let mut row = json!({
            "starting_at": "2026-11-02T14:00:00Z", "ending_at": "2026-11-02T15:00:00Z",
            "group": {"workspace_id": "wrkspc_01Ab", "model": "claude-opus-5-5", "api_key_id": null, "actor": null,
                      "cost_type": null, "token_type": null},
            "cost": {"amount": "1830.25", "list_amount": "2033.6", "currency": "USD", "requests": 412}
        });
        for (pointer, value) in changes {
            *row.pointer_mut(pointer).unwrap() = value.clone();
        }
        row
    }

    fn page_of(rows: &[Value]) -> Value {
        json!({"data": rows, "has_more": true, "next_page": "page_x=", "data_refreshed_at": "2026-11-02T15:10:00Z"})
    }

    fn parse(page: &Value, granularity: Granularity) -> Result<PageResponse<CostRow>, String> {
        let body = page.to_string();
        cost(
            body.as_bytes(),
            span(granularity),
            &mut DuplicateCheck::default(),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn costs_are_exact() {
        let page = parse(&page_of(&[cost_row(&[])]), Granularity::Hour).unwrap();
        assert_eq!(page.next.as_deref(), Some("page_x="));
        assert_eq!(
            page.refreshed_at,
            Some("2026-11-02T15:10:00Z".parse().unwrap())
        );
        let row = &page.rows[0];
        assert_eq!(row.hour.start().to_string(), "2026-11-02T14:00:00Z");
        assert_eq!(row.billed.to_string(), "18.3025");
        assert_eq!(row.list.unwrap().to_string(), "20.336");
        assert_eq!(row.requests, Some(412));
        let expected = Dimensions {
            workspace: Some("wrkspc_01Ab".into()),
            model: Some("claude-opus-5-5".into()),
            ..Dimensions::default()
        };
        assert_eq!(row.dimensions, expected);
    }

    #[test]
    fn actors_of_every_kind() {
        let check = |actor: Value, expected: Actor| {
            let row = cost_row(&[("/group/actor", actor)]);
            let page = parse(&page_of(&[row]), Granularity::Hour).unwrap();
            assert_eq!(page.rows[0].dimensions.actor, Some(expected));
            assert_eq!(page.unreadable, []);
        };
        let text = str::to_owned;
        check(
            json!({"type": "user_actor", "user_id": "user_01", "email_address": "ada@example.com", "name": "Ada", "deleted": false}),
            Actor::User {
                id: "user_01".into(),
                email: Some(text("ada@example.com")),
            },
        );
        check(
            json!({"type": "service_account_actor", "service_account_id": "svac_01"}),
            Actor::ServiceAccount {
                id: "svac_01".into(),
            },
        );
        let federated = |provider: Value, subject: Value, name: &str, at: Option<&str>| {
            check(
                json!({"type": "federated_actor", "provider": provider, "subject": subject}),
                Actor::Federated {
                    provider: text(name),
                    subject: at.map(text),
                },
            );
        };
        federated(json!("gcp"), json!("job"), "gcp", Some("job"));
        federated(
            json!({"type": "aws", "account_id": "123456789012", "signed_principal": "arn:aws:iam::1:role/r"}),
            Value::Null,
            "aws:123456789012:arn:aws:iam::1:role/r",
            None,
        );
        federated(
            json!({"type": "gcp", "project_number": "42"}),
            json!("job"),
            "gcp:42",
            Some("job"),
        );
        federated(
            json!({"type": "oidc", "issuer": null}),
            json!("job"),
            "oidc",
            Some("job"),
        );
        federated(
            json!({"type": "newcloud", "tenant": 7, "region": {"a": 1}}),
            Value::Null,
            "newcloud:7",
            None,
        );
        check(
            json!({"type": "api_actor", "api_key_id": "apikey_01"}),
            Actor::ApiKey {
                id: "apikey_01".into(),
            },
        );
        check(
            json!({"type": "robot_actor", "robot_id": "r"}),
            Actor::Other {
                kind: text("robot_actor"),
            },
        );
        let other = |actor: Value, kind: &str| check(actor, Actor::Other { kind: text(kind) });
        other(json!({"type": "user_actor"}), "user_actor");
        other(
            json!({"type": "federated_actor", "provider": {"type": "oidc"}, "subject": null}),
            "federated_actor",
        );
        other(
            json!({"type": "federated_actor", "provider": null, "subject": "job"}),
            "federated_actor",
        );
        other(json!("ada"), "unknown");
        other(json!({"type": 7}), "unknown");
        other(json!([]), "unknown");
    }

    #[test]
    fn daily_buckets() {
        let day = [
            ("/starting_at", json!("2026-11-02T00:00:00Z")),
            ("/ending_at", json!("2026-11-03T00:00:00Z")),
        ];
        let page = parse(&page_of(&[cost_row(&day)]), Granularity::Day).unwrap();
        assert_eq!(
            page.rows[0].hour.start().to_string(),
            "2026-11-02T00:00:00Z"
        );
    }

    #[test]
    fn invalid_rows_are_reported_and_others_are_decoded() {
        let check = |row: Value,
                     (n_rows, hours, workspace): (usize, &str, &str),
                     expected: &str| {
            let rows = [cost_row(&[("/group/model", json!("another"))]), row];
            let page = parse(&page_of(&rows), Granularity::Hour).unwrap();
            let unreadable = &page.unreadable[0];
            assert_eq!(unreadable.error.to_string(), expected);
            assert_eq!(page.rows.len(), n_rows, "{expected}");
            let (start, end) = (unreadable.hours.start, unreadable.hours.end);
            let span = format!("{} {}", start.start(), end.count() - start.count());
            assert_eq!(span, hours, "{expected}");
            let row_workspace = format!("{:?}", unreadable.workspace.as_ref().map(Option::is_some));
            assert_eq!(row_workspace, workspace, "{expected}");
        };
        let changed = |pointer, value| cost_row(&[(pointer, value)]);
        let (one_hour, known) = ("2026-11-02T14:00:00Z 1", "Some(true)");
        let of_hour = (1, one_hour, known);
        check(
            changed("/starting_at", json!("2026-11-02T14:30:00Z")),
            of_hour,
            "row 2: `starting_at` is `2026-11-02T14:30:00Z`, not the start of a requested bucket",
        );
        check(
            changed("/starting_at", json!("2026-10-31T14:00:00Z")),
            (1, "2026-11-01T00:00:00Z 0", known),
            "row 2: `starting_at` is `2026-10-31T14:00:00Z`, outside the requested period",
        );
        check(
            changed("/starting_at", json!("soon")),
            (1, "2026-11-01T00:00:00Z 72", known),
            "row 2: `starting_at` is `\"soon\"`, not a time",
        );
        check(
            changed("/ending_at", json!("2026-11-03T00:00:00Z")),
            of_hour,
            "row 2: `ending_at` is `2026-11-03T00:00:00Z`, not the end of a requested bucket",
        );
        check(
            changed("/cost/amount", Value::Null),
            of_hour,
            "row 2: `cost.amount` is missing",
        );
        check(
            changed("/cost/currency", json!("EUR")),
            of_hour,
            "row 2: `cost.currency` is `EUR`, not USD",
        );
        check(
            changed("/cost", Value::Null),
            of_hour,
            "row 2: `cost` is missing",
        );
        check(
            changed("/cost/list_amount", json!("much")),
            (2, one_hour, known),
            "row 2: `cost.list_amount` is `\"much\"`, not a number of cents",
        );
        check(
            changed("/group/workspace_id", json!(7)),
            (1, one_hour, "None"),
            "row 2: `group.workspace_id` is `7`, not an id",
        );
        let everything = (1, "2026-11-01T00:00:00Z 72", "None");
        check(
            json!("row"),
            everything,
            "row 2: `\"row\"` is not an object",
        );
        check(json!(null), everything, "row 2: `null` is not an object");
        check(json!([1, 2]), everything, "row 2: `[1,2]` is not an object");
        let endless = json!({"data": [], "has_more": true, "next_page": null});
        assert_eq!(
            parse(&endless, Granularity::Hour).unwrap_err(),
            "`next_page` is missing"
        );
    }

    #[test]
    fn credits_lower_case_currencies_and_repeated_groups_are_valid() {
        let rows = [
            cost_row(&[("/cost/amount", json!("-0.01"))]),
            cost_row(&[("/cost/currency", json!("usd"))]),
            cost_row(&[]),
        ];
        let page = parse(&page_of(&rows), Granularity::Hour).unwrap();
        assert_eq!(page.unreadable, []);
        let billed: Vec<String> = page.rows.iter().map(|row| row.billed.to_string()).collect();
        assert_eq!(billed, ["-0.0001", "18.3025", "18.3025"]);
    }

    #[test]
    fn usage_has_four_input_token_types() {
        let page = page_of(&[json!({
            "starting_at": "2026-11-02T14:00:00Z", "ending_at": "2026-11-02T15:00:00Z",
            "group": {"workspace_id": "wrkspc_01Ab", "model": "claude-opus-5-5"},
            "usage": {"uncached_input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4},
                      "cache_read_input_tokens": 8, "output_tokens": 16, "total_tokens": 31, "requests": 3,
                      "server_tool_use": {"web_search_requests": 5}, "something_new": {}}
        })]);
        let body = page.to_string();
        let span = span(Granularity::Hour);
        let page = usage(body.as_bytes(), span, &mut DuplicateCheck::default()).unwrap();
        let row = &page.rows[0];
        assert_eq!(row.tokens.sum(), 31);
        assert_eq!(
            (row.tokens.cache_write_5m, row.tokens.cache_write_1h),
            (2, 4)
        );
        assert_eq!(row.web_searches, 5);
    }
}
