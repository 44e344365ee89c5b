//! The texts of one alert: first and second line, why it ended, details and contributors.

use jiff::{SignedDuration, Timestamp};

use crate::formatting;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{Contributor, Fact, Reason, Reconciled};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::{Quantity, Watch};
use spendwatch_domain::units::ids::{UNASSIGNED, UNATTRIBUTED};
use spendwatch_domain::units::money::{Usd, overage_percent};
use spendwatch_domain::units::subject::SubjectKind;

/// A name and a value, shown side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageField {
    pub name: &'static str,
    pub value: String,
}

/// Returns the first line of a message: `Critical: workspace Search is 13% over its November limit`.
pub fn title(fact: &Fact) -> String {
    let severity = fact.threshold.severity.as_str();
    let subject = subject(fact);
    match fact.reason {
        // The alert still fires, even if it was never sent to this notifier.
        Reason::Resolved if fact.is_below_minimum() => {
            format!("No longer {severity}: {subject} {}", end_reason(fact))
        }
        Reason::Resolved if fact.is_fired_and_resolved => match peak(fact) {
            Some(peak) => format!("Fired and resolved: {subject} {peak}"),
            None => format!("Fired and resolved: {subject}, {}", end_reason(fact)),
        },
        Reason::Resolved => format!("Resolved: {subject}, {}", end_reason(fact)),
        Reason::First => {
            let severity = formatting::capitalize(severity);
            format!("{severity}: {}", state(fact, &subject))
        }
        Reason::Escalated => format!("Escalated to {severity}: {}", state(fact, &subject)),
        Reason::Lowered => format!("Lowered to {severity}: {}", state(fact, &subject)),
        Reason::Repeated => {
            let firing = fact.decided_at.duration_since(fact.firing_since);
            format!(
                "Still {severity}: {}, firing for {}",
                state(fact, &subject),
                formatting::duration(firing)
            )
        }
        Reason::Unsilenced => {
            format!("Silence ended, still {severity}: {}", state(fact, &subject))
        }
    }
}

/// Returns the second line of a message: the amount and the limit, or the time of an event.
pub fn summary(fact: &Fact) -> String {
    let state = match fact.event() {
        Some((event, moment)) => event_time(fact, event, moment),
        None => values(fact),
    };
    let text = match fact.reason {
        Reason::Resolved if peak(fact).is_some() => format!("{}; now {state}", end_reason(fact)),
        Reason::Resolved if fact.event().is_none() => format!("now {state}"),
        Reason::Resolved
        | Reason::First
        | Reason::Escalated
        | Reason::Lowered
        | Reason::Repeated
        | Reason::Unsilenced => state,
    };
    let fallback_note = fact.in_place_of.as_ref().map_or(String::new(), |absent| {
        format!("; {}", formatting::fallback_note(absent))
    });
    formatting::capitalize(&format!("{text}{fallback_note}"))
}

/// Returns the alert for a mail subject: `Search $5,630 of $5,000 (113%), November 2026`.
pub fn subject_line(fact: &Fact) -> String {
    let organization = formatting::clean(fact.identity.organization.as_str());
    if fact.event().is_some() {
        return format!("{} ({organization})", event_text(fact, &subject(fact)));
    }
    let slot = &fact.identity.slot;
    let has_own_name = slot.subject.kind != SubjectKind::ApiKey
        && ![UNATTRIBUTED, UNASSIGNED].contains(&&*slot.subject.id);
    let name = if has_own_name {
        formatting::clean(&fact.subject_name)
    } else {
        subject(fact)
    };
    let at_least = at_least(fact);
    let value = formatting::headline(fact.watch, fact.value);
    let amounts = match fact.limit.filter(|limit| *limit > 0) {
        Some(limit) => {
            let limit_text = formatting::headline(fact.watch, limit);
            let share = formatting::headline_share(limit, fact.value);
            match fact.watch {
                Watch::Spend | Watch::Tokens | Watch::Requests | Watch::BurnRate => {
                    format!("{at_least}{value} of {limit_text} ({share})")
                }
                Watch::DataAge => format!("data {at_least}{value} old, limit {limit_text}"),
                Watch::Reconciliation(_) => format!("gap {at_least}{value}, limit {limit_text}"),
                Watch::Lifecycle => String::new(),
            }
        }
        None => format!("{at_least}{value}"),
    };
    match formatting::period(fact) {
        Some(period) => format!("{name} {amounts}, {period}"),
        None => format!("{name} {amounts}"),
    }
}

