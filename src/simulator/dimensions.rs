//! By what the real service's reports tell usage apart, and what of it they let be chosen.

use serde_json::json;

use crate::simulator::lines::Manner;
use crate::simulator::question::values;
use crate::simulator::refusal::{Query, Refusal};

/// The organization's id.
pub const ORGANIZATION: &str = "7d0c2f6e-0000-4000-8000-000000000001";

/// Of the older report of tokens.
pub const OF_MESSAGES: [&str; 9] = [
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

/// Of the newer reports. Nothing here has an agent, a session, a product and the like: they are null.
pub const OF_ANALYTICS: [&str; 20] = [
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

/// Those that look at keys.
const OF_KEYS: [&str; 5] = [
    "api_key_id",
    "actor",
    "actor_id",
    "actor_type",
    "account_id",
];

/// A parameter that chooses, the dimension it looks at, and its words, if it has but a few.
pub type Choice = (&'static str, &'static str, Option<&'static [&'static str]>);

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

/// Of the older report of tokens: mark the singular of the window.
pub const MESSAGES_CHOICES: [Choice; 9] = [
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

/// Of the newer reports. An empty key is usage without a key.
pub const ANALYTICS_CHOICES: [Choice; 11] = [
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

/// What a question chooses: dimensions, and the values that are wanted of each.
pub struct Chosen(Vec<(&'static str, Vec<String>)>);

impl Chosen {
    /// Refuses words that there are not.
    pub fn read(query: &Query, choices: &[Choice]) -> Result<Chosen, Refusal> {
        let mut chosen = Vec::new();
        for (name, dimension, words) in choices {
            let wanted = values(query, name);
            let unknown = |value: &&&str| words.is_some_and(|words| !words.contains(*value));
            if let Some(value) = wanted.iter().find(unknown) {
                return Err(Refusal::bad(format!("{name} cannot be {value}")));
            }
            if !wanted.is_empty() {
                let wanted = wanted.into_iter().map(str::to_owned);
                chosen.push((*dimension, wanted.collect()));
            }
        }
        Ok(Chosen(chosen))
    }

    /// The same without a filter by one dimension.
    #[must_use]
    pub fn without(mut self, dimension: &str) -> Chosen {
        self.0.retain(|(of, _)| *of != dimension);
        self
    }

    /// Whether usage of this kind is wanted; `default` is how the default workspace is called.
    pub fn has(&self, manner: &Manner, default: Option<&str>) -> bool {
        self.0.iter().all(|(dimension, wanted)| {
            let value = value(manner, dimension, default).unwrap_or_default();
            wanted.contains(&value)
        })
    }

    /// Whether keys matter to it.
    pub fn asks_keys(&self) -> bool {
        self.0.iter().any(|(of, _)| OF_KEYS.contains(of))
    }

    /// Whether anything of a workspace is wanted.
    pub fn has_workspace(&self, id: &str, default: Option<&str>) -> bool {
        let told = if id.is_empty() {
            default.unwrap_or_default()
        } else {
            id
        };
        let mut by_workspace = self.0.iter().filter(|(of, _)| *of == "workspace_id");
        by_workspace.all(|(_, wanted)| wanted.iter().any(|id| id == told))
    }
}

/// Whether keys matter to any of these dimensions.
pub fn ask_keys(dimensions: &[String]) -> bool {
    dimensions.iter().any(|of| OF_KEYS.contains(&of.as_str()))
}

/// What stands in a row for a dimension; `default` is how the default workspace is called.
pub fn value(manner: &Manner, dimension: &str, default: Option<&str>) -> Option<String> {
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let detail = &manner.detail;
    // Neither code execution nor a correction has anything but a workspace.
    let of_model = |text: &str| known(text).filter(|_| !manner.model.is_empty());
    match dimension {
        "workspace_id" => known(&manner.workspace).or_else(|| default.map(str::to_owned)),
        "model" => known(&manner.model),
        "api_key_id" => detail.api_key.clone(),
        "service_tier" => of_model(&detail.service_tier),
        "context_window" => of_model(&detail.context_window),
        "inference_geo" => of_model(&detail.inference_geo),
        "speed" => of_model(if detail.is_fast { "fast" } else { "standard" }),
        "account_id" => detail.user.clone().filter(|_| detail.api_key.is_none()),
        "organization_id" => known(ORGANIZATION),
        "actor_id" => detail.user.clone().or_else(|| detail.api_key.clone()),
        "actor_type" => match (&detail.user, &detail.api_key) {
            (Some(_), _) => known("user_actor"),
            (None, Some(_)) => known("api_actor"),
            (None, None) => None,
        },
        "actor" => actor(manner),
        _ => None,
    }
}

/// Who is charged, as JSON.
fn actor(manner: &Manner) -> Option<String> {
    let actor = match (&manner.detail.user, &manner.detail.api_key) {
        (Some(user), _) => json!({"type": "user_actor", "user_id": user,
            "email_address": format!("{user}@simulated.example"), "name": user, "deleted": false}),
        (None, Some(key)) => json!({"type": "api_actor", "api_key_id": key}),
        (None, None) => return None,
    };
    Some(actor.to_string())
}
