//! The series of rules and alerts.

use std::collections::BTreeMap;

use crate::domain::alert::{Alert, State};
use crate::domain::measure::Measurement;
use crate::domain::money::Usd;
use crate::domain::rule::{Gap, Rule, Severity, Watch};
use crate::metrics::families::Place;
use crate::metrics::text::ratio;
use crate::metrics::view::View;

/// All samples, each family's under its place.
pub fn write(view: &View<'_>) -> Vec<(Place, String)> {
    let mut texts = BTreeMap::from([
        (Place::RuleLimitUsd, String::new()),
        (Place::RuleLimitTokens, String::new()),
        (Place::RuleLimitRequests, String::new()),
        (Place::RuleLimitSeconds, String::new()),
        (Place::RuleUsedRatio, String::new()),
        (Place::Alerts, String::new()),
    ]);
    // A period that is over is measured beside the open one; a series can show just one of them.
    for measurement in view
        .measurements
        .iter()
        .filter(|measurement| !measurement.is_closed)
    {
        if let Some(rule) = view.rules.get(measurement.rule) {
            write_measurement(&mut texts, view, rule, measurement);
        }
    }
    let alerts = texts.entry(Place::Alerts).or_default();
    for ((rule, severity, state), n) in count(view) {
        let labels = [
            ("organization", view.organization()),
            ("rule", rule),
            ("severity", severity.as_str()),
            ("state", state),
        ];
        Place::Alerts.family().sample(alerts, &labels, n);
    }
    texts.into_iter().collect()
}

fn write_measurement(
    texts: &mut BTreeMap<Place, String>,
    view: &View<'_>,
    rule: &Rule,
    measurement: &Measurement,
) {
    let Some(limit) = measurement.limit else {
        return;
    };
    let labels = [
        ("organization", view.organization()),
        ("rule", rule.name.as_str()),
        ("subject_kind", measurement.subject.kind.as_str()),
        ("subject_id", &*measurement.subject.id),
    ];
    let (place, value) = match rule.watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(Gap::Usd) => {
            (Place::RuleLimitUsd, Usd::from_pico(limit).to_string())
        }
        Watch::Tokens => (Place::RuleLimitTokens, limit.to_string()),
        Watch::Requests => (Place::RuleLimitRequests, limit.to_string()),
        Watch::DataAge => (Place::RuleLimitSeconds, limit.to_string()),
        // There is no family for it yet.
        Watch::Reconciliation(Gap::Percent) => return,
        // An event stands or does not, and each would have a series of its own.
        Watch::Lifecycle => return,
    };
    place
        .family()
        .sample(texts.entry(place).or_default(), &labels, value);
    if let Some(ratio) = measurement
        .figure
        .value()
        .and_then(|value| ratio(value, limit))
    {
        let family = Place::RuleUsedRatio.family();
        family.sample(
            texts.entry(Place::RuleUsedRatio).or_default(),
            &labels,
            ratio,
        );
    }
}

type Counted<'a> = BTreeMap<(&'a str, Severity, &'static str), u64>;

/// Every severity that a rule has, at 0 where no alert is.
fn count<'a>(view: &View<'a>) -> Counted<'a> {
    let mut counted = Counted::new();
    for rule in view.rules {
        for threshold in &rule.thresholds {
            for state in ["pending", "firing"] {
                counted.insert((rule.name.as_str(), threshold.severity, state), 0);
            }
        }
    }
    for alert in &view.alerts {
        if let Some(state) = state(alert) {
            let key = (
                alert.identity.slot.rule.as_str(),
                alert.line().severity,
                state,
            );
            *counted.entry(key).or_default() += 1;
        }
    }
    counted
}

fn state(alert: &Alert) -> Option<&'static str> {
    match alert.state {
        State::Pending { .. } => Some("pending"),
        State::Firing { .. } => Some("firing"),
        State::Ended { .. } => None,
    }
}
