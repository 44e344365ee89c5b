//! The thresholds of a rule converted to quantities for one limit: which of them a figure crosses, and which of two is
//! higher.
//!
//! A threshold's identity includes its quantity. The same threshold for two limits gives two distinct thresholds,
//! neither of which is higher.

use std::cmp::Ordering;

use crate::alerts::alert::AbsoluteThreshold;
use crate::rules::rule::{Rule, ThresholdValue};
use crate::rules::watch::Quantity;
use crate::units::money::Percent;

/// Millionths of a percent in 100%.
const WHOLE: i128 = 100_000_000;

/// The thresholds of a rule for one limit, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThresholdLadder(Vec<AbsoluteThreshold>);

impl ThresholdLadder {
    /// Converts the thresholds of a rule for a limit.
    pub fn new(rule: &Rule, limit: Quantity) -> ThresholdLadder {
        let mut thresholds: Vec<AbsoluteThreshold> = rule
            .thresholds
            .iter()
            .map(|threshold| AbsoluteThreshold {
                quantity: match threshold.at {
                    ThresholdValue::Share(percent) => share_rounded_up(limit, percent),
                    ThresholdValue::Quantity(quantity) => quantity,
                },
                severity: threshold.severity,
                text: threshold.text.clone(),
            })
            .collect();
        thresholds.sort();
        ThresholdLadder(thresholds)
    }

    /// Returns the thresholds, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &AbsoluteThreshold> {
        self.0.iter()
    }

    /// Returns the highest threshold that a figure crosses.
    pub fn highest_crossed(&self, value: Quantity) -> Option<&AbsoluteThreshold> {
        self.0
            .iter()
            .rfind(|threshold| is_crossed(threshold, value))
    }

    /// Returns whether the ladder contains the same threshold with the same quantity.
    pub fn contains(&self, threshold: &AbsoluteThreshold) -> bool {
        self.0.contains(threshold)
    }

    /// Compares two thresholds, possibly for different limits: by their position in this ladder, then by severity. The
    /// same threshold for two limits is equal. A threshold that the rule no longer has is compared by quantity.
    pub fn compare(&self, left: &AbsoluteThreshold, right: &AbsoluteThreshold) -> Ordering {
        let position = |threshold: &AbsoluteThreshold| {
            self.0.iter().position(|own| own.text == threshold.text)
        };
        let order = match (position(left), position(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (None, _) | (_, None) if left.text == right.text => Ordering::Equal,
            (None, _) | (_, None) => left.cmp(right),
        };
        order.then(left.severity.cmp(&right.severity))
    }
}

/// Returns whether `value` is above zero and has reached the threshold.
pub fn is_crossed(threshold: &AbsoluteThreshold, value: Quantity) -> bool {
    value > 0 && value >= threshold.quantity
}

/// Returns whether `value` is above zero and has not fallen below the share of the threshold at which it clears.
pub fn is_held(threshold: &AbsoluteThreshold, clear_below: Percent, value: Quantity) -> bool {
    value > 0 && value >= share_rounded_up(threshold.quantity, clear_below)
}

/// The least whole quantity that reaches a share of a limit.
fn share_rounded_up(limit: Quantity, percent: Percent) -> Quantity {
    let product = limit * i128::from(percent.millionths());
    product.div_euclid(WHOLE) + i128::from(product.rem_euclid(WHOLE) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::money::Usd;

    #[test]
    fn shares_are_compared_exactly() {
        let least = |percent| {
            let percent = Percent::parse(percent).unwrap();
            share_rounded_up(Usd::from_dollars(3).pico(), percent)
        };
        assert!(least("33.333333%") <= Usd::from_dollars(1).pico());
        assert!(least("33.333334%") > Usd::from_dollars(1).pico());
    }
}
