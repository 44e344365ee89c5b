//! Why an alert ended.

use crate::wording::formatting;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::Watch;

/// Returns why the alert ended, as text.
pub fn end_reason(fact: &Fact) -> String {
    let kind = fact.identity.slot.subject.kind;
    match fact.ended_by {
        Some(EndedBy::Cleared) => match fact.event() {
            Some((event, _)) => event_cleared(event).to_owned(),
            None => cleared(fact),
        },
        Some(EndedBy::Corrected) => "Anthropic corrected earlier figures".to_owned(),
        Some(EndedBy::LimitChanged) => match fact.limit {
            Some(_) => "the limit was raised".to_owned(),
            None => "the limit was removed".to_owned(),
        },
        Some(EndedBy::PeriodOver) => match fact.event() {
            Some((event, _)) => event_expired(event).to_owned(),
            None => "the period ended".to_owned(),
        },
        Some(EndedBy::SubjectGone) => {
            format!("the {} no longer exists", formatting::kind_name(kind))
        }
        Some(EndedBy::RuleRemoved) => "the rule no longer covers it".to_owned(),
        None => "dropped below this notifier's minimum severity".to_owned(),
    }
}

fn event_cleared(event: Event) -> &'static str {
    match event {
        Event::WorkspaceCreated | Event::KeyCreated => "it turned out to be older",
        Event::KeyIdle => {
            "the key was used again or deactivated, or the rule now allows a longer idle time"
        }
        Event::UserIdle => "the user is active again, or the rule now allows a longer idle time",
        Event::KeyOfRemovedUser => {
            "the key was deactivated, or its creator is back in the organization"
        }
        Event::KeyExpiring => "the key was deactivated or now expires later",
        Event::LimitRemoved => "there is a limit again",
    }
}

/// Why an event that still holds is no longer shown.
fn event_expired(event: Event) -> &'static str {
    match event {
        Event::WorkspaceCreated
        | Event::KeyCreated
        | Event::KeyIdle
        | Event::UserIdle
        | Event::KeyOfRemovedUser
        | Event::LimitRemoved => "it is no longer new",
        Event::KeyExpiring => "the key has expired",
    }
}

fn cleared(fact: &Fact) -> String {
    let threshold = formatting::clean(&fact.threshold.text);
    match fact.watch {
        Watch::Spend => format!("spend fell below {threshold}"),
        Watch::BurnRate => format!("burn rate fell below {threshold}"),
        Watch::Tokens => format!("tokens fell below {threshold}"),
        Watch::Requests => format!("requests fell below {threshold}"),
        Watch::DataAge => "data is up to date again".to_owned(),
        Watch::ReconciliationUsd | Watch::ReconciliationPercent if threshold.ends_with('%') => {
            format!("gap fell below {threshold} of the limit")
        }
        Watch::ReconciliationUsd | Watch::ReconciliationPercent => {
            format!("gap fell below {threshold}")
        }
        Watch::Lifecycle => "it no longer holds".to_owned(),
    }
}
