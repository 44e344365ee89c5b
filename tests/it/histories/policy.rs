//! Configuration of every history, and the state before it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use spendwatch::cycle::settings::{DeliverySettings, WatcherSettings};
use spendwatch_domain::alerts::policy::{NotifierPolicy, Policy};
use spendwatch_domain::ledger::coverage::{Coverage, DaySpan, PollSettings};
use spendwatch_domain::org::directory::{Directory, OrganizationInfo, Workspace};
use spendwatch_domain::org::events::RequiredLists;
use spendwatch_domain::rules::rule::{Rule, Severity};
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::{Period, Zone, containing};
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::prices::PriceTable;

use crate::harness::{at, each, organization, rule};
use crate::histories::story::WHO;

/// Half a day before a month ends.
pub const START: &str = "2026-11-30T12:00:00Z";
/// Of the organization's day, in USD.
pub const DAY_LIMIT: i64 = 150;
pub const SETTLE: SignedDuration = SignedDuration::from_mins(10);
/// Notifiers of the rules, and the fallback of `pager`.
pub const NOTIFIERS: [&str; 3] = ["chat", "pager", SPARE];
pub const SPARE: &str = "spare";
/// In percent of the limit, as shown.
pub const LINES: [(Quantity, &str); 2] = [(80, "80%"), (100, "100%")];

/// With the rule of the month where it has a limit.
pub fn settings(limit: Option<i64>, prices: Arc<PriceTable>) -> WatcherSettings {
    let notifiers = NOTIFIERS.map(NotifierName::from);
    let postage = DeliverySettings {
        recipients: Vec::new(),
        group_wait: SignedDuration::from_secs(30),
        max_age: SignedDuration::from_hours(24 * 60),
        accepts_digests: true,
    };
    let rules = limit.map(month_rule).into_iter().chain([day_rule()]);
    let manners = |name: &NotifierName| {
        let is_pager = name.as_str() == "pager";
        NotifierPolicy {
            send_resolved: true,
            send_period_end: false,
            min_severity: if is_pager {
                Severity::Critical
            } else {
                Severity::Info
            },
            holds_state: is_pager,
        }
    };
    WatcherSettings {
        organization: organization(),
        dialect: Some(Dialect::Guide),
        prices,
        privacy: Privacy::default(),
        max_concurrency: 1,
        poll: PollSettings {
            settle: SETTLE,
            history_days: 100,
            hourly_history_days: 14,
            correction_days: 30,
            correction_interval: SignedDuration::from_hours(1),
        },
        hourly_retention_days: 100,
        daily_retention_days: 800,
        teams: Vec::new(),
        policy: Policy {
            rules: rules.collect(),
            notifiers: notifiers.iter().map(|n| (n.clone(), manners(n))).collect(),
            fallbacks: BTreeMap::from([("pager".into(), SPARE.into())]),
        },
        needs: RequiredLists::default(),
        digests: Vec::new(),
        delivery: notifiers.map(|name| (name, postage.clone())).into(),
    }
}

fn month_rule(limit: i64) -> Rule {
    Rule {
        repeat_interval: Some(SignedDuration::from_hours(6)),
        ..notify_both(rule("month", SubjectKind::Workspace, limit))
    }
}

fn day_rule() -> Rule {
    Rule {
        for_duration: SignedDuration::from_mins(10),
        keep_firing_for: SignedDuration::from_mins(30),
        ..notify_both(each(
            Period::Day,
            rule("day", SubjectKind::Organization, DAY_LIMIT),
        ))
    }
}

fn notify_both(rule: Rule) -> Rule {
    Rule {
        notify: vec!["chat".into(), "pager".into()],
        ..rule
    }
}

pub fn directory(listed_at: Timestamp) -> Directory {
    let workspace = |id: &str| Workspace {
        id: id.into(),
        name: id.to_owned(),
        monthly_limit: None,
        requests_per_minute: None,
        created_at: None,
        tags: BTreeMap::new(),
    };
    Directory {
        organization: Some(OrganizationInfo::default()),
        ..Directory::default().with_list(WHO.map(workspace).to_vec(), listed_at)
    }
}

/// Everything before the history is known.
pub fn read_back(first_seen: Timestamp) -> Coverage {
    let hours_from = Day::containing(at("2026-11-01T00:00:00Z"));
    Coverage {
        hours_from: Some(hours_from),
        days: Some(DaySpan {
            start: hours_from.plus(-90),
            end: hours_from,
        }),
        ..Coverage::new(first_seen)
    }
}

pub fn hours_until(now: Timestamp) -> HourSpan {
    HourSpan {
        start: Day::containing(at(START)).first_hour(),
        end: Day::containing(now).plus(1).first_hour(),
    }
}

pub fn usd(cents: i64) -> Usd {
    Usd::from_pico(i128::from(cents) * 10_000_000_000)
}

pub fn label(period: Period, at: Timestamp) -> String {
    containing(period, &Zone::utc().rules, at)
        .label
        .unwrap_or_default()
}
