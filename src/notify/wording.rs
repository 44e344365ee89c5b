//! One alert in words: its title, what happened, the figures, and who caused it.

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::EndedBy;
use crate::domain::event::Event;
use crate::domain::money::{Usd, overage_percent};
use crate::domain::notification::{Contributor, Fact, Reason, Reconciled};
use crate::domain::rule::{Quantity, Watch};
use crate::domain::subject::SubjectKind;
use crate::notify::formatting;

/// A name and a value, to be set side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// `Spend`, `Limit`, …
    pub name: &'static str,
    pub value: String,
}

/// `Critical: workspace Search`, `Escalated to critical: …`, `Resolved: …`.
pub fn title(fact: &Fact) -> String {
    let severity = fact.line.severity.as_str();
    let what = match (fact.reason, fact.is_fired_and_resolved) {
        // It fires still, also where that it fired could not be told before.
        (Reason::Resolved, _) if fact.is_below_minimum() => format!("No longer {severity}"),
        (_, true) => "Fired and resolved".to_owned(),
        (Reason::First, _) => formatting::capital(severity),
        (Reason::Escalated, _) => format!("Escalated to {severity}"),
        (Reason::Lowered, _) => format!("Lowered to {severity}"),
        (Reason::Repeated, _) => format!("Still {severity}"),
        (Reason::Unsilenced, _) => format!("Silence over, still {severity}"),
        (Reason::Resolved, _) => "Resolved".to_owned(),
    };
    format!("{what}: {}", formatting::topic(fact))
}

/// What the figure is, against what; for a resolved alert why it ended.
pub fn summary(fact: &Fact) -> String {
    let state = match fact.event() {
        Some((event, moment)) => event_state(fact, event, moment),
        None => state(fact),
    };
    let why_here = why_here(fact);
    match fact.reason {
        Reason::Resolved if fact.event().is_some() => {
            formatting::capital(&format!("{}{why_here}", ending(fact)))
        }
        Reason::Resolved => formatting::capital(&format!("{}; now {state}{why_here}", ending(fact))),
        Reason::First
        | Reason::Escalated
        | Reason::Lowered
        | Reason::Repeated
        | Reason::Unsilenced => formatting::capital(&format!("{state}{why_here}")),
    }
}

/// Why it is told to a fallback.
fn why_here(fact: &Fact) -> String {
    let absent = fact.in_place_of.as_ref();
    absent.map_or(String::new(), |absent| {
        format!("; {}", formatting::why_here(absent))
    })
}

/// `$5,630.00 spent in November 2026, 12.6% over the limit of $5,000.00`.
fn state(fact: &Fact) -> String {
    let value = formatting::quantity(fact.watch, fact.value);
    let at_least = at_least(fact);
    let period = formatting::in_period(fact);
    let over = if fact.is_late { ", which is over" } else { "" };
    let relation = relation(fact);
    match fact.watch {
        Watch::Spend => format!("{at_least}{value} spent {period}{over}{relation}"),
        Watch::BurnRate => {
            let window = formatting::period(fact).unwrap_or_default();
            format!("a whole period would cost {at_least}{value} at the pace of {window}{relation}")
        }
        Watch::Tokens => format!("{at_least}{value} used {period}{over}{relation}"),
        Watch::Requests => format!("{at_least}{value} made {period}{over}{relation}"),
        Watch::DataAge => format!("figures {at_least}{value} old{relation}"),
        Watch::Reconciliation(_) => gap(fact, &format!("{period}{over}")),
        Watch::Lifecycle => String::new(),
    }
}

