//! Decodes the two reports of the `analytics` dialect. Pure.
//!
//! Rows are flat and sparse: one per bucket and group with usage. Several rows of one group are valid and summed. An invalid row
//! makes only its own figure unknown. Unknown fields are ignored, and dimensions that were not requested are null.
//!
//! Source: Anthropic, Usage and Cost Analytics API (beta of October 2026).

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::report::{self, BucketSpan, DuplicateCheck, PageResponse, RowError, next_page};
use crate::wire::tokens::TokensWire;
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, ModelName, WorkspaceId};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Hour;
use spendwatch_domain::usage::report_rows::{
    Actor, CostRow, Dimensions, PricingAttributes, TokenRow,
};

/// Decodes one page of `GET /v1/organizations/analytics/cost`.
pub fn cost(
    body: &[u8],
    span: BucketSpan,
    duplicates: &mut DuplicateCheck,
) -> Result<PageResponse<CostRow>, DecodeError> {
    page(body, span, |location, hour, wire, errors| {
        let cost = spend(location, wire.cost, errors)?;
        let requests = cost.requests.and_then(|raw| {
            let requests = decode::tokens(location, "cost.requests", raw);
            let counted = requests.and_then(|n| {
                duplicates.total.add(location, "cost.requests", n)?;
                Ok(Some(n))
            });
            decode::or_default(counted, errors)
        });
        Some(CostRow {
            hour,
            cost_type: wire.group.cost_type.clone(),
            dimensions: dimensions(wire.group, wire.workspace),
            billed: cost.billed,
            list: cost.list,
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
    page(body, span, |location, hour, wire, errors| {
        let usage = wire.usage.ok_or(missing(location, "usage"));
        let usage: TokensWire<'_> = usage
            .and_then(|raw| decode::read_row(location, raw))
            .map_err(|error| errors.push(error))
            .ok()?;
        let row = TokenRow {
            hour,
            attributes: PricingAttributes {
                service_tier: wire.group.service_tier.clone(),
                context_window: wire.group.context_window.clone(),
                inference_geo: wire.group.inference_geo.clone(),
            },
            dimensions: dimensions(wire.group, wire.workspace),
            tokens: usage.tokens(location, errors),
            web_searches: usage.web_searches(location, errors),
        };
        let added = duplicates.total.add(location, "usage", row.count());
        added.map_err(|error| errors.push(error)).ok()?;
        Some(row)
    })
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    has_more: Option<bool>,
    #[serde(borrow)]
    next_page: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    data_refreshed_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RowWire<'a> {
    #[serde(borrow)]
    starting_at: Option<&'a RawValue>,
    #[serde(borrow)]
    ending_at: Option<&'a RawValue>,
    #[serde(borrow)]
    group: Option<&'a RawValue>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// The requested dimensions of a row. An invalid workspace makes the row invalid; another invalid dimension counts as absent.
#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct GroupWire<'a> {
    #[serde(borrow)]
    workspace_id: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    model: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    api_key_id: Option<String>,
    #[serde(borrow)]
    actor: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "decode::lenient")]
    service_tier: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    context_window: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    inference_geo: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    cost_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ActorWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "decode::lenient")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient_text")]
    email_address: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    service_account_id: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    provider: Option<Value>,
    #[serde(default, deserialize_with = "decode::lenient")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "decode::lenient")]
    api_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    list_amount: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
    #[serde(borrow)]
    requests: Option<&'a RawValue>,
}

struct LocatedRow<'a> {
    group: GroupWire<'a>,
    workspace: Option<WorkspaceId>,
    cost: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
}

/// Spend of a row.
struct RowSpend<'a> {
    billed: Usd,
    list: Option<Usd>,
    requests: Option<&'a RawValue>,
}

fn missing(location: ResponseLocation, field: &'static str) -> DecodeError {
    DecodeError::Missing { location, field }
}

/// Returns the spend of a row, or `None` if its amount is invalid; an invalid list price only counts as absent.
fn spend<'a>(
    location: ResponseLocation,
    cost: Option<&'a RawValue>,
    errors: &mut Vec<DecodeError>,
) -> Option<RowSpend<'a>> {
    let read = || {
        let cost: CostWire<'_> =
            decode::read_row(location, cost.ok_or(missing(location, "cost"))?)?;
        decode::check_usd(location, "cost.currency", cost.currency)?;
        let amount = cost.amount.ok_or(missing(location, "cost.amount"))?;
        Ok((decode::cents(location, "cost.amount", amount)?, cost))
    };
    let (billed, cost) = read().map_err(|error| errors.push(error)).ok()?;
    let list = cost.list_amount.and_then(|raw| {
        let list = decode::cents(location, "cost.list_amount", raw);
        list.map_err(|error| errors.push(error)).ok()
    });
    Some(RowSpend {
        billed,
        list,
        requests: cost.requests,
    })
}

