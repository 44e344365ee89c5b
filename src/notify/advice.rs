//! What to do about an alert, with the workspace and the model in question named, and a link to where it is done.

use crate::domain::event::Event;
use crate::domain::ids::UNATTRIBUTED;
use crate::domain::notification::{Contributor, Fact, Reason};
use crate::domain::rule::Watch;
use crate::domain::subject::SubjectKind;
use crate::notify::envelope::Links;
use crate::notify::words;

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What to do.
    pub text: String,
    /// Where.
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
            let mut advice = vec![about_anomalies(fact, links), about_limits(fact, links)];
            advice.extend(about_models(fact));
            advice
        }
    }
}

fn about_event(fact: &Fact, event: Event, links: &Links) -> Advice {
    let subject = words::subject(fact);
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
            .map(|model| words::clean(model.as_str()))
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

fn about_anomalies(fact: &Fact, links: &Links) -> Advice {
    let suspect = fact
        .top
        .iter()
        .max_by_key(|contributor| growth(contributor));
    let place = match suspect {
        Some(contributor) if growth(contributor) > 0 => {
            Some(format!("{} grew most", place(fact, contributor)))
        }
        Some(contributor) => Some(format!("{} is the largest part", place(fact, contributor))),
        None => None,
    };
    let subject = words::subject(fact);
    let there = place
        .as_deref()
        .map_or(String::new(), |place| format!(": {place}"));
    let text = match fact.identity.slot.subject.kind {
        SubjectKind::ApiKey if &*fact.identity.slot.subject.id != UNATTRIBUTED => {
            format!(
                "Check for anomalous calls with {subject}{there}; revoke the key if it runs loose"
            )
        }
        SubjectKind::User if &*fact.identity.slot.subject.id != UNATTRIBUTED => format!(
            "Check for anomalous calls of {subject}{there}; ask them, and revoke the keys that run loose"
        ),
        SubjectKind::Organization
        | SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => format!(
            "Check for anomalous calls: {}; look at the API keys used there, and revoke what runs loose",
            place.unwrap_or(subject)
        ),
    };
    Advice {
        text,
        link: Some(format!("{}/settings/keys", links.console)),
    }
}

/// Where nothing is known of the time before, nothing is said to have grown.
fn growth(contributor: &Contributor) -> i128 {
    contributor
        .before
        .map_or(0, |before| contributor.value - before)
}

fn place(fact: &Fact, contributor: &Contributor) -> String {
    let is_workspace_known = contributor.workspace_id.as_str() != UNATTRIBUTED;
    let workspace = if is_workspace_known {
        format!("workspace {}", words::clean(&contributor.workspace))
    } else {
        "usage outside the listed workspaces".to_owned()
    };
    match (fact.identity.slot.subject.kind, known_model(contributor)) {
        (_, Some(model)) => format!("{model} in {workspace}"),
        (_, None) => workspace,
    }
}

fn known_model(contributor: &Contributor) -> Option<String> {
    let model = contributor.model.as_str();
    (model != UNATTRIBUTED).then(|| words::clean(model))
}

fn about_limits(fact: &Fact, links: &Links) -> Advice {
    let workspaces = format!("{}/settings/workspaces", links.console);
    let (text, link) = match fact.identity.slot.subject.kind {
        SubjectKind::Workspace if &*fact.identity.slot.subject.id != UNATTRIBUTED => (
            format!(
                "Adjust the limit of {} at the service",
                words::subject(fact)
            ),
            workspaces,
        ),
        SubjectKind::Organization => (
            match largest_workspace(fact) {
                Some(name) => format!(
                    "Adjust the organization's limits, or that of workspace {name}, the largest part"
                ),
                None => "Adjust the organization's limits".to_owned(),
            },
            format!("{}/settings/limits", links.console),
        ),
        SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => (
            match largest_workspace(fact) {
                Some(name) => format!("Adjust the limit of workspace {name}, the largest part"),
                None => "Adjust the limits of the workspaces concerned".to_owned(),
            },
            workspaces,
        ),
    };
    Advice {
        text,
        link: Some(link),
    }
}

fn largest_workspace(fact: &Fact) -> Option<String> {
    fact.top
        .iter()
        .find(|contributor| contributor.workspace_id.as_str() != UNATTRIBUTED)
        .map(|contributor| words::clean(&contributor.workspace))
}

/// A model of the smallest family has no cheaper sister: there, batches and caches are what is left.
fn about_models(fact: &Fact) -> Option<Advice> {
    let contributor = fact
        .top
        .iter()
        .find(|contributor| contributor.model.as_str() != UNATTRIBUTED)?;
    let model = known_model(contributor)?;
    let workspace = words::clean(&contributor.workspace);
    let text = if model.contains("haiku") {
        format!(
            "Send high-frequency calls of {model} in workspace {workspace} in batches, and cache what repeats"
        )
    } else {
        format!(
            "Use a cheaper model than {model} for high-frequency calls in workspace {workspace}"
        )
    };
    Some(Advice { text, link: None })
}
