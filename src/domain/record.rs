//! What one answer changes in the ledger: what the days say after it, doubts about what vanished, and coverage.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::change::{Recorded, Stored, compare, set};
use crate::domain::coverage::{Coverage, DaySpan, Purpose, is_day_settled, is_settled};
use crate::domain::directory::Doubt;
use crate::domain::money::Usd;
use crate::domain::shares::spread;
use crate::domain::span::{Day, Hour, HourSpan};
use crate::domain::usage::{
    Amounts, Answer, Basis, Buckets, Cell, Cells, Granularity, Tokens, add_to, at_least, by_model,
    difference, sum,
};

/// Up to so much per hour row a day may differ from its hours by rounding: 10⁻⁶ USD.
const ROUNDING: Usd = Usd::from_pico(1_000_000);

/// What an answer changes. `stored` holds the part's rows in all days of the answer; `polled_at` is the start of the poll.
pub fn record(
    answer: &Answer,
    purpose: Purpose,
    coverage: &Coverage,
    stored: &Stored,
    settle: SignedDuration,
    polled_at: Timestamp,
) -> Recorded {
    let mut after = stored.clone();
    let mut next = coverage.clone();
    let is_complete = match answer.granularity {
        Granularity::Hour => {
            let vanished = replace(
                &mut after.hours,
                &mut after.doubts,
                answer,
                |_| true,
                &[],
                |_| Cells::new(),
                polled_at,
            );
            let known_until = answer.known_until.unwrap_or(polled_at);
            cover_hours(&mut next, answer, purpose, vanished == 0, known_until);
            vanished == 0
        }
        Granularity::Day => {
            let is_wanted = |hour: Hour| {
                is_day_settled(hour.day(), polled_at) || !coverage.is_hourly(hour.day())
            };
            let estimated = match answer.basis {
                Basis::ByRow | Basis::ByHour => Vec::new(),
                Basis::ByDay => estimated_days(&after, answer.hours),
            };
            let hours_of = |hour: Hour| match coverage.is_hourly(hour.day()) {
                true => counted_hours(stored, hour.day()),
                false => Cells::new(),
            };
            let vanished = replace(
                &mut after.days,
                &mut after.doubts,
                answer,
                is_wanted,
                &estimated,
                hours_of,
                polled_at,
            );
            note_rechecks(&mut next, stored, &after, answer, coverage, polled_at);
            cover_days(&mut next, answer, purpose, polled_at);
            vanished == 0
        }
    };
    match answer.basis {
        Basis::ByRow | Basis::ByHour => {}
        Basis::ByDay => spread_bills(&mut after, &next, answer.hours),
    }
    // A day in doubt that has no row of its own is not booked against its hours.
    let undecided: BTreeSet<Day> = after
        .doubts
        .keys()
        .filter(|(granularity, hour)| {
            *granularity == Granularity::Day && !after.days.contains_key(hour)
        })
        .map(|(_, hour)| hour.day())
        .collect();
    book(&mut after, &next, answer.hours, &undecided);
    trust_days(&mut after.doubts, &next, answer.hours);
    let mut recorded = compare(stored, &after, coverage, next, settle, is_complete);
    if answer.granularity == Granularity::Hour {
        recorded
            .touched
            .extend(newly_settled(answer.hours, coverage, settle, polled_at));
    }
    recorded
}

/// What a derived remainder changes: the buckets given, and nothing else. `next` is the coverage of the whole; days in
/// `undecided` keep what is booked, because their own row cannot be derived yet.
pub fn record_remainder(
    buckets: &BTreeMap<(Granularity, Hour), Cells>,
    before: &Coverage,
    next: Coverage,
    days: HourSpan,
    undecided: &BTreeSet<Day>,
    stored: &Stored,
    settle: SignedDuration,
) -> Recorded {
    let mut after = stored.clone();
    for ((granularity, hour), cells) in buckets {
        let rows = match granularity {
            Granularity::Hour => &mut after.hours,
            Granularity::Day => &mut after.days,
        };
        set(rows, *hour, cells.clone());
    }
    book(&mut after, &next, days, undecided);
    compare(stored, &after, before, next, settle, true)
}

