//! The older reports: tokens by bucket, and the bill by day. Every bucket is there, the oldest first.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::span::{Day, Hour, HourSpan};
use crate::simulator::buckets::{Buckets, bounds, cents, text};
use crate::simulator::charges::{Charge, positions, whole};
use crate::simulator::dimensions::{self, Chosen, MESSAGES_CHOICES, OF_MESSAGES};
use crate::simulator::lines::{Manner, Wanted};
use crate::simulator::paging;
use crate::simulator::question::{groups, instant, known, limit, one_of, parameter};
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::speech::Head;
use crate::simulator::sums::{Key, Sums, sums};
use crate::simulator::told::Told;
use crate::simulator::world::{Used, World};

const FAST_BETA: &str = "fast-mode-2026-02-01";

/// `GET …/usage_report/messages`.
pub fn messages(
    world: &mut World,
    query: &Query,
    head: &Head,
    now: Timestamp,
) -> Result<String, Refusal> {
    let plain = [
        "starting_at",
        "ending_at",
        "bucket_width",
        "limit",
        "group_by[]",
        "page",
    ];
    let choices = MESSAGES_CHOICES.map(|(name, ..)| name);
    known(query, &[plain.as_slice(), &choices].concat())?;
    let groups = groups(query, &OF_MESSAGES, &[])?;
    let has_fast_beta = head.has(FAST_BETA);
    let asks_speed =
        groups.iter().any(|group| group == "speed") || parameter(query, "speeds[]").is_some();
    if asks_speed && !has_fast_beta {
        return Err(Refusal::bad("speed needs its beta header"));
    }
    let width = one_of(query, "bucket_width", &["1d", "1h", "1m"])?;
    let buckets = Buckets::read(width.unwrap_or("1d"))?;
    let limit = match buckets {
        Buckets::Hours => limit(query, 24, 168)?,
        Buckets::Days | Buckets::Whole(_) => limit(query, 7, 31)?,
    };
    let start = buckets.first(Hour::of(instant(query, "starting_at")?));
    let end = match parameter(query, "ending_at") {
        Some(_) => Hour::ceil(instant(query, "ending_at")?),
        None => Hour::of(now).plus(1),
    };
    if end <= start {
        return Err(Refusal::bad("ending_at must be after starting_at"));
    }
    let mut chosen = Chosen::read(query, &MESSAGES_CHOICES)?;
    if world.ignores_speeds {
        chosen = chosen.without("speed");
    }
    let span = buckets.around(HourSpan { start, end });
    // Without its beta the report does not know of speed at all.
    let columns = OF_MESSAGES.iter();
    let columns = columns.filter(|name| has_fast_beta || **name != "speed");
    let columns: Vec<(&str, Option<usize>)> =
        columns.map(|name| (*name, place(&groups, name))).collect();
    let asked = match has_fast_beta {
        true => "messages with speed",
        false => "messages",
    };
    paging::of_report(world, asked, query, (limit, now), |world| {
        let wanted = Wanted {
            hours: span,
            until: now,
            of: &|id| chosen.has_workspace(id, None),
            is_by_key: chosen.asks_keys() || dimensions::ask_keys(&groups),
        };
        let lines = world.lines(&wanted, now);
        let key = |manner: &Manner, _| {
            let is_asked = !manner.model.is_empty() && chosen.has(manner, None);
            let of = |name: &String| dimensions::value(manner, name, None);
            is_asked.then(|| groups.iter().map(of).collect())
        };
        let sums = sums(&lines, |hour| buckets.first(hour), whole, key);
        in_buckets(buckets, span, sums, move |key, used| {
            messages_row(&columns, key, used)
        })
    })
}