/// `not used for 93 days, since 2026-08-23 14:22 Europe/Berlin`.
fn event_state(fact: &Fact, event: Event, moment: Option<Timestamp>) -> String {
    let time = moment.map(|at| formatting::time(at, &fact.zone_name));
    let time = time.unwrap_or_else(|| "a time that is not known".to_owned());
    let since = moment.map_or(SignedDuration::ZERO, |at| {
        fact.decided_at.duration_since(at)
    });
    let (ago, left) = (formatting::days(since), formatting::days(-since));
    match event {
        Event::WorkspaceCreated | Event::KeyCreated => format!("created on {time}"),
        Event::KeyIdle => format!("not used for {ago}, since {time}"),
        Event::UserIdle => format!("used nothing for {ago}, since {time}"),
        Event::KeyExpiring => format!("expires on {time}, in {left}"),
        Event::KeyOfRemovedUser => match &fact.maker {
            Some(maker) => format!(
                "belongs to nobody: {}, who made it, is not in the organization any more",
                formatting::clean(maker)
            ),
            None => "belongs to nobody: who made it is not in the organization any more".to_owned(),
        },
        Event::LimitRemoved => {
            format!("there is no spend limit at the service any more, since {time}")
        }
    }
}

/// `$1,204.50 billed in November 2026, $1,310.00 estimated by tokens and list prices: 8.1% apart, against a limit of 5%`.
fn gap(fact: &Fact, period: &str) -> String {
    let value = formatting::quantity(fact.watch, fact.value);
    let limit = fact.limit.map_or(String::new(), |limit| {
        format!(
            ", against a limit of {}",
            formatting::quantity(fact.watch, limit)
        )
    });
    let apart = format!("{}{value} apart{limit}", at_least(fact));
    match &fact.reconciled {
        Some(Reconciled {
            billed,
            estimated,
            uncertain,
            ..
        }) => {
            let doubt = if *uncertain == Usd::ZERO {
                String::new()
            } else {
                format!(" ({} of it uncertain)", formatting::dollars(*uncertain))
            };
            format!(
                "{} billed {period}, {} estimated by tokens and list prices{doubt}: {apart}",
                formatting::dollars(*billed),
                formatting::dollars(*estimated)
            )
        }
        None => format!("bill and estimate by tokens and list prices {period}: {apart}"),
    }
}

/// A figure with an unknown part is a lower bound.
fn at_least(fact: &Fact) -> &'static str {
    if fact.is_lower_bound { "at least " } else { "" }
}

fn relation(fact: &Fact) -> String {
    let Some(limit) = fact.limit else {
        return String::new();
    };
    let limit_text = formatting::quantity(fact.watch, limit);
    match overage(fact) {
        Some(percent) => format!(", {percent} over the limit of {limit_text}"),
        None if limit <= 0 => ", where nothing is allowed".to_owned(),
        None if limit == fact.value => format!(", exactly the limit of {limit_text}"),
        None => {
            let share = formatting::share(limit, fact.value).unwrap_or_default();
            format!(", {}{share} of the limit of {limit_text}", at_least(fact))
        }
    }
}

/// `12.6%`, only above a limit that is above zero.
fn overage(fact: &Fact) -> Option<String> {
    let limit = fact.limit.filter(|limit| *limit < fact.value)?;
    let percent = overage_percent(limit, fact.value)?;
    Some(format!("{}{percent}%", at_least(fact)))
}

/// Why it ended, in words.
pub fn ending(fact: &Fact) -> String {
    let kind = fact.identity.slot.subject.kind;
    match fact.ended_by {
        Some(EndedBy::Cleared) => match fact.event() {
            Some((event, _)) => event_over(event).to_owned(),
            None => cleared(fact),
        },
        Some(EndedBy::Corrected) => "the service corrected earlier figures downward".to_owned(),
        Some(EndedBy::LimitChanged) => match fact.limit {
            Some(_) => "the limit was changed".to_owned(),
            None => "the limit was removed".to_owned(),
        },
        Some(EndedBy::PeriodOver) => match fact.event() {
            Some((event, _)) => event_passed(event).to_owned(),
            None => "the period is over".to_owned(),
        },
        Some(EndedBy::SubjectGone) => format!("the {} exists no more", formatting::kind_word(kind)),
        Some(EndedBy::RuleRemoved) => "the rule does not look at it any more".to_owned(),
        None => "it dropped below this notifier's minimum severity".to_owned(),
    }
}

