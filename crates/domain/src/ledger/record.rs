//! Records a response in the ledger: derives daily rows, pending removals of what vanished, and coverage.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::ledger::change::{PartChanges, StoredUsage, compare, set};
use crate::ledger::coverage::{Coverage, DaySpan, Purpose, is_day_settled, is_settled};
use crate::org::directory::PendingRemoval;
use crate::units::money::Usd;
use crate::units::span::{Day, Hour, HourSpan};
use crate::usage::bucket::{
    Amounts, Basis, Buckets, Granularity, Tokens, UsageByKey, UsageKey, UsageResponse, add_to,
    at_least, by_model, difference, sum,
};
use crate::usage::shares::spread;

/// Tolerance per hour row for the rounding difference between a day and its hours: 10⁻⁶ USD.
const ROUNDING: Usd = Usd::from_pico(1_000_000);

/// Returns what a response changes. `stored` must contain the part's rows of all days of the response; `polled_at` is
/// the start of the poll.
pub fn record(
    response: &UsageResponse,
    purpose: Purpose,
    coverage: &Coverage,
    stored: &StoredUsage,
    settle: SignedDuration,
    polled_at: Timestamp,
) -> PartChanges {
    let mut after = stored.clone();
    let mut next = coverage.clone();
    let is_complete = match response.granularity {
        Granularity::Hour => {
            let vanished = replace(
                &mut after.hours,
                &mut after.pending_removals,
                response,
                |_| true,
                &[],
                |_| UsageByKey::new(),
                polled_at,
            );
            let known_until = response.known_until.unwrap_or(polled_at);
            cover_hours(&mut next, response, purpose, vanished == 0, known_until);
            vanished == 0
        }
        Granularity::Day => {
            let is_wanted = |hour: Hour| {
                is_day_settled(hour.day(), polled_at) || !coverage.is_hourly(hour.day())
            };
            let estimated = match response.basis {
                Basis::ByRow | Basis::ByHour => Vec::new(),
                Basis::ByDay => estimated_days(&after, response.hours),
            };
            let hours_of = |hour: Hour| match coverage.is_hourly(hour.day()) {
                true => counted_hours(stored, hour.day()),
                false => UsageByKey::new(),
            };
            let vanished = replace(
                &mut after.days,
                &mut after.pending_removals,
                response,
                is_wanted,
                &estimated,
                hours_of,
                polled_at,
            );
            mark_rechecks(&mut next, stored, &after, response, coverage, polled_at);
            cover_days(&mut next, response, purpose, polled_at);
            vanished == 0
        }
    };
    match response.basis {
        Basis::ByRow | Basis::ByHour => {}
        Basis::ByDay => spread_bills(&mut after, &next, response.hours),
    }
    // A day with a pending removal but without a row is not booked against its hours.
    let undecided: BTreeSet<Day> = after
        .pending_removals
        .keys()
        .filter(|(granularity, hour)| {
            *granularity == Granularity::Day && !after.days.contains_key(hour)
        })
        .map(|(_, hour)| hour.day())
        .collect();
    book(&mut after, &next, response.hours, &undecided);
    clear_unreadable_hours(&mut after.pending_removals, &next, response.hours);
    let mut recorded = compare(stored, &after, coverage, next, settle, is_complete);
    if response.granularity == Granularity::Hour {
        recorded
            .touched
            .extend(newly_settled(response.hours, coverage, settle, polled_at));
    }
    recorded
}

/// Returns what a derived remainder changes in the given buckets. `next` is the coverage of the whole; days in
/// `undecided` keep their booked difference, because their day row cannot be derived yet.
pub fn record_remainder(
    buckets: &BTreeMap<(Granularity, Hour), UsageByKey>,
    before: &Coverage,
    next: Coverage,
    days: HourSpan,
    undecided: &BTreeSet<Day>,
    stored: &StoredUsage,
    settle: SignedDuration,
) -> PartChanges {
    let mut after = stored.clone();
    for ((granularity, hour), usage) in buckets {
        let rows = match granularity {
            Granularity::Hour => &mut after.hours,
            Granularity::Day => &mut after.days,
        };
        set(rows, *hour, usage.clone());
    }
    book(&mut after, &next, days, undecided);
    compare(stored, &after, before, next, settle, true)
}