/// Decodes a page of either report; `row` decodes the part that differs.
fn page<T>(
    body: &[u8],
    span: BucketSpan,
    mut row: impl FnMut(ResponseLocation, Hour, LocatedRow<'_>, &mut Vec<DecodeError>) -> Option<T>,
) -> Result<PageResponse<T>, DecodeError> {
    let wire: PageWire<'_> = decode::read(body)?;
    let mut rows = Vec::with_capacity(wire.data.len());
    let mut unreadable = Vec::new();
    for (location, raw) in (1..).map(ResponseLocation::Row).zip(&wire.data) {
        let (hour, placed) = match locate(location, raw, span) {
            Ok(placed) => placed,
            Err(error) => {
                unreadable.push(*error);
                continue;
            }
        };
        let (hours, workspace) = (span.bucket_at(hour), placed.workspace.clone());
        let mut errors = Vec::new();
        rows.extend(row(location, hour, placed, &mut errors));
        unreadable.extend(errors.into_iter().map(|error| RowError {
            hours,
            workspace: Some(workspace.clone()),
            error,
        }));
    }
    Ok(PageResponse {
        is_empty: wire.data.is_empty(),
        rows,
        unreadable,
        refreshed_at: wire.data_refreshed_at,
        next: next_page(wire.has_more, wire.next_page)?,
    })
}

/// Decodes the bucket and workspace of a row; an invalid one could be any.
fn locate(
    location: ResponseLocation,
    raw: &RawValue,
    span: BucketSpan,
) -> Result<(Hour, LocatedRow<'_>), Box<RowError>> {
    let unreadable = |hours, workspace, error| {
        Box::new(RowError {
            hours,
            workspace,
            error,
        })
    };
    let wire: RowWire<'_> =
        decode::read_row(location, raw).map_err(|error| unreadable(span.hours, None, error))?;
    let group = wire.group.map_or_else(
        || Ok(GroupWire::default()),
        |group| decode::read_row(location, group),
    );
    let group = group.and_then(|group: GroupWire<'_>| {
        let id = report::workspace(location, "group.workspace_id", group.workspace_id)?;
        Ok((group, id))
    });
    match (
        span.parse_bucket(location, wire.starting_at, wire.ending_at),
        group,
    ) {
        (Ok(hour), Ok((group, workspace))) => {
            let placed = LocatedRow {
                group,
                workspace,
                cost: wire.cost,
                usage: wire.usage,
            };
            Ok((hour, placed))
        }
        (Ok(hour), Err(error)) => Err(unreadable(span.bucket_at(hour), None, error)),
        (Err(bucket), group) => {
            let workspace = group.ok().map(|(_, workspace)| workspace);
            Err(unreadable(bucket.hours, workspace, bucket.error))
        }
    }
}

fn dimensions(wire: GroupWire<'_>, workspace: Option<WorkspaceId>) -> Dimensions {
    Dimensions {
        workspace,
        model: wire.model.map(ModelName::new),
        api_key: wire.api_key_id.map(ApiKeyId::new),
        actor: wire.actor.map(actor),
    }
}

/// Decodes an actor; an invalid one is [`Actor::Other`].
fn actor(raw: &RawValue) -> Actor {
    let unknown = |kind: &str| Actor::Other {
        kind: kind.to_owned(),
    };
    let Ok(wire) = serde_json::from_str::<ActorWire>(raw.get()) else {
        return unknown("unknown");
    };
    let known = match wire.kind.as_str() {
        "user_actor" => wire.user_id.map(|id| Actor::User {
            id: ActorId::new(id),
            email: wire.email_address,
        }),
        "service_account_actor" => wire.service_account_id.map(|id| Actor::ServiceAccount {
            id: ActorId::new(id),
        }),
        "federated_actor" => federated(wire.provider.as_ref(), wire.subject),
        "api_actor" => wire.api_key_id.map(|id| Actor::ApiKey {
            id: ApiKeyId::new(id),
        }),
        _ => None,
    };
    known.unwrap_or_else(|| unknown(&wire.kind))
}

/// Decodes a federated actor; the provider's type and fields become its name, such as `aws:123456789012`. Returns `None` if neither
/// provider fields nor a subject identify the actor.
fn federated(provider: Option<&Value>, subject: Option<String>) -> Option<Actor> {
    let (provider, is_identified) = match provider? {
        Value::Object(fields) => {
            let mut name = fields.get("type")?.as_str()?.to_owned();
            let mut is_identified = false;
            for (_, value) in fields.iter().filter(|(field, _)| *field != "type") {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => continue,
                };
                name.push(':');
                name.push_str(&text);
                is_identified = true;
            }
            (name, is_identified)
        }
        Value::String(name) => (name.clone(), false),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    (is_identified || subject.is_some()).then_some(Actor::Federated { provider, subject })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use spendwatch_domain::units::span::{Day, HourSpan};
    use spendwatch_domain::usage::bucket::Granularity;

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
