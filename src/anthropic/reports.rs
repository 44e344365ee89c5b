//! The `reports` dialect: the older usage report, in tokens, and the cost report, by day. Pure.
//!
//! Buckets come one for each interval, those without usage empty; in them, rows of equal groups are summed. A row that cannot be
//! read costs its own figure.
//! Null says two things: what was not asked for, or the default workspace, or no key. Who asks knows which.
//!
//! Source: Anthropic, Usage and Cost API.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::anthropic::fault::{self, Fault, Place};
use crate::anthropic::report::{self, Asked, Counted, Seen, Told, Unreadable, next_page};
use crate::anthropic::tokens::TokensWire;
use crate::domain::ids::{ApiKeyId, ModelName, WorkspaceId};
use crate::domain::money::Usd;
use crate::domain::report::{CostRow, How, UsedRow, Who};
use crate::domain::span::{Hour, HourSpan};

/// `GET /v1/organizations/usage_report/messages`, one page.
pub fn used(body: &[u8], asked: Asked, seen: &mut Seen) -> Result<Told<UsedRow>, Fault> {
    page(body, asked, seen, |row, counted, faults| {
        let Placed {
            place, hour, raw, ..
        } = row;
        let wire: TokensWire<'_> = fault::read_row(place, raw)
            .map_err(|fault| faults.push(fault))
            .ok()?;
        let used = UsedRow {
            hour,
            how: How {
                service_tier: row.group.service_tier.clone(),
                context_window: row.group.context_window.clone(),
                inference_geo: row.group.inference_geo.clone(),
            },
            who: who(row.group, row.workspace),
            tokens: wire.tokens(place, faults),
            web_searches: wire.web_searches(place, faults),
        };
        let counted = counted.take(place, "tokens", used.count());
        counted.map_err(|fault| faults.push(fault)).ok()?;
        Some(used)
    })
}

/// `GET /v1/organizations/cost_report`, one page: a row for each line of the bill.
pub fn cost(body: &[u8], asked: Asked, seen: &mut Seen) -> Result<Told<CostRow>, Fault> {
    page(body, asked, seen, |row, _, faults| {
        let Placed {
            place, hour, raw, ..
        } = row;
        let billed = amount(place, raw)
            .map_err(|fault| faults.push(fault))
            .ok()?;
        Some(CostRow {
            hour,
            cost_type: row.group.cost_type.clone(),
            who: who(row.group, row.workspace),
            billed,
            list: None,
            requests: None,
        })
    })
}

fn amount(place: Place, raw: &RawValue) -> Result<Usd, Fault> {
    let wire: CostWire<'_> = fault::read_row(place, raw)?;
    fault::in_usd(place, "currency", wire.currency)?;
    let field = "amount";
    let amount = wire.amount.ok_or(Fault::Missing { place, field })?;
    fault::cents(place, field, amount)
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PageWire<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "fault::lenient")]
    has_more: Option<bool>,
    #[serde(borrow)]
    next_page: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct BucketWire<'a> {
    #[serde(borrow)]
    starting_at: Option<&'a RawValue>,
    #[serde(borrow)]
    ending_at: Option<&'a RawValue>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
}

/// All that sets two rows of a bucket apart, in either report. Only the workspace decides where a figure counts; of the others,
/// one that cannot be read costs its attribution.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct GroupWire<'a> {
    #[serde(borrow)]
    workspace_id: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "fault::lenient")]
    model: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    api_key_id: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    service_tier: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    context_window: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    inference_geo: Option<String>,
    #[serde(default, deserialize_with = "fault::lenient")]
    cost_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct CostWire<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
}

/// A row whose bucket and workspace are known.
struct Placed<'a> {
    place: Place,
    hour: Hour,
    raw: &'a RawValue,
    group: GroupWire<'a>,
    workspace: Option<WorkspaceId>,
}

