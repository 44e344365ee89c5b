//! Next steps for an alert: each names the workspace, key or model concerned and links to the page for it.

use crate::envelope::Links;
use crate::wording::formatting;
use spendwatch_domain::alerts::notification::{Contributor, Fact, Reason};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::ids::UNATTRIBUTED;
use spendwatch_domain::units::subject::SubjectKind;

/// One next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    pub text: String,
    pub link: Option<String>,
}

/// Returns the next steps for an alert, none if it is resolved.
pub fn advise(fact: &Fact, links: &Links) -> Vec<Advice> {
    if fact.reason == Reason::Resolved {
        return Vec::new();
    }
    match fact.watch {
        Watch::DataAge => vec![about_stale_data(links)],
        Watch::ReconciliationUsd | Watch::ReconciliationPercent => about_gaps(fact, links),
        Watch::Lifecycle => fact
            .event()
            .map(|(event, _)| about_event(fact, event, links))
            .into_iter()
            .collect(),
        Watch::Spend | Watch::BurnRate | Watch::Tokens | Watch::Requests => {
            let mut advice = vec![about_causes(fact, links), about_limits(fact, links)];
            advice.extend(about_models(fact));
            advice
        }
    }
}

fn about_event(fact: &Fact, event: Event, links: &Links) -> Advice {
    let subject = formatting::subject(fact);
    let (text, page) = match event {
        Event::WorkspaceCreated => (
            format!("Check whether {subject} is expected, and set a spend limit for it"),
            "workspaces",
        ),
        Event::KeyCreated => (
            format!("Check whether {subject} is expected; if not, revoke it"),
            "keys",
        ),
        Event::KeyIdle => (
            format!("Ask the creator of {subject} whether it is still needed; if not, revoke it"),
            "keys",
        ),
        Event::KeyOfRemovedUser => (
            format!(
                "Find out what uses {subject}, replace it with a key of a current user, then revoke it"
            ),
            "keys",
        ),
        Event::KeyExpiring => (
            format!("Create a new key and replace {subject} before it expires"),
            "keys",
        ),
        Event::UserIdle => (
            format!("Ask whether {subject} still needs access; if not, remove the user"),
            "members",
        ),
        Event::LimitRemoved => match fact.identity.slot.subject.kind {
            SubjectKind::Organization => (
                "Find out who removed the organization's limit, and set a new one".to_owned(),
                "limits",
            ),
            SubjectKind::Workspace
            | SubjectKind::Model
            | SubjectKind::ApiKey
            | SubjectKind::User
            | SubjectKind::Team => (
                format!("Find out who removed the limit of {subject}, and set a new one"),
                "workspaces",
            ),
        },
    };
    Advice {
        text,
        link: Some(format!("{}/settings/{page}", links.console)),
    }
}

fn about_stale_data(links: &Links) -> Advice {
    Advice {
        text: "Check the admin key and the network; alerts are paused until data arrives"
            .to_owned(),
        link: links
            .external_url
            .as_ref()
            .map(|base| format!("{base}/-/ready")),
    }
}

/// The most likely cause of a gap comes first. Without both amounts, every cause is possible.
fn about_gaps(fact: &Fact, links: &Links) -> Vec<Advice> {
    let sides = fact.reconciled.as_ref();
    let is_less_billed = sides.is_none_or(|sides| sides.billed < sides.estimated);
    let is_more_billed = sides.is_none_or(|sides| sides.billed > sides.estimated);
    let plain = |text: String| Advice { text, link: None };
    let mut advice = Vec::new();
    if let Some(sides) = sides.filter(|sides| !sides.unpriced.is_empty()) {
        let models: Vec<String> = sides
            .unpriced
            .iter()
            .map(|model| formatting::clean(model.as_str()))
            .collect();
        advice.push(plain(format!(
            "Add the list prices of {} to the file in `[prices] file`; without a price their tokens are estimated at $0",
            models.join(", ")
        )));
    } else if is_more_billed {
        advice.push(plain("Check for usage that is not billed by tokens, such as web search and code execution, and for list prices that rose; the file in `[prices] file` replaces the built-in prices".to_owned()));
    }
    if is_less_billed {
        advice.push(plain(
            "Add your discount as `discount_percent` to the file in `[prices] file`".to_owned(),
        ));
        advice.push(Advice {
            text: "Check for Priority Tier: committed spend is not part of the bill by tokens"
                .to_owned(),
            link: Some(format!("{}/settings/billing", links.console)),
        });
    }
    advice
}

