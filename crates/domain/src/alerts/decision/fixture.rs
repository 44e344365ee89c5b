//! Fixture for decision tests: a fictional organization whose figures are set by hand and whose notifications are formatted
//! as one line each.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::{Now, Observed};
use crate::alerts::decision::{Alerts, Decision, decide};
use crate::alerts::measure::frame_key;
use crate::alerts::notification::Fact;
use crate::alerts::policy::{NotifierPolicy, Policy};
use crate::alerts::silence::Suppressions;
use crate::figures::period_sums::PeriodKey;
use crate::figures::snapshot::OrganizationSnapshot;
use crate::figures::totals::Figures;
use crate::ledger::change::Delta;
use crate::ledger::coverage::Coverage;
use crate::org::directory::{Directory, OrganizationInfo, Workspace};
use crate::org::inventory::Inventory;
use crate::rules::rule::{
    Condition, Limit, PeriodLimit, Rule, Severity, Threshold, ThresholdValue,
};
use crate::units::ids::{OrganizationName, WorkspaceId};
use crate::units::matcher::{Glob, Team};
use crate::units::money::{Percent, Usd};
use crate::units::period::Period;
use crate::units::privacy::Privacy;
use crate::units::span::Hour;
use crate::units::subject::SubjectKind;
use crate::usage::bucket::{Amounts, Part};

pub(super) const SETTLE: SignedDuration = SignedDuration::from_mins(10);
pub(super) const MODELS: [&str; 2] = ["opus", "haiku"];

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A monthly limit in USD with a warning at 80% and critical at 100%.
pub(super) fn rule(for_each: SubjectKind, limit: i64) -> Rule {
    let threshold = |percent, severity| Threshold {
        at: ThresholdValue::Share(Percent::from_whole(percent)),
        severity,
        text: format!("{percent}%").into(),
    };
    let limit = PeriodLimit {
        for_each,
        period: Period::Month,
        limit: Limit::Fixed(Usd::from_dollars(limit).pico()),
    };
    Rule {
        thresholds: vec![
            threshold(80, Severity::Warning),
            threshold(100, Severity::Critical),
        ],
        notify: vec!["chat".into()],
        ..Rule::new("rule", Condition::Spend(limit))
    }
}

/// Returns the limit of a rule on spend.
pub(super) fn limit_of(rule: &mut Rule) -> &mut PeriodLimit {
    match &mut rule.condition {
        Condition::Spend(limit) => limit,
        other => panic!("{other:?} is not on spend"),
    }
}

/// Returns a rule on spend with another period.
pub(super) fn each(period: Period, mut rule: Rule) -> Rule {
    limit_of(&mut rule).period = period;
    rule
}

pub(super) fn notices(decision: &Decision) -> Vec<String> {
    let notice = |fact: &Fact| {
        let by = fact.ended_by.map_or(String::new(), |by| format!(" {by}"));
        format!(
            "{} {} {}{by}",
            fact.subject_name, fact.threshold.text, fact.reason
        )
    };
    let facts = decision.drafts.iter().flat_map(|draft| &draft.facts);
    facts.map(notice).collect()
}

/// Workspaces `a` and `b`, a team of the first, one notifier, and a clock.
pub(super) struct Fixture {
    pub policy: Policy,
    pub directory: Directory,
    pub inventory: Inventory,
    pub privacy: Privacy,
    pub figures: Figures,
    pub alerts: Alerts,
    pub suppressions: Suppressions,
    pub now: Now,
    /// Whether lists of keys and users fail, so that they stay as last listed.
    pub lists_fail: bool,
    stale: BTreeSet<Part>,
    teams: Vec<Team>,
    organization: OrganizationName,
}

impl Fixture {
    pub fn new(rules: Vec<Rule>, start: &str) -> Fixture {
        let start = at(start);
        let keys: Vec<PeriodKey> = rules.iter().filter_map(frame_key).collect();
        let workspace = |id: &str| Workspace {
            id: id.into(),
            name: id.to_uppercase(),
            monthly_limit: None,
            requests_per_minute: None,
            created_at: None,
            tags: BTreeMap::new(),
        };
        let settings = NotifierPolicy {
            send_resolved: true,
            send_period_end: false,
            min_severity: Severity::Info,
            holds_state: false,
        };
        let mut fixture = Fixture {
            policy: Policy {
                rules,
                notifiers: BTreeMap::from([("chat".into(), settings)]),
                fallbacks: BTreeMap::new(),
            },
            directory: Directory {
                organization: Some(OrganizationInfo::default()),
                ..Directory::default().with_list(vec![workspace("a"), workspace("b")], start)
            },
            inventory: Inventory::default(),
            privacy: Privacy::default(),
            figures: Figures::new(&keys, SETTLE, start),
            alerts: Alerts {
                by_slot: IndexMap::new(),
                rule_start_times: BTreeMap::new(),
                store_created_at: start,
            },
            suppressions: Suppressions::default(),
            now: Now {
                at: start,
                observed: Observed(0),
                elapsed: 0,
            },
            lists_fail: false,
            stale: BTreeSet::new(),
            teams: vec![Team {
                name: "first".into(),
                workspaces: vec![Glob::new("A").unwrap()],
                api_keys: Vec::new(),
                workspace_tags: BTreeMap::new(),
                notify: Vec::new(),
            }],
            organization: "acme".into(),
        };
        fixture.cover();
        fixture
    }

