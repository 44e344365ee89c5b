//! Why an alert ended.

use crate::wording::{events, formatting, watches};
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::Fact;

/// Returns why the alert ended, as text.
pub fn end_reason(fact: &Fact) -> String {
    let kind = fact.identity.slot.subject.kind;
    match fact.ended_by {
        Some(EndedBy::Cleared) => match fact.event() {
            Some((event, _)) => events::wording(event).cleared.to_owned(),
            None => {
                let threshold = formatting::clean(&fact.threshold.text);
                (watches::wording(fact.watch).cleared)(&threshold)
            }
        },
        Some(EndedBy::Corrected) => "Anthropic corrected earlier figures".to_owned(),
        Some(EndedBy::LimitChanged) => match fact.limit {
            Some(_) => "the limit was raised".to_owned(),
            None => "the limit was removed".to_owned(),
        },
        Some(EndedBy::PeriodOver) => match fact.event() {
            Some((event, _)) => events::wording(event).expired.to_owned(),
            None => "the period ended".to_owned(),
        },
        Some(EndedBy::SubjectGone) => {
            format!("the {} no longer exists", formatting::kind_name(kind))
        }
        Some(EndedBy::RuleRemoved) => "the rule no longer covers it".to_owned(),
        None => "dropped below this notifier's minimum severity".to_owned(),
    }
}
