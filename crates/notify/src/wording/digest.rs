//! A digest as text for people: two lines, a chart and short tables, shared by all receivers.
//!
//! Names are already cleaned; each receiver escapes the texts for its own format.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::envelope::{Links, MAX_FRESH_AGE};
use crate::wording::{events, formatting, periods};
use spendwatch_domain::digest::{
    DataGap, Digest, Forecast, IdleKey, LimitUse, OpenAlert, SpendBreakdown, SubjectSpend,
    Truncated,
};
use spendwatch_domain::rules::watch::Unit;
use spendwatch_domain::units::ids::{NotifierName, UNASSIGNED, UNATTRIBUTED};
use spendwatch_domain::units::money::{Usd, group_thousands};
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_domain::units::subject::Subject;

/// One attempt to send a digest.
#[derive(Debug, Clone, Copy)]
pub struct DigestEnvelope<'a> {
    /// The same for all attempts and replays; contains no dot.
    pub id: &'a str,
    pub notifier: &'a NotifierName,
    pub digest: &'a Digest,
    pub created_at: Timestamp,
    pub now: Timestamp,
    pub n_attempts: u32,
    /// A person asked for it to be sent again.
    pub is_replay: bool,
    pub links: &'a Links,
    /// Address for this copy; mail only.
    pub recipient: Option<&'a str>,
    /// The unreachable notifier, if this one is its fallback.
    pub in_place_of: Option<&'a NotifierName>,
}

/// The texts of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestMessage {
    /// The same for each attempt.
    pub subject: String,
    pub title: String,
    /// The second line.
    pub summary: String,
    /// What is missing or late, one sentence each.
    pub notes: Vec<String>,
    /// Spend over time; may be empty.
    pub chart: Vec<ChartBar>,
    /// None is empty.
    pub sections: Vec<DigestSection>,
    pub page: Option<String>,
}

/// One bar of the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartBar {
    /// `Mon 16 Nov`
    pub label: String,
    /// `$12.00`
    pub value: String,
    /// Percent of the longest bar; 0 for negative spend.
    pub percent: u32,
}

/// A titled table of a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestSection {
    pub title: &'static str,
    pub rows: Vec<DigestRow>,
}

/// A row of a table: a name, its amount and its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestRow {
    pub name: String,
    pub value: String,
    /// May be empty.
    pub note: String,
}

impl DigestRow {
    /// Returns the row as one line.
    pub fn line(&self) -> String {
        match (self.value.is_empty(), self.note.is_empty()) {
            (true, true) => self.name.clone(),
            (true, false) => format!("{}: {}", self.name, self.note),
            (false, true) => format!("{}: {}", self.name, self.value),
            (false, false) => format!("{}: {} ({})", self.name, self.value, self.note),
        }
    }
}

/// Maximum rows of each table, tried in this order until the message fits.
const ROW_STEPS: [usize; 5] = [20, 5, 3, 1, 0];
/// With fewer rows the chart is left out.
const MIN_ROWS_WITH_CHART: usize = 3;
const MAX_IDLE_KEYS: usize = 5;
const MAX_BAR_CHARS: u32 = 24;

/// Renders all of a digest.
pub fn render(envelope: &DigestEnvelope<'_>) -> DigestMessage {
    render_with_rows(envelope, ROW_STEPS[0])
}

/// Renders the longest version that fits.
pub fn fit<T>(
    envelope: &DigestEnvelope<'_>,
    form: impl Fn(&DigestMessage) -> T,
    fits: impl Fn(&T) -> bool,
) -> T {
    let form_in = |n_rows: &usize| form(&render_with_rows(envelope, *n_rows));
    ROW_STEPS
        .iter()
        .map(form_in)
        .find(fits)
        .unwrap_or_else(|| form_in(&0))
}

fn render_with_rows(envelope: &DigestEnvelope<'_>, n_rows: usize) -> DigestMessage {
    let digest = envelope.digest;
    let title = title(digest, formatting::dollars);
    let mut notes: Vec<String> = digest
        .gaps
        .iter()
        .map(|gap| gap_sentence(gap, digest))
        .collect();
    if envelope.now.duration_since(envelope.created_at) > MAX_FRESH_AGE {
        let at = formatting::time(digest.created_at, &digest.zone_name);
        notes.push(format!("Data as of {at}."));
    }
    if let Some(absent) = envelope.in_place_of {
        notes.push(format!(
            "{}.",
            formatting::capitalize(&formatting::fallback_note(absent))
        ));
    }
    if envelope.is_replay {
        notes.push("Sent again on request.".to_owned());
    }
    let chart = if n_rows < MIN_ROWS_WITH_CHART {
        Vec::new()
    } else {
        chart(digest)
    };
    DigestMessage {
        subject: subject_line(digest),
        summary: summary(digest),
        title,
        notes,
        chart,
        sections: sections(digest)
            .into_iter()
            .filter_map(|section| shorten(section, n_rows))
            .collect(),
        page: envelope.links.external_url.clone(),
    }
}

