//! Evaluates ten rules for ten thousand workspaces.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;

use spendwatch_domain::alerts::alert::{Now, Observed};
use spendwatch_domain::alerts::decision::{Alerts, decide};
use spendwatch_domain::alerts::policy::{NotifierPolicy, Policy};
use spendwatch_domain::alerts::silence::Suppressions;
use spendwatch_domain::figures::snapshot::OrganizationSnapshot;
use spendwatch_domain::org::inventory::Inventory;
use spendwatch_domain::rules::rule::{
    Condition, Limit, PeriodLimit, Rule, Severity, Threshold, ThresholdValue,
};
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::matcher::{Glob, Matcher};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::{Period, Zone};
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::units::subject::SubjectKind;

use crate::Extent;
use crate::harness::{at, each, limit_of, organization, rule};
use crate::made;
use crate::report::{Goal, Report, alternately};

const N_WORKSPACES: usize = 10_000;

pub fn run(report: &mut Report, _: Extent) {
    let at = at("2026-11-24T14:20:00Z");
    let organization = organization();
    let policy = policy();
    let directory = made::directory(N_WORKSPACES, at);
    let figures = made::figures(&policy, N_WORKSPACES, at);
    let snapshot = OrganizationSnapshot {
        organization: &organization,
        directory: &directory,
        inventory: &Inventory::UNKNOWN,
        teams: &[],
        figures: &figures,
        privacy: Privacy::default(),
    };
    let now = Now {
        at,
        observed: Observed(0),
        elapsed: 0,
    };
    let names = policy.rules.iter().map(|rule| (rule.name.clone(), at));
    let quiet = Alerts {
        by_slot: IndexMap::new(),
        rule_start_times: names.collect(),
        store_created_at: at,
    };
    // Each workspace with place % 97 == 96 is over one rule's limit: about 1 % of them.
    let loud = loud(&policy);
    let mut firing = quiet.clone();
    firing.apply(
        &decide(&loud, &snapshot, &firing, &Suppressions::default(), now),
        at,
    );
    let n_measured = decide(&policy, &snapshot, &quiet, &Suppressions::default(), now)
        .measurements
        .len();
    let (calm, excited) = alternately(
        9,
        || decide(&policy, &snapshot, &quiet, &Suppressions::default(), now),
        || decide(&loud, &snapshot, &firing, &Suppressions::default(), now),
    );
    let rate = |seconds: f64| n_measured as f64 / seconds / 1e6;
    report.add(
        "evaluating: 10 rules × 10,000 workspaces, nothing fires",
        rate(calm.median()),
        "M/s",
        Goal::AtLeast(1.0),
    );
    report.add(
        &format!(
            "evaluating: the same while {} alerts fire",
            firing.by_slot.len()
        ),
        rate(excited.median()),
        "M/s",
        Goal::AtLeast(1.0),
    );
    deciding(report, at);
}

/// Measures ten rules for each of ten thousand workspaces, all of which fire; one in a hundred escalates.
fn deciding(report: &mut Report, at: Timestamp) {
    let organization = organization();
    let mut low = policy();
    low.rules = (0..10)
        .map(|place| {
            with(&format!("rule {place}"), |limit| {
                limit.limit = Limit::Fixed(1);
            })
        })
        .collect();
    let mut high = low.clone();
    for rule in &mut high.rules {
        rule.thresholds.push(Threshold {
            at: ThresholdValue::Quantity(Usd::from_dollars(24).pico()),
            severity: Severity::Critical,
            text: "$24".into(),
        });
    }
    let directory = made::directory(N_WORKSPACES, at);
    let figures = made::figures(&low, N_WORKSPACES, at);
    let snapshot = OrganizationSnapshot {
        organization: &organization,
        directory: &directory,
        inventory: &Inventory::UNKNOWN,
        teams: &[],
        figures: &figures,
        privacy: Privacy::default(),
    };
    let now = Now {
        at,
        observed: Observed(0),
        elapsed: 0,
    };
    let names = low.rules.iter().map(|rule| (rule.name.clone(), at));
    let mut firing = Alerts {
        by_slot: IndexMap::new(),
        rule_start_times: names.collect(),
        store_created_at: at,
    };
    firing.apply(
        &decide(&low, &snapshot, &firing, &Suppressions::default(), now),
        at,
    );
    let decided = || decide(&high, &snapshot, &firing, &Suppressions::default(), now);
    let n_changed = decided().alerts.len();
    let (all, _) = alternately(9, decided, || ());
    report.add(
        &format!(
            "evaluating: {} alert states, of which {n_changed} change",
            firing.by_slot.len()
        ),
        all.median() * 1e3,
        "ms",
        Goal::AtMost(50.0),
    );
}

/// Returns rules with every watch, calendar and rolling periods, all kinds of limits, and globs.
pub fn policy() -> Policy {
    let glob = |pattern| Glob::new(pattern).ok();
    let zone = |name: &str| Zone {
        name: name.into(),
        rules: jiff::tz::TimeZone::get(name).expect("a zone"),
    };
    let rules = vec![
        usual("month"),
        each(Period::Day, usual("day")),
        with("server", |limit| limit.limit = Limit::Workspace),
        Rule {
            condition: Condition::Tokens(limit(Period::Month)),
            ..usual("tokens")
        },
        Rule {
            condition: Condition::Requests(limit(Period::Day)),
            ..usual("requests")
        },
        each(Period::Rolling(24), usual("rolling")),
        Rule {
            zone: zone("Europe/Vilnius"),
            ..each(Period::Week, usual("week"))
        },
        Rule {
            condition: Condition::DataAge {
                for_each: SubjectKind::Workspace,
                limit: FAR,
            },
            ..usual("age")
        },
        Rule {
            matcher: Matcher {
                model: glob("claude-opus*"),
                ..Matcher::default()
            },
            ..usual("opus")
        },
        Rule {
            matcher: Matcher {
                workspace: glob("Workspace *"),
                ..Matcher::default()
            },
            ..usual("named")
        },
    ];
    let manners = NotifierPolicy {
        send_resolved: true,
        send_period_end: false,
        min_severity: Severity::Info,
        holds_state: false,
    };
    Policy {
        rules,
        notifiers: BTreeMap::from([(NotifierName::from("chat"), manners)]),
        fallbacks: BTreeMap::new(),
    }
}

fn loud(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    // The largest uses of three models in three hours: see `made::usage keys`.
    limit_of(&mut policy.rules[0]).limit = Limit::Fixed(Usd::from_dollars(24).pico());
    policy
}

/// A limit that no figure comes near, in any unit.
const FAR: Quantity = Usd::from_dollars(1_000_000).pico();

/// Returns a rule that is far from its limit.
fn usual(name: &str) -> Rule {
    rule(name, SubjectKind::Workspace, 1_000_000)
}

fn with(name: &str, change: impl FnOnce(&mut PeriodLimit)) -> Rule {
    let mut rule = usual(name);
    change(limit_of(&mut rule));
    rule
}

fn limit(period: Period) -> PeriodLimit {
    PeriodLimit {
        for_each: SubjectKind::Workspace,
        period,
        limit: Limit::Fixed(FAR),
    }
}
