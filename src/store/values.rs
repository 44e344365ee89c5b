//! How single values stand in columns: instants, words of our enums, money, amounts.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::domain::change::Kind;
use crate::domain::money::Usd;
use crate::domain::usage::{Amounts, Granularity, Tokens};
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
pub(super) const AMOUNTS: &str =
    "usd, pico, input, output, cache_read, cache_write_5m, cache_write_1h, requests";

/// Amounts as columns.
pub(super) fn amount_columns(amounts: &Amounts) -> Result<[i64; 8], Cause> {
    let pico = amounts.spend.pico();
    let usd = i64::try_from(pico.div_euclid(PICO)).map_err(|_| Cause::Overflow("a spend"))?;
    let rest = i64::try_from(pico.rem_euclid(PICO)).expect("a rest is below 10^12");
    let tokens = &amounts.tokens;
    Ok([
        usd,
        rest,
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        amounts.requests,
    ])
}

/// A count in a row's column; a negative one is no count.
pub(super) fn count_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}

/// The amounts in a row's columns from `first` on.
pub(super) fn amounts_at(row: &Row<'_>, first: usize) -> rusqlite::Result<Amounts> {
    let column = |index: usize| row.get::<_, i64>(first + index);
    Ok(Amounts {
        spend: Usd::from_pico(i128::from(column(0)?) * PICO + i128::from(column(1)?)),
        tokens: Tokens {
            input: column(2)?,
            output: column(3)?,
            cache_read: column(4)?,
            cache_write_5m: column(5)?,
            cache_write_1h: column(6)?,
        },
        requests: column(7)?,
    })
}

/// `left + right`, unless a figure outgrows its type.
pub(super) fn add(left: &Amounts, right: &Amounts) -> Result<Amounts, Cause> {
    let pico = left.spend.pico().checked_add(right.spend.pico());
    let count = |a: i64, b: i64| a.checked_add(b).ok_or(Cause::Overflow("a sum of tokens"));
    let (a, b) = (&left.tokens, &right.tokens);
    Ok(Amounts {
        spend: Usd::from_pico(pico.ok_or(Cause::Overflow("a sum of spend"))?),
        tokens: Tokens {
            input: count(a.input, b.input)?,
            output: count(a.output, b.output)?,
            cache_read: count(a.cache_read, b.cache_read)?,
            cache_write_5m: count(a.cache_write_5m, b.cache_write_5m)?,
            cache_write_1h: count(a.cache_write_1h, b.cache_write_1h)?,
        },
        requests: count(left.requests, right.requests)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    proptest! {
        #[test]
        fn amounts_come_back_to_the_last_digit(
            pico in -1_000_000_000_000_000_000_000_000_000i128..=1_000_000_000_000_000_000_000_000_000,
            counts in prop::array::uniform6(any::<i64>()),
        ) {
            let amounts = Amounts {
                spend: Usd::from_pico(pico),
                tokens: Tokens {
                    input: counts[0],
                    output: counts[1],
                    cache_read: counts[2],
                    cache_write_5m: counts[3],
                    cache_write_1h: counts[4],
                },
                requests: counts[5],
            };
            let columns = amount_columns(&amounts).unwrap();
            prop_assert!((0..1_000_000_000_000).contains(&columns[1]));
            let db = Connection::open_in_memory().unwrap();
            let back = db
                .query_row("SELECT ?, ?, ?, ?, ?, ?, ?, ?", columns, |row| amounts_at(row, 0))
                .unwrap();
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
