//! Amounts of money and counts.

use crate::reader::SectionReader;
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::money::Usd;

/// Parses an amount from 0 to 10^12 USD.
pub fn usd_of(digits: &str) -> Option<Usd> {
    let usd = Usd::parse(digits).ok()?;
    (usd >= Usd::ZERO && usd <= Usd::from_dollars(1_000_000_000_000)).then_some(usd)
}

/// Reads an amount from 0 to 10^12 USD.
pub fn read_usd(section: &SectionReader<'_>, key: &'static str) -> Option<Quantity> {
    let digits = section.digits(key)?;
    match usd_of(&digits.value) {
        Some(usd) => Some(usd.pico()),
        None => {
            let message = format!(
                "is {}, expected an amount from 0 to 10^12 USD",
                digits.value
            );
            section.problem(key, message);
            None
        }
    }
}

/// Reads a count of tokens or requests, from 0 to 10^18.
pub fn read_count(section: &SectionReader<'_>, key: &'static str) -> Option<Quantity> {
    section
        .integer(key, (0, 1_000_000_000_000_000_000))
        .map(Quantity::from)
}
