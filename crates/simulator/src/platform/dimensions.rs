//! Dimensions and filters of the real API's reports.

use serde_json::json;

use crate::api_error::ApiError;
use crate::parameters::{values, values_in};
use crate::platform::usage_records::UsageTraits;
use crate::request::Query;

/// Organization id.
pub const ORGANIZATION: &str = "7d0c2f6e-0000-4000-8000-000000000001";

/// Dimensions of the messages usage report.
pub const MESSAGES_DIMENSIONS: [&str; 9] = [
    "account_id",
    "api_key_id",
    "context_window",
    "inference_geo",
    "model",
    "service_account_id",
    "service_tier",
    "speed",
    "workspace_id",
];

/// Dimensions of the analytics reports. Those that are not simulated (agents, sessions, products and so on) are null.
pub const ANALYTICS_DIMENSIONS: [&str; 20] = [
    "workspace_id",
    "api_key_id",
    "model",
    "actor",
    "actor_type",
    "service_tier",
    "context_window",
    "inference_geo",
    "speed",
    "product",
    "user_profile_id",
    "agent_id",
    "session_id",
    "environment_id",
    "deployment_id",
    "rbac_group_id",
    "organization_id",
    "slack_channel_id",
    "claude_tag_category",
    "claude_tag_user_id",
];

/// Dimensions that depend on the API key.
const KEY_DIMENSIONS: [&str; 5] = [
    "api_key_id",
    "actor",
    "actor_id",
    "actor_type",
    "account_id",
];

/// Filter parameter, its dimension, and its allowed values if they are limited.
pub type FilterParameter = (&'static str, &'static str, Option<&'static [&'static str]>);

const SPEEDS: &[&str] = &["standard", "fast"];
const WINDOWS: &[&str] = &["0-200k", "200k-1M"];
const GEOS: &[&str] = &["global", "us", "not_available"];
const TIERS: &[&str] = &[
    "standard",
    "batch",
    "priority",
    "priority_on_demand",
    "flex",
    "flex_discount",
];
const ACTORS: &[&str] = &[
    "user_actor",
    "service_account_actor",
    "federated_actor",
    "api_actor",
];

/// Filters of the messages usage report; `context_window[]` is singular there.
pub const MESSAGES_FILTERS: [FilterParameter; 9] = [
    ("models[]", "model", None),
    ("workspace_ids[]", "workspace_id", None),
    ("api_key_ids[]", "api_key_id", None),
    ("account_ids[]", "account_id", None),
    ("service_account_ids[]", "service_account_id", None),
    ("service_tiers[]", "service_tier", Some(TIERS)),
    ("context_window[]", "context_window", Some(WINDOWS)),
    ("inference_geos[]", "inference_geo", Some(GEOS)),
    ("speeds[]", "speed", Some(SPEEDS)),
];

/// Filters of the analytics reports. An empty key selects usage without a key.
pub const ANALYTICS_FILTERS: [FilterParameter; 11] = [
    ("models[]", "model", None),
    ("workspace_ids[]", "workspace_id", None),
    ("api_key_ids[]", "api_key_id", None),
    ("actor_ids[]", "actor_id", None),
    ("actor_types[]", "actor_type", Some(ACTORS)),
    ("service_tiers[]", "service_tier", Some(TIERS)),
    ("context_windows[]", "context_window", Some(WINDOWS)),
    ("inference_geos[]", "inference_geo", Some(GEOS)),
    ("speeds[]", "speed", Some(SPEEDS)),
    ("products[]", "product", None),
    ("organization_ids[]", "organization_id", None),
];

/// Dimensions with the values that a query selects.
pub struct DimensionFilter(Vec<(&'static str, Vec<String>)>);

impl DimensionFilter {
    /// Parses the filters of a query; rejects unknown values.
    pub fn parse(
        query: &Query,
        parameters: &[FilterParameter],
    ) -> Result<DimensionFilter, ApiError> {
        let mut filters = Vec::new();
        for (name, dimension, allowed) in parameters {
            let selected = match allowed {
                Some(allowed) => values_in(query, name, allowed)?,
                None => values(query, name),
            };
            if !selected.is_empty() {
                let selected = selected.into_iter().map(str::to_owned);
                filters.push((*dimension, selected.collect()));
            }
        }
        Ok(DimensionFilter(filters))
    }

    /// Removes the filter of a dimension.
    #[must_use]
    pub fn without(mut self, dimension: &str) -> DimensionFilter {
        self.0.retain(|(key, _)| *key != dimension);
        self
    }

    /// Returns whether usage with these traits is selected; `default` is the id of the default workspace.
    pub fn matches(&self, traits: &UsageTraits, default: Option<&str>) -> bool {
        self.0.iter().all(|(dimension, selected)| {
            let value = value(traits, dimension, default).unwrap_or_default();
            selected.contains(&value)
        })
    }

    /// Returns whether any filter depends on the API key.
    pub fn includes_keys(&self) -> bool {
        self.0.iter().any(|(key, _)| KEY_DIMENSIONS.contains(key))
    }

    /// Returns whether any usage of a workspace may be selected.
    pub fn matches_workspace(&self, id: &str, default: Option<&str>) -> bool {
        let reported_id = if id.is_empty() {
            default.unwrap_or_default()
        } else {
            id
        };
        let mut by_workspace = self.0.iter().filter(|(key, _)| *key == "workspace_id");
        by_workspace.all(|(_, selected)| selected.iter().any(|id| id == reported_id))
    }
}

/// Returns whether any dimension depends on the API key.
pub fn include_keys(dimensions: &[String]) -> bool {
    dimensions
        .iter()
        .any(|name| KEY_DIMENSIONS.contains(&name.as_str()))
}

/// Returns the value of a dimension; `default` is the id of the default workspace.
pub fn value(traits: &UsageTraits, dimension: &str, default: Option<&str>) -> Option<String> {
    let non_empty = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let detail = &traits.detail;
    // Code execution and corrections have no dimension but the workspace.
    let of_model = |text: &str| non_empty(text).filter(|_| !traits.model.is_empty());
    match dimension {
        "workspace_id" => non_empty(&traits.workspace).or_else(|| default.map(str::to_owned)),
        "model" => non_empty(&traits.model),
        "api_key_id" => detail.api_key.clone(),
        "service_tier" => of_model(&detail.service_tier),
        "context_window" => of_model(&detail.context_window),
        "inference_geo" => of_model(&detail.inference_geo),
        "speed" => of_model(if detail.is_fast { "fast" } else { "standard" }),
        "account_id" => detail.user.clone().filter(|_| detail.api_key.is_none()),
        "organization_id" => non_empty(ORGANIZATION),
        "actor_id" => detail.user.clone().or_else(|| detail.api_key.clone()),
        "actor_type" => match (&detail.user, &detail.api_key) {
            (Some(_), _) => non_empty("user_actor"),
            (None, Some(_)) => non_empty("api_actor"),
            (None, None) => None,
        },
        "actor" => actor(traits),
        _ => None,
    }
}

/// Returns the actor as JSON.
fn actor(traits: &UsageTraits) -> Option<String> {
    let actor = match (&traits.detail.user, &traits.detail.api_key) {
        (Some(user), _) => json!({"type": "user_actor", "user_id": user,
            "email_address": format!("{user}@simulated.example"), "name": user, "deleted": false}),
        (None, Some(key)) => json!({"type": "api_actor", "api_key_id": key}),
        (None, None) => return None,
    };
    Some(actor.to_string())
}
