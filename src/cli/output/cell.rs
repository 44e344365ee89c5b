//! Values of rows as text, for people and for CSV.

use jiff::{Timestamp, tz::TimeZone};

use crate::table::Cell;
use spendwatch_domain::units::money::{Usd, group_thousands};
use spendwatch_notify::wording::formatting;

const HALF_A_CENT: Usd = Usd::from_pico(5_000_000_000);

impl Cell {
    /// Returns the value as tables show it.
    pub fn for_people(&self) -> String {
        match self {
            Cell::Empty => "-".to_owned(),
            Cell::Unknown => "unknown".to_owned(),
            Cell::Text(text) => formatting::clean(text),
            Cell::Prose(text) => formatting::single_line(text),
            Cell::Count(count) => grouped(*count),
            Cell::Decimal(digits) => digits.clone(),
            // Amounts below half a cent must not look like zero.
            Cell::Money(usd) if *usd != Usd::ZERO && usd.abs() < HALF_A_CENT => usd.to_string(),
            Cell::Money(usd) => usd.grouped(),
            Cell::Time(at) => short_time(*at),
            Cell::Flag(is_so) => (if *is_so { "yes" } else { "no" }).to_owned(),
            Cell::List(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| formatting::clean(text)).collect();
                texts.join(", ")
            }
        }
    }

    /// Returns the value without formatting.
    pub fn for_csv(&self) -> String {
        match self {
            Cell::Empty | Cell::Unknown => String::new(),
            Cell::Text(text) | Cell::Prose(text) | Cell::Decimal(text) => text.clone(),
            Cell::Count(count) => count.to_string(),
            Cell::Money(usd) => usd.to_string(),
            Cell::Time(at) => at.to_string(),
            Cell::Flag(is_so) => is_so.to_string(),
            Cell::List(texts) => texts.join("; "),
        }
    }

    /// Returns whether the cell is aligned right.
    pub fn is_number(&self) -> bool {
        match self {
            Cell::Count(_) | Cell::Decimal(_) | Cell::Money(_) => true,
            Cell::Empty
            | Cell::Unknown
            | Cell::Text(_)
            | Cell::Prose(_)
            | Cell::Time(_)
            | Cell::List(_)
            | Cell::Flag(_) => false,
        }
    }

    /// Returns whether the cell must stay on one line.
    pub fn is_unbroken(&self) -> bool {
        self.is_number() || matches!(self, Cell::Time(_))
    }
}

/// Formats a count as `-1,234,567`.
fn grouped(count: i128) -> String {
    let sign = if count < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        group_thousands(&count.unsigned_abs().to_string())
    )
}

/// Formats a time as `2026-11-24 14:05Z`.
pub fn short_time(at: Timestamp) -> String {
    let local = TimeZone::UTC.to_datetime(at);
    format!(
        "{} {:02}:{:02}Z",
        local.date(),
        local.hour(),
        local.minute()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_round_to_cents_and_csv_is_exact() {
        let shown = |text: &str| {
            let cell = Cell::Money(Usd::parse(text).unwrap());
            (cell.for_people(), cell.for_csv())
        };
        let both = |people: &str, machines: &str| (people.to_owned(), machines.to_owned());
        assert_eq!(shown("1234.567891"), both("1,234.57", "1234.567891"));
        assert_eq!(shown("0"), both("0.00", "0"));
        assert_eq!(shown("-0.000001"), both("-0.000001", "-0.000001"));
        assert_eq!(grouped(-1_234_567), "-1,234,567");
    }
}
