//! The chart and the tables of a digest, from its figures.

use jiff::civil::Date;

use crate::wording::formatting::{clean, dollars, share, time};
use crate::wording::tables::{ChartBar, DigestRow, DigestSection};
use crate::wording::{events, formatting, periods};
use spendwatch_domain::digest::{
    Digest, Forecast, IdleKey, LimitUse, OpenAlert, SpendBreakdown, SubjectSpend, Truncated,
};
use spendwatch_domain::units::ids::{RuleName, UNASSIGNED, UNATTRIBUTED};
use spendwatch_domain::units::money::{Usd, group_thousands};
use spendwatch_domain::units::plural::counted;
use spendwatch_domain::units::subject::Subject;

const MAX_IDLE_KEYS: usize = 5;

/// Returns the spend of each part of the period.
pub fn chart(digest: &Digest) -> Vec<ChartBar> {
    let longest = digest.series.iter().map(|(_, spend)| *spend).max();
    let longest = longest.unwrap_or_default().pico().max(1);
    digest
        .series
        .iter()
        .map(|(label, spend)| ChartBar {
            label: short_label(label),
            value: dollars(*spend),
            percent: u32::try_from(spend.pico().max(0).saturating_mul(100) / longest)
                .unwrap_or(100),
        })
        .collect()
}

/// `Mon 16 Nov`, `14:00`, `week 47 of 2026`.
fn short_label(label: &str) -> String {
    if let Some((_, hour)) = label.split_once('T') {
        return format!("{}:00", hour.get(..2).unwrap_or(hour));
    }
    match label.parse::<Date>() {
        Ok(date) => date.strftime("%a %e %b").to_string(),
        Err(_) => periods::period_name(label),
    }
}

/// Returns all tables that are not empty.
pub fn sections(digest: &Digest) -> Vec<DigestSection> {
    let of = |title, rows: Vec<DigestRow>| DigestSection { title, rows };
    let share = |line: &SubjectSpend| spend_row(line, digest.spend);
    let moved = |line: &SubjectSpend| mover_row(line);
    let all = [
        of("Limits", list_rows(&digest.limits, limit_row, "limits")),
        of(
            "Firing alerts",
            list_rows(&digest.alerts, |alert| alert_row(alert, digest), "alerts"),
        ),
        of("Idle API keys", idle_rows(digest)),
        of("Forecast", forecast_rows(digest)),
        of("Workspaces", breakdown(&digest.workspaces, share)),
        of("Largest changes", breakdown(&digest.movers, moved)),
        of("Teams", breakdown(&digest.teams, share)),
        of("Models", breakdown(&digest.models, share)),
        of("Audit log", anchor_rows(digest)),
    ];
    all.into_iter()
        .filter(|section| !section.rows.is_empty())
        .collect()
}

/// The newest audit entry, which a rewritten log does not contain.
fn anchor_rows(digest: &Digest) -> Vec<DigestRow> {
    let anchor = digest.audit.iter();
    let rows = anchor.map(|anchor| {
        let entry = group_thousands(&anchor.entry.to_string());
        DigestRow::new(format!("Entry {entry}"), &*anchor.hash, "")
    });
    rows.collect()
}

fn list_rows<T>(
    all: &Truncated<T>,
    as_row: impl Fn(&T) -> DigestRow,
    what: &str,
) -> Vec<DigestRow> {
    let more = || DigestRow::new(format!("and {} more {what}", all.n_more), "", "");
    let more = (all.n_more > 0).then(more);
    all.first.iter().map(as_row).chain(more).collect()
}

fn forecast_rows(digest: &Digest) -> Vec<DigestRow> {
    let forecast_row = |forecast: &Forecast| {
        let name = periods::period_name(&forecast.label);
        let so_far = dollars(forecast.so_far);
        let note = format!("at the rate of the last 7 days; {so_far} to date");
        DigestRow::new(name, dollars(forecast.spend), note)
    };
    digest.forecast.iter().map(forecast_row).collect()
}