/// Whole minus listed in one bucket. What is not settled cannot be negative: whole and parts are asked at different
/// moments, so there a negative difference is 0. A settled one is kept as it is.
pub fn remainder(whole: &Cells, listed: &Cells, is_settled: bool) -> Cells {
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
    let mut cells = Cells::new();
    for (cell, amounts) in &rest {
        let kept = amounts.zip(
            &is_below,
            |amount, below| if below > Usd::ZERO { Usd::ZERO } else { amount },
            |count, below| if below > 0 { 0 } else { count },
        );
        add_to(&mut cells, cell, kept);
    }
    cells
}

/// What a day's hours and what is booked beside them hold together.
fn counted_hours(stored: &Stored, day: Day) -> Cells {
    let mut cells = Cells::new();
    let hours = stored.hours.range(day.first_hour()..=day.last_hour());
    let booked = stored.booked.get(&day.last_hour());
    for of in hours.map(|(_, cells)| cells).chain(booked) {
        for (cell, amounts) in of {
            add_to(&mut cells, cell, *amounts);
        }
    }
    cells
}

/// Where a day's own row is known, an hour of it that could not be read makes nothing unknown.
fn trust_days(doubts: &mut BTreeMap<(Granularity, Hour), Doubt>, next: &Coverage, asked: HourSpan) {
    let is_doubted = |day: Day, doubts: &BTreeMap<_, Doubt>| {
        doubts.contains_key(&(Granularity::Day, day.first_hour()))
    };
    let mut day = asked.start.day();
    while day.first_hour() < asked.end {
        if next.has_day(day) && !is_doubted(day, doubts) {
            doubts.retain(|(granularity, hour), doubt| {
                let is_hour = *granularity == Granularity::Hour && hour.day() == day;
                !(is_hour && doubt.is_unreadable())
            });
        }
        day = day.plus(1);
    }
}

/// Days whose hours hold spend, told or estimated.
fn estimated_days(stored: &Stored, asked: HourSpan) -> Vec<Hour> {
    let spent = stored
        .hours
        .range(asked.start..asked.end)
        .filter(|(_, cells)| sum(cells).spend != Usd::ZERO);
    let days: BTreeSet<Hour> = spent.map(|(hour, _)| hour.day().first_hour()).collect();
    days.into_iter().collect()
}

/// In every hourly day whose bill is known: the hours have their share of it. A day whose bill is missing where something was
/// spent keeps what it has until that is certain.
fn spread_bills(after: &mut Stored, next: &Coverage, asked: HourSpan) {
    let none = Cells::new();
    let mut day = asked.start.day();
    while day.first_hour() < asked.end {
        let first = day.first_hour();
        let is_doubted = after.doubts.contains_key(&(Granularity::Day, first));
        if next.is_hourly(day) && next.has_day(day) && !is_doubted {
            let bill = after.days.get(&first).unwrap_or(&none);
            spread(bill, &mut after.hours, day);
        }
        day = day.plus(1);
    }
}

