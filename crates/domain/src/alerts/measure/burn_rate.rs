//! Measures burn rate: the spend of a whole period at the rate of the last complete hours. Budgets are meant to be used, so
//! the thresholds of such rules are usually multiples of the limit.

use std::collections::HashMap;

use crate::alerts::measure::Measurement;
use crate::figures::figure::Figure;
use crate::figures::period_sums::PeriodKey;
use crate::rules::rule::Windows;
use crate::rules::watch::Quantity;
use crate::units::money::Usd;
use crate::units::period::{Period, Zone};
use crate::units::span::Span;

pub(super) fn frame_key(hours: u32) -> PeriodKey {
    PeriodKey {
        period: Period::Complete(hours),
        zone: Zone::utc(),
    }
}

/// Derives burn rates from the spend of both windows, for a period such as the current month. The lower one counts, because a
/// threshold must be crossed in both.
pub(super) fn burn_rates(
    long: Vec<Measurement>,
    short: &[Measurement],
    windows: Windows,
    min_usd: Usd,
    period: Span,
) -> Vec<Measurement> {
    let hours = Quantity::from(period.duration().as_hours());
    let short: HashMap<_, _> = short
        .iter()
        .map(|measurement| (&measurement.subject, measurement.figure))
        .collect();
    let burn_rate = |mut measurement: Measurement| {
        let spent = measurement.figure;
        // Subjects without spend in the short window have no figure there.
        let recent = short
            .get(&measurement.subject)
            .copied()
            .unwrap_or(Figure::Known(0));
        let is_below_minimum = spent.value().is_none_or(|value| value < min_usd.pico());
        let scaled = |figure: Figure, window: u32| {
            figure.map(|value| {
                let whole = value.saturating_mul(hours);
                if is_below_minimum {
                    0
                } else {
                    whole / Quantity::from(window)
                }
            })
        };
        measurement.figure = lower(scaled(spent, windows.long), scaled(recent, windows.short));
        // Only spend is corrected; a burn rate always ends as cleared.
        measurement.is_corrected_down = false;
        measurement
    };
    long.into_iter().map(burn_rate).collect()
}

fn lower(one: Figure, other: Figure) -> Figure {
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