fn idle_rows(digest: &Digest) -> Vec<DigestRow> {
    let Some(keys) = &digest.idle_keys else {
        return Vec::new();
    };
    let mut keys = keys.clone();
    keys.n_more += keys.first.len().saturating_sub(MAX_IDLE_KEYS);
    keys.first.truncate(MAX_IDLE_KEYS);
    let key_row = |key: &IdleKey| {
        let idle = formatting::days(digest.created_at.duration_since(key.since));
        let workspace = key.workspace.as_ref();
        let place = workspace.map(|workspace| format!("workspace {}", clean(workspace)));
        DigestRow::new(clean(&key.name), idle, place.unwrap_or_default())
    };
    list_rows(&keys, key_row, "idle keys")
}

fn breakdown(all: &SpendBreakdown, as_row: impl Fn(&SubjectSpend) -> DigestRow) -> Vec<DigestRow> {
    let rest = all.rest.map(|rest| SubjectSpend {
        name: counted(rest.n, "other"),
        spend: rest.spend,
        before: rest.before,
    });
    all.lines.iter().chain(&rest).map(as_row).collect()
}

fn display_name(name: &str) -> String {
    match name {
        UNATTRIBUTED => "unattributed".to_owned(),
        UNASSIGNED => "unassigned".to_owned(),
        _ => clean(name),
    }
}

fn spend_row(line: &SubjectSpend, whole: Usd) -> DigestRow {
    let share = share(whole.pico(), line.spend.pico());
    let change = line.before.and_then(|before| change(line.spend, before));
    let notes: Vec<String> = share.into_iter().chain(change).collect();
    let name = display_name(&line.name);
    DigestRow::new(name, dollars(line.spend), notes.join(", "))
}

/// `+12.5%`, `-3.0%`, `new`; `None` without a previous amount.
fn change(spend: Usd, before: Usd) -> Option<String> {
    let change = spend - before;
    if before == Usd::ZERO && change > Usd::ZERO {
        return Some("new".to_owned());
    }
    let share = share(before.pico(), change.pico())?;
    Some(if change > Usd::ZERO {
        format!("+{share}")
    } else {
        share
    })
}

fn mover_row(line: &SubjectSpend) -> DigestRow {
    let before = line.before.unwrap_or_default();
    let moved = line.spend - before;
    let sign = if moved > Usd::ZERO { "+" } else { "" };
    let mut note = format!("{} to {}", dollars(before), dollars(line.spend));
    if let Some(change) = change(line.spend, before) {
        note = format!("{note}, {change}");
    }
    let moved = format!("{sign}{}", dollars(moved));
    DigestRow::new(display_name(&line.name), moved, note)
}

/// `month, workspace Search`.
fn rule_and_subject(rule: &RuleName, subject: &str) -> String {
    format!("{}, {subject}", clean(rule.as_str()))
}

fn subject(subject: &Subject, name: &str) -> String {
    let kind = formatting::kind_name(subject.kind);
    format!("{kind} {}", display_name(name))
}

fn limit_row(used: &LimitUse) -> DigestRow {
    let at_least = if used.is_lower_bound { "at least " } else { "" };
    let share = share(used.limit.pico(), used.value.pico()).unwrap_or_default();
    let subject = subject(&used.subject, &used.name);
    let note = format!("{} of {}", dollars(used.value), dollars(used.limit));
    let name = rule_and_subject(&used.rule, &subject);
    DigestRow::new(name, format!("{at_least}{share}"), note)
}

fn alert_row(alert: &OpenAlert, digest: &Digest) -> DigestRow {
    let mut subject = subject(&alert.subject, &alert.name);
    let mut note = match alert.event {
        None => format!("at {}", clean(&alert.threshold)),
        Some(event) => {
            subject = events::with_event(event, &subject);
            event.to_string()
        }
    };
    if let Some(since) = alert.since {
        note = format!("{note}, since {}", time(since, &digest.zone_name));
    }
    let name = rule_and_subject(&alert.rule, &subject);
    DigestRow::new(name, alert.severity.as_str(), note)
}
