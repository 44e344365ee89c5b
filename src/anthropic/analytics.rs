//! The `analytics` dialect: what its two reports look like, and what their rows mean. Pure.
//!
//! Rows are flat and sparse: one for each bucket and group in which something was used, and none for what was not. A page is
//! translated whole or refused whole. Unknown fields are ignored, and groups that were not asked for are null.
//!
//! Source: Anthropic, Usage and Cost Analytics API (beta of October 2026).

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::domain::ids::{ApiKeyId, ModelName, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::usage::{Granularity, Tokens};

/// What is asked of either report: all buckets of whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Hours or days.
    pub granularity: Granularity,
    /// From and to; at most 31 days.
    pub hours: HourSpan,
}

/// One page of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the server's order.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
    /// Up to when the data is there, where the server says it.
    pub refreshed_at: Option<Timestamp>,
}

/// Who used something. A group that was not asked for is `None`, and so is what the service cannot attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Group {
    /// The real id, also of the default workspace.
    pub workspace: Option<WorkspaceId>,
    /// Of code execution there is none.
    pub model: Option<ModelName>,
    /// The key that authenticated.
    pub api_key: Option<ApiKeyId>,
    /// Who is charged.
    pub actor: Option<Actor>,
}

/// The most specific identity that the service knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// A person.
    User {
        /// As the list of users has it.
        id: String,
        /// Where the service tells it.
        email: Option<String>,
    },
    /// An account of the organization without a person.
    ServiceAccount {
        /// Its id.
        id: String,
    },
    /// An identity from elsewhere.
    Federated {
        /// Who vouches for it.
        provider: String,
        /// What it is there.
        subject: String,
    },
    /// A key, where nothing else is known.
    ApiKey {
        /// Its id.
        id: ApiKeyId,
    },
    /// A kind that this version does not know.
    Other {
        /// As the service names it.
        kind: String,
    },
}

/// What a group was billed in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostRow {
    /// Where the bucket begins.
    pub hour: Hour,
    /// Whose.
    pub group: Group,
    /// After discounts, before credits.
    pub billed: Usd,
    /// At list price, where the service tells it.
    pub list: Option<Usd>,
    /// Requests; for code execution, spans.
    pub requests: Option<i64>,
}

/// What a group used in one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedRow {
    /// Where the bucket begins.
    pub hour: Hour,
    /// Whose.
    pub group: Group,
    /// By class.
    pub tokens: Tokens,
    /// Requests.
    pub requests: i64,
    /// Searches of the web, which are billed by number.
    pub web_searches: i64,
}

/// `GET /v1/organizations/analytics/cost`, one page.
pub fn cost(body: &[u8], asked: Asked) -> Result<Page<CostRow>, Fault> {
    page(body, asked, |place, hour, group, wire| {
        let cost = wire.cost.ok_or(missing(place, "cost"))?;
        let currency = cost.currency.as_deref().unwrap_or("USD");
        if currency != "USD" {
            return Err(Fault::value(place, "cost.currency", currency, "not USD"));
        }
        let amount = cost.amount.ok_or(missing(place, "cost.amount"))?;
        let list = cost.list_amount;
        Ok(CostRow {
            hour,
            group,
            billed: fault::cents(place, "cost.amount", amount)?,
            list: list
                .map(|raw| fault::cents(place, "cost.list_amount", raw))
                .transpose()?,
            requests: cost
                .requests
                .map(|raw| fault::count(place, "cost.requests", raw))
                .transpose()?,
        })
    })
}

