//! How single values stand in columns: instants, words of our enums, money, amounts.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::domain::change::Kind;
use crate::domain::money::Usd;
use crate::domain::usage::{Amounts, Granularity, N_COUNTS, N_MONEY};
use crate::store::error::Cause;

/// An instant as text with nine decimals: sorts by time and loses nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct At(pub(super) Timestamp);

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(format!("{:.9}", self.0).into())
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<At> {
        Timestamp::from_str(value.as_str()?)
            .map(At)
            .map_err(FromSqlError::other)
    }
}

/// An amount as decimal text: for the few that are never summed.
#[derive(Debug, Clone, Copy)]
pub(super) struct UsdText(pub(super) Usd);

impl ToSql for UsdText {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

impl FromSql for UsdText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<UsdText> {
        Usd::parse(value.as_str()?)
            .map(UsdText)
            .map_err(FromSqlError::other)
    }
}

/// The number of a kind of rows.
pub(super) fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::Hour => 0,
        Kind::Booked => 1,
        Kind::Day => 2,
    }
}

/// The kind of rows of a number.
pub(super) fn kind_at(number: i64) -> Result<Kind, Cause> {
    match number {
        0 => Ok(Kind::Hour),
        1 => Ok(Kind::Booked),
        2 => Ok(Kind::Day),
        other => Err(Cause::Corrupt(format!("a row of kind {other}"))),
    }
}

/// The number of a granularity.
pub(super) fn granularity_number(granularity: Granularity) -> i64 {
    match granularity {
        Granularity::Hour => 0,
        Granularity::Day => 1,
    }
}

/// The granularity of a number.
pub(super) fn granularity_of(number: i64) -> Result<Granularity, Cause> {
    match number {
        0 => Ok(Granularity::Hour),
        1 => Ok(Granularity::Day),
        other => Err(Cause::Corrupt(format!("granularity {other}"))),
    }
}

/// The kind of rows that the API's own buckets of a granularity are.
pub(super) fn kind_of(granularity: Granularity) -> Kind {
    match granularity {
        Granularity::Hour => Kind::Hour,
        Granularity::Day => Kind::Day,
    }
}

/// 10⁻¹² USD in one USD.
const PICO: i128 = 1_000_000_000_000;

/// The columns of amounts, in the order of [`amount_columns`] and [`amounts_at`].
pub(super) const AMOUNT_COLUMNS: [&str; N_COLUMNS] = [
    "usd",
    "pico",
    "estimated_usd",
    "estimated_pico",
    "list_usd",
    "list_pico",
    "priced_usd",
    "priced_pico",
    "saved_usd",
    "saved_pico",
    "uncertain_usd",
    "uncertain_pico",
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "unpriced",
    "by_contract",
    "requests",
];

/// An amount of money has two columns, a count has one.
pub(super) const N_COLUMNS: usize = 2 * N_MONEY + N_COUNTS;

/// [`AMOUNT_COLUMNS`] as they stand in a query.
pub(super) fn amount_names() -> String {
    AMOUNT_COLUMNS.join(", ")
}

/// Amounts as columns.
pub(super) fn amount_columns(amounts: &Amounts) -> Result<[i64; N_COLUMNS], Cause> {
    let mut columns = [0; N_COLUMNS];
    for (place, usd) in amounts.money().into_iter().enumerate() {
        let pico = usd.pico();
        columns[2 * place] =
            i64::try_from(pico.div_euclid(PICO)).map_err(|_| Cause::Overflow("a spend"))?;
        columns[2 * place + 1] =
            i64::try_from(pico.rem_euclid(PICO)).expect("a rest is below 10^12");
    }
    columns[2 * N_MONEY..].copy_from_slice(&amounts.counts());
    Ok(columns)
}

/// A count in a row's column; a negative one is no count.
pub(super) fn count_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}

/// The amounts in a row's columns from `first` on.
pub(super) fn amounts_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Amounts> {
    let column = |index: usize| row.get::<_, i64>(first + index);
    let mut money = [Usd::ZERO; N_MONEY];
    for (place, usd) in money.iter_mut().enumerate() {
        let (whole, rest) = (column(2 * place)?, column(2 * place + 1)?);
        *usd = Usd::from_pico(i128::from(whole) * PICO + i128::from(rest));
    }
    let mut counts = [0; N_COUNTS];
    for (place, count) in counts.iter_mut().enumerate() {
        *count = column(2 * N_MONEY + place)?;
    }
    Ok(Amounts::from_figures(money, counts))
}

/// `left + right`, unless a figure outgrows its type.
pub(super) fn add(left: &Amounts, right: &Amounts) -> Result<Amounts, Cause> {
    let (mut money, mut counts) = (left.money(), left.counts());
    for (sum, usd) in money.iter_mut().zip(right.money()) {
        let pico = sum.pico().checked_add(usd.pico());
        *sum = Usd::from_pico(pico.ok_or(Cause::Overflow("a sum of spend"))?);
    }
    for (sum, count) in counts.iter_mut().zip(right.counts()) {
        *sum = sum
            .checked_add(count)
            .ok_or(Cause::Overflow("a sum of tokens"))?;
    }
    Ok(Amounts::from_figures(money, counts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    proptest! {
        #[test]
        fn amounts_come_back_to_the_last_digit(
            picos in prop::array::uniform6(-1_000_000_000_000_000_000_000_000_000i128..=1_000_000_000_000_000_000_000_000_000),
            counts in prop::array::uniform8(any::<i64>()),
        ) {
            let amounts = Amounts::from_figures(picos.map(Usd::from_pico), counts);
            let columns = amount_columns(&amounts).unwrap();
            prop_assert!((0..1_000_000_000_000).contains(&columns[1]));
            let db = Connection::open_in_memory().unwrap();
            let sql = format!("SELECT {}", ["?"; N_COLUMNS].join(", "));
            let back = db.query_row(&sql, columns, |row| amounts_at(row, 0)).unwrap();
            prop_assert_eq!(back, amounts);
        }

        #[test]
        fn instants_come_back_and_sort_by_time(
            a in (0i64..4_000_000_000, 0i32..1_000_000_000),
            b in (0i64..4_000_000_000, 0i32..1_000_000_000),
        ) {
            let (a, b) = (Timestamp::new(a.0, a.1).unwrap(), Timestamp::new(b.0, b.1).unwrap());
            let db = Connection::open_in_memory().unwrap();
            let (back, is_before): (At, bool) = db
                .query_row("SELECT ?1, ?1 < ?2", [At(a), At(b)], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            prop_assert_eq!(back.0, a);
            prop_assert_eq!(is_before, a < b);
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error() {
        let most = Amounts {
            requests: i64::MAX,
            ..Amounts::ZERO
        };
        assert!(matches!(add(&most, &most), Err(Cause::Overflow(_))));
        let huge = Amounts {
            spend: Usd::from_pico(i128::MAX),
            ..Amounts::ZERO
        };
        assert!(matches!(amount_columns(&huge), Err(Cause::Overflow(_))));
    }
}
