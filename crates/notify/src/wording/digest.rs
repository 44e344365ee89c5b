//! A digest as text for people: two lines, a chart and short tables, shared by all receivers.
//!
//! Names are already cleaned; each receiver escapes the texts for its own format.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::envelope::{Links, MAX_FRESH_AGE};
use crate::wording::message::{Highlight, Message};
use crate::wording::tables::{DigestRow, DigestSection};
use crate::wording::{digest_sections, formatting, periods};
use spendwatch_domain::digest::{DataGap, Digest};
use spendwatch_domain::rules::watch::Unit;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::{Usd, group_thousands};
use spendwatch_domain::units::plural::{agreeing, counted};

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

/// Maximum rows of each table, tried in this order until the message fits.
const ROW_STEPS: [usize; 5] = [20, 5, 3, 1, 0];
/// With fewer rows the chart is left out.
const MIN_ROWS_WITH_CHART: usize = 3;

/// Renders all of a digest.
pub fn render(envelope: &DigestEnvelope<'_>) -> Message {
    render_with_rows(envelope, ROW_STEPS[0])
}

/// Renders the longest version that fits.
pub fn fit<T>(
    envelope: &DigestEnvelope<'_>,
    form: impl Fn(&Message) -> T,
    fits: impl Fn(&T) -> bool,
) -> T {
    let form_in = |n_rows: &usize| form(&render_with_rows(envelope, *n_rows));
    ROW_STEPS
        .iter()
        .map(form_in)
        .find(fits)
        .unwrap_or_else(|| form_in(&0))
}

fn render_with_rows(envelope: &DigestEnvelope<'_>, n_rows: usize) -> Message {
    let digest = envelope.digest;
    let gaps = digest.gaps.iter();
    let mut notes: Vec<String> = gaps.map(|gap| gap_sentence(gap, digest)).collect();
    if envelope.now.duration_since(envelope.created_at) > MAX_FRESH_AGE {
        let at = formatting::time(digest.created_at, &digest.zone_name);
        notes.push(format!("Data as of {at}."));
    }
    if let Some(absent) = envelope.in_place_of {
        let note = formatting::capitalize(&formatting::fallback_note(absent));
        notes.push(format!("{note}."));
    }
    if envelope.is_replay {
        notes.push("Sent again on request.".to_owned());
    }
    let chart = if n_rows < MIN_ROWS_WITH_CHART {
        Vec::new()
    } else {
        digest_sections::chart(digest)
    };
    let sections = digest_sections::sections(digest).into_iter();
    Message {
        subject: subject_line(digest),
        title: title(digest, formatting::dollars),
        summary: summary(digest),
        notes,
        highlight: Highlight::Digest,
        fields: Vec::new(),
        top: Vec::new(),
        groups: Vec::new(),
        more: None,
        chart,
        sections: sections
            .filter_map(|section| shorten(section, n_rows))
            .collect(),
        advice: Vec::new(),
        page: envelope.links.external_url.clone(),
    }
}

fn shorten(mut section: DigestSection, n_rows: usize) -> Option<DigestSection> {
    let n_cut = section.rows.len().saturating_sub(n_rows);
    section.rows.truncate(n_rows);
    if section.rows.is_empty() {
        return None;
    }
    if n_cut > 0 {
        let more = format!("and {}", counted(n_cut, "more row"));
        section.rows.push(DigestRow::new(more, "", ""));
    }
    Some(section)
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