/// Takes over what was told, and doubts what was not told but is known to be above zero, as the buckets in `also` are. Of a
/// bucket that could not be read, what is known stays at least as it is; `otherwise` gives what is known of one without a row.
/// Gives the number of buckets that stay in doubt because they vanished.
fn replace(
    rows: &mut Buckets,
    doubts: &mut BTreeMap<(Granularity, Hour), Doubt>,
    answer: &Answer,
    is_wanted: impl Fn(Hour) -> bool,
    also: &[Hour],
    otherwise: impl Fn(Hour) -> Cells,
    polled_at: Timestamp,
) -> usize {
    let is_asked = |hour: &Hour| answer.hours.contains(*hour) && is_wanted(*hour);
    let is_readable = |hour: &Hour| is_asked(hour) && !answer.unknown.contains(hour);
    keep_unreadable(rows, doubts, answer, is_asked, otherwise, polled_at);
    let known: BTreeSet<Hour> = rows
        .keys()
        .chain(also)
        .copied()
        .filter(is_readable)
        .collect();
    let told: Vec<(&Hour, &Cells)> = answer
        .buckets
        .iter()
        .filter(|(hour, cells)| {
            is_readable(hour) && !lacks_money(answer.basis, rows, also, **hour, cells)
        })
        .collect();
    let mut vanished = known;
    for (hour, cells) in told {
        vanished.remove(hour);
        doubts.remove(&(answer.granularity, *hour));
        set(rows, *hour, cells.clone());
    }
    let mut n_doubted = 0;
    for hour in vanished {
        let key = (answer.granularity, hour);
        let doubt = Doubt::again(doubts.get(&key).copied(), polled_at);
        if doubt.is_certain(polled_at) {
            doubts.remove(&key);
            let cells = answer.buckets.get(&hour).cloned().unwrap_or_default();
            set(rows, hour, cells);
        } else {
            doubts.insert(key, doubt);
            n_doubted += 1;
        }
    }
    doubts.retain(|(granularity, hour), doubt| {
        let is_settled = *granularity == answer.granularity && is_readable(hour);
        !(is_settled && doubt.is_unreadable())
    });
    n_doubted
}

/// Of buckets that could not be read: what is known of them stays, and what is told beyond it is added.
fn keep_unreadable(
    rows: &mut Buckets,
    doubts: &mut BTreeMap<(Granularity, Hour), Doubt>,
    answer: &Answer,
    is_asked: impl Fn(&Hour) -> bool,
    otherwise: impl Fn(Hour) -> Cells,
    polled_at: Timestamp,
) {
    let none = Cells::new();
    for hour in answer.unknown.iter().filter(|hour| is_asked(hour)) {
        let told = answer.buckets.get(hour).unwrap_or(&none);
        let known = rows.get(hour).cloned().unwrap_or_else(|| otherwise(*hour));
        let kept = at_least(&known, told);
        if rows.contains_key(hour) || kept != known {
            set(rows, *hour, kept);
        }
        let doubt = doubts.entry((answer.granularity, *hour));
        let doubt = doubt.or_insert_with(|| Doubt::unreadable(polled_at));
        if !doubt.is_unreadable() {
            *doubt = Doubt::unreadable(polled_at);
        }
    }
}

/// Whether a bucket is told without any money, where money comes in rows of its own and there was some.
fn lacks_money(basis: Basis, rows: &Buckets, also: &[Hour], hour: Hour, cells: &Cells) -> bool {
    let had_money = || {
        let known = rows.get(&hour).map(sum).unwrap_or_default();
        known.spend != Usd::ZERO || also.contains(&hour)
    };
    basis != Basis::ByRow && sum(cells).spend == Usd::ZERO && had_money()
}

