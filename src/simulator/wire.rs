//! The guide dialect's answers, written from exact digits.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::domain::money::Usd;
use crate::domain::span::Hour;
use crate::simulator::world::{Used, Workspace, World};

/// `GET /v1/organizations`.
pub fn organization(world: &World, month_micros: i64) -> String {
    let limit = world.usage_limit.as_deref().unwrap_or("null");
    format!(
        r#"{{"id":"org_simulated","name":"Simulated Inc.","created_at":"2025-01-01T00:00:00Z","billing":{{"plan":"scale","usage_limit_usd":{limit},"current_month_usage_usd":{}}},"settings":{{"default_model":"claude-sonnet-4-5","require_mfa":true,"allowed_ip_ranges":[]}}}}"#,
        digits(month_micros)
    )
}

/// A page of workspaces.
pub fn workspaces(rows: &[&Workspace], has_more: bool) -> String {
    let mut data = String::new();
    for workspace in rows {
        let separator = if data.is_empty() { "" } else { "," };
        let (id, name) = (
            Value::from(workspace.id.as_str()),
            Value::from(workspace.name.as_str()),
        );
        let mut limits = Vec::new();
        limits.extend(
            workspace
                .monthly_limit
                .as_ref()
                .map(|limit| format!(r#""monthly_spend_usd":{limit}"#)),
        );
        limits.extend(
            workspace
                .requests_per_minute
                .map(|limit| format!(r#""requests_per_minute":{limit}"#)),
        );
        let limits = if limits.is_empty() {
            String::new()
        } else {
            format!(r#","usage_limits":{{{}}}"#, limits.join(","))
        };
        let row = format!(
            r#"{separator}{{"id":{id},"name":{name},"created_at":"2025-01-01T00:00:00Z"{limits}}}"#
        );
        data.push_str(&row);
    }
    let id_of = |workspace: Option<&&Workspace>| {
        workspace.map_or(Value::Null, |row| Value::from(row.id.as_str()))
    };
    let (first, last) = (id_of(rows.first()), id_of(rows.last()));
    format!(r#"{{"data":[{data}],"has_more":{has_more},"first_id":{first},"last_id":{last}}}"#)
}

/// One row of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// As the granularity writes it.
    pub date: String,
    /// By model.
    pub models: BTreeMap<String, Used>,
    /// The row has so much beyond its models.
    pub extra_micros: i64,
}

/// `GET /v1/usage`.
pub fn usage(rows: &[Row], has_breakdown: bool) -> String {
    let mut data = String::new();
    let mut total = Used::default();
    for row in rows {
        let mut sum = Used {
            micros: row.extra_micros,
            ..Used::default()
        };
        let mut breakdown = String::new();
        for (model, used) in &row.models {
            sum += *used;
            let separator = if breakdown.is_empty() { "" } else { "," };
            let model = Value::from(model.as_str());
            write!(
                breakdown,
                r#"{separator}{model}:{{"input_tokens":{},"output_tokens":{},"cost_usd":{}}}"#,
                used.input,
                used.output,
                digits(used.micros)
            )
            .expect("writing to memory");
        }
        total += sum;
        let separator = if data.is_empty() { "" } else { "," };
        let breakdown = if has_breakdown {
            format!(r#","model_breakdown":{{{breakdown}}}"#)
        } else {
            String::new()
        };
        write!(
            data,
            r#"{separator}{{"date":"{}","input_tokens":{},"output_tokens":{},"cache_read_tokens":{},"total_cost_usd":{},"requests":{}{breakdown}}}"#,
            row.date,
            sum.input,
            sum.output,
            sum.cache_read,
            digits(sum.micros),
            sum.requests
        )
        .expect("writing to memory");
    }
    format!(
        r#"{{"data":[{data}],"total":{{"input_tokens":{},"output_tokens":{},"total_cost_usd":{}}}}}"#,
        total.input,
        total.output,
        digits(total.micros)
    )
}

/// `2026-02-03T14:00:00Z`.
pub fn hour_text(hour: Hour) -> String {
    hour.start().to_string()
}

/// `2026-02`.
pub fn month_text(date: Date) -> String {
    format!("{:04}-{:02}", date.year(), date.month())
}

/// A kind server's error.
pub fn error(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
}

fn digits(micros: i64) -> String {
    Usd::from_pico(i128::from(micros) * 1_000_000).to_string()
}
