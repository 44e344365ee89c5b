//! The `analytics` dialect: what its two reports look like, and what their rows mean. Pure.
//!
//! Rows are flat and sparse: one for each bucket and group in which something was used, and none for what was not. A page is
//! translated whole or refused whole. Unknown fields are ignored, and groups that were not asked for are null.
//!
//! Source: Anthropic, Usage and Cost Analytics API (beta of October 2026).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::report::{Asked, Page, Seen, Told, bounded, next_page};
use crate::anthropic::tokens::TokensWire;
use crate::domain::ids::{ActorId, ApiKeyId, ModelName, WorkspaceId};
use crate::domain::report::{Actor, CostRow, How, UsedRow, Who};
use crate::domain::span::Hour;

/// `GET /v1/organizations/analytics/cost`, one page.
pub fn cost(body: &[u8], asked: Asked, seen: &mut Seen) -> Result<Told<CostRow>, Fault> {
    let told = page(body, asked, seen, |place, hour, wire| {
        let cost = wire.cost.ok_or(missing(place, "cost"))?;
        let currency = cost.currency.as_deref().unwrap_or("USD");
        if currency != "USD" {
            return Err(Fault::value(place, "cost.currency", currency, "not USD"));
        }
        let amount = cost.amount.ok_or(missing(place, "cost.amount"))?;
        let group = wire.group.unwrap_or_default();
        Ok(CostRow {
            hour,
            cost_type: group.cost_type.clone(),
            who: who(group),
            billed: fault::cents(place, "cost.amount", amount)?,
            list: cost
                .list_amount
                .map(|raw| fault::cents(place, "cost.list_amount", raw))
                .transpose()?,
            requests: cost
                .requests
                .map(|raw| fault::tokens(place, "cost.requests", raw))
                .transpose()?,
        })
    })?;
    bounded(told, seen, "cost.requests", |row| {
        row.requests.unwrap_or_default()
    })
}

/// `GET /v1/organizations/analytics/usage`, one page.
pub fn used(body: &[u8], asked: Asked, seen: &mut Seen) -> Result<Told<UsedRow>, Fault> {
    let told = page(body, asked, seen, |place, hour, wire| {
        let usage = wire.usage.ok_or(missing(place, "usage"))?;
        let group = wire.group.unwrap_or_default();
        Ok(UsedRow {
            hour,
            how: How {
                service_tier: group.service_tier.clone(),
                context_window: group.context_window.clone(),
                inference_geo: group.inference_geo.clone(),
            },
            who: who(group),
            tokens: usage.tokens(place)?,
            web_searches: usage.web_searches(place)?,
        })
    })?;
    bounded(told, seen, "usage", UsedRow::count)
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    has_more: Option<bool>,
    next_page: Option<String>,
    data_refreshed_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RowWire<'a> {
    starting_at: Timestamp,
    ending_at: Timestamp,
    group: Option<GroupWire>,
    #[serde(borrow)]
    cost: Option<CostWire<'a>>,
    #[serde(borrow)]
    usage: Option<TokensWire<'a>>,
}

/// All that can set two rows of a bucket apart in what is asked here.
#[derive(Deserialize, Default, Hash)]
#[serde(expecting = "an object")]
struct GroupWire {
    workspace_id: Option<String>,
    model: Option<String>,
    api_key_id: Option<String>,
    actor: Option<ActorWire>,
    service_tier: Option<String>,
    context_window: Option<String>,
    inference_geo: Option<String>,
    speed: Option<String>,
    product: Option<String>,
    cost_type: Option<String>,
    token_type: Option<String>,
}

#[derive(Deserialize, Hash)]
#[serde(expecting = "an object")]
struct ActorWire {
    #[serde(rename = "type")]
    kind: String,
    user_id: Option<String>,
    email_address: Option<String>,
    service_account_id: Option<String>,
    provider: Option<String>,
    subject: Option<String>,
    api_key_id: Option<String>,
    /// Sets actors of a kind apart that this version does not know.
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    list_amount: Option<&'a RawValue>,
    currency: Option<String>,
    #[serde(borrow)]
    requests: Option<&'a RawValue>,
}

