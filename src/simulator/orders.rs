//! Changes as they are sent. Strict about every field, as servers are.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::simulator::people::User;
use crate::simulator::refusal::Refusal;
use crate::simulator::world::World;

/// One change, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// `POST`, `PATCH`, `DELETE`.
    pub method: String,
    /// Below `/v1`, piece by piece.
    pub path: Vec<String>,
    /// JSON; empty where there is none.
    pub body: Vec<u8>,
}

impl Order {
    /// Of a path without its query; `None` where it is not below `/v1`.
    pub fn of(method: &str, path: &str, body: &[u8]) -> Option<Order> {
        let below = path.strip_prefix("/v1/")?;
        Some(Order {
            method: method.to_owned(),
            path: below.split('/').map(str::to_owned).collect(),
            body: body.to_owned(),
        })
    }

    /// As faults name it.
    pub fn name(&self) -> &'static str {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["organizations"] => "organizations",
            ["users", "invite"] => "users_invite",
            ["users", _] | ["organizations", "users", _] => "user",
            ["api_keys"] | ["organizations", "api_keys"] => "api_keys",
            ["api_keys", _] | ["organizations", "api_keys", _] => "api_key",
            ["workspaces"] | ["organizations", "workspaces"] => "workspaces",
            ["organizations", "invites"] => "invites",
            ["organizations", "invites", _] => "invite",
            ["organizations", "workspaces", _] => "workspace",
            ["organizations", "workspaces", _, "archive"] => "workspace_archive",
            ["organizations", "workspaces", _, "members"] => "members",
            ["organizations", "workspaces", _, "members", _] => "member",
            _ => "write_only",
        }
    }

    /// The fields of its body: all of these and, besides, at most those.
    pub fn fields(
        &self,
        required: &[&str],
        optional: &[&str],
    ) -> Result<Map<String, Value>, Refusal> {
        let body: Value =
            serde_json::from_slice(&self.body).map_err(|_| Refusal::bad("the body is no JSON"))?;
        let Value::Object(fields) = body else {
            return Err(Refusal::bad("the body is no object"));
        };
        let is_known =
            |name: &&String| required.contains(&name.as_str()) || optional.contains(&name.as_str());
        if let Some(unknown) = fields.keys().find(|name| !is_known(name)) {
            return Err(Refusal::bad(format!(
                "{unknown}: Extra inputs are not permitted"
            )));
        }
        match required.iter().find(|name| !fields.contains_key(**name)) {
            Some(missing) => Err(Refusal::bad(format!("{missing}: Field required"))),
            None => Ok(fields),
        }
    }
}

/// A field that is a text and not empty.
pub fn text(fields: &Map<String, Value>, name: &str) -> Result<String, Refusal> {
    match fields.get(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(_) | None => Err(Refusal::bad(format!(
            "{name} must be a text that is not empty"
        ))),
    }
}

/// A field that is one of a few words.
pub fn word(fields: &Map<String, Value>, name: &str, words: &[&str]) -> Result<String, Refusal> {
    let text = text(fields, name)?;
    if words.contains(&text.as_str()) {
        Ok(text)
    } else {
        Err(Refusal::bad(format!("{name} cannot be {text}")))
    }
}

/// A field that is a moment, or null, or not there.
pub fn moment(fields: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Refusal> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let at = text.parse();
            at.map(Some)
                .map_err(|_| Refusal::bad(format!("{name} is no moment")))
        }
        Some(_) => Err(Refusal::bad(format!("{name} is no moment"))),
    }
}

impl World {
    /// An id that nothing else has.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.n_made += 1;
        format!("{prefix}made{:05}", self.n_made)
    }

    /// Who was invited signs up.
    pub fn accept_invite(&mut self, email: &str) {
        let invited = self.invites.iter_mut().find(|invite| invite.email == email);
        let Some(invite) = invited else {
            return;
        };
        invite.status = "accepted".to_owned();
        let role = invite.role.clone();
        let id = self.new_id("user_");
        self.users.push(User {
            id,
            email: email.to_owned(),
            name: email.to_owned(),
            role,
            status: "active".to_owned(),
            last_active_at: None,
        });
    }
}