/// Subtracts the listed workspaces from the whole in one bucket. Unsettled amounts are clamped at 0, because the whole
/// and its parts are read at different times; settled ones may be negative.
pub fn remainder(whole: &UsageByKey, listed: &UsageByKey, is_settled: bool) -> UsageByKey {
    let rest = difference(whole, listed);
    if is_settled {
        return rest;
    }
    let total = sum(&rest);
    let zeros = Amounts::ZERO;
    let is_below = total.zip(
        &zeros,
        |total, zero| {
            if total < zero {
                Usd::from_pico(1)
            } else {
                zero
            }
        },
        |total, zero| i64::from(total < zero),
    );
    let mut usage = UsageByKey::new();
    for (usage_key, amounts) in &rest {
        let kept = amounts.zip(
            &is_below,
            |amount, below| if below > Usd::ZERO { Usd::ZERO } else { amount },
            |count, below| if below > 0 { 0 } else { count },
        );
        add_to(&mut usage, usage_key, kept);
    }
    usage
}

/// Returns the sum of a day's hours and its booked difference.
fn counted_hours(stored: &StoredUsage, day: Day) -> UsageByKey {
    let mut usage = UsageByKey::new();
    let hours = stored.hours.range(day.first_hour()..=day.last_hour());
    let booked = stored.booked.get(&day.last_hour());
    for of in hours.map(|(_, usage)| usage).chain(booked) {
        for (usage_key, amounts) in of {
            add_to(&mut usage, usage_key, *amounts);
        }
    }
    usage
}

/// Removes the unreadable marks of hours of days whose day row is known.
fn clear_unreadable_hours(
    pending_removals: &mut BTreeMap<(Granularity, Hour), PendingRemoval>,
    next: &Coverage,
    hours: HourSpan,
) {
    let is_pending = |day: Day, pending_removals: &BTreeMap<_, PendingRemoval>| {
        pending_removals.contains_key(&(Granularity::Day, day.first_hour()))
    };
    let mut day = hours.start.day();
    while day.first_hour() < hours.end {
        if next.has_day(day) && !is_pending(day, pending_removals) {
            pending_removals.retain(|(granularity, hour), pending| {
                let is_hour = *granularity == Granularity::Hour && hour.day() == day;
                !(is_hour && pending.is_unreadable())
            });
        }
        day = day.plus(1);
    }
}

/// Returns days whose hours have spend, billed or estimated.
fn estimated_days(stored: &StoredUsage, hours: HourSpan) -> Vec<Hour> {
    let spent = stored
        .hours
        .range(hours.start..hours.end)
        .filter(|(_, usage)| sum(usage).spend != Usd::ZERO);
    let days: BTreeSet<Hour> = spent.map(|(hour, _)| hour.day().first_hour()).collect();
    days.into_iter().collect()
}

/// Distributes each known daily bill to the hours of its day. Days with a missing bill keep their estimate until the
/// bill is certain to be absent.
fn spread_bills(after: &mut StoredUsage, next: &Coverage, hours: HourSpan) {
    let none = UsageByKey::new();
    let mut day = hours.start.day();
    while day.first_hour() < hours.end {
        let first = day.first_hour();
        let is_pending = after
            .pending_removals
            .contains_key(&(Granularity::Day, first));
        if next.is_hourly(day) && next.has_day(day) && !is_pending {
            let bill = after.days.get(&first).unwrap_or(&none);
            spread(bill, &mut after.hours, day);
        }
        day = day.plus(1);
    }
}

/// Replaces rows with the reported ones, and marks as pending removals those that are missing but known to be above
/// zero, including the buckets in `estimated`. Unreadable buckets keep at least their known amounts; `known_without_row` returns
/// these for buckets without a row. Returns the number of buckets that vanished but are still pending.
fn replace(
    rows: &mut Buckets,
    pending_removals: &mut BTreeMap<(Granularity, Hour), PendingRemoval>,
    response: &UsageResponse,
    is_wanted: impl Fn(Hour) -> bool,
    estimated: &[Hour],
    known_without_row: impl Fn(Hour) -> UsageByKey,
    polled_at: Timestamp,
) -> usize {
    let is_requested = |hour: &Hour| response.hours.contains(*hour) && is_wanted(*hour);
    let is_readable = |hour: &Hour| is_requested(hour) && !response.unknown.contains(hour);
    keep_unreadable(
        rows,
        pending_removals,
        response,
        is_requested,
        known_without_row,
        polled_at,
    );
    let known: BTreeSet<Hour> = rows
        .keys()
        .chain(estimated)
        .copied()
        .filter(is_readable)
        .collect();
    let reported: Vec<(&Hour, &UsageByKey)> = response
        .buckets
        .iter()
        .filter(|(hour, usage)| {
            is_readable(hour) && !lacks_spend(response.basis, rows, estimated, **hour, usage)
        })
        .collect();
    let mut vanished = known;
    for (hour, usage) in reported {
        vanished.remove(hour);
        pending_removals.remove(&(response.granularity, *hour));
        set(rows, *hour, usage.clone());
    }
    let mut n_pending = 0;
    for hour in vanished {
        let key = (response.granularity, hour);
        let pending = PendingRemoval::again(pending_removals.get(&key).copied(), polled_at);
        if pending.is_certain(polled_at) {
            pending_removals.remove(&key);
            let usage = response.buckets.get(&hour).cloned().unwrap_or_default();
            set(rows, hour, usage);
        } else {
            pending_removals.insert(key, pending);
            n_pending += 1;
        }
    }
    pending_removals.retain(|(granularity, hour), pending| {
        let is_settled = *granularity == response.granularity && is_readable(hour);
        !(is_settled && pending.is_unreadable())
    });
    n_pending
}

