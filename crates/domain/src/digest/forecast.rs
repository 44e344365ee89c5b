//! Expected spend of the current month, as a digest states it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::digest::{Forecast, sum};
use crate::units::money::Usd;
use crate::units::period::{self, Period, PeriodSpan};
use crate::units::span::{Hour, HourSpan};
use crate::usage::bucket::UsageRow;

/// Hours whose spend a forecast extrapolates: seven days, so that one weekend is included.
pub const FORECAST_HOURS: i32 = 7 * 24;

/// Hours that a forecast needs, up to the newest settled hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForecastSpans {
    pub month: PeriodSpan,
    /// Settled part of the month.
    pub so_far: HourSpan,
    /// Week up to the end of the newest settled hour.
    pub last_week: HourSpan,
}

/// Returns the hours that a forecast needs at `now`; `newest` is the newest settled hour.
pub fn forecast_spans(zone: &TimeZone, newest: Hour, now: Timestamp) -> ForecastSpans {
    let month = period::containing(Period::Month, zone, now);
    let (start, end) = (month.span.hours().start, newest.plus(1));
    ForecastSpans {
        so_far: HourSpan {
            start,
            end: end.max(start),
        },
        last_week: HourSpan {
            start: end.plus(-FORECAST_HOURS),
            end,
        },
        month,
    }
}

/// Extrapolates the average hour of the last week to the end of the month. Returns `None` if tokens have no price, because
/// their spend is missing.
pub fn forecast(
    spans: &ForecastSpans,
    so_far: &[UsageRow],
    last_week: &[UsageRow],
) -> Option<Forecast> {
    let n_left = spans.month.span.hours().end.count() - spans.so_far.end.count();
    let (so_far, last_week) = (sum(so_far), sum(last_week));
    if so_far.unpriced > 0 || last_week.unpriced > 0 {
        return None;
    }
    let more = last_week.spend.pico() * i128::from(n_left) / i128::from(FORECAST_HOURS);
    Some(Forecast {
        label: spans.month.label.clone()?,
        spend: so_far.spend + Usd::from_pico(more),
        so_far: so_far.spend,
    })
}
