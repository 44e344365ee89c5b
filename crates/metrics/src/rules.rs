//! Series of rules and alerts.

use std::collections::BTreeMap;

use crate::families::Metric;
use crate::text::ratio;
use crate::view::View;
use spendwatch_domain::alerts::alert::{Alert, State};
use spendwatch_domain::alerts::measure::Measurement;
use spendwatch_domain::rules::rule::{Rule, Severity};
use spendwatch_domain::rules::watch::Unit;

/// Renders all samples by metric.
pub fn write(view: &View<'_>) -> Vec<(Metric, String)> {
    let metrics = [
        Metric::RuleLimitUsd,
        Metric::RuleLimitTokens,
        Metric::RuleLimitRequests,
        Metric::RuleLimitSeconds,
        Metric::RuleUsedRatio,
        Metric::Alerts,
    ];
    let mut texts = BTreeMap::from(metrics.map(|metric| (metric, String::new())));
    // A closed period is measured besides the open one, but a series can only show one of them.
    let open = view
        .measurements
        .iter()
        .filter(|measured| !measured.is_closed);
    for measurement in open {
        if let Some(rule) = view.rules.get(measurement.rule) {
            write_measurement(&mut texts, view, rule, measurement);
        }
    }
    let alerts = texts.entry(Metric::Alerts).or_default();
    for ((rule, severity, state), n) in count(view) {
        let labels = [
            ("organization", view.organization()),
            ("rule", rule),
            ("severity", severity.as_str()),
            ("state", state),
        ];
        Metric::Alerts.family().sample(alerts, &labels, n);
    }
    texts.into_iter().collect()
}

fn write_measurement(
    texts: &mut BTreeMap<Metric, String>,
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
    let unit = rule.watch().unit();
    let metric = match unit {
        Unit::Usd => Metric::RuleLimitUsd,
        Unit::Tokens => Metric::RuleLimitTokens,
        Unit::Requests => Metric::RuleLimitRequests,
        Unit::Seconds => Metric::RuleLimitSeconds,
        // No metric is defined for it.
        Unit::Percent => return,
        // Events have no limit, and each would need its own series.
        Unit::Severity => return,
    };
    let text = texts.entry(metric).or_default();
    metric.family().sample(text, &labels, unit.decimal(limit));
    let used = measurement.figure.value();
    if let Some(ratio) = used.and_then(|value| ratio(value, limit)) {
        let text = texts.entry(Metric::RuleUsedRatio).or_default();
        Metric::RuleUsedRatio.family().sample(text, &labels, ratio);
    }
}

type AlertCounts<'a> = BTreeMap<(&'a str, Severity, &'static str), u64>;

/// Counts alerts by rule, severity and state; all severities of a rule are present.
fn count<'a>(view: &View<'a>) -> AlertCounts<'a> {
    let mut counts = AlertCounts::new();
    for rule in view.rules {
        for threshold in &rule.thresholds {
            for state in ["pending", "firing"] {
                counts.insert((rule.name.as_str(), threshold.severity, state), 0);
            }
        }
    }
    for alert in &view.alerts {
        if let Some(state) = state(alert) {
            let key = (
                alert.identity.slot.rule.as_str(),
                alert.threshold().severity,
                state,
            );
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

fn state(alert: &Alert) -> Option<&'static str> {
    match alert.state {
        State::Pending { .. } => Some("pending"),
        State::Firing { .. } => Some("firing"),
        State::Ended { .. } => None,
    }
}
