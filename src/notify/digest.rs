//! A digest in plain words, once, for all receivers that are read by people: a sentence, a chart, and tables of a few rows.
//!
//! Texts hold cleaned names and are not escaped: that is each receiver's own.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::digest::{
    Breakdown, Digest, Forecast, IdleKey, LimitUse, Line, Listed, Missing, OpenAlert,
};
use crate::domain::ids::{NotifierName, UNASSIGNED, UNATTRIBUTED};
use crate::domain::money::{Usd, group_thousands};
use crate::domain::plural::{agreeing, counted};
use crate::domain::subject::Subject;
use crate::notify::envelope::{FRESH, Links};
use crate::notify::formatting;

/// One attempt to send one digest.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Stable over all attempts and replays; without a dot.
    pub id: &'a str,
    pub notifier: &'a NotifierName,
    pub digest: &'a Digest,
    pub created_at: Timestamp,
    /// The time of this attempt.
    pub now: Timestamp,
    pub n_attempts: u32,
    /// Somebody asked for it to be sent again.
    pub is_replay: bool,
    pub links: &'a Links,
    /// For mail: whom this copy is for.
    pub recipient: Option<&'a str>,
    /// The notifier that could not deliver it, where this one is its fallback.
    pub in_place_of: Option<&'a NotifierName>,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The same for each attempt: no figure.
    pub subject: String,
    pub title: String,
    /// A sentence with the figures.
    pub summary: String,
    /// What is not known, one sentence each.
    pub notes: Vec<String>,
    /// Spend over time; may be empty.
    pub chart: Vec<Bar>,
    /// Tables; none is empty.
    pub sections: Vec<Section>,
    pub page: Option<String>,
}

/// One bar of the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// `Mon 16 Nov`
    pub label: String,
    /// `$12.00`
    pub value: String,
    /// Of the longest one; nothing for what is below zero.
    pub percent: u32,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub title: &'static str,
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub value: String,
    /// What there is to say beside it; may be empty.
    pub note: String,
}

impl Row {
    /// All on one line.
    pub fn line(&self) -> String {
        match (self.value.is_empty(), self.note.is_empty()) {
            (true, true) => self.name.clone(),
            (true, false) => format!("{}: {}", self.name, self.note),
            (false, true) => format!("{}: {}", self.name, self.value),
            (false, false) => format!("{}: {} ({})", self.name, self.value, self.note),
        }
    }
}

/// Rows of each table, from all to none, for receivers that take only so much.
const ROOMS: [usize; 5] = [20, 5, 3, 1, 0];
/// Below so many rows there is no chart either.
const LEAST_WITH_CHART: usize = 3;
/// Idle keys that are named.
const MAX_IDLE_KEYS: usize = 5;
/// Characters of the longest bar in a text.
const MAX_BAR: u32 = 24;

/// Everything.
pub fn render(letter: &Letter<'_>) -> Report {
    render_in(letter, ROOMS[0])
}

/// The longest form that fits.
pub fn fit<T>(letter: &Letter<'_>, form: impl Fn(&Report) -> T, fits: impl Fn(&T) -> bool) -> T {
    let form_in = |n_rows: &usize| form(&render_in(letter, *n_rows));
    ROOMS
        .iter()
        .map(form_in)
        .find(fits)
        .unwrap_or_else(|| form_in(&0))
}

fn render_in(letter: &Letter<'_>, n_rows: usize) -> Report {
    let digest = letter.digest;
    let title = format!(
        "{}: {}, {}",
        formatting::clean(&digest.name),
        formatting::clean(digest.organization.as_str()),
        period(digest)
    );
    let mut notes: Vec<String> = digest
        .gaps
        .iter()
        .map(|gap| gap_words(gap, digest))
        .collect();
    if letter.now.duration_since(letter.created_at) > FRESH {
        let at = formatting::time(digest.made_at, &digest.zone_name);
        notes.push(format!("All of this is as it was known at {at}"));
    }
    if let Some(absent) = letter.in_place_of {
        notes.push(formatting::capital(&formatting::why_here(absent)));
    }
    if letter.is_replay {
        notes.push("This is sent again because somebody asked for it".to_owned());
    }
    let chart = if n_rows < LEAST_WITH_CHART {
        Vec::new()
    } else {
        chart(digest)
    };
    Report {
        subject: format!("[spendwatch] {title}"),
        summary: summary(digest),
        title,
        notes,
        chart,
        sections: sections(digest)
            .into_iter()
            .filter_map(|section| shorten(section, n_rows))
            .collect(),
        page: letter.links.external_url.clone(),
    }
}

