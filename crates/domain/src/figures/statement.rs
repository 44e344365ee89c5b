//! Compares the month to date as stated by Anthropic for the organization with the ledger.

use std::fmt;

use crate::units::money::Usd;

/// Differences up to this amount are rounding.
const CENT: Usd = Usd::from_pico(10_000_000_000);

/// Two month-to-date sums that cannot both be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementMismatch {
    pub ledger: Usd,
    pub stated: Usd,
}

/// Compares the two sums. Anthropic may not have counted `unsettled`, the ledger's spend in hours that are not settled.
pub fn compare(ledger: Usd, unsettled: Usd, stated: Usd) -> Option<StatementMismatch> {
    let more = ledger - stated;
    let is_explained = Usd::ZERO - CENT <= more && more <= unsettled + CENT;
    (!is_explained).then_some(StatementMismatch { ledger, stated })
}

/// Prints `this month is $120.50 in the ledger but $100.00 as stated by Anthropic: $20.50 more`.
impl fmt::Display for StatementMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = self.ledger - self.stated;
        let direction = if more > Usd::ZERO { "more" } else { "less" };
        write!(
            f,
            "this month is ${} in the ledger but ${} as stated by Anthropic: ${} {direction}",
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
        let mismatch = compare(usd(ledger), usd(unsettled), usd(stated));
        assert_eq!(mismatch.map(|it| it.to_string()).as_deref(), expected);
    }

    #[test]
    fn unsettled_spend_explains_a_difference() {
        check("120.5", "0", "120.5", None);
        check("120.5", "3", "117.5", None);
        check("120.5", "0", "120.51", None);
        check(
            "1120.5",
            "3",
            "1117.4",
            Some(
                "this month is $1,120.50 in the ledger but $1,117.40 as stated by Anthropic: $3.10 more",
            ),
        );
        check(
            "120.5",
            "3",
            "121",
            Some(
                "this month is $120.50 in the ledger but $121.00 as stated by Anthropic: $0.50 less",
            ),
        );
    }
}