/// An organization is named without its kind, as in `acme`.
fn subject(fact: &Fact) -> String {
    match fact.identity.slot.subject.kind {
        SubjectKind::Organization => formatting::clean(&fact.subject_name),
        SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => formatting::subject(fact),
    }
}

/// `workspace Search is 13% over its November limit`.
fn state(fact: &Fact, subject: &str) -> String {
    let value = formatting::headline(fact.watch, fact.value);
    let at_least = at_least(fact);
    let in_period = formatting::in_period(fact);
    match fact.watch {
        Watch::Spend => used(
            fact,
            subject,
            &format!("spent {at_least}{value}"),
            "spend is",
        ),
        Watch::Tokens => used(
            fact,
            subject,
            &format!("used {at_least}{value}"),
            "tokens are",
        ),
        Watch::Requests => used(
            fact,
            subject,
            &format!("made {at_least}{value}"),
            "requests are",
        ),
        Watch::BurnRate => match fact.limit {
            Some(limit) if limit > 0 => {
                let share = formatting::headline_share(limit, fact.value);
                format!("{subject} is on track for {at_least}{share} of its limit")
            }
            Some(_) => {
                format!(
                    "{subject} is on track to spend {at_least}{value} where no spend is allowed"
                )
            }
            None => format!("{subject} is on track to spend {at_least}{value}"),
        },
        Watch::DataAge => format!("spend data of {subject} is {at_least}{value} old"),
        Watch::Reconciliation(_) => {
            format!("bill and estimate of {subject} differ by {at_least}{value} {in_period}")
        }
        Watch::Lifecycle => event_text(fact, subject),
    }
}

fn used(fact: &Fact, subject: &str, spent: &str, noun: &str) -> String {
    let Some(limit) = fact.limit else {
        return format!("{subject} {spent} {}", formatting::in_period(fact));
    };
    if limit <= 0 {
        return format!("{subject} {spent} where no {noun} allowed");
    }
    let at_least = at_least(fact);
    let limit_name = formatting::limit_name(fact);
    let share = formatting::headline_share(limit, fact.value);
    match fact.reason {
        Reason::Escalated => format!("{subject} is now at {at_least}{share} of {limit_name}"),
        Reason::Lowered => format!("{subject} is back at {at_least}{share} of {limit_name}"),
        Reason::Repeated | Reason::Unsilenced => {
            format!("{subject} at {at_least}{share} of {limit_name}")
        }
        Reason::First | Reason::Resolved if fact.value > limit => {
            let excess = formatting::headline_share(limit, fact.value - limit);
            format!("{subject} is {at_least}{excess} over {limit_name}")
        }
        Reason::First | Reason::Resolved => {
            format!("{subject} used {at_least}{share} of {limit_name}")
        }
    }
}

/// `reached 100% between … and …`, for an alert that fired and was resolved before it was sent. Its highest figure is not
/// recorded, but the threshold is.
fn peak(fact: &Fact) -> Option<String> {
    let ended_at = fact.ended_at.filter(|_| fact.is_fired_and_resolved)?;
    match fact.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests if !fact.is_below_minimum() => {
            let threshold = formatting::clean(&fact.threshold.text);
            let start = formatting::time(fact.firing_since, &fact.zone_name);
            let end = formatting::time(ended_at, &fact.zone_name);
            Some(format!("reached {threshold} between {start} and {end}"))
        }
        Watch::Spend
        | Watch::Tokens
        | Watch::Requests
        | Watch::BurnRate
        | Watch::DataAge
        | Watch::Reconciliation(_)
        | Watch::Lifecycle => None,
    }
}

/// `$5,630.12 of $5,000.00`, with cents unlike in the first line.
fn amounts(fact: &Fact) -> String {
    let value = formatting::quantity(fact.watch, fact.value);
    let at_least = at_least(fact);
    match fact.limit {
        Some(limit) if limit > 0 => {
            let limit = formatting::quantity(fact.watch, limit);
            match fact.watch {
                Watch::Spend | Watch::Tokens | Watch::Requests | Watch::BurnRate => {
                    format!("{at_least}{value} of {limit}")
                }
                Watch::DataAge => format!("data age {at_least}{value}, limit {limit}"),
                Watch::Reconciliation(_) => format!("gap {at_least}{value}, limit {limit}"),
                Watch::Lifecycle => String::new(),
            }
        }
        Some(_) | None => format!("{at_least}{value}"),
    }
}

