//! The texts of each watch: one entry per watch.

use crate::envelope::Links;
use crate::wording::advice::{self, Advice};
use crate::wording::{events, formatting, periods};
use spendwatch_domain::alerts::notification::{Fact, Reason, Reconciled};
use spendwatch_domain::rules::watch::Watch;

/// The texts of one watch. Figures are passed as texts; those of alerts may begin with `at least`.
pub struct WatchWording {
    /// Name of the figure in the details.
    pub field: &'static str,
    /// Key of the figure in JSON.
    pub key: &'static str,
    /// The first line, from the subject and the figure.
    pub state: fn(&Fact, &str, &str) -> String,
    /// The figure and its limit, which is above zero.
    pub amounts: fn(&str, &str) -> String,
    /// The second line, from the amounts.
    pub summary: fn(&Fact, &str) -> String,
    /// The figure, its limit and the used share in a mail subject.
    pub subject_line: fn(&str, &str, &str) -> String,
    /// Why an alert cleared, from the threshold.
    pub cleared: fn(&str) -> String,
    pub total: Total,
    /// Whether the figure only grows within a period, and parts of it sum to it.
    pub is_usage: bool,
    /// Whether the figure is a gap. Its share of the limit is not shown, because the figure may be a share itself.
    pub is_gap: bool,
    pub next_steps: fn(&Fact, &Links) -> Vec<Advice>,
}

/// How the figures of several alerts are summarized.
pub enum Total {
    Sum,
    /// The largest, after these words.
    Largest(&'static str),
    EventCounts,
}

const SPEND: WatchWording = WatchWording {
    field: "Spend",
    key: "spend_usd",
    state: |fact, subject, value| usage(fact, subject, &format!("spent {value}"), "spend is"),
    amounts: |value, limit| format!("{value} of {limit}"),
    // The first line names the period where there is a limit.
    summary: |fact, amounts| match fact.limit {
        Some(limit) if limit > 0 && !fact.is_late => amounts.to_owned(),
        Some(_) | None => format!("{amounts} {}", in_period(fact)),
    },
    subject_line: |value, limit, share| format!("{value} of {limit} ({share})"),
    cleared: |threshold| format!("spend fell below {threshold}"),
    total: Total::Sum,
    is_usage: true,
    is_gap: false,
    next_steps: advice::about_usage,
};
const TOKENS: WatchWording = WatchWording {
    field: "Tokens",
    key: "tokens",
    state: |fact, subject, value| usage(fact, subject, &format!("used {value}"), "tokens are"),
    cleared: |threshold| format!("tokens fell below {threshold}"),
    ..SPEND
};
const REQUESTS: WatchWording = WatchWording {
    field: "Requests",
    key: "requests",
    state: |fact, subject, value| usage(fact, subject, &format!("made {value}"), "requests are"),
    cleared: |threshold| format!("requests fell below {threshold}"),
    ..SPEND
};
const BURN_RATE: WatchWording = WatchWording {
    field: "At this rate",
    // A public name, older than the name of the watch.
    key: "pace_usd",
    state: |fact, subject, value| match fact.limit {
        Some(limit) if limit > 0 => {
            let share = formatting::headline_share(limit, fact.value);
            let at_least = formatting::at_least(fact);
            format!("{subject} is on track for {at_least}{share} of its limit")
        }
        Some(_) => format!("{subject} is on track to spend {value} where no spend is allowed"),
        None => format!("{subject} is on track to spend {value}"),
    },
    summary: |fact, amounts| {
        let window = periods::period(fact).unwrap_or_default();
        format!("{amounts} in a whole period, at the rate of {window}")
    },
    cleared: |threshold| format!("burn rate fell below {threshold}"),
    total: Total::Largest("highest on track for"),
    is_usage: false,
    ..SPEND
};
const DATA_AGE: WatchWording = WatchWording {
    field: "Data age",
    key: "age_seconds",
    state: |_, subject, value| format!("spend data of {subject} is {value} old"),
    amounts: |value, limit| format!("data age {value}, limit {limit}"),
    summary: |_, amounts| amounts.to_owned(),
    subject_line: |value, limit, _| format!("data {value} old, limit {limit}"),
    cleared: |_| "data is up to date again".to_owned(),
    total: Total::Largest("oldest"),
    is_usage: false,
    is_gap: false,
    next_steps: advice::about_stale_data,
};
const RECONCILIATION_USD: WatchWording = WatchWording {
    field: "Gap",
    key: "gap_usd",
    state: |fact, subject, value| {
        let in_period = periods::in_period(fact);
        format!("bill and estimate of {subject} differ by {value} {in_period}")
    },
    amounts: |value, limit| format!("gap {value}, limit {limit}"),
    summary: |fact, amounts| match &fact.reconciled {
        Some(Reconciled {
            billed,
            estimated,
            uncertain,
            ..
        }) => format!(
            "{} billed {}, {} estimated from list prices{}; {amounts}",
            formatting::dollars(*billed),
            in_period(fact),
            formatting::dollars(*estimated),
            formatting::uncertain_part(*uncertain),
        ),
        None => format!("{amounts} {}", in_period(fact)),
    },
    subject_line: |value, limit, _| format!("gap {value}, limit {limit}"),
    cleared: |threshold| {
        let of_what = if threshold.ends_with('%') {
            " of the limit"
        } else {
            ""
        };
        format!("gap fell below {threshold}{of_what}")
    },
    total: Total::Sum,
    is_usage: false,
    is_gap: true,
    next_steps: advice::about_gaps,
};
const RECONCILIATION_PERCENT: WatchWording = WatchWording {
    key: "gap_percent",
    total: Total::Largest("largest gap"),
    ..RECONCILIATION_USD
};
/// The texts about the event itself are in [`events`].
const LIFECYCLE: WatchWording = WatchWording {
    field: "Event",
    key: "value",
    state: |fact, subject, _| events::state(fact, subject),
    amounts: |_, _| String::new(),
    summary: |_, amounts| amounts.to_owned(),
    subject_line: |_, _, _| String::new(),
    cleared: |_| "it no longer holds".to_owned(),
    total: Total::EventCounts,
    is_usage: false,
    is_gap: false,
    next_steps: advice::about_event,
};

/// Returns the texts of a watch.
pub const fn wording(watch: Watch) -> &'static WatchWording {
    match watch {
        Watch::Spend => &SPEND,
        Watch::BurnRate => &BURN_RATE,
        Watch::Tokens => &TOKENS,
        Watch::Requests => &REQUESTS,
        Watch::DataAge => &DATA_AGE,
        Watch::ReconciliationUsd => &RECONCILIATION_USD,
        Watch::ReconciliationPercent => &RECONCILIATION_PERCENT,
        Watch::Lifecycle => &LIFECYCLE,
    }
}