/// A page of either report; `row` reads what the two have apart, as far as it can be read. Rows are counted from 1 through all
/// buckets of the page.
fn page<T>(
    body: &[u8],
    asked: Asked,
    seen: &mut Seen,
    mut row: impl FnMut(Placed<'_>, &mut Counted, &mut Vec<Fault>) -> Option<T>,
) -> Result<Told<T>, Fault> {
    let wire: PageWire<'_> = fault::read(body)?;
    let mut rows = Vec::new();
    let mut unreadable = Vec::new();
    let mut n_rows = 0;
    for (place, raw) in (1..).map(Place::Bucket).zip(&wire.data) {
        let (hour, results) = match bucket(place, raw, asked, seen) {
            Ok(bucket) => bucket,
            Err((hours, fault)) => {
                unreadable.push(Unreadable {
                    hours,
                    workspace: None,
                    fault,
                });
                continue;
            }
        };
        let hours = asked.bucket_at(hour);
        for raw in results {
            n_rows += 1;
            let place = Place::Row(n_rows);
            let placed = match placed(place, hour, raw) {
                Ok(placed) => placed,
                Err(fault) => {
                    unreadable.push(Unreadable {
                        hours,
                        workspace: None,
                        fault,
                    });
                    continue;
                }
            };
            let workspace = placed.workspace.clone();
            let mut faults = Vec::new();
            rows.extend(row(placed, &mut seen.counted, &mut faults));
            unreadable.extend(faults.into_iter().map(|fault| Unreadable {
                hours,
                workspace: Some(workspace.clone()),
                fault,
            }));
        }
    }
    Ok(Told {
        rows,
        unreadable,
        refreshed_at: None,
        next: next_page(wire.has_more, wire.next_page)?,
        is_empty: wire.data.is_empty(),
    })
}

/// A bucket and its rows; what cannot be read of it could be any workspace's, in the hours that are given then.
fn bucket<'a>(
    place: Place,
    raw: &'a RawValue,
    asked: Asked,
    seen: &mut Seen,
) -> Result<(Hour, Vec<&'a RawValue>), (HourSpan, Fault)> {
    let wire: BucketWire<'a> = fault::read_row(place, raw).map_err(|fault| (asked.hours, fault))?;
    let hour = asked
        .bucket(place, wire.starting_at, wire.ending_at)
        .map_err(|bucket| (bucket.hours, bucket.fault))?;
    let strange = |fault| (asked.bucket_at(hour), fault);
    if !seen.buckets.insert(hour) {
        let problem = "a bucket that an earlier one has already";
        let start = hour.start().to_string();
        let fault = Fault::value(place, "starting_at", &start, problem);
        return Err(strange(fault));
    }
    let field = "results";
    let results = wire.results.ok_or(Fault::Missing { place, field });
    let results = results.and_then(|raw| {
        serde_json::from_str(raw.get())
            .map_err(|_| Fault::value(place, field, raw.get(), "not a list"))
    });
    Ok((hour, results.map_err(strange)?))
}

/// Of which workspace a row is.
fn placed(place: Place, hour: Hour, raw: &RawValue) -> Result<Placed<'_>, Fault> {
    let group: GroupWire<'_> = fault::read_row(place, raw)?;
    Ok(Placed {
        place,
        hour,
        raw,
        workspace: report::workspace(place, "workspace_id", group.workspace_id)?,
        group,
    })
}

fn who(wire: GroupWire<'_>, workspace: Option<WorkspaceId>) -> Who {
    Who {
        workspace,
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
        let row = &page.rows[0];
        assert_eq!(row.hour.start().to_string(), SECOND.0);
        assert_eq!((row.tokens.sum(), row.web_searches), (953_500, 3));
        assert_eq!(
            (row.who.workspace.as_ref(), page.rows.len(), page.next),
            (None, 2, None)
        );

        let body = pages(&[(SECOND.0, SECOND.1, vec![cost_row(&json!("20417.3508"))])]);
        let page = cost(body.to_string().as_bytes(), asked(), &mut Seen::default()).unwrap();
        assert_eq!(page.rows[0].billed.to_string(), "204.173508");
    }

    #[test]
    fn what_cannot_be_right_costs_its_own_row_or_bucket() {
        let check = |body: Value, n_rows: usize, expected: &str| {
            let page = cost(body.to_string().as_bytes(), asked(), &mut Seen::default()).unwrap();
            let faults: Vec<String> = page
                .unreadable
                .iter()
                .map(|unreadable| unreadable.fault.to_string())
                .collect();
            assert_eq!(
                (faults, page.rows.len()),
                (vec![expected.to_owned()], n_rows)
            );
        };
        let row = || cost_row(&json!("1"));
        let mut strange = pages(&[
            (SECOND.0, SECOND.1, vec![row()]),
            (THIRD.0, THIRD.1, vec![]),
        ]);
        strange["data"][1]["results"] = Value::Null;
        check(strange, 1, "bucket 2: `results` is missing");
        check(
            pages(&[
                (SECOND.0, SECOND.1, vec![row()]),
                (SECOND.0, SECOND.1, vec![row()]),
            ]),
            1,
            "bucket 2: `starting_at` is `2026-11-02T00:00:00Z`, a bucket that an earlier one has already",
        );
        check(
            pages(&[("2026-11-02T01:00:00Z", SECOND.1, vec![])]),
            0,
            "bucket 1: `starting_at` is `2026-11-02T01:00:00Z`, not the start of a bucket as it was asked for",
        );
        check(
            pages(&[
                ("2026-12-02T00:00:00Z", "2026-12-03T00:00:00Z", vec![row()]),
                (SECOND.0, SECOND.1, vec![row()]),
            ]),
            1,
            "bucket 1: `starting_at` is `2026-12-02T00:00:00Z`, outside of what was asked for",
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
        let endless = cost(endless.as_bytes(), asked(), &mut Seen::default());
        assert_eq!(endless.unwrap_err().to_string(), "`next_page` is missing");
    }

    #[test]
    fn credits_equal_groups_and_any_order_are_legal() {
        let row = |amount: &str| cost_row(&json!(amount));
        let body = pages(&[
            (THIRD.0, THIRD.1, vec![row("-3"), row("1"), row("1")]),
            (SECOND.0, SECOND.1, vec![row("2")]),
        ]);
        let page = cost(body.to_string().as_bytes(), asked(), &mut Seen::default()).unwrap();
        let billed: Vec<String> = page.rows.iter().map(|row| row.billed.to_string()).collect();
        assert_eq!(billed, ["-0.03", "0.01", "0.01", "0.02"]);
        assert_eq!(page.unreadable, []);
    }
}
