//! The pace: what a whole period would cost if it went on as in the last complete hours. A budget is meant to be used, so a
//! rule's thresholds are multiples of it.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::domain::frame::FrameKey;
use crate::domain::knowledge::Figure;
use crate::domain::measure::Measurement;
use crate::domain::period::{self, Period, Zone};
use crate::domain::rule::{Quantity, Rule};

/// The frame of one window.
pub(super) fn frame_key(hours: u32) -> FrameKey {
    FrameKey {
        period: Period::Complete(hours),
        zone: Zone::utc(),
    }
}

/// From what was spent in both windows: the lesser of the two paces counts, as both must be crossed.
pub(super) fn paces(
    rule: &Rule,
    long: Vec<Measurement>,
    short: &[Measurement],
    now: Timestamp,
) -> Vec<Measurement> {
    let hours = period_hours(rule, now);
    let short: HashMap<_, _> = short
        .iter()
        .map(|measured| (&measured.subject, measured.figure))
        .collect();
    let pace = |mut measured: Measurement| {
        let spent = measured.figure;
        // Who spent nothing in the short window has no figure there.
        let recent = short
            .get(&measured.subject)
            .copied()
            .unwrap_or(Figure::Known(0));
        let is_little = spent
            .value()
            .is_none_or(|value| value < rule.min_usd.pico());
        let at = |figure: Figure, window: u32| {
            figure.map(|value| {
                let whole = value.saturating_mul(hours);
                if is_little {
                    0
                } else {
                    whole / Quantity::from(window)
                }
            })
        };
        measured.figure = lesser(at(spent, rule.windows.long), at(recent, rule.windows.short));
        // What is spent may be corrected; a pace is only ever over.
        measured.fell = false;
        measured
    };
    long.into_iter().map(pace).collect()
}

/// The hours of the period in which a moment lies: 672 to 745 in a month.
fn period_hours(rule: &Rule, now: Timestamp) -> Quantity {
    let span = period::cut(rule.period, &rule.zone.rules, now).span;
    Quantity::from(span.duration().as_hours())
}

/// As far as both are known.
fn lesser(one: Figure, other: Figure) -> Figure {
    match (one, other) {
        (Figure::Unknown, _) | (_, Figure::Unknown) => Figure::Unknown,
        (Figure::Stale(a), b) | (b, Figure::Stale(a)) => {
            Figure::Stale(b.value().map_or(a, |b| a.min(b)))
        }
        (Figure::Known(a), Figure::Known(b)) => Figure::Known(a.min(b)),
        (Figure::AtLeast(a), Figure::Known(b) | Figure::AtLeast(b))
        | (Figure::Known(a), Figure::AtLeast(b)) => Figure::AtLeast(a.min(b)),
    }
}