fn missing(place: Place, field: &'static str) -> Fault {
    Fault::Missing { place, field }
}

/// A page of either report; `row` reads what the two have apart.
fn page<T>(
    body: &[u8],
    asked: Asked,
    seen: &mut Seen,
    row: impl Fn(Place, Hour, RowWire<'_>) -> Result<T, Fault>,
) -> Result<Told<T>, Fault> {
    let wire: PageWire<'_> = fault::read(body)?;
    let mut rows = Vec::with_capacity(wire.data.len());
    for (place, raw) in (1..).map(Place::Row).zip(&wire.data) {
        let wire: RowWire<'_> = fault::read_row(place, raw)?;
        let hour = asked.bucket(place, wire.starting_at, wire.ending_at)?;
        seen.row(place, hour, &wire.group)?;
        rows.push(row(place, hour, wire)?);
    }
    Ok(Told {
        is_empty: rows.is_empty(),
        page: Page {
            rows,
            refreshed_at: wire.data_refreshed_at,
        },
        next: next_page(wire.has_more, wire.next_page)?,
    })
}

fn who(wire: GroupWire) -> Who {
    Who {
        workspace: wire.workspace_id.map(WorkspaceId::new),
        model: wire.model.map(ModelName::new),
        api_key: wire.api_key_id.map(ApiKeyId::new),
        actor: wire.actor.map(actor),
    }
}

fn actor(wire: ActorWire) -> Actor {
    let ActorWire {
        kind,
        user_id,
        email_address: email,
        service_account_id,
        provider,
        subject,
        api_key_id,
        more: _,
    } = wire;
    let known = match kind.as_str() {
        "user_actor" => user_id.map(|id| Actor::User {
            id: ActorId::new(id),
            email,
        }),
        "service_account_actor" => service_account_id.map(|id| Actor::ServiceAccount {
            id: ActorId::new(id),
        }),
        "federated_actor" => provider
            .zip(subject)
            .map(|(provider, subject)| Actor::Federated { provider, subject }),
        "api_actor" => api_key_id.map(|id| Actor::ApiKey {
            id: ApiKeyId::new(id),
        }),
        _ => None,
    };
    known.unwrap_or(Actor::Other { kind })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::span::{Day, HourSpan};
    use crate::domain::usage::Granularity;

    fn asked(granularity: Granularity) -> Asked {
        let day = |day| Day::from_date(jiff::civil::date(2026, 11, day)).first_hour();
        Asked {
            granularity,
            hours: HourSpan {
                start: day(1),
                end: day(4),
            },
        }
    }

    /// The row of the documentation, with something exchanged.
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

    fn told(page: &Value, granularity: Granularity) -> Result<Told<CostRow>, String> {
        let body = page.to_string();
        cost(body.as_bytes(), asked(granularity), &mut Seen::default())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_row_of_cost_is_read_to_the_last_digit() {
        let page = told(&page_of(&[cost_row(&[])]), Granularity::Hour).unwrap();
        assert_eq!(page.next.as_deref(), Some("page_x="));
        assert_eq!(
            page.page.refreshed_at,
            Some("2026-11-02T15:10:00Z".parse().unwrap())
        );
        let row = &page.page.rows[0];
        assert_eq!(row.hour.start().to_string(), "2026-11-02T14:00:00Z");
        assert_eq!(row.billed.to_string(), "18.3025");
        assert_eq!(row.list.unwrap().to_string(), "20.336");
        assert_eq!(row.requests, Some(412));
        let expected = Who {
            workspace: Some("wrkspc_01Ab".into()),
            model: Some("claude-opus-5-5".into()),
            ..Who::default()
        };
        assert_eq!(row.who, expected);
    }

    #[test]
    fn actors_are_known_by_their_kind_and_new_kinds_are_kept() {
        let check = |actor: Value, expected: Actor| {
            let row = cost_row(&[("/group/actor", actor)]);
            let page = told(&page_of(&[row]), Granularity::Hour).unwrap();
            assert_eq!(page.page.rows[0].who.actor, Some(expected));
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
        check(
            json!({"type": "federated_actor", "provider": "gcp", "subject": "job"}),
            Actor::Federated {
                provider: text("gcp"),
                subject: text("job"),
            },
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
        check(
            json!({"type": "user_actor"}),
            Actor::Other {
                kind: text("user_actor"),
            },
        );
    }

    #[test]
    fn a_day_is_a_bucket_of_its_own() {
        let day = [
            ("/starting_at", json!("2026-11-02T00:00:00Z")),
            ("/ending_at", json!("2026-11-03T00:00:00Z")),
        ];
        let page = told(&page_of(&[cost_row(&day)]), Granularity::Day).unwrap();
        assert_eq!(
            page.page.rows[0].hour.start().to_string(),
            "2026-11-02T00:00:00Z"
        );
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_its_row() {
        let check = |row: Value, expected: &str| {
            let rows = [cost_row(&[("/group/model", json!("another"))]), row];
            assert_eq!(
                told(&page_of(&rows), Granularity::Hour).unwrap_err(),
                expected
            );
        };
        let changed = |pointer, value| cost_row(&[(pointer, value)]);
        check(
            changed("/group/model", json!("another")),
            "row 2: `starting_at` is `2026-11-02T14:00:00Z`, whose group an earlier row has already",
        );
        check(
            changed("/starting_at", json!("2026-11-02T14:30:00Z")),
            "row 2: `starting_at` is `2026-11-02T14:30:00Z`, not the start of a bucket as it was asked for",
        );
        check(
            changed("/starting_at", json!("2026-10-31T14:00:00Z")),
            "row 2: `starting_at` is `2026-10-31T14:00:00Z`, outside of what was asked for",
        );
        check(
            changed("/ending_at", json!("2026-11-03T00:00:00Z")),
            "row 2: `ending_at` is `2026-11-03T00:00:00Z`, not the end of a bucket as it was asked for",
        );
        check(
            changed("/cost/amount", json!("-0.01")),
            "row 2: `cost.amount` is `\"-0.01\"`, below zero",
        );
        check(
            changed("/cost/amount", Value::Null),
            "row 2: `cost.amount` is missing",
        );
        check(
            changed("/cost/currency", json!("EUR")),
            "row 2: `cost.currency` is `EUR`, not USD",
        );
        check(changed("/cost", Value::Null), "row 2: `cost` is missing");
        let endless = json!({"data": [], "has_more": true, "next_page": null});
        assert_eq!(
            told(&endless, Granularity::Hour).unwrap_err(),
            "`next_page` is missing"
        );
    }

    #[test]
    fn usage_has_four_classes_of_input() {
        let page = page_of(&[json!({
            "starting_at": "2026-11-02T14:00:00Z", "ending_at": "2026-11-02T15:00:00Z",
            "group": {"workspace_id": "wrkspc_01Ab", "model": "claude-opus-5-5"},
            "usage": {"uncached_input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 4},
                      "cache_read_input_tokens": 8, "output_tokens": 16, "total_tokens": 31, "requests": 3,
                      "server_tool_use": {"web_search_requests": 5}, "something_new": {}}
        })]);
        let body = page.to_string();
        let asked = asked(Granularity::Hour);
        let page = used(body.as_bytes(), asked, &mut Seen::default()).unwrap();
        let row = &page.page.rows[0];
        assert_eq!(row.tokens.sum(), 31);
        assert_eq!(
            (row.tokens.cache_write_5m, row.tokens.cache_write_1h),
            (2, 4)
        );
        assert_eq!(row.web_searches, 5);
    }
}