/// The first line names the period where there is a limit.
fn values(fact: &Fact) -> String {
    let in_period = formatting::in_period(fact);
    let ended = if fact.is_late {
        ", which has ended"
    } else {
        ""
    };
    let amounts = amounts(fact);
    match fact.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests
            if !fact.is_late && fact.limit.is_some_and(|limit| limit > 0) =>
        {
            amounts
        }
        Watch::Spend | Watch::Tokens | Watch::Requests => format!("{amounts} {in_period}{ended}"),
        Watch::BurnRate => {
            let window = formatting::period(fact).unwrap_or_default();
            format!("{amounts} in a whole period, at the rate of {window}")
        }
        Watch::DataAge | Watch::Lifecycle => amounts,
        Watch::Reconciliation(_) => match &fact.reconciled {
            Some(Reconciled {
                billed,
                estimated,
                uncertain,
                ..
            }) => format!(
                "{} billed {in_period}{ended}, {} estimated from list prices{}; {amounts}",
                formatting::dollars(*billed),
                formatting::dollars(*estimated),
                uncertain_part(*uncertain),
            ),
            None => format!("{amounts} {in_period}{ended}"),
        },
    }
}

fn uncertain_part(uncertain: Usd) -> String {
    if uncertain == Usd::ZERO {
        String::new()
    } else {
        format!(" ({} of it uncertain)", formatting::dollars(uncertain))
    }
}

/// `API key "ci" (apikey_01) not used for 93 days`.
fn event_text(fact: &Fact, subject: &str) -> String {
    let Some((event, moment)) = fact.event() else {
        return subject.to_owned();
    };
    let date = moment.map_or("an unknown date".to_owned(), |at| {
        formatting::date(at, &fact.zone_name)
    });
    let since = moment.map_or(SignedDuration::ZERO, |at| {
        fact.decided_at.duration_since(at)
    });
    let (ago, left) = (formatting::days(since), formatting::days(-since));
    let creator = fact.creator.as_ref().map(|name| formatting::clean(name));
    match event {
        Event::WorkspaceCreated => format!("{subject} created on {date}"),
        Event::KeyCreated => match creator {
            Some(creator) => format!("{subject} created on {date} by {creator}"),
            None => format!("{subject} created on {date}"),
        },
        Event::KeyIdle => format!("{subject} not used for {ago}"),
        Event::KeyExpiring => format!("{subject} expires in {left}, on {date}"),
        Event::KeyOfRemovedUser => {
            let creator = creator.map_or(String::new(), |creator| format!(" {creator}"));
            format!("{subject} still active, but its creator{creator} has left the organization")
        }
        Event::UserIdle => format!("{subject}: no activity for {ago}"),
        Event::LimitRemoved => format!("{subject}: no spend limit since {date}"),
    }
}

/// `Idle since 2026-08-23 14:22 Europe/Berlin`.
fn event_time(fact: &Fact, event: Event, moment: Option<Timestamp>) -> String {
    let name = match event {
        Event::WorkspaceCreated | Event::KeyCreated => "created on",
        Event::KeyIdle | Event::UserIdle => "idle since",
        Event::KeyExpiring => "expires on",
        Event::KeyOfRemovedUser => "key created on",
        Event::LimitRemoved => "limit removed on",
    };
    match moment {
        Some(at) => format!("{name} {}", formatting::time(at, &fact.zone_name)),
        None => format!(
            "firing since {}",
            formatting::time(fact.firing_since, &fact.zone_name)
        ),
    }
}

/// A figure with an unknown part is a lower bound.
fn at_least(fact: &Fact) -> &'static str {
    if fact.is_lower_bound { "at least " } else { "" }
}

/// `12.6%`; `None` unless the limit is above zero and exceeded.
fn over_limit(fact: &Fact) -> Option<String> {
    let limit = fact.limit.filter(|limit| *limit < fact.value)?;
    let percent = overage_percent(limit, fact.value)?;
    Some(format!("{}{percent}%", at_least(fact)))
}

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
        Watch::Reconciliation(_) if threshold.ends_with('%') => {
            format!("gap fell below {threshold} of the limit")
        }
        Watch::Reconciliation(_) => format!("gap fell below {threshold}"),
        Watch::Lifecycle => "it no longer holds".to_owned(),
    }
}

