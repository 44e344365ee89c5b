//! Renders responses of the guide's API with exact digits.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::world::amounts::SimulatedUsage;
use crate::world::directory::{SimulatedKey, SimulatedUser};
use crate::world::{ModelBreakdown, SimulatedSettings, SimulatedWorkspace, StatedMonth, World};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Hour;

const CREATED_AT: &str = "2025-01-01T00:00:00Z";
const MICROS_PER_CENT: i64 = 10_000;

/// `GET /v1/organizations`.
pub fn organization(world: &World, month_micros: i64) -> String {
    let limit = world.usage_limit.as_deref().unwrap_or("null");
    let stated = |digits: &str| format!(r#","current_month_usage_usd":{digits}"#);
    let month = match &world.stated_month {
        StatedMonth::Truth => stated(&digits(month_micros)),
        StatedMonth::Digits(digits) => stated(digits),
        StatedMonth::Missing => String::new(),
    };
    let SimulatedSettings {
        default_model,
        require_mfa,
        allowed_ip_ranges,
    } = &world.settings;
    let (model, ranges) = (json!(default_model), json!(allowed_ip_ranges));
    format!(
        r#"{{"id":"org_simulated","name":"Simulated Inc.","created_at":"{CREATED_AT}","billing":{{"plan":"scale","usage_limit_usd":{limit}{month}}},"settings":{{"default_model":{model},"require_mfa":{require_mfa},"allowed_ip_ranges":{ranges}}}}}"#
    )
}

/// Renders a row of `/v1/workspaces`; unset limits are omitted.
pub fn workspace(workspace: &SimulatedWorkspace) -> String {
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
    let created = workspace.created_at.as_deref().unwrap_or(CREATED_AT);
    format!(r#"{{"id":{id},"name":{name},"created_at":"{created}"{limits}}}"#)
}

/// Renders a row of `/v1/users`.
pub fn user(user: &SimulatedUser) -> String {
    json!({
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "created_at": CREATED_AT,
        "last_active_at": user.last_active_at,
        "status": user.status,
    })
    .to_string()
}

/// Renders a row of `/v1/api_keys`.
pub fn key(key: &SimulatedKey, users: &[SimulatedUser]) -> String {
    let creator = users.iter().find(|user| user.id == key.created_by);
    let n_hidden = key.id.chars().count().saturating_sub(4);
    let tail: String = key.id.chars().skip(n_hidden).collect();
    json!({
        "id": key.id,
        "name": key.name,
        "created_at": key.created_at.map_or_else(|| json!(CREATED_AT), |at| json!(at)),
        "last_used_at": key.last_used_at,
        "status": key.status,
        "workspace_id": key.workspace,
        "created_by": {"id": key.created_by, "email": creator.map(|user| &user.email)},
        "partial_key": format!("sk-ant-api03-...{tail}"),
    })
    .to_string()
}

/// A usage row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageLine {
    /// In the format of the granularity.
    pub date: String,
    pub models: BTreeMap<String, SimulatedUsage>,
    pub correction_micros: i64,
}

/// `GET /v1/usage`; `None` omits the models.
pub fn usage(rows: &[UsageLine], breakdown: Option<&ModelBreakdown>) -> String {
    let mut data = String::new();
    let mut total = SimulatedUsage::default();
    for row in rows {
        let mut sum = SimulatedUsage {
            micros: row.correction_micros,
            ..SimulatedUsage::default()
        };
        for used in row.models.values() {
            sum += *used;
        }
        total += sum;
        let separator = if data.is_empty() { "" } else { "," };
        write!(
            data,
            r#"{separator}{{"date":"{}","input_tokens":{},"output_tokens":{},"cache_read_tokens":{},"total_cost_usd":{},"requests":{}"#,
            row.date,
            sum.input,
            sum.output,
            sum.cache_read,
            digits(sum.micros),
            sum.requests
        )
        .expect("writing to memory");
        if let Some(breakdown) = breakdown {
            write_models(&mut data, &row.models, breakdown);
        }
        data.push('}');
    }
    format!(
        r#"{{"data":[{data}],"total":{{"input_tokens":{},"output_tokens":{},"total_cost_usd":{}}}}}"#,
        total.input,
        total.output,
        digits(total.micros)
    )
}

fn write_models(
    text: &mut String,
    models: &BTreeMap<String, SimulatedUsage>,
    breakdown: &ModelBreakdown,
) {
    text.push_str(r#","model_breakdown":{"#);
    let mut separator = "";
    for (model, used) in models {
        let micros = match breakdown {
            ModelBreakdown::Full => used.micros,
            ModelBreakdown::Without(omitted) if omitted == model => continue,
            ModelBreakdown::Without(_) => used.micros,
            ModelBreakdown::Cents => used.micros / MICROS_PER_CENT * MICROS_PER_CENT,
        };
        let model = Value::from(model.as_str());
        write!(
            text,
            r#"{separator}{model}:{{"input_tokens":{},"output_tokens":{},"cost_usd":{}}}"#,
            used.input,
            used.output,
            digits(micros)
        )
        .expect("writing to memory");
        separator = ",";
    }
    text.push('}');
}

/// Formats as `2026-02-03T14:00:00Z`.
pub fn hour_text(hour: Hour) -> String {
    hour.start().to_string()
}

/// Formats as `2026-02`.
pub fn month_text(date: Date) -> String {
    format!("{:04}-{:02}", date.year(), date.month())
}

fn digits(micros: i64) -> String {
    Usd::from_pico(i128::from(micros) * 1_000_000).to_string()
}
