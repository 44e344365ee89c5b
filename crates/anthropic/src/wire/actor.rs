//! Decodes actors, the users and keys that caused usage, as the `analytics` dialect reports them. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::wire::field::{FieldValue, Lenient, Text};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId};
use spendwatch_domain::usage::report_rows::Actor;

impl FieldValue for Actor {
    /// An invalid actor is [`Actor::Other`], never an error.
    fn parse(json: &str) -> Result<Self, &'static str> {
        let wire: Option<ActorWire> = serde_json::from_str(json).ok();
        Ok(wire.map_or_else(|| other("unknown"), actor))
    }
}

fn other(kind: &str) -> Actor {
    Actor::Other {
        kind: kind.to_owned(),
    }
}

fn actor(wire: ActorWire) -> Actor {
    let known = match wire.kind.as_str() {
        "user_actor" => wire.user_id.0.map(|id| Actor::User {
            id: ActorId::new(id),
            email: wire.email_address.0,
        }),
        "service_account_actor" => wire.service_account_id.0.map(|id| Actor::ServiceAccount {
            id: ActorId::new(id),
        }),
        "federated_actor" => federated(wire.provider.0.as_ref(), wire.subject.0),
        "api_actor" => wire.api_key_id.0.map(|id| Actor::ApiKey {
            id: ApiKeyId::new(id),
        }),
        _ => None,
    };
    known.unwrap_or_else(|| other(&wire.kind))
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

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ActorWire {
    #[serde(rename = "type")]
    kind: String,
    user_id: Lenient<String>,
    email_address: Text,
    service_account_id: Lenient<String>,
    provider: Lenient<Value>,
    subject: Lenient<String>,
    api_key_id: Lenient<String>,
}