/// Returns the details of one alert, at most 10.
pub fn fields(fact: &Fact) -> Vec<MessageField> {
    if let Some((event, moment)) = fact.event() {
        return event_fields(fact, event, moment);
    }
    let time = |at| formatting::time(at, &fact.zone_name);
    let amount = |quantity| formatting::quantity(fact.watch, quantity);
    let mut fields = vec![field(
        value_name(fact.watch),
        format!("{}{}", at_least(fact), amount(fact.value)),
    )];
    if let Some(reconciled) = &fact.reconciled {
        fields.extend(reconciliation_fields(reconciled));
    }
    fields.push(field("Limit", limit(fact)));
    if is_gap(fact.watch) {
        // A percentage of a percentage means nothing to readers.
    } else if let Some(over_limit) = over_limit(fact) {
        let excess = fact
            .limit
            .map(|limit| fact.value - limit)
            .unwrap_or_default();
        fields.push(field(
            "Over limit",
            format!("{over_limit} ({})", amount(excess)),
        ));
    } else if let Some(used) = fact
        .limit
        .and_then(|limit| formatting::share(limit, fact.value))
    {
        fields.push(field(
            "Used",
            format!("{}{used} of the limit", at_least(fact)),
        ));
    }
    fields.push(field("Threshold", threshold(fact)));
    if let Some(forecast) = fact.forecast.filter(|_| fact.reason != Reason::Resolved) {
        fields.push(field("Forecast", forecast_text(fact, forecast.pico())));
    }
    if let Some(period) = formatting::period(fact) {
        let between = formatting::time_range(fact.span, &fact.zone_name);
        fields.push(field("Period", format!("{period}, {between}")));
    }
    fields.push(field("Firing since", time(fact.firing_since)));
    if let Some(ended_at) = fact.ended_at {
        fields.push(field("Ended", time(ended_at)));
    }
    fields.push(field(
        "Data as of",
        fact.as_of.map_or("no data yet".to_owned(), time),
    ));
    fields.push(field("Rule", rule(fact)));
    fields
}

fn event_fields(fact: &Fact, event: Event, moment: Option<Timestamp>) -> Vec<MessageField> {
    let time = |at| formatting::time(at, &fact.zone_name);
    let name = match event {
        Event::WorkspaceCreated | Event::KeyCreated => "Created",
        Event::KeyIdle | Event::UserIdle => "Idle since",
        Event::KeyExpiring => "Expires",
        Event::LimitRemoved => "Removed",
        Event::KeyOfRemovedUser => "Created",
    };
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
    let gap_text = match formatting::share(reconciled.estimated.pico(), reconciled.gap().pico()) {
        Some(share) => format!("gap {gap} ({share})"),
        None => format!("gap {gap}"),
    };
    let estimated = formatting::dollars(reconciled.estimated);
    let uncertain = uncertain_part(reconciled.uncertain);
    [
        field("Billed", formatting::dollars(reconciled.billed)),
        field(
            "Estimated",
            format!("{estimated} from list prices{uncertain}, {gap_text}"),
        ),
    ]
}

fn is_gap(watch: Watch) -> bool {
    match watch {
        Watch::Reconciliation(_) => true,
        Watch::Spend
        | Watch::BurnRate
        | Watch::Tokens
        | Watch::Requests
        | Watch::DataAge
        | Watch::Lifecycle => false,
    }
}

fn value_name(watch: Watch) -> &'static str {
    match watch {
        Watch::Spend => "Spend",
        Watch::BurnRate => "At this rate",
        Watch::Tokens => "Tokens",
        Watch::Requests => "Requests",
        Watch::DataAge => "Data age",
        Watch::Reconciliation(_) => "Gap",
        Watch::Lifecycle => "Event",
    }
}

fn limit(fact: &Fact) -> String {
    match fact.limit {
        Some(limit) if limit > 0 => formatting::quantity(fact.watch, limit),
        Some(_) => "0 (no spend allowed)".to_owned(),
        None => "removed".to_owned(),
    }
}

fn threshold(fact: &Fact) -> String {
    let text = formatting::clean(&fact.threshold.text);
    let quantity = formatting::quantity(fact.watch, fact.threshold.quantity);
    let severity = fact.threshold.severity;
    if text.ends_with('%') && fact.threshold.quantity > 0 && is_gap(fact.watch) {
        format!("{text} of the limit = {quantity} ({severity})")
    } else if text.ends_with('%') && fact.threshold.quantity > 0 {
        format!("{text} = {quantity} ({severity})")
    } else {
        format!("{text} ({severity})")
    }
}