/// Returns the next steps for an alert, none if it is resolved.
pub fn advise(fact: &Fact, links: &Links) -> Vec<Advice> {
    if fact.reason == Reason::Resolved {
        return Vec::new();
    }
    (wording(fact.watch).next_steps)(fact, links)
}

/// `in November 2026, which has ended`.
fn in_period(fact: &Fact) -> String {
    let ended = if fact.is_late {
        ", which has ended"
    } else {
        ""
    };
    format!("{}{ended}", periods::in_period(fact))
}

/// `workspace Search is 13% over its November limit`.
fn usage(fact: &Fact, subject: &str, spent: &str, noun: &str) -> String {
    let Some(limit) = fact.limit else {
        return format!("{subject} {spent} {}", periods::in_period(fact));
    };
    if limit <= 0 {
        return format!("{subject} {spent} where no {noun} allowed");
    }
    let is_over = fact.value > limit;
    let (text, quantity, preposition) = match fact.reason {
        Reason::Escalated => ("is now at", fact.value, "of"),
        Reason::Lowered => ("is back at", fact.value, "of"),
        Reason::Repeated | Reason::Unsilenced => ("at", fact.value, "of"),
        Reason::First | Reason::Resolved if is_over => ("is", fact.value - limit, "over"),
        Reason::First | Reason::Resolved => ("used", fact.value, "of"),
    };
    let at_least = formatting::at_least(fact);
    let share = formatting::headline_share(limit, quantity);
    let limit_name = periods::limit_name(fact);
    format!("{subject} {text} {at_least}{share} {preposition} {limit_name}")
}