/// Keeps the known amounts of unreadable buckets, and adds what is reported beyond them.
fn keep_unreadable(
    rows: &mut Buckets,
    pending_removals: &mut BTreeMap<(Granularity, Hour), PendingRemoval>,
    response: &UsageResponse,
    is_requested: impl Fn(&Hour) -> bool,
    known_without_row: impl Fn(Hour) -> UsageByKey,
    polled_at: Timestamp,
) {
    let none = UsageByKey::new();
    for hour in response.unknown.iter().filter(|hour| is_requested(hour)) {
        let reported = response.buckets.get(hour).unwrap_or(&none);
        let known = rows
            .get(hour)
            .cloned()
            .unwrap_or_else(|| known_without_row(*hour));
        let kept = at_least(&known, reported);
        if rows.contains_key(hour) || kept != known {
            set(rows, *hour, kept);
        }
        let pending = pending_removals.entry((response.granularity, *hour));
        let pending = pending.or_insert_with(|| PendingRemoval::unreadable(polled_at));
        if !pending.is_unreadable() {
            *pending = PendingRemoval::unreadable(polled_at);
        }
    }
}

/// Returns whether a bucket lacks the spend that it had, where spend is reported in separate rows.
fn lacks_spend(
    basis: Basis,
    rows: &Buckets,
    estimated: &[Hour],
    hour: Hour,
    usage: &UsageByKey,
) -> bool {
    let had_spend = || {
        let known = rows.get(&hour).map(sum).unwrap_or_default();
        known.spend != Usd::ZERO || estimated.contains(&hour)
    };
    basis != Basis::ByRow && sum(usage).spend == Usd::ZERO && had_spend()
}

fn cover_hours(
    next: &mut Coverage,
    response: &UsageResponse,
    purpose: Purpose,
    is_complete: bool,
    known_until: Timestamp,
) {
    let first = response.hours.start.day();
    match purpose {
        Purpose::OpenHours => {
            next.hours_from = Some(next.hours_from.map_or(first, |from| from.min(first)));
            if is_complete {
                next.as_of = Some(
                    next.as_of
                        .map_or(known_until, |as_of| as_of.max(known_until)),
                );
            }
        }
        Purpose::FirstHours => {
            next.hours_from = Some(next.hours_from.map_or(first, |from| from.min(first)));
        }
        Purpose::Recheck
        | Purpose::FirstDays
        | Purpose::EarlierCorrections
        | Purpose::Corrections => {
            next.recheck.remove(&first);
        }
    }
}

fn cover_days(
    next: &mut Coverage,
    response: &UsageResponse,
    purpose: Purpose,
    polled_at: Timestamp,
) {
    let first = response.hours.start.day();
    let mut end = response.hours.end.day();
    while end > first && !is_day_settled(end.plus(-1), polled_at) {
        end = end.plus(-1);
    }
    next.days = Some(match next.days {
        // A response that begins after a gap does not fill it: the newer days count.
        Some(days) if first <= days.end && end >= days.start => DaySpan {
            start: days.start.min(first),
            end: days.end.max(end),
        },
        Some(_) | None => DaySpan { start: first, end },
    });
    if matches!(purpose, Purpose::Corrections | Purpose::FirstDays) {
        next.corrected_at = Some(polled_at);
    }
}

/// Marks days for a recheck if their row changed, or differs from their hours by more than rounding.
fn mark_rechecks(
    next: &mut Coverage,
    before: &StoredUsage,
    after: &StoredUsage,
    response: &UsageResponse,
    coverage: &Coverage,
    polled_at: Timestamp,
) {
    let mut day = response.hours.start.day();
    while day < response.hours.end.day() {
        let reported = after
            .days
            .get(&day.first_hour())
            .cloned()
            .unwrap_or_default();
        let is_readable = !response.unknown.contains(&day.first_hour());
        if is_readable && coverage.is_hourly(day) && is_day_settled(day, polled_at) {
            let known = before
                .days
                .get(&day.first_hour())
                .cloned()
                .unwrap_or_default();
            let is_changed = coverage.has_day(day) && !is_same(response.basis, &known, &reported);
            if is_changed || !agrees_with_hours(response.basis, &reported, before, day) {
                next.recheck.insert(day);
            }
        }
        day = day.plus(1);
    }
}