fn forecast_text(fact: &Fact, forecast: Quantity) -> String {
    let amount = formatting::quantity(Watch::Spend, forecast);
    match fact
        .limit
        .and_then(|limit| formatting::share(limit, forecast))
    {
        Some(share) => format!("{amount} by the end of the period, {share} of the limit"),
        None => format!("{amount} by the end of the period"),
    }
}

/// `workspace-month, organization acme, cost_center platform`.
fn rule(fact: &Fact) -> String {
    let mut parts = vec![formatting::clean(fact.identity.slot.rule.as_str())];
    if fact.identity.slot.subject.kind != SubjectKind::Organization {
        let organization = formatting::clean(fact.identity.organization.as_str());
        parts.push(format!("organization {organization}"));
    }
    let labels = fact.labels.iter().take(MAX_LABELS);
    parts
        .extend(labels.map(|(key, value)| {
            format!("{} {}", formatting::clean(key), formatting::clean(value))
        }));
    parts.join(", ")
}

/// Only the webhook sends more labels of a rule.
const MAX_LABELS: usize = 10;

/// Returns the top contributors, one line each, and a line about everything else.
pub fn contributors(fact: &Fact) -> Vec<String> {
    let lines = fact
        .top
        .iter()
        .map(|contributor| contributor_line(fact, contributor));
    lines.chain(everything_else(fact)).collect()
}

fn contributor_line(fact: &Fact, contributor: &Contributor) -> String {
    let name = contributor_name(fact, contributor);
    let value = formatting::quantity(fact.watch, contributor.value);
    let share = share_of_all(fact, contributor.value);
    format!("{name}: {value}{share}, {}", growth(fact, contributor))
}

/// Makes the lines sum to the value. A burn rate is not the sum of what its contributors spent.
fn everything_else(fact: &Fact) -> Option<String> {
    let named: Quantity = fact.top.iter().map(|contributor| contributor.value).sum();
    let rest = fact.value - named;
    let has_rest = match fact.watch {
        Watch::Spend | Watch::Tokens | Watch::Requests => !fact.top.is_empty() && rest != 0,
        Watch::BurnRate | Watch::DataAge | Watch::Reconciliation(_) | Watch::Lifecycle => false,
    };
    has_rest.then(|| {
        let value = formatting::quantity(fact.watch, rest);
        format!(
            "everything else: {}{value}{}",
            at_least(fact),
            share_of_all(fact, rest)
        )
    })
}

fn share_of_all(fact: &Fact, value: Quantity) -> String {
    // A burn rate extrapolates to a whole period; its contributors are sums over the hours that it is measured in.
    let whole = if fact.watch == Watch::BurnRate {
        0
    } else {
        fact.value
    };
    formatting::share(whole, value).map_or(String::new(), |share| format!(" ({share})"))
}

/// Returns the names that identify a contributor, without the alert's own subject.
pub fn contributor_name(fact: &Fact, contributor: &Contributor) -> String {
    let kind = fact.identity.slot.subject.kind;
    let model = contributor.model.as_ref();
    let model = model.filter(|_| kind != SubjectKind::Model);
    // A workspace that is the subject is only named if there is no model to name.
    let mut names = Vec::new();
    if kind != SubjectKind::Workspace || model.is_none() {
        names.push(formatting::clean(&contributor.workspace));
    }
    names.extend(model.map(|model| formatting::clean(model.as_str())));
    if kind != SubjectKind::ApiKey {
        let key = contributor.api_key.as_ref();
        names.extend(key.map(|key| format!("API key \"{}\"", formatting::clean(&key.name))));
    }
    if kind != SubjectKind::User {
        names.extend(
            contributor
                .person
                .as_ref()
                .map(|person| formatting::clean(person)),
        );
    }
    names.join(", ")
}

fn growth(fact: &Fact, contributor: &Contributor) -> String {
    let Some(before) = contributor.before else {
        return "no data for the previous period".to_owned();
    };
    let point = formatting::comparison_point(fact);
    if before == 0 && contributor.value > 0 {
        return format!("new, nothing {point}");
    }
    let then = formatting::quantity(fact.watch, before);
    let percent = (before > 0).then(|| overage_percent(before, contributor.value));
    match percent.flatten() {
        Some(percent) => match percent.strip_prefix('-') {
            Some(percent) => format!("down {percent}% from {then} {point}"),
            None => format!("up {percent}% from {then} {point}"),
        },
        None => format!("{then} {point}"),
    }
}
