//! Next steps for an alert: each names the workspace, key or model concerned and links to the page for it.

use serde::Serialize;

use crate::envelope::Links;
use crate::wording::{events, formatting};
use spendwatch_domain::alerts::notification::{Contributor, Fact};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::units::ids::UNATTRIBUTED;
use spendwatch_domain::units::subject::SubjectKind;

/// One next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub text: String,
    pub link: Option<String>,
}

impl Advice {
    /// Returns the text and the link on one line.
    pub fn line(&self) -> String {
        match &self.link {
            Some(link) => format!("{}: {link}", self.text),
            None => self.text.clone(),
        }
    }

    fn plain(text: impl Into<String>) -> Advice {
        Advice {
            text: text.into(),
            link: None,
        }
    }

    /// Links to a page of the Console's settings.
    fn with_settings(text: impl Into<String>, links: &Links, page: &str) -> Advice {
        Advice {
            text: text.into(),
            link: Some(format!("{}/settings/{page}", links.console)),
        }
    }
}

/// Returns the next step for an event.
pub fn about_event(fact: &Fact, links: &Links) -> Vec<Advice> {
    let Some((event, _)) = fact.event() else {
        return Vec::new();
    };
    let wording = events::wording(event);
    let (mut subject, mut page) = (formatting::subject(fact), wording.page);
    if event == Event::LimitRemoved {
        subject = format!("the limit of {subject}");
        if fact.identity.slot.subject.kind == SubjectKind::Organization {
            (subject, page) = ("the organization's limit".to_owned(), "limits");
        }
    }
    let text = (wording.next_step)(&subject);
    vec![Advice::with_settings(text, links, page)]
}

/// Returns the next step for data that is too old.
pub fn about_stale_data(_: &Fact, links: &Links) -> Vec<Advice> {
    let text = "Check the admin key and the network; alerts are paused until data arrives";
    let base = links.external_url.as_ref();
    vec![Advice {
        link: base.map(|base| format!("{base}/-/ready")),
        ..Advice::plain(text)
    }]
}

/// Returns the next steps for spend, tokens and requests.
pub fn about_usage(fact: &Fact, links: &Links) -> Vec<Advice> {
    let mut advice = vec![about_causes(fact, links), about_limits(fact, links)];
    advice.extend(about_models(fact));
    advice
}

/// Returns the next steps for a gap, its most likely cause first. Without both amounts, every cause is possible.
pub fn about_gaps(fact: &Fact, links: &Links) -> Vec<Advice> {
    let sides = fact.reconciled.as_ref();
    let is_less_billed = sides.is_none_or(|sides| sides.billed < sides.estimated);
    let is_more_billed = sides.is_none_or(|sides| sides.billed > sides.estimated);
    let mut advice = Vec::new();
    if let Some(sides) = sides.filter(|sides| !sides.unpriced.is_empty()) {
        let models = sides.unpriced.iter();
        let models: Vec<String> = models
            .map(|model| formatting::clean(model.as_str()))
            .collect();
        advice.push(Advice::plain(format!(
            "Add the list prices of {} to the file in `[prices] file`; without a price their tokens are estimated at $0",
            models.join(", ")
        )));
    } else if is_more_billed {
        advice.push(Advice::plain("Check for usage that is not billed by tokens, such as web search and code execution, and for list prices that rose; the file in `[prices] file` replaces the built-in prices"));
    }
    if is_less_billed {
        advice.push(Advice::plain(
            "Add your discount as `discount_percent` to the file in `[prices] file`",
        ));
        let text = "Check for Priority Tier: committed spend is not part of the bill by tokens";
        advice.push(Advice::with_settings(text, links, "billing"));
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
    let of = formatting::subject(fact);
    let text = match (known_kind(fact), top) {
        (Some(SubjectKind::ApiKey), _) => {
            format!("Review the calls with {of}{there}; revoke the key if it is out of control")
        }
        (Some(SubjectKind::User), _) => format!(
            "Review the calls of {of}{there}; ask them, and revoke any keys that are out of control"
        ),
        (_, Some(top)) if top.api_key.is_some() => format!(
            "Review {}, {which}, and revoke that API key if it is out of control",
            place(top)
        ),
        (_, Some(top)) => format!(
            "Review the API keys behind {}, {which}, and revoke any that are out of control",
            place(top)
        ),
        (_, None) => {
            format!("Review the API keys used in {of} and revoke any that are out of control")
        }
    };
    Advice::with_settings(text, links, "keys")
}

/// Returns the kind of the subject; `None` for unattributed usage.
fn known_kind(fact: &Fact) -> Option<SubjectKind> {
    let subject = &fact.identity.slot.subject;
    (&*subject.id != UNATTRIBUTED).then_some(subject.kind)
}

/// `claude-opus-4-1, API key "ci" in workspace Search`.
fn place(contributor: &Contributor) -> String {
    let workspace = match known_workspace(contributor) {
        Some(name) => format!("workspace {name}"),
        None => "usage outside the listed workspaces".to_owned(),
    };
    let key = contributor.api_key.as_ref();
    let key = key.map(|key| format!("API key \"{}\"", formatting::clean(&key.name)));
    let person = contributor.person.as_ref();
    let person = person.map(|person| formatting::clean(person));
    let parts = known_model(contributor).into_iter().chain(key);
    let parts: Vec<String> = parts.chain(person).collect();
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
    let top = fact.top.first().and_then(known_workspace);
    let is_organization = fact.identity.slot.subject.kind == SubjectKind::Organization;
    let whose = match top {
        _ if known_kind(fact) == Some(SubjectKind::Workspace) => {
            format!("the limit of {}", formatting::subject(fact))
        }
        Some(name) if is_organization => {
            format!("the organization's limit, or that of workspace {name},")
        }
        None if is_organization => "the organization's limit".to_owned(),
        Some(name) => format!("the limit of workspace {name}"),
        None => "the limits of the workspaces".to_owned(),
    };
    let text = format!("Raise or lower {whose} in the Console");
    let page = if is_organization {
        "limits"
    } else {
        "workspaces"
    };
    Advice::with_settings(text, links, page)
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
    Some(Advice::plain(text))
}