/// Names the same top contributor as the rest of the message.
fn about_causes(fact: &Fact, links: &Links) -> Advice {
    let top = fact.top.first();
    let has_grown = top.is_some_and(|top| top.before.is_some_and(|before| top.value > before));
    let (is_cause, which) = if has_grown {
        ("grew the most", "which grew the most")
    } else {
        ("is the top contributor", "the top contributor")
    };
    let there = top.map_or(String::new(), |top| format!(": {} {is_cause}", place(top)));
    let subject = formatting::subject(fact);
    let text = match fact.identity.slot.subject.kind {
        SubjectKind::ApiKey if &*fact.identity.slot.subject.id != UNATTRIBUTED => {
            format!(
                "Review the calls with {subject}{there}; revoke the key if it is out of control"
            )
        }
        SubjectKind::User if &*fact.identity.slot.subject.id != UNATTRIBUTED => format!(
            "Review the calls of {subject}{there}; ask them, and revoke any keys that are out of control"
        ),
        SubjectKind::Organization
        | SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => match top {
            Some(top) if top.api_key.is_some() => format!(
                "Review {}, {which}, and revoke that API key if it is out of control",
                place(top)
            ),
            Some(top) => format!(
                "Review the API keys behind {}, {which}, and revoke any that are out of control",
                place(top)
            ),
            None => format!(
                "Review the API keys used in {subject} and revoke any that are out of control"
            ),
        },
    };
    Advice {
        text,
        link: Some(format!("{}/settings/keys", links.console)),
    }
}

/// `claude-opus-4-1, API key "ci" in workspace Search`.
fn place(contributor: &Contributor) -> String {
    let workspace = match known_workspace(contributor) {
        Some(name) => format!("workspace {name}"),
        None => "usage outside the listed workspaces".to_owned(),
    };
    let key = contributor.api_key.as_ref();
    let key = key.map(|key| format!("API key \"{}\"", formatting::clean(&key.name)));
    let person = contributor
        .person
        .as_ref()
        .map(|person| formatting::clean(person));
    let parts: Vec<String> = known_model(contributor)
        .into_iter()
        .chain(key)
        .chain(person)
        .collect();
    if parts.is_empty() {
        workspace
    } else {
        format!("{} in {workspace}", parts.join(", "))
    }
}

fn known_model(contributor: &Contributor) -> Option<String> {
    let model = contributor.model.as_ref()?.as_str();
    (model != UNATTRIBUTED).then(|| formatting::clean(model))
}

fn known_workspace(contributor: &Contributor) -> Option<String> {
    let is_known = contributor.workspace_id.as_str() != UNATTRIBUTED;
    is_known.then(|| formatting::clean(&contributor.workspace))
}

fn about_limits(fact: &Fact, links: &Links) -> Advice {
    let workspaces = format!("{}/settings/workspaces", links.console);
    let top = fact.top.first().and_then(known_workspace);
    let (text, link) = match fact.identity.slot.subject.kind {
        SubjectKind::Workspace if &*fact.identity.slot.subject.id != UNATTRIBUTED => (
            format!(
                "Raise or lower the limit of {} in the Console",
                formatting::subject(fact)
            ),
            workspaces,
        ),
        SubjectKind::Organization => (
            match top {
                Some(name) => format!(
                    "Raise or lower the organization's limit, or that of workspace {name}, in the Console"
                ),
                None => "Raise or lower the organization's limit in the Console".to_owned(),
            },
            format!("{}/settings/limits", links.console),
        ),
        SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => (
            match top {
                Some(name) => {
                    format!("Raise or lower the limit of workspace {name} in the Console")
                }
                None => "Raise or lower the limits of the workspaces in the Console".to_owned(),
            },
            workspaces,
        ),
    };
    Advice {
        text,
        link: Some(link),
    }
}

/// The smallest models have no cheaper alternative, so only batching and caching remain.
fn about_models(fact: &Fact) -> Option<Advice> {
    let top = fact.top.first()?;
    let place = known_workspace(top).map_or(String::new(), |name| format!(" in workspace {name}"));
    let text = match known_model(top) {
        Some(model) if model.contains("haiku") => {
            format!("Batch and cache high-volume calls of {model}{place}")
        }
        Some(model) => format!(
            "Use a cheaper model than {model} for high-volume calls{place}, or batch and cache them"
        ),
        None => format!("Use cheaper models for high-volume calls{place}, or batch and cache them"),
    };
    Some(Advice { text, link: None })
}
