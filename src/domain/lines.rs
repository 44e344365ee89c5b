//! The lines that a rule draws against a limit: which of them a figure crosses, and which of two is the higher one.
//!
//! A line's identity holds its quantity. Two lines of the same threshold against two limits are two lines, of which neither
//! is higher.

use std::cmp::Ordering;

use crate::domain::alert::Line;
use crate::domain::money::{Percent, quantity_share_is_reached};
use crate::domain::rule::{At, Quantity, Rule};

/// Millionths of a percent in the whole.
const WHOLE: i128 = 100_000_000;

/// The lines of a rule against one limit, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Of a rule against a limit.
    pub fn of(rule: &Rule, limit: Quantity) -> Lines {
        let mut lines: Vec<Line> = rule
            .thresholds
            .iter()
            .map(|threshold| Line {
                quantity: match threshold.at {
                    At::Share(percent) => share_rounded_up(limit, percent),
                    At::Quantity(quantity) => quantity,
                },
                severity: threshold.severity,
                text: threshold.text.clone(),
            })
            .collect();
        lines.sort();
        Lines(lines)
    }

    /// Lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// The highest line that a figure crosses.
    pub fn highest_crossed(&self, value: Quantity) -> Option<&Line> {
        self.0.iter().rfind(|line| is_crossed(line, value))
    }

    /// Whether a line is one of these: the same threshold at the same quantity.
    pub fn has(&self, line: &Line) -> bool {
        self.0.contains(line)
    }

    /// Which of two lines is the higher one, where each may have been drawn against another limit: the thresholds are
    /// compared by their order here, then by severity. Equal are two lines of the same threshold. A threshold that is no
    /// more is compared by its quantity.
    pub fn compare(&self, left: &Line, right: &Line) -> Ordering {
        let place = |line: &Line| self.0.iter().position(|own| own.text == line.text);
        let order = match (place(left), place(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            (None, _) | (_, None) if left.text == right.text => Ordering::Equal,
            (None, _) | (_, None) => left.cmp(right),
        };
        order.then(left.severity.cmp(&right.severity))
    }
}

/// Whether a figure crosses any line of a rule: what most figures are asked, and nothing is allocated for it.
pub fn is_any_crossed(rule: &Rule, limit: Quantity, value: Quantity) -> bool {
    value > 0
        && rule.thresholds.iter().any(|threshold| match threshold.at {
            At::Share(percent) => quantity_share_is_reached(limit, percent, value),
            At::Quantity(quantity) => value >= quantity,
        })
}

/// At or above, and above zero.
pub fn is_crossed(line: &Line, value: Quantity) -> bool {
    value > 0 && value >= line.quantity
}

/// Not yet below the share of the line at which it is cleared, and above zero.
pub fn is_held(line: &Line, clear_below: Percent, value: Quantity) -> bool {
    value > 0 && value >= share_rounded_up(line.quantity, clear_below)
}

/// The least whole quantity that has reached a share of a limit.
fn share_rounded_up(limit: Quantity, percent: Percent) -> Quantity {
    let product = limit * i128::from(percent.millionths());
    product.div_euclid(WHOLE) + i128::from(product.rem_euclid(WHOLE) != 0)
}
