//! The month as the service states it for the whole organization, against the ledger's.

use std::fmt;

use crate::domain::money::Usd;

/// So much is rounding, whoever counts.
const CENT: Usd = Usd::from_pico(10_000_000_000);

/// Two accounts of one month that cannot both be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    pub ledger: Usd,
    pub stated: Usd,
}

/// Compares the two. The service may not have counted yet what the ledger has of hours that are not settled.
pub fn compare(ledger: Usd, unsettled: Usd, stated: Usd) -> Option<Difference> {
    let more = ledger - stated;
    let is_explained = Usd::ZERO - CENT <= more && more <= unsettled + CENT;
    (!is_explained).then_some(Difference { ledger, stated })
}

/// `this month is $120.50 in the ledger and $100.00 as the service states it: $20.50 more`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = self.ledger - self.stated;
        let word = if more > Usd::ZERO { "more" } else { "less" };
        write!(
            f,
            "this month is ${} in the ledger and ${} as the service states it: ${} {word}",
            self.ledger.grouped(),
            self.stated.grouped(),
            more.abs().grouped()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ledger: &str, unsettled: &str, stated: &str, expected: Option<&str>) {
        let usd = |text| Usd::parse(text).unwrap();
        let told = compare(usd(ledger), usd(unsettled), usd(stated));
        assert_eq!(told.map(|it| it.to_string()).as_deref(), expected);
    }

    #[test]
    fn what_is_not_counted_yet_is_no_difference() {
        check("120.5", "0", "120.5", None);
        check("120.5", "3", "117.5", None);
        check("120.5", "0", "120.51", None);
        check(
            "1120.5",
            "3",
            "1117.4",
            Some(
                "this month is $1,120.50 in the ledger and $1,117.40 as the service states it: $3.10 more",
            ),
        );
        check(
            "120.5",
            "3",
            "121",
            Some(
                "this month is $120.50 in the ledger and $121.00 as the service states it: $0.50 less",
            ),
        );
    }
}
