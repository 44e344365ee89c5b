//! The details of one alert, as names and values.

use jiff::Timestamp;
use serde::Serialize;

use crate::wording::{events, formatting, periods, watches};
use spendwatch_domain::alerts::notification::{Fact, Reason, Reconciled};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::watch::{Quantity, Unit};
use spendwatch_domain::units::money::overage_percent;
use spendwatch_domain::units::subject::SubjectKind;

/// A name and a value, shown side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageField {
    pub name: &'static str,
    pub value: String,
}

impl MessageField {
    /// Returns the name and the value on one line.
    pub fn line(&self) -> String {
        format!("{}: {}", self.name, self.value)
    }
}

/// Returns the details of one alert, at most 10.
pub fn fields(fact: &Fact) -> Vec<MessageField> {
    if let Some((event, moment)) = fact.event() {
        return event_fields(fact, event, moment);
    }
    let time = |at| formatting::time(at, &fact.zone_name);
    let wording = watches::wording(fact.watch);
    let value = formatting::quantity(fact.watch.unit(), fact.value);
    let at_least = formatting::at_least(fact);
    let mut fields = vec![field(wording.field, format!("{at_least}{value}"))];
    if let Some(reconciled) = &fact.reconciled {
        fields.extend(reconciliation_fields(reconciled));
    }
    fields.push(field("Limit", limit(fact)));
    if !wording.is_gap {
        fields.extend(fact.limit.and_then(|limit| used(fact, limit)));
    }
    fields.push(field("Threshold", threshold(fact)));
    let forecast = fact.forecast.filter(|_| fact.reason != Reason::Resolved);
    fields.extend(forecast.map(|usd| field("Forecast", forecast_text(fact, usd.pico()))));
    if let Some(period) = periods::period(fact) {
        let between = formatting::time_range(fact.span, &fact.zone_name);
        fields.push(field("Period", format!("{period}, {between}")));
    }
    fields.push(field("Firing since", time(fact.firing_since)));
    fields.extend(fact.ended_at.map(|at| field("Ended", time(at))));
    let as_of = fact.as_of.map_or("no data yet".to_owned(), time);
    fields.push(field("Data as of", as_of));
    fields.push(field("Rule", rule(fact)));
    fields
}

fn event_fields(fact: &Fact, event: Event, moment: Option<Timestamp>) -> Vec<MessageField> {
    let time = |at| formatting::time(at, &fact.zone_name);
    let name = events::wording(event).field;
    let mut fields = vec![field("Event", event.to_string())];
    fields.extend(moment.map(|at| field(name, time(at))));
    let creator = fact.creator.as_ref();
    fields.extend(creator.map(|creator| field("Created by", formatting::clean(creator))));
    fields.push(field("Severity", fact.threshold.severity.to_string()));
    fields.push(field("Firing since", time(fact.firing_since)));
    fields.extend(fact.ended_at.map(|at| field("Ended", time(at))));
    fields.push(field("Rule", rule(fact)));
    fields
}

fn field(name: &'static str, value: String) -> MessageField {
    MessageField { name, value }
}

fn reconciliation_fields(reconciled: &Reconciled) -> [MessageField; 2] {
    let gap = formatting::dollars(reconciled.gap());
    let share = formatting::share(reconciled.estimated.pico(), reconciled.gap().pico());
    let share = share.map_or(String::new(), |share| format!(" ({share})"));
    let estimated = formatting::dollars(reconciled.estimated);
    let uncertain = formatting::uncertain_part(reconciled.uncertain);
    [
        field("Billed", formatting::dollars(reconciled.billed)),
        field(
            "Estimated",
            format!("{estimated} from list prices{uncertain}, gap {gap}{share}"),
        ),
    ]
}

fn limit(fact: &Fact) -> String {
    match fact.limit {
        Some(limit) if limit > 0 => formatting::quantity(fact.watch.unit(), limit),
        Some(_) => "0 (no spend allowed)".to_owned(),
        None => "removed".to_owned(),
    }
}

fn threshold(fact: &Fact) -> String {
    let text = formatting::clean(&fact.threshold.text);
    let quantity = formatting::quantity(fact.watch.unit(), fact.threshold.quantity);
    let severity = fact.threshold.severity;
    if !text.ends_with('%') || fact.threshold.quantity <= 0 {
        return format!("{text} ({severity})");
    }
    let of_what = if watches::wording(fact.watch).is_gap {
        " of the limit"
    } else {
        ""
    };
    format!("{text}{of_what} = {quantity} ({severity})")
}

fn forecast_text(fact: &Fact, forecast: Quantity) -> String {
    let amount = formatting::quantity(Unit::Usd, forecast);
    let share = fact
        .limit
        .and_then(|limit| formatting::share(limit, forecast));
    let share = share.map_or(String::new(), |share| format!(", {share} of the limit"));
    format!("{amount} by the end of the period{share}")
}

/// `workspace-month, organization acme, cost_center platform`.
fn rule(fact: &Fact) -> String {
    let mut parts = vec![formatting::clean(fact.identity.slot.rule.as_str())];
    if fact.identity.slot.subject.kind != SubjectKind::Organization {
        let organization = formatting::clean(fact.identity.organization.as_str());
        parts.push(format!("organization {organization}"));
    }
    let clean = formatting::clean;
    let labels = fact.labels.iter().take(MAX_LABELS);
    parts.extend(labels.map(|(key, value)| format!("{} {}", clean(key), clean(value))));
    parts.join(", ")
}

/// Only the webhook sends more labels of a rule.
const MAX_LABELS: usize = 10;

/// The share over the limit, or the used share up to the limit.
fn used(fact: &Fact, limit: Quantity) -> Option<MessageField> {
    let at_least = formatting::at_least(fact);
    let overage = (fact.value > limit).then(|| overage_percent(limit, fact.value));
    if let Some(percent) = overage.flatten() {
        let excess = formatting::quantity(fact.watch.unit(), fact.value - limit);
        return Some(field(
            "Over limit",
            format!("{at_least}{percent}% ({excess})"),
        ));
    }
    let used = formatting::share(limit, fact.value)?;
    Some(field("Used", format!("{at_least}{used} of the limit")))
}