fn shorten(mut section: DigestSection, n_rows: usize) -> Option<DigestSection> {
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

/// Renders the message as plain text.
pub fn plain_text(message: &DigestMessage) -> String {
    let mut lines = vec![message.title.clone(), message.summary.clone()];
    lines.extend(message.notes.iter().cloned());
    if !message.chart.is_empty() {
        lines.push(String::new());
        lines.extend(bars(&message.chart));
    }
    for section in &message.sections {
        lines.extend([String::new(), format!("{}:", section.title)]);
        lines.extend(section.rows.iter().map(|row| format!("- {}", row.line())));
    }
    if let Some(page) = &message.page {
        lines.extend([String::new(), format!("spendwatch: {page}")]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Renders the chart for a fixed-width font. It contains no untrusted text.
pub fn bars(chart: &[ChartBar]) -> Vec<String> {
    let width = |text: fn(&ChartBar) -> &str| {
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

/// Renders a bar as text; even the smallest spend is visible.
pub fn blocks(bar: &ChartBar) -> String {
    "█".repeat((bar.percent * MAX_BAR_CHARS).div_ceil(100) as usize)
}

/// `week 47 of 2026`, or start and end.
fn period(digest: &Digest) -> String {
    match &digest.label {
        Some(label) => periods::period_name(label),
        None => formatting::time_range(digest.span, &digest.zone_name),
    }
}

fn subject_line(digest: &Digest) -> String {
    let spend = title(digest, |usd| formatting::headline(Unit::Usd, usd.pico()));
    format!("[digest] {}", spend.replacen(": ", " ", 1))
}

/// An incomplete sum is not compared, because it would seem to have fallen.
fn title(digest: &Digest, dollars: fn(Usd) -> String) -> String {
    let organization = formatting::clean(digest.organization.as_str());
    let period = match &digest.label {
        Some(label) if label.parse::<Date>().is_ok() => format!("on {}", period(digest)),
        Some(_) => format!("in {}", period(digest)),
        None => format!("from {}", period(digest)),
    };
    if is_spend_unknown(digest) {
        return format!("{organization}: spend {period} is unknown");
    }
    let spend = dollars(digest.spend);
    let unit = unit(digest);
    match digest.before {
        _ if is_lower_bound(digest) => format!("{organization}: at least {spend} {period}"),
        None => format!("{organization}: {spend} {period} (no data for the {unit} before)"),
        Some(before) => {
            let change = comparison(digest.spend, before);
            format!("{organization}: {spend} {period}, {change} the {unit} before")
        }
    }
}

/// `week`: the unit of the digest's period.
fn unit(digest: &Digest) -> &'static str {
    digest.label.as_deref().map_or("period", periods::unit)
}

/// `$600.00 in the week before; month to date $5,630.00, forecast $7,210.00`.
fn summary(digest: &Digest) -> String {
    if is_spend_unknown(digest) {
        return "Not all of the period has been read".to_owned();
    }
    let unit = unit(digest);
    let before = match digest.before {
        Some(before) => format!("{} in the {unit} before", formatting::dollars(before)),
        None => format!("No data for the {unit} before"),
    };
    match &digest.forecast {
        Some(forecast) => format!(
            "{before}; {} to date {}, forecast {}",
            periods::unit(&forecast.label),
            formatting::dollars(forecast.so_far),
            formatting::dollars(forecast.spend)
        ),
        None => before,
    }
}

/// Returns whether no spend is known and data is missing.
pub fn is_spend_unknown(digest: &Digest) -> bool {
    is_lower_bound(digest) && digest.spend == Usd::ZERO
}

fn is_lower_bound(digest: &Digest) -> bool {
    digest.gaps.iter().any(|gap| match gap {
        DataGap::Unread { .. }
        | DataGap::Stale { .. }
        | DataGap::MoreStale { .. }
        | DataGap::Unpriced { .. } => true,
        DataGap::KnownFrom { at } => *at > digest.span.start,
        DataGap::Estimated { .. } => false,
    })
}

fn comparison(spend: Usd, before: Usd) -> String {
    let change = spend - before;
    let direction = if change < Usd::ZERO { "down" } else { "up" };
    match formatting::share(before.pico(), change.abs().pico()) {
        _ if change == Usd::ZERO => "the same as".to_owned(),
        Some(share) => format!("{direction} {share} from"),
        None => format!("{direction} {} from", formatting::dollars(change.abs())),
    }
}

fn gap_sentence(gap: &DataGap, digest: &Digest) -> String {
    let time = |at: Timestamp| formatting::time(at, &digest.zone_name);
    match gap {
        DataGap::Unread { n, n_all } => format!(
            "No data yet for {n} of {}; {} not included.",
            counted(*n_all, "workspace"),
            agreeing(n, "it is", "they are")
        ),
        DataGap::Stale { name, as_of } => format!(
            "Data for {} is only complete up to {}.",
            formatting::clean(name),
            time(*as_of)
        ),
        DataGap::MoreStale { n } => {
            format!("Data for {} is incomplete.", counted(*n, "more workspace"))
        }
        DataGap::KnownFrom { at } => format!("Data is only complete from {} on.", time(*at)),
        DataGap::Estimated { spend } => format!(
            "Includes {} estimated, not yet billed.",
            formatting::dollars(*spend)
        ),
        DataGap::Unpriced { n_tokens } => format!(
            "{} {} no known price and {} not included.",
            group_thousands(&n_tokens.to_string()),
            agreeing(n_tokens, "token has", "tokens have"),
            agreeing(n_tokens, "is", "are")
        ),
    }
}

fn chart(digest: &Digest) -> Vec<ChartBar> {
    let longest = digest.series.iter().map(|(_, spend)| *spend).max();
    let longest = longest.unwrap_or_default().pico().max(1);
    digest
        .series
        .iter()
        .map(|(label, spend)| ChartBar {
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
        Err(_) => periods::period_name(label),
    }
}

fn sections(digest: &Digest) -> Vec<DigestSection> {
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
        row(&format!("Entry {entry}"), &anchor.hash, "")
    });
    rows.collect()
}

fn list_rows<T>(
    all: &Truncated<T>,
    as_row: impl Fn(&T) -> DigestRow,
    what: &str,
) -> Vec<DigestRow> {
    let more = (all.n_more > 0).then(|| row(&format!("and {} more {what}", all.n_more), "", ""));
    all.first.iter().map(as_row).chain(more).collect()
}

fn forecast_rows(digest: &Digest) -> Vec<DigestRow> {
    let forecast_row = |forecast: &Forecast| {
        let name = periods::period_name(&forecast.label);
        let so_far = formatting::dollars(forecast.so_far);
        let note = format!("at the rate of the last 7 days; {so_far} to date");
        row(&name, &formatting::dollars(forecast.spend), &note)
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
        let place = match &key.workspace {
            Some(workspace) => format!("workspace {}", formatting::clean(workspace)),
            None => String::new(),
        };
        row(&formatting::clean(&key.name), &idle, &place)
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

fn row(name: &str, value: &str, note: &str) -> DigestRow {
    DigestRow {
        name: name.to_owned(),
        value: value.to_owned(),
        note: note.to_owned(),
    }
}

fn display_name(name: &str) -> String {
    match name {
        UNATTRIBUTED => "unattributed".to_owned(),
        UNASSIGNED => "unassigned".to_owned(),
        _ => formatting::clean(name),
    }
}

fn spend_row(line: &SubjectSpend, whole: Usd) -> DigestRow {
    let share = formatting::share(whole.pico(), line.spend.pico());
    let change = line.before.and_then(|before| change(line.spend, before));
    let notes: Vec<String> = share.into_iter().chain(change).collect();
    row(
        &display_name(&line.name),
        &formatting::dollars(line.spend),
        &notes.join(", "),
    )
}

/// `+12.5%`, `-3.0%`, `new`; `None` without a previous amount.
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

fn mover_row(line: &SubjectSpend) -> DigestRow {
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
        &display_name(&line.name),
        &format!("{sign}{}", formatting::dollars(moved)),
        &note,
    )
}

fn subject(subject: &Subject, name: &str) -> String {
    format!(
        "{} {}",
        formatting::kind_name(subject.kind),
        display_name(name)
    )
}

fn limit_row(used: &LimitUse) -> DigestRow {
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

fn alert_row(alert: &OpenAlert, digest: &Digest) -> DigestRow {
    let mut subject = subject(&alert.subject, &alert.name);
    let mut note = match alert.event {
        None => format!("at {}", formatting::clean(&alert.threshold)),
        Some(event) => {
            subject = events::with_event(event, &subject);
            event.to_string()
        }
    };
    if let Some(since) = alert.since {
        note = format!(
            "{note}, since {}",
            formatting::time(since, &digest.zone_name)
        );
    }
    row(
        &format!("{}, {subject}", formatting::clean(alert.rule.as_str()),),
        alert.severity.as_str(),
        &note,
    )
}