/// Returns whether each model is unchanged. Users, keys and bills that change are no reason to read the hours again.
fn is_same(basis: Basis, known: &UsageByKey, reported: &UsageByKey) -> bool {
    let (known, reported) = (by_model(known), by_model(reported));
    match basis {
        Basis::ByRow | Basis::ByHour => known == reported,
        Basis::ByDay => {
            let tokens = |usage: UsageByKey| -> Vec<(UsageKey, Tokens)> {
                let tokens = usage
                    .into_iter()
                    .map(|(usage_key, used)| (usage_key, used.tokens));
                let used = tokens.filter(|(_, tokens)| *tokens != Tokens::default());
                used.collect()
            };
            tokens(known) == tokens(reported)
        }
    }
}

fn agrees_with_hours(basis: Basis, reported: &UsageByKey, before: &StoredUsage, day: Day) -> bool {
    let hours = before.hours.range(day.first_hour()..=day.last_hour());
    let n_rows = hours.clone().count().max(1);
    let booked = before
        .booked
        .get(&day.last_hour())
        .map(sum)
        .unwrap_or_default();
    let counted = hours.fold(booked, |total, (_, usage)| total + sum(usage));
    match basis {
        Basis::ByRow | Basis::ByHour => {}
        Basis::ByDay => return sum(reported).tokens == counted.tokens,
    }
    let gap = (sum(reported).spend - counted.spend).abs();
    let tolerance = ROUNDING.pico() * i128::try_from(n_rows).expect("a day has 24 hours");
    gap.pico() <= tolerance
}

/// Books the difference between a settled day row and the day's hours on its last hour. A day row read before it was
/// settled is removed once the hours are known.
fn book(after: &mut StoredUsage, next: &Coverage, days: HourSpan, undecided: &BTreeSet<Day>) {
    let mut day = days.start.day();
    while day.first_hour() < days.end {
        if next.is_hourly(day) && !undecided.contains(&day) {
            if next.has_day(day) {
                let mut rest = after
                    .days
                    .get(&day.first_hour())
                    .cloned()
                    .unwrap_or_default();
                for (_, usage) in after.hours.range(day.first_hour()..=day.last_hour()) {
                    rest = difference(&rest, usage);
                }
                set(&mut after.booked, day.last_hour(), rest);
            } else {
                after.booked.remove(&day.last_hour());
                after.days.remove(&day.first_hour());
            }
        }
        day = day.plus(1);
    }
}