/// It is not so any more.
fn event_over(event: Event) -> &'static str {
    match event {
        Event::WorkspaceCreated | Event::KeyCreated => "it was not made lately, after all",
        Event::KeyIdle => {
            "the key was used again, opens nothing any more, or may be idle for longer"
        }
        Event::UserIdle => "they are active again, or may be idle for longer",
        Event::KeyOfRemovedUser => "the key opens nothing any more, or who made it is back",
        Event::KeyExpiring => "the key expires later than is told, or opens nothing any more",
        Event::LimitRemoved => "there is a limit again",
    }
}

/// Its time is over.
fn event_passed(event: Event) -> &'static str {
    match event {
        Event::WorkspaceCreated
        | Event::KeyCreated
        | Event::KeyIdle
        | Event::UserIdle
        | Event::KeyOfRemovedUser
        | Event::LimitRemoved => "it is no news any more",
        Event::KeyExpiring => "the key has expired",
    }
}

fn cleared(fact: &Fact) -> String {
    let threshold = formatting::clean(&fact.line.text);
    match fact.watch {
        Watch::Spend => format!("the spend fell below the threshold of {threshold}"),
        Watch::BurnRate => format!("the pace fell below {threshold} of the limit"),
        Watch::Tokens => format!("the tokens fell below the threshold of {threshold}"),
        Watch::Requests => format!("the requests fell below the threshold of {threshold}"),
        Watch::DataAge => "figures are being read again".to_owned(),
        Watch::Reconciliation(_) if threshold.ends_with('%') => {
            format!("the gap fell below {threshold} of the limit")
        }
        Watch::Reconciliation(_) => format!("the gap fell below the threshold of {threshold}"),
        Watch::Lifecycle => "it is not so any more".to_owned(),
    }
}

/// All figures, at most 10.
pub fn figures(fact: &Fact) -> Vec<Figure> {
    if let Some((event, moment)) = fact.event() {
        return event_figures(fact, event, moment);
    }
    let time = |at| formatting::time(at, &fact.zone_name);
    let amount = |quantity| formatting::quantity(fact.watch, quantity);
    let mut figures = vec![figure(
        usage_name(fact.watch),
        format!("{}{}", at_least(fact), amount(fact.value)),
    )];
    if let Some(reconciled) = &fact.reconciled {
        figures.extend(sides(reconciled));
    }
    figures.push(figure("Limit", limit(fact)));
    if is_gap(fact.watch) {
        // The gap and its limit say it all: a percentage of a percentage helps nobody.
    } else if let Some(overage) = overage(fact) {
        let excess = fact
            .limit
            .map(|limit| fact.value - limit)
            .unwrap_or_default();
        figures.push(figure("Overage", format!("{overage} ({})", amount(excess))));
    } else if let Some(used) = fact.limit.and_then(|limit| formatting::share(limit, fact.value)) {
        figures.push(figure(
            "Used",
            format!("{}{used} of the limit", at_least(fact)),
        ));
    }
    figures.push(figure("Threshold", threshold(fact)));
    if let Some(forecast) = fact.forecast.filter(|_| fact.reason != Reason::Resolved) {
        figures.push(figure("Forecast", forecast_words(fact, forecast.pico())));
    }
    if let Some(period) = formatting::period(fact) {
        let between = formatting::between(fact.span, &fact.zone_name);
        figures.push(figure("Period", format!("{period}, {between}")));
    }
    figures.push(figure("Since", time(fact.firing_since)));
    if let Some(ended_at) = fact.ended_at {
        figures.push(figure("Until", time(ended_at)));
    }
    figures.push(figure(
        "Figures as of",
        fact.as_of.map_or("never read".to_owned(), time),
    ));
    figures.push(figure("Rule", rule(fact)));
    figures
}

fn event_figures(fact: &Fact, event: Event, moment: Option<Timestamp>) -> Vec<Figure> {
    let time = |at| formatting::time(at, &fact.zone_name);
    let name = match event {
        Event::WorkspaceCreated | Event::KeyCreated => "Created",
        Event::KeyIdle | Event::UserIdle => "Idle since",
        Event::KeyExpiring => "Expires",
        Event::LimitRemoved => "Removed",
        Event::KeyOfRemovedUser => "Made",
    };
    let mut figures = vec![figure("Event", event.to_string())];
    figures.extend(moment.map(|at| figure(name, time(at))));
    let maker = fact.maker.as_ref();
    figures.extend(maker.map(|maker| figure("Made by", formatting::clean(maker))));
    figures.push(figure("Severity", fact.line.severity.to_string()));
    figures.push(figure("Since", time(fact.firing_since)));
    figures.extend(fact.ended_at.map(|at| figure("Until", time(at))));
    figures.push(figure("Rule", rule(fact)));
    figures
}