fn cover_hours(
    next: &mut Coverage,
    answer: &Answer,
    purpose: Purpose,
    is_complete: bool,
    known_until: Timestamp,
) {
    let first = answer.hours.start.day();
    match purpose {
        Purpose::Running => {
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

fn cover_days(next: &mut Coverage, answer: &Answer, purpose: Purpose, polled_at: Timestamp) {
    let first = answer.hours.start.day();
    let mut end = answer.hours.end.day();
    while end > first && !is_day_settled(end.plus(-1), polled_at) {
        end = end.plus(-1);
    }
    next.days = Some(match next.days {
        // An answer that begins after a gap makes nothing of the gap known: the newer days count.
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

/// Days whose row says something else than before, or than their hours by more than rounding.
fn note_rechecks(
    next: &mut Coverage,
    before: &Stored,
    after: &Stored,
    answer: &Answer,
    coverage: &Coverage,
    polled_at: Timestamp,
) {
    let mut day = answer.hours.start.day();
    while day < answer.hours.end.day() {
        let told = after
            .days
            .get(&day.first_hour())
            .cloned()
            .unwrap_or_default();
        let is_readable = !answer.unknown.contains(&day.first_hour());
        if is_readable && coverage.is_hourly(day) && is_day_settled(day, polled_at) {
            let known = before
                .days
                .get(&day.first_hour())
                .cloned()
                .unwrap_or_default();
            let is_changed = coverage.has_day(day) && !is_same(answer.basis, &known, &told);
            if is_changed || !agrees_with_hours(answer.basis, &told, before, day) {
                next.recheck.insert(day);
            }
        }
        day = day.plus(1);
    }
}

/// Whether a day says the same of each model. Who used it, and what only the bill says, are no reason to read its hours again.
fn is_same(basis: Basis, known: &Cells, told: &Cells) -> bool {
    let (known, told) = (by_model(known), by_model(told));
    match basis {
        Basis::ByRow | Basis::ByHour => known == told,
        Basis::ByDay => {
            let tokens = |cells: Cells| -> Vec<(Cell, Tokens)> {
                let tokens = cells.into_iter().map(|(cell, used)| (cell, used.tokens));
                let used = tokens.filter(|(_, tokens)| *tokens != Tokens::default());
                used.collect()
            };
            tokens(known) == tokens(told)
        }
    }
}

fn agrees_with_hours(basis: Basis, told: &Cells, before: &Stored, day: Day) -> bool {
    let hours = before.hours.range(day.first_hour()..=day.last_hour());
    let n_rows = hours.clone().count().max(1);
    let booked = before
        .booked
        .get(&day.last_hour())
        .map(sum)
        .unwrap_or_default();
    let counted = hours.fold(booked, |total, (_, cells)| total + sum(cells));
    match basis {
        Basis::ByRow | Basis::ByHour => {}
        Basis::ByDay => return sum(told).tokens == counted.tokens,
    }
    let gap = (sum(told).spend - counted.spend).abs();
    let tolerance = ROUNDING.pico() * i128::try_from(n_rows).expect("a day has 24 hours");
    gap.pico() <= tolerance
}

/// In every hourly day: what the settled day row has beyond the hours is booked on the last hour. A day row that was not
/// settled when it was read is dropped once the hours are known.
fn book(after: &mut Stored, next: &Coverage, days: HourSpan, undecided: &BTreeSet<Day>) {
    let mut day = days.start.day();
    while day.first_hour() < days.end {
        if next.is_hourly(day) && !undecided.contains(&day) {
            if next.has_day(day) {
                let mut rest = after
                    .days
                    .get(&day.first_hour())
                    .cloned()
                    .unwrap_or_default();
                for (_, cells) in after.hours.range(day.first_hour()..=day.last_hour()) {
                    rest = difference(&rest, cells);
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
    asked: HourSpan,
    coverage: &Coverage,
    settle: SignedDuration,
    polled_at: Timestamp,
) -> impl Iterator<Item = (Granularity, Hour)> {
    let is_new = move |hour: &Hour| {
        is_settled(*hour, settle, polled_at) && !coverage.has_settled(*hour, settle)
    };
    (asked.start.count()..asked.end.count())
        .map(Hour::from_count)
        .filter(is_new)
        .map(|hour| (Granularity::Hour, hour))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::change::{Kind, effective};
    use crate::domain::usage::Part;

    const SETTLE: SignedDuration = SignedDuration::from_mins(10);
    const START: i64 = 1_790_000_000 - 1_790_000_000 % 86_400;

    fn answer(granularity: Granularity, first: i64, n_days: i64, picos: &[i64]) -> Answer {
        let day =
            Day::of(Timestamp::from_second(START).unwrap()).plus(i32::try_from(first).unwrap());
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
                    Cells::from([(
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
        Answer {
            part: Part::Whole,
            granularity,
            hours,
            buckets,
            basis: Basis::ByRow,
            known_until: None,
            unknown: BTreeSet::new(),
        }
    }

    /// Takes over what was recorded, as the store does.
    fn take_over(stored: &mut Stored, recorded: &Recorded) {
        for row in &recorded.rows {
            let rows = match row.kind {
                Kind::Hour => &mut stored.hours,
                Kind::Booked => &mut stored.booked,
                Kind::Day => &mut stored.days,
            };
            let mut cells = rows.get(&row.hour).cloned().unwrap_or_default();
            cells.insert(row.cell.clone(), row.amounts);
            set(rows, row.hour, cells);
        }
        for (key, doubt) in &recorded.doubts {
            match doubt {
                Some(doubt) => stored.doubts.insert(*key, *doubt),
                None => stored.doubts.remove(key),
            };
        }
    }

    fn total(buckets: &Buckets) -> Usd {
        buckets.values().map(|cells| sum(cells).spend).sum()
    }

    /// Something was used and is estimated, and its first bill says nothing of it: nothing is taken away until that is certain.
    #[test]
    fn a_first_bill_that_leaves_somebody_out_takes_nothing_away_at_once() {
        let polled_at = |hours: i64| Timestamp::from_second(START + hours * 3600).unwrap();
        let by_day = |granularity, picos: &[i64]| Answer {
            basis: Basis::ByDay,
            ..answer(granularity, 0, 1, picos)
        };
        let (mut stored, known) = (Stored::default(), Coverage::new(polled_at(0)));
        let hours = by_day(Granularity::Hour, &[3, 4]);
        let told = record(
            &hours,
            Purpose::Running,
            &known,
            &stored,
            SETTLE,
            polled_at(25),
        );
        take_over(&mut stored, &told);
        let before = total(&effective(&stored, &told.coverage));
        assert!(before > Usd::ZERO);
        let bill = by_day(Granularity::Day, &[]);
        let mut known = told.coverage;
        for poll in 0..3 {
            let told = record(
                &bill,
                Purpose::Corrections,
                &known,
                &stored,
                SETTLE,
                polled_at(31 + poll),
            );
            take_over(&mut stored, &told);
            known = told.coverage.clone();
            let now = total(&effective(&stored, &known));
            let expected = if poll < 2 { before } else { Usd::ZERO };
            assert_eq!((now, told.is_complete), (expected, poll == 2));
        }
    }

    proptest! {
        #[test]
        fn the_deltas_are_the_change_of_every_sum_and_the_same_answer_changes_nothing(
            steps in prop::collection::vec(
                (any::<bool>(), 0i64..4, 1i64..4, prop::collection::vec(0i64..5, 1..60), 1i64..90_000),
                1..8,
            ),
        ) {
            let mut stored = Stored::default();
            let mut coverage = Coverage::new(Timestamp::from_second(START).unwrap());
            let mut summed = Usd::ZERO;
            let mut at = START + 4 * 86_400;
            for (is_hourly, first, n_days, picos, passed) in steps {
                at += passed;
                let polled_at = Timestamp::from_second(at).unwrap();
                let (granularity, purpose) = if is_hourly {
                    (Granularity::Hour, Purpose::Running)
                } else {
                    (Granularity::Day, Purpose::Corrections)
                };
                let answer = answer(granularity, first, n_days, &picos);
                let recorded = record(&answer, purpose, &coverage, &stored, SETTLE, polled_at);
                take_over(&mut stored, &recorded);
                coverage = recorded.coverage.clone();
                summed += recorded.deltas.iter().map(|delta| delta.amounts.spend).sum();
                prop_assert_eq!(summed, total(&effective(&stored, &coverage)));
                let again = record(&answer, purpose, &coverage, &stored, SETTLE, polled_at);
                if recorded.is_complete {
                    prop_assert_eq!(again.rows, vec![]);
                    prop_assert_eq!(again.deltas, vec![]);
                }
            }
        }

        #[test]
        fn the_remainder_and_the_parts_are_the_whole(whole in 0i64..1000, listed in 0i64..1000, is_settled: bool) {
            let cells = |pico: i64| Cells::from([(
                "m".into(),
                Amounts { spend: Usd::from_pico(i128::from(pico)), requests: pico, ..Amounts::ZERO },
            )]);
            let rest = sum(&remainder(&cells(whole), &cells(listed), is_settled));
            let expected = if is_settled { whole - listed } else { (whole - listed).max(0) };
            prop_assert_eq!(rest.spend.pico(), i128::from(expected));
            prop_assert_eq!(rest.requests, expected);
        }
    }
}