/// `GET /v1/organizations/analytics/usage`, one page.
pub fn used(body: &[u8], asked: Asked) -> Result<Page<UsedRow>, Fault> {
    page(body, asked, |place, hour, group, wire| {
        let used = wire.usage.ok_or(missing(place, "usage"))?;
        let count = |field: &str, raw: Option<&RawValue>| {
            let field = format_args!("usage.{field}");
            raw.map_or(Ok(0), |raw| fault::count(place, field, raw))
        };
        let created = used.cache_creation.unwrap_or_default();
        let tools = used.server_tool_use.unwrap_or_default();
        let required = |field: &'static str, raw: Option<&'_ RawValue>| match raw {
            Some(raw) => fault::count(place, format_args!("usage.{field}"), raw),
            None => Err(missing(place, field)),
        };
        Ok(UsedRow {
            hour,
            group,
            tokens: Tokens {
                input: required("uncached_input_tokens", used.uncached_input_tokens)?,
                output: required("output_tokens", used.output_tokens)?,
                cache_read: count("cache_read_input_tokens", used.cache_read_input_tokens)?,
                cache_write_5m: count(
                    "cache_creation.ephemeral_5m_input_tokens",
                    created.ephemeral_5m_input_tokens,
                )?,
                cache_write_1h: count(
                    "cache_creation.ephemeral_1h_input_tokens",
                    created.ephemeral_1h_input_tokens,
                )?,
            },
            requests: count("requests", used.requests)?,
            web_searches: count(
                "server_tool_use.web_search_requests",
                tools.web_search_requests,
            )?,
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
    usage: Option<UsageWire<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct GroupWire {
    workspace_id: Option<String>,
    model: Option<String>,
    api_key_id: Option<String>,
    actor: Option<ActorWire>,
}

#[derive(Deserialize)]
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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct UsageWire<'a> {
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
    #[serde(borrow)]
    requests: Option<&'a RawValue>,
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

fn missing(place: Place, field: &'static str) -> Fault {
    Fault::Missing { place, field }
}

/// A page of either report; `row` reads what the two have apart.
fn page<T>(
    body: &[u8],
    asked: Asked,
    row: impl Fn(Place, Hour, Group, RowWire<'_>) -> Result<T, Fault>,
) -> Result<Page<T>, Fault> {
    let wire: PageWire<'_> = fault::read(body)?;
    let mut seen = HashSet::new();
    let mut rows = Vec::with_capacity(wire.data.len());
    for (place, raw) in (1..).map(Place::Row).zip(&wire.data) {
        let mut wire: RowWire<'_> = fault::read_row(place, raw)?;
        let hour = bucket(place, &wire, asked)?;
        let group = group(wire.group.take().unwrap_or_default());
        if !seen.insert((hour, group.clone())) {
            let at = wire.starting_at.to_string();
            let problem = "whose group an earlier row has already";
            return Err(Fault::value(place, "starting_at", &at, problem));
        }
        rows.push(row(place, hour, group, wire)?);
    }
    let next = wire.next_page.filter(|page| !page.is_empty());
    if wire.has_more == Some(true) && next.is_none() {
        return Err(missing(Place::Answer, "next_page"));
    }
    Ok(Page {
        rows,
        next: next.filter(|_| wire.has_more != Some(false)),
        refreshed_at: wire.data_refreshed_at,
    })
}

/// Where a row's bucket begins: one of those that were asked for, whole.
fn bucket(place: Place, row: &RowWire<'_>, asked: Asked) -> Result<Hour, Fault> {
    let hour = Hour::of(row.starting_at);
    let (first, n_hours) = match asked.granularity {
        Granularity::Hour => (hour, 1),
        Granularity::Day => (hour.day().first_hour(), 24),
    };
    let told = |field, at: Timestamp, problem| Fault::value(place, field, &at.to_string(), problem);
    if first.start() != row.starting_at {
        let problem = "not the start of a bucket as it was asked for";
        return Err(told("starting_at", row.starting_at, problem));
    }
    if !asked.hours.contains(hour) {
        let problem = "outside of what was asked for";
        return Err(told("starting_at", row.starting_at, problem));
    }
    if row.ending_at != hour.plus(n_hours).start() {
        let problem = "not the end of a bucket as it was asked for";
        return Err(told("ending_at", row.ending_at, problem));
    }
    Ok(hour)
}

fn group(wire: GroupWire) -> Group {
    Group {
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
    } = wire;
    let known = match kind.as_str() {
        "user_actor" => user_id.map(|id| Actor::User { id, email }),
        "service_account_actor" => service_account_id.map(|id| Actor::ServiceAccount { id }),
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
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::span::Day;

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

    fn told(page: &Value, granularity: Granularity) -> Result<Page<CostRow>, String> {
        cost(page.to_string().as_bytes(), asked(granularity)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_row_of_cost_is_read_to_the_last_digit() {
        let page = told(&page_of(&[cost_row(&[])]), Granularity::Hour).unwrap();
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
        let expected = Group {
            workspace: Some("wrkspc_01Ab".into()),
            model: Some("claude-opus-5-5".into()),
            ..Group::default()
        };
        assert_eq!(row.group, expected);
    }

    #[test]
    fn actors_are_known_by_their_kind_and_new_kinds_are_kept() {
        let check = |actor: Value, expected: Actor| {
            let row = cost_row(&[("/group/actor", actor)]);
            let page = told(&page_of(&[row]), Granularity::Hour).unwrap();
            assert_eq!(page.rows[0].group.actor, Some(expected));
        };
        let text = str::to_owned;
        check(
            json!({"type": "user_actor", "user_id": "user_01", "email_address": "ada@example.com", "name": "Ada", "deleted": false}),
            Actor::User {
                id: text("user_01"),
                email: Some(text("ada@example.com")),
            },
        );
        check(
            json!({"type": "service_account_actor", "service_account_id": "svac_01"}),
            Actor::ServiceAccount {
                id: text("svac_01"),
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
            page.rows[0].hour.start().to_string(),
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
        let page = used(page.to_string().as_bytes(), asked(Granularity::Hour)).unwrap();
        let row = &page.rows[0];
        assert_eq!(row.tokens.sum(), 31);
        assert_eq!(
            (row.tokens.cache_write_5m, row.tokens.cache_write_1h),
            (2, 4)
        );
        assert_eq!((row.requests, row.web_searches), (3, 5));
    }
}