fn messages_row(columns: &[(&str, Option<usize>)], key: &Key, used: &Used) -> String {
    let mut row = format!(
        concat!(
            r#"{{"uncached_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{},"#,
            r#""cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"#,
            r#""server_tool_use":{{"web_search_requests":{}}}"#
        ),
        used.input,
        used.cache_read,
        used.output,
        used.cache_write_5m,
        used.cache_write_1h,
        used.web_searches,
    );
    for (name, place) in columns {
        let value = text(place.and_then(|place| key[place].as_deref()));
        row.push_str(&format!(r#","{name}":{value}"#));
    }
    row.push('}');
    row
}

/// `GET …/cost_report`.
pub fn cost_report(world: &mut World, query: &Query, now: Timestamp) -> Result<String, Refusal> {
    known(
        query,
        &[
            "starting_at",
            "ending_at",
            "bucket_width",
            "limit",
            "group_by[]",
            "page",
        ],
    )?;
    let groups = groups(query, &["workspace_id", "description"], &[])?;
    one_of(query, "bucket_width", &["1d"])?;
    let limit = limit(query, 7, 31)?;
    let start = Day::of(instant(query, "starting_at")?);
    let end = match parameter(query, "ending_at") {
        Some(_) => Day::of(instant(query, "ending_at")?),
        None => Day::of(now),
    };
    if end <= start {
        return Err(Refusal {
            is_final: true,
            ..Refusal::bad("Invalid date range: ending date must be after starting date")
        });
    }
    let span = HourSpan {
        start: start.first_hour(),
        end: end.first_hour(),
    };
    let workspace = place(&groups, "workspace_id");
    let description = place(&groups, "description");
    paging::of_report(world, "cost_report", query, (limit, now), |world| {
        // A day without its bill is there and empty.
        let lag = world.bill_lag;
        let billed_until = Day::of(now.checked_sub(lag).unwrap_or(now)).first_hour();
        let billed = HourSpan {
            end: span.end.min(billed_until),
            ..span
        };
        let wanted = Wanted {
            hours: billed,
            until: now,
            of: &|_| true,
            is_by_key: false,
        };
        let lines = world.lines(&wanted, now);
        let key = |manner: &Manner, charge| {
            manner.is_billed().then(|| {
                let id = dimensions::value(manner, "workspace_id", None);
                let (described, parsed) = described(manner, charge);
                vec![
                    id.filter(|_| workspace.is_some()),
                    description.map(|_| described),
                    description.map(|_| parsed.to_string()),
                ]
            })
        };
        let buckets = Buckets::Days;
        let sums = sums(&lines, |hour| buckets.first(hour), positions, key);
        in_buckets(buckets, span, sums, cost_row)
    })
}

/// How a position of the bill is described, and what the service reads from that.
fn described(manner: &Manner, charge: Charge) -> (String, Value) {
    let detail = &manner.detail;
    match charge {
        Charge::Tokens(_) => {
            let tier = match detail.service_tier.as_str() {
                "batch" => "batch",
                _ => "standard",
            };
            let kind = charge.token_type().unwrap_or_default();
            let description = format!(
                "{} Usage - {kind}, {tier}, {}, {}",
                manner.model, detail.context_window, detail.inference_geo
            );
            let parsed = json!({"cost_type": "tokens", "model": manner.model, "token_type": kind,
                "service_tier": tier, "context_window": detail.context_window,
                "inference_geo": detail.inference_geo});
            (description, parsed)
        }
        Charge::Whole | Charge::WebSearch | Charge::CodeExecution | Charge::Adjustment => {
            let description = match charge {
                Charge::WebSearch => "Web Search Usage",
                Charge::CodeExecution => "Code Execution Usage",
                Charge::Whole | Charge::Tokens(_) | Charge::Adjustment => "Adjustment",
            };
            (
                description.to_owned(),
                parsed_of_nothing(charge.cost_type()),
            )
        }
    }
}

fn parsed_of_nothing(cost_type: Option<&str>) -> Value {
    json!({"cost_type": cost_type, "model": null, "token_type": null, "service_tier": null,
           "context_window": null, "inference_geo": null})
}

fn cost_row(key: &Key, used: &Used) -> String {
    let parsed = match &key[2] {
        Some(parsed) => parsed.clone(),
        None => parsed_of_nothing(None).to_string(),
    };
    format!(
        r#"{{"amount":"{}","currency":"USD","workspace_id":{},"description":{},{}"#,
        cents(used.micros),
        text(key[0].as_deref()),
        text(key[1].as_deref()),
        parsed.trim_start_matches('{'),
    )
}

/// All buckets of a span, each with its rows.
fn in_buckets(
    buckets: Buckets,
    span: HourSpan,
    sums: Sums,
    row: impl Fn(&Key, &Used) -> String + Send + Sync + 'static,
) -> Told {
    let width = buckets.end(span.start).count() - span.start.count();
    let n_buckets = (span.end.count() - span.start.count()) / width;
    let n_buckets = usize::try_from(n_buckets).expect("the span is not empty");
    Told::new(n_buckets, move |place| {
        let hours = i32::try_from(place).expect("hours fit 32 bits") * width;
        let first = span.start.plus(hours);
        let start = sums.rows.partition_point(|(hour, ..)| *hour < first);
        let rows = sums.rows[start..].iter();
        let rows = rows.take_while(|(hour, ..)| *hour == first);
        let results: Vec<String> = rows
            .map(|(_, group, used)| row(&sums.groups[*group], used))
            .collect();
        let bounds = bounds(buckets, first);
        format!(r#"{{{bounds},"results":[{}]}}"#, results.join(","))
    })
}

fn place(groups: &[String], name: &str) -> Option<usize> {
    groups.iter().position(|group| group == name)
}
