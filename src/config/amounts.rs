//! Amounts of money and counts, from their digits.

use crate::config::reader::Section;
use crate::domain::money::Usd;
use crate::domain::rule::Quantity;

/// USD as a quantity, from 0 to 10^12.
pub fn read_usd(section: &Section<'_>, key: &'static str) -> Option<Quantity> {
    let digits = section.digits(key)?;
    match Usd::parse(&digits.value) {
        Ok(usd) if usd >= Usd::ZERO && usd <= Usd::from_dollars(1_000_000_000_000) => {
            Some(usd.pico())
        }
        Ok(_) | Err(_) => {
            let message = format!(
                "is {}, it must be an amount from 0 to 10^12 USD",
                digits.value
            );
            section.problem(key, message);
            None
        }
    }
}

/// A count of tokens or requests, from 0 to 10^18.
pub fn read_count(section: &Section<'_>, key: &'static str) -> Option<Quantity> {
    section
        .integer(key, (0, 1_000_000_000_000_000_000))
        .map(Quantity::from)
}
