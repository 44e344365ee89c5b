//! Conversions of single values to and from columns: times, enums, money, amounts.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::error::StoreErrorCause;
use spendwatch_domain::ledger::change::RowKind;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::usage::bucket::{Amounts, Granularity, N_COUNTS, N_MONEY};

/// A time as text with nine decimals, which sorts by time and is exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredTime(pub(crate) Timestamp);

impl ToSql for StoredTime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(format!("{:.9}", self.0).into())
    }
}

impl FromSql for StoredTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<StoredTime> {
        Timestamp::from_str(value.as_str()?)
            .map(StoredTime)
            .map_err(FromSqlError::other)
    }
}

/// Reads a time.
pub(crate) fn time_from_row(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(row.get::<_, StoredTime>(column)?.0)
}

/// Reads a time that may be null.
pub(crate) fn optional_time_from_row(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<StoredTime>>(column)?.map(|at| at.0))
}

/// USD as decimal text, for values that are never summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsdText(pub(crate) Usd);

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

pub(crate) fn kind_number(kind: RowKind) -> i64 {
    match kind {
        RowKind::Hour => 0,
        RowKind::Booked => 1,
        RowKind::Day => 2,
    }
}

pub(crate) fn granularity_number(granularity: Granularity) -> i64 {
    match granularity {
        Granularity::Hour => 0,
        Granularity::Day => 1,
    }
}

pub(crate) fn granularity_from_number(number: i64) -> Result<Granularity, StoreErrorCause> {
    match number {
        0 => Ok(Granularity::Hour),
        1 => Ok(Granularity::Day),
        other => Err(StoreErrorCause::Corrupt(format!("granularity {other}"))),
    }
}

/// Returns the kind of rows that hold the API's buckets of a granularity.
pub(crate) fn kind_for(granularity: Granularity) -> RowKind {
    match granularity {
        Granularity::Hour => RowKind::Hour,
        Granularity::Day => RowKind::Day,
    }
}

/// 10⁻¹² USD in one USD.
const PICO: i128 = 1_000_000_000_000;

/// Columns of amounts, in the order of [`amount_columns`] and [`amounts_from_row`].
pub(crate) const AMOUNT_COLUMNS: [&str; N_COLUMNS] = [
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

/// Money has two columns, a count has one.
pub(crate) const N_COLUMNS: usize = 2 * N_MONEY + N_COUNTS;

/// Returns [`AMOUNT_COLUMNS`] as a list for a query.
pub(crate) fn amount_names() -> String {
    AMOUNT_COLUMNS.join(", ")
}

pub(crate) fn amount_columns(amounts: &Amounts) -> Result<[i64; N_COLUMNS], StoreErrorCause> {
    let mut columns = [0; N_COLUMNS];
    for (place, usd) in amounts.money().into_iter().enumerate() {
        let pico = usd.pico();
        columns[2 * place] = i64::try_from(pico.div_euclid(PICO))
            .map_err(|_| StoreErrorCause::Overflow("a spend"))?;
        columns[2 * place + 1] =
            i64::try_from(pico.rem_euclid(PICO)).expect("the remainder is below 10^12");
    }
    columns[2 * N_MONEY..].copy_from_slice(&amounts.counts());
    Ok(columns)
}

/// Reads a count; a negative number is an error.
pub(crate) fn count_from_row(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}

/// Reads amounts from the columns that start at `first`.
pub(crate) fn amounts_from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Amounts> {
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

/// Adds amounts, with an error on overflow.
pub(crate) fn add(left: &Amounts, right: &Amounts) -> Result<Amounts, StoreErrorCause> {
    let (mut money, mut counts) = (left.money(), left.counts());
    for (sum, usd) in money.iter_mut().zip(right.money()) {
        let pico = sum.pico().checked_add(usd.pico());
        *sum = Usd::from_pico(pico.ok_or(StoreErrorCause::Overflow("a sum of spend"))?);
    }
    for (sum, count) in counts.iter_mut().zip(right.counts()) {
        *sum = sum
            .checked_add(count)
            .ok_or(StoreErrorCause::Overflow("a sum of tokens"))?;
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
        fn amounts_round_trip_exactly(
            picos in prop::array::uniform6(-1_000_000_000_000_000_000_000_000_000i128..=1_000_000_000_000_000_000_000_000_000),
            counts in prop::array::uniform8(any::<i64>()),
        ) {
            let amounts = Amounts::from_figures(picos.map(Usd::from_pico), counts);
            let columns = amount_columns(&amounts).unwrap();
            prop_assert!((0..1_000_000_000_000).contains(&columns[1]));
            let db = Connection::open_in_memory().unwrap();
            let sql = format!("SELECT {}", ["?"; N_COLUMNS].join(", "));
            let back = db.query_row(&sql, columns, |row| amounts_from_row(row, 0)).unwrap();
            prop_assert_eq!(back, amounts);
        }

        #[test]
        fn times_round_trip_and_sort_chronologically(
            a in (0i64..4_000_000_000, 0i32..1_000_000_000),
            b in (0i64..4_000_000_000, 0i32..1_000_000_000),
        ) {
            let (a, b) = (Timestamp::new(a.0, a.1).unwrap(), Timestamp::new(b.0, b.1).unwrap());
            let db = Connection::open_in_memory().unwrap();
            let (back, is_before): (StoredTime, bool) = db
                .query_row("SELECT ?1, ?1 < ?2", [StoredTime(a), StoredTime(b)], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            prop_assert_eq!(back.0, a);
            prop_assert_eq!(is_before, a < b);
        }
    }

    #[test]
    fn overflow_is_an_error() {
        let most = Amounts {
            requests: i64::MAX,
            ..Amounts::ZERO
        };
        assert!(matches!(
            add(&most, &most),
            Err(StoreErrorCause::Overflow(_))
        ));
        let huge = Amounts {
            spend: Usd::from_pico(i128::MAX),
            ..Amounts::ZERO
        };
        assert!(matches!(
            amount_columns(&huge),
            Err(StoreErrorCause::Overflow(_))
        ));
    }
}