    /// Adds spend (may be negative) to a part in an hour; `-` is the remainder.
    pub fn spend(&mut self, id: &str, model: &str, hour: Timestamp, cents: i64) {
        let delta = Delta {
            hour: Hour::containing(hour),
            usage_key: model.into(),
            amounts: Amounts {
                spend: Usd::from_pico(i128::from(cents) * 10_000_000_000),
                ..Amounts::ZERO
            },
        };
        let fell = if cents < 0 && self.is_settled(hour) {
            BTreeSet::from([delta.hour])
        } else {
            BTreeSet::new()
        };
        self.figures.apply(&part(id), &[delta], &fell);
    }

    fn is_settled(&self, hour: Timestamp) -> bool {
        self.now.at.duration_since(Hour::containing(hour).end()) >= SETTLE
    }

    /// Adds spend of workspace `a` in the current hour, in USD.
    pub fn spend_now(&mut self, dollars: i64) {
        self.spend("a", MODELS[0], self.now.at, dollars * 100);
    }

    /// Makes a part unreadable.
    pub fn fail(&mut self, id: &str) {
        self.stale.insert(part(id));
    }

    /// Makes everything readable again.
    pub fn heal(&mut self) {
        self.stale.clear();
    }

    /// Restarts with figures that contain only what is left in the ledger.
    pub fn restart(&mut self, left: &[(&str, &str, i64)]) {
        let keys: Vec<PeriodKey> = self.policy.rules.iter().filter_map(frame_key).collect();
        self.figures = Figures::new(&keys, SETTLE, self.now.at);
        for (id, model, dollars) in left {
            self.spend(id, model, self.now.at, dollars * 100);
        }
    }

    /// Decides after some minutes in which all readable parts were read, and applies the decision.
    pub fn decide_after(&mut self, minutes: u64) -> Decision {
        let elapsed = minutes * 60_000;
        let passed = SignedDuration::from_mins(i64::try_from(minutes).unwrap());
        self.now = Now {
            at: self.now.at.checked_add(passed).unwrap(),
            observed: Observed(self.now.observed.0 + elapsed),
            elapsed,
        };
        let loads = [
            self.figures.advance(self.now.at),
            self.figures.roll(self.now.at),
        ]
        .concat();
        assert!(
            loads
                .iter()
                .all(|load| load.hours.start >= Hour::containing(self.now.at).plus(-1)),
            "new periods have no spend yet: {loads:?}"
        );
        self.cover();
        if !self.lists_fail {
            self.inventory.keys_at = Some(self.now.at);
            self.inventory.users_at = Some(self.now.at);
        }
        let decision = self.decide();
        self.alerts.apply(&decision, self.now.at);
        self.figures.start_cycle();
        self.cover();
        decision
    }

    /// Decides again at the same time without applying the decision.
    pub fn decide(&self) -> Decision {
        decide(
            &self.policy,
            &self.snapshot(),
            &self.alerts,
            &self.suppressions,
            self.now,
        )
    }

    pub fn snapshot(&self) -> OrganizationSnapshot<'_> {
        OrganizationSnapshot {
            organization: &self.organization,
            directory: &self.directory,
            inventory: &self.inventory,
            teams: &self.teams,
            figures: &self.figures,
            privacy: self.privacy,
        }
    }

    fn cover(&mut self) {
        let parts = ["a", "b", "-", "whole"].map(part);
        let is_all_fresh = self.stale.is_empty();
        for part in parts {
            let is_fresh = match part {
                Part::Unattributed | Part::Whole => is_all_fresh,
                Part::Workspace(_) => !self.stale.contains(&part),
            };
            let mut coverage = Coverage::new(at("2026-01-01T00:00:00Z"));
            coverage.hours_from = Some(crate::units::span::Day::containing(at(
                "2026-01-01T00:00:00Z",
            )));
            coverage.as_of = if is_fresh {
                Some(self.now.at)
            } else {
                self.figures.part_state(&part).and_then(|state| state.as_of)
            };
            self.figures.set_coverage(&part, &coverage, is_fresh, true);
        }
    }
}

pub(super) fn part(id: &str) -> Part {
    match id {
        "-" => Part::Unattributed,
        "whole" => Part::Whole,
        id => Part::Workspace(WorkspaceId::from(id)),
    }
}