fn newly_settled(
    hours: HourSpan,
    coverage: &Coverage,
    settle: SignedDuration,
    polled_at: Timestamp,
) -> impl Iterator<Item = (Granularity, Hour)> {
    let is_new = move |hour: &Hour| {
        is_settled(*hour, settle, polled_at) && !coverage.has_settled(*hour, settle)
    };
    (hours.start.count()..hours.end.count())
        .map(Hour::from_count)
        .filter(is_new)
        .map(|hour| (Granularity::Hour, hour))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::change::{RowKind, effective};
    use crate::usage::bucket::Part;

    const SETTLE: SignedDuration = SignedDuration::from_mins(10);
    const START: i64 = 1_790_000_000 - 1_790_000_000 % 86_400;

    fn response(granularity: Granularity, first: i64, n_days: i64, picos: &[i64]) -> UsageResponse {
        let day = Day::containing(Timestamp::from_second(START).unwrap())
            .plus(i32::try_from(first).unwrap());
        let end = day.plus(i32::try_from(n_days).unwrap());
        let step = if granularity == Granularity::Hour {
            1
        } else {
            24
        };
        let mut buckets = Buckets::new();
        for (place, pico) in picos.iter().enumerate() {
            let hour = day.first_hour().plus(i32::try_from(place).unwrap() * step);
            if hour < end.first_hour() && *pico > 0 {
                let spend = Usd::from_pico(i128::from(*pico) * 1_000_000_000);
                buckets.insert(
                    hour,
                    UsageByKey::from([(
                        "m".into(),
                        Amounts {
                            spend,
                            ..Amounts::ZERO
                        },
                    )]),
                );
            }
        }
        let hours = HourSpan {
            start: day.first_hour(),
            end: end.first_hour(),
        };
        UsageResponse {
            part: Part::Whole,
            granularity,
            hours,
            buckets,
            basis: Basis::ByRow,
            known_until: None,
            unknown: BTreeSet::new(),
        }
    }

    /// Applies recorded changes like the store does.
    fn apply(stored: &mut StoredUsage, recorded: &PartChanges) {
        for row in &recorded.rows {
            let rows = match row.kind {
                RowKind::Hour => &mut stored.hours,
                RowKind::Booked => &mut stored.booked,
                RowKind::Day => &mut stored.days,
            };
            let mut usage = rows.get(&row.hour).cloned().unwrap_or_default();
            usage.insert(row.usage_key.clone(), row.amounts);
            set(rows, row.hour, usage);
        }
        for (key, pending) in &recorded.pending_removals {
            match pending {
                Some(pending) => stored.pending_removals.insert(*key, *pending),
                None => stored.pending_removals.remove(key),
            };
        }
    }

    fn total(buckets: &Buckets) -> Usd {
        buckets.values().map(|usage| sum(usage).spend).sum()
    }

    /// The first bill leaves out estimated usage, which is kept until the absence is certain.
    #[test]
    fn a_bill_that_omits_estimated_usage_removes_it_only_when_certain() {
        let polled_at = |hours: i64| Timestamp::from_second(START + hours * 3600).unwrap();
        let by_day = |granularity, picos: &[i64]| UsageResponse {
            basis: Basis::ByDay,
            ..response(granularity, 0, 1, picos)
        };
        let (mut stored, known) = (StoredUsage::default(), Coverage::new(polled_at(0)));
        let hours = by_day(Granularity::Hour, &[3, 4]);
        let reported = record(
            &hours,
            Purpose::OpenHours,
            &known,
            &stored,
            SETTLE,
            polled_at(25),
        );
        apply(&mut stored, &reported);
        let before = total(&effective(&stored, &reported.coverage));
        assert!(before > Usd::ZERO);
        let bill = by_day(Granularity::Day, &[]);
        let mut known = reported.coverage;
        for poll in 0..3 {
            let reported = record(
                &bill,
                Purpose::Corrections,
                &known,
                &stored,
                SETTLE,
                polled_at(31 + poll),
            );
            apply(&mut stored, &reported);
            known = reported.coverage.clone();
            let now = total(&effective(&stored, &known));
            let expected = if poll < 2 { before } else { Usd::ZERO };
            assert_eq!((now, reported.is_complete), (expected, poll == 2));
        }
    }

    proptest! {
        #[test]
        fn deltas_match_the_sums_and_repeated_responses_change_nothing(
            steps in prop::collection::vec(
                (any::<bool>(), 0i64..4, 1i64..4, prop::collection::vec(0i64..5, 1..60), 1i64..90_000),
                1..8,
            ),
        ) {
            let mut stored = StoredUsage::default();
            let mut coverage = Coverage::new(Timestamp::from_second(START).unwrap());
            let mut summed = Usd::ZERO;
            let mut at = START + 4 * 86_400;
            for (is_hourly, first, n_days, picos, passed) in steps {
                at += passed;
                let polled_at = Timestamp::from_second(at).unwrap();
                let (granularity, purpose) = if is_hourly {
                    (Granularity::Hour, Purpose::OpenHours)
                } else {
                    (Granularity::Day, Purpose::Corrections)
                };
                let response = response(granularity, first, n_days, &picos);
                let recorded = record(&response, purpose, &coverage, &stored, SETTLE, polled_at);
                apply(&mut stored, &recorded);
                coverage = recorded.coverage.clone();
                summed += recorded.deltas.iter().map(|delta| delta.amounts.spend).sum();
                prop_assert_eq!(summed, total(&effective(&stored, &coverage)));
                let again = record(&response, purpose, &coverage, &stored, SETTLE, polled_at);
                if recorded.is_complete {
                    prop_assert_eq!(again.rows, vec![]);
                    prop_assert_eq!(again.deltas, vec![]);
                }
            }
        }

        #[test]
        fn remainder_and_parts_sum_to_the_whole(whole in 0i64..1000, listed in 0i64..1000, is_settled: bool) {
            let usage = |pico: i64| UsageByKey::from([(
                "m".into(),
                Amounts { spend: Usd::from_pico(i128::from(pico)), requests: pico, ..Amounts::ZERO },
            )]);
            let rest = sum(&remainder(&usage(whole), &usage(listed), is_settled));
            let expected = if is_settled { whole - listed } else { (whole - listed).max(0) };
            prop_assert_eq!(rest.spend.pico(), i128::from(expected));
            prop_assert_eq!(rest.requests, expected);
        }
    }
}