fn figure(name: &'static str, value: String) -> Figure {
    Figure { name, value }
}

/// Of a gap.
fn sides(reconciled: &Reconciled) -> [Figure; 2] {
    let gap = formatting::dollars(reconciled.gap());
    let apart = match formatting::share(reconciled.estimated.pico(), reconciled.gap().pico()) {
        Some(share) => format!("{gap} or {share} apart"),
        None => format!("{gap} apart"),
    };
    let estimated = formatting::dollars(reconciled.estimated);
    let uncertain = if reconciled.uncertain == Usd::ZERO {
        String::new()
    } else {
        format!(
            " ({} of it uncertain)",
            formatting::dollars(reconciled.uncertain)
        )
    };
    [
        figure("Billed", formatting::dollars(reconciled.billed)),
        figure(
            "Estimated",
            format!("{estimated} by tokens and list prices{uncertain}, {apart}"),
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

fn usage_name(watch: Watch) -> &'static str {
    match watch {
        Watch::Spend => "Spend",
        Watch::BurnRate => "Pace of a period",
        Watch::Tokens => "Tokens",
        Watch::Requests => "Requests",
        Watch::DataAge => "Age of the figures",
        Watch::Reconciliation(_) => "Gap",
        Watch::Lifecycle => "Event",
    }
}

fn limit(fact: &Fact) -> String {
    match fact.limit {
        Some(limit) if limit > 0 => formatting::quantity(fact.watch, limit),
        Some(_) => "0: nothing is allowed".to_owned(),
        None => "none any more".to_owned(),
    }
}

fn threshold(fact: &Fact) -> String {
    let text = formatting::clean(&fact.line.text);
    let quantity = formatting::quantity(fact.watch, fact.line.quantity);
    let severity = fact.line.severity;
    if text.ends_with('%') && fact.line.quantity > 0 && is_gap(fact.watch) {
        format!("{text} of the limit = {quantity} ({severity})")
    } else if text.ends_with('%') && fact.line.quantity > 0 {
        format!("{text} = {quantity} ({severity})")
    } else {
        format!("{text} ({severity})")
    }
}

fn forecast_words(fact: &Fact, forecast: Quantity) -> String {
    let amount = formatting::quantity(Watch::Spend, forecast);
    match fact.limit.and_then(|limit| formatting::share(limit, forecast)) {
        Some(share) => format!("{amount} at the period's end, {share} of the limit"),
        None => format!("{amount} at the period's end"),
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
    parts.extend(
        labels.map(|(key, value)| format!("{} {}", formatting::clean(key), formatting::clean(value))),
    );
    parts.join(", ")
}

/// More labels of a rule are in the webhook alone.
const MAX_LABELS: usize = 10;

/// The top contributors, one line each, and a line about everything else.
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

/// So that the lines sum to the figure. Not for a burn rate, which is not the sum of what its contributors spent.
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
    // A burn rate is what a whole period would cost, and its contributors have spent in the hours that it is measured in.
    let whole = if fact.watch == Watch::BurnRate {
        0
    } else {
        fact.value
    };
    formatting::share(whole, value).map_or(String::new(), |share| format!(" ({share})"))
}

/// What is the subject itself is not repeated.
pub fn contributor_name(fact: &Fact, contributor: &Contributor) -> String {
    let kind = fact.identity.slot.subject.kind;
    let model = contributor.model.as_ref();
    let model = model.filter(|_| kind != SubjectKind::Model);
    // A workspace is named unless it is the subject, and there is something else to name.
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
    let point = formatting::point_before(fact);
    if before == 0 && contributor.value > 0 {
        return format!("new: nothing {point}");
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