fn shorten(mut section: Section, n_rows: usize) -> Option<Section> {
    let n_cut = section.rows.len().saturating_sub(n_rows);
    section.rows.truncate(n_rows);
    let is_empty = section.rows.is_empty();
    if n_cut > 0 && !is_empty {
        section
            .rows
            .push(row(&format!("and {}", counted(n_cut, "more row")), "", ""));
    }
    (!is_empty).then_some(section)
}

/// Everything as lines of plain text.
pub fn plain_text(report: &Report) -> String {
    let mut lines = vec![report.title.clone(), report.summary.clone()];
    lines.extend(report.notes.iter().cloned());
    if !report.chart.is_empty() {
        lines.push(String::new());
        lines.extend(bars(&report.chart));
    }
    for section in &report.sections {
        lines.extend([String::new(), format!("{}:", section.title)]);
        lines.extend(section.rows.iter().map(|row| format!("- {}", row.line())));
    }
    if let Some(page) = &report.page {
        lines.extend([String::new(), format!("spendwatch: {page}")]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The chart in letters of equal width. It holds no foreign name.
pub fn bars(chart: &[Bar]) -> Vec<String> {
    let width = |text: fn(&Bar) -> &str| {
        let widths = chart.iter().map(|bar| text(bar).chars().count());
        widths.max().unwrap_or_default()
    };
    let (label, value) = (width(|bar| &bar.label), width(|bar| &bar.value));
    chart
        .iter()
        .map(|bar| {
            let text = format!(
                "{:label$}  {:>value$}  {}",
                bar.label,
                bar.value,
                blocks(bar)
            );
            text.trim_end().to_owned()
        })
        .collect()
}

/// A bar as text; any spend at all is seen.
pub fn blocks(bar: &Bar) -> String {
    "█".repeat((bar.percent * MAX_BAR).div_ceil(100) as usize)
}

/// `week 47 of 2026`, or from when to when.
fn period(digest: &Digest) -> String {
    match &digest.label {
        Some(label) => formatting::period_name(label),
        None => formatting::between(digest.span, &digest.zone_name),
    }
}

/// What is known only in part is compared with nothing: it would seem to have fallen.
fn summary(digest: &Digest) -> String {
    if is_spend_unknown(digest) {
        return "Spend is unknown: not all of the period was read".to_owned();
    }
    let spent = format!("{} spent", formatting::dollars(digest.spend));
    match (is_lower_bound(digest), digest.before) {
        (true, None) => format!("At least {spent}; the period before is not known"),
        (true, Some(before)) => {
            format!(
                "At least {spent}; {} in the period before",
                formatting::dollars(before)
            )
        }
        (false, None) => format!("{spent}; the period before is not known"),
        (false, Some(before)) => format!(
            "{spent}, {} the {} of the period before",
            change_words(digest.spend, before),
            formatting::dollars(before)
        ),
    }
}

/// Nothing is known to be spent, and something is not known.
pub fn is_spend_unknown(digest: &Digest) -> bool {
    is_lower_bound(digest) && digest.spend == Usd::ZERO
}

fn is_lower_bound(digest: &Digest) -> bool {
    digest.gaps.iter().any(|gap| match gap {
        Missing::Unread { .. }
        | Missing::Stale { .. }
        | Missing::MoreStale { .. }
        | Missing::Unpriced { .. } => true,
        Missing::KnownFrom { at } => *at > digest.span.start,
        Missing::Estimated { .. } => false,
    })
}

fn change_words(spend: Usd, before: Usd) -> String {
    let change = spend - before;
    let more = if change < Usd::ZERO { "less" } else { "more" };
    match formatting::share(before.pico(), change.abs().pico()) {
        _ if change == Usd::ZERO => "exactly".to_owned(),
        Some(share) => format!("{share} {more} than"),
        None => format!("{} {more} than", formatting::dollars(change.abs())),
    }
}

fn gap_words(gap: &Missing, digest: &Digest) -> String {
    let time = |at: Timestamp| formatting::time(at, &digest.zone_name);
    match gap {
        Missing::Unread { n, n_all } => {
            format!(
                "Nothing is known yet of {n} of {}; of {} nothing is told",
                counted(*n_all, "part"),
                agreeing(n, "it", "them")
            )
        }
        Missing::Stale { name, as_of } => {
            format!(
                "{} is known only up to {}",
                formatting::clean(name),
                time(*as_of)
            )
        }
        Missing::MoreStale { n } => format!(
            "{} {} not known up to the end",
            counted(*n, "more part"),
            agreeing(n, "is", "are")
        ),
        Missing::KnownFrom { at } => format!("All is known only from {} on", time(*at)),
        Missing::Estimated { spend } => format!(
            "{} of it is an estimate by list prices: it is not billed yet",
            formatting::dollars(*spend)
        ),
        Missing::Unpriced { n_tokens } => format!(
            "{} {} in no spend: {} price is not known",
            group_thousands(&n_tokens.to_string()),
            agreeing(n_tokens, "token is", "tokens are"),
            agreeing(n_tokens, "its", "their")
        ),
    }
}

fn chart(digest: &Digest) -> Vec<Bar> {
    let longest = digest.series.iter().map(|(_, spend)| *spend).max();
    let longest = longest.unwrap_or_default().pico().max(1);
    digest
        .series
        .iter()
        .map(|(label, spend)| Bar {
            label: short_label(label),
            value: formatting::dollars(*spend),
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
        Err(_) => formatting::period_name(label),
    }
}

fn sections(digest: &Digest) -> Vec<Section> {
    let of = |title, rows: Vec<Row>| Section { title, rows };
    let share = |line: &Line| line_row(line, digest.spend);
    let moved = |line: &Line| mover_row(line);
    let all = [
        of("Limits", listed(&digest.limits, limit_row, "limits")),
        of(
            "Alerts that fire now",
            listed(&digest.alerts, |alert| alert_row(alert, digest), "alerts"),
        ),
        of("Idle API keys", idle_rows(digest)),
        of("Forecast", forecast_rows(digest)),
        of("Workspaces", breakdown(&digest.workspaces, share)),
        of("Top movers", breakdown(&digest.movers, moved)),
        of("Teams", breakdown(&digest.teams, share)),
        of("Models", breakdown(&digest.models, share)),
        of("Audit log", anchor_rows(digest)),
    ];
    all.into_iter()
        .filter(|section| !section.rows.is_empty())
        .collect()
}

/// The newest entry: a log that was made anew does not have it.
fn anchor_rows(digest: &Digest) -> Vec<Row> {
    let anchor = digest.audit.iter();
    let rows = anchor.map(|anchor| {
        let entry = group_thousands(&anchor.entry.to_string());
        row(&format!("Entry {entry}"), &anchor.hash, "")
    });
    rows.collect()
}

fn listed<T>(all: &Listed<T>, as_row: impl Fn(&T) -> Row, what: &str) -> Vec<Row> {
    let more = (all.n_more > 0).then(|| row(&format!("and {} more {what}", all.n_more), "", ""));
    all.first.iter().map(as_row).chain(more).collect()
}

/// A handful, and how many others there are.
fn forecast_rows(digest: &Digest) -> Vec<Row> {
    let forecast_row = |forecast: &Forecast| {
        let name = formatting::period_name(&forecast.label);
        let so_far = formatting::dollars(forecast.so_far);
        let note = format!("at the pace of the last 7 days; {so_far} so far");
        row(&name, &formatting::dollars(forecast.spend), &note)
    };
    digest.forecast.iter().map(forecast_row).collect()
}

fn idle_rows(digest: &Digest) -> Vec<Row> {
    let Some(keys) = &digest.idle_keys else {
        return Vec::new();
    };
    let mut keys = keys.clone();
    keys.n_more += keys.first.len().saturating_sub(MAX_IDLE_KEYS);
    keys.first.truncate(MAX_IDLE_KEYS);
    let key_row = |key: &IdleKey| {
        let idle = formatting::days(digest.made_at.duration_since(key.since));
        let place = match &key.workspace {
            Some(workspace) => format!("workspace {}", formatting::clean(workspace)),
            None => String::new(),
        };
        row(&formatting::clean(&key.name), &idle, &place)
    };
    listed(&keys, key_row, "idle keys")
}

fn breakdown(all: &Breakdown, as_row: impl Fn(&Line) -> Row) -> Vec<Row> {
    let rest = all.rest.map(|rest| Line {
        name: counted(rest.n, "other"),
        spend: rest.spend,
        before: rest.before,
    });
    all.lines.iter().chain(&rest).map(as_row).collect()
}

fn row(name: &str, value: &str, note: &str) -> Row {
    Row {
        name: name.to_owned(),
        value: value.to_owned(),
        note: note.to_owned(),
    }
}

/// What has no name of its own is described.
fn told_name(name: &str) -> String {
    match name {
        UNATTRIBUTED => "unattributed".to_owned(),
        UNASSIGNED => "no team".to_owned(),
        _ => formatting::clean(name),
    }
}

fn line_row(line: &Line, whole: Usd) -> Row {
    let share = formatting::share(whole.pico(), line.spend.pico());
    let change = line.before.and_then(|before| change(line.spend, before));
    let notes: Vec<String> = share.into_iter().chain(change).collect();
    row(
        &told_name(&line.name),
        &formatting::dollars(line.spend),
        &notes.join(", "),
    )
}

/// `+12.5%`, `-3.0%`, `new`; `None` where there is nothing to compare.
fn change(spend: Usd, before: Usd) -> Option<String> {
    let change = spend - before;
    if before == Usd::ZERO && change > Usd::ZERO {
        return Some("new".to_owned());
    }
    let share = formatting::share(before.pico(), change.pico())?;
    Some(if change > Usd::ZERO {
        format!("+{share}")
    } else {
        share
    })
}

fn mover_row(line: &Line) -> Row {
    let before = line.before.unwrap_or_default();
    let moved = line.spend - before;
    let sign = if moved > Usd::ZERO { "+" } else { "" };
    let mut note = format!(
        "{} to {}",
        formatting::dollars(before),
        formatting::dollars(line.spend)
    );
    if let Some(change) = change(line.spend, before) {
        note = format!("{note}, {change}");
    }
    row(
        &told_name(&line.name),
        &format!("{sign}{}", formatting::dollars(moved)),
        &note,
    )
}

fn subject(subject: &Subject, name: &str) -> String {
    format!("{} {}", formatting::kind_word(subject.kind), told_name(name))
}

fn limit_row(used: &LimitUse) -> Row {
    let at_least = if used.is_lower_bound { "at least " } else { "" };
    let share = formatting::share(used.limit.pico(), used.value.pico()).unwrap_or_default();
    row(
        &format!(
            "{}, {}",
            formatting::clean(used.rule.as_str()),
            subject(&used.subject, &used.name)
        ),
        &format!("{at_least}{share}"),
        &format!(
            "{} of {}",
            formatting::dollars(used.value),
            formatting::dollars(used.limit)
        ),
    )
}

fn alert_row(alert: &OpenAlert, digest: &Digest) -> Row {
    let mut subject = subject(&alert.subject, &alert.name);
    let mut note = match alert.event {
        None => format!("at {}", formatting::clean(&alert.threshold)),
        Some(event) => {
            subject = formatting::with_event(event, &subject);
            event.to_string()
        }
    };
    if let Some(since) = alert.since {
        note = format!("{note}, since {}", formatting::time(since, &digest.zone_name));
    }
    row(
        &format!("{}, {subject}", formatting::clean(alert.rule.as_str()),),
        alert.severity.as_str(),
        &note,
    )
}
