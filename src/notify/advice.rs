//! What to do about an alert, with the workspace and the model in question named, and a link to where it is done.

use crate::domain::event::Event;
use crate::domain::ids::UNATTRIBUTED;
use crate::domain::notification::{Contributor, Fact, Reason};
use crate::domain::rule::Watch;
use crate::domain::subject::SubjectKind;
use crate::notify::envelope::Links;
use crate::notify::formatting;

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    pub text: String,
    pub link: Option<String>,
}

/// Advice that fits the case; none for an alert that is over.
pub fn advise(fact: &Fact, links: &Links) -> Vec<Advice> {
    if fact.reason == Reason::Resolved {
        return Vec::new();
    }
    match fact.watch {
        Watch::DataAge => vec![about_old_figures(links)],
        Watch::Reconciliation(_) => about_gaps(fact, links),
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
            format!("See whether {subject} is meant to be, and give it a spend limit"),
            "workspaces",
        ),
        Event::KeyCreated => (
            format!("See whether {subject} is meant to be; if nobody knows it, revoke it"),
            "keys",
        ),
        Event::KeyIdle => (
            format!("Ask whoever made {subject} whether it is still needed; if not, revoke it"),
            "keys",
        ),
        Event::KeyOfRemovedUser => (
            format!(
                "Find out what uses {subject}, give that a key of somebody who is there, and revoke this one"
            ),
            "keys",
        ),
        Event::KeyExpiring => (
            format!("Make a new key and put it in the place of {subject} before it expires"),
            "keys",
        ),
        Event::UserIdle => (
            format!(
                "Ask whether {subject} still needs to be in the organization; if not, remove them"
            ),
            "members",
        ),
        Event::LimitRemoved => match fact.identity.slot.subject.kind {
            SubjectKind::Organization => (
                "Ask who removed the organization's limit, and set one again".to_owned(),
                "limits",
            ),
            SubjectKind::Workspace
            | SubjectKind::Model
            | SubjectKind::ApiKey
            | SubjectKind::User
            | SubjectKind::Team => (
                format!("Ask who removed the limit of {subject}, and set one again"),
                "workspaces",
            ),
        },
    };
    Advice {
        text,
        link: Some(format!("{}/settings/{page}", links.console)),
    }
}

fn about_old_figures(links: &Links) -> Advice {
    Advice {
        text: "Check the admin key, the network and the service: until figures are read again, no rule on them fires or resolves".to_owned(),
        link: links.external_url.as_ref().map(|base| format!("{base}/-/ready")),
    }
}

/// What keeps a bill and an estimate apart, the likeliest first. Where the sides are not known, it may be any of it.
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
            "Give the list prices of {} in a table of your own, named in `[prices] file`: without them their tokens are estimated as nothing",
            models.join(", ")
        )));
    } else if is_more_billed {
        advice.push(plain("Look for what is not billed by tokens, such as web search and code execution, and for a list price that rose: a table of your own, named in `[prices] file`, replaces what is built in".to_owned()));
    }
    if is_less_billed {
        advice.push(plain("Look for a negotiated discount: put it as `discount_percent` into a table of your own, and name that in `[prices] file`".to_owned()));
        advice.push(Advice {
            text: "Check for Priority Tier: what is committed to in advance is not in the bill by tokens".to_owned(),
            link: Some(format!("{}/settings/billing", links.console)),
        });
    }
    advice
}

/// Names the top contributor, as every other sentence of the message does.
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

/// The smallest models have no cheaper alternative: there, batches and caches are what is left.
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
