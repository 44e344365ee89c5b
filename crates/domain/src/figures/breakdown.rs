//! Breaks usage down by organization, workspace, model, API key, user or team, and by time. The parts always sum to the
//! whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::figures::counting::{key_of, user_of};
use crate::org::directory::Directory;
use crate::org::teams;
use crate::units::ids::{OrganizationName, UNATTRIBUTED};
use crate::units::matcher::Team;
use crate::units::period::{self, Period};
use crate::units::privacy::UserNaming;
use crate::units::span::{Hour, HourSpan};
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::{Amounts, UsageRow};

/// A span divided into periods, of which the first and the last may be incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSlices(Vec<(Hour, Arc<str>)>);

impl TimeSlices {
    /// Divides a span by the calendar of a time zone. A bucket belongs to the period in which it begins.
    pub fn new(period: Period, zone: &TimeZone, hours: HourSpan) -> TimeSlices {
        let mut slices = Vec::new();
        let mut hour = hours.start;
        while hour < hours.end {
            let span = period::containing(period, zone, hour.start());
            slices.push((hour, span.label.unwrap_or_default().into()));
            // Guarantees progress whatever the zone's clock changes are.
            hour = Hour::ceil(span.span.end).max(hour.plus(1));
        }
        TimeSlices(slices)
    }

    /// Returns the first hour of the slice that contains an hour, or of the first slice if the hour is before all.
    pub fn first_hour(&self, hour: Hour) -> Hour {
        let after = self.0.partition_point(|(first, _)| *first <= hour);
        self.0
            .get(after.saturating_sub(1))
            .map_or(hour, |(first, _)| *first)
    }

    /// Returns the first hour and label of each slice, in order.
    pub fn all(&self) -> impl Iterator<Item = (Hour, &str)> {
        self.0.iter().map(|(first, label)| (*first, &**label))
    }

    /// Returns the label of the slice with this first hour: `2026-11`, `2026-11-24` or `2026-11-24T14+01:00`.
    pub fn label(&self, first: Hour) -> Option<&str> {
        let place = self.0.binary_search_by_key(&first, |(first, _)| *first);
        place.ok().map(|place| &*self.0[place].1)
    }
}

/// One subject in one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakdownEntry {
    /// First hour of the slice.
    pub first: Hour,
    pub subject: Subject,
    pub name: String,
    pub amounts: Amounts,
    /// Whether this is a share, by tokens, of a sum reported for all keys together.
    pub is_apportioned: bool,
}

/// What is needed to identify and name subjects.
#[derive(Debug, Clone, Copy)]
pub struct BreakdownContext<'a> {
    pub organization: &'a OrganizationName,
    pub directory: &'a Directory,
    pub teams: &'a [Team],
    pub naming: UserNaming,
}

/// Sums rows by slice and subject; in order of time, then by spend, largest first.
pub fn break_down(
    by: SubjectKind,
    naming: BreakdownContext<'_>,
    rows: &[UsageRow],
) -> Vec<BreakdownEntry> {
    let mut sums: BTreeMap<(Hour, &str), (Amounts, bool)> = BTreeMap::new();
    for row in rows {
        // The whole has no id and is not broken down.
        let workspace = row.part.workspace_id().unwrap_or(UNATTRIBUTED);
        let id = match by {
            SubjectKind::Organization => naming.organization.as_str(),
            SubjectKind::Workspace => workspace,
            SubjectKind::Model => row.usage_key.model.as_str(),
            SubjectKind::ApiKey => key_of(&row.usage_key),
            SubjectKind::User => user_of(&row.usage_key, naming.naming),
            SubjectKind::Team => {
                teams::for_usage(naming.teams, naming.directory, workspace, &row.usage_key)
            }
        };
        let (sum, is_apportioned) = sums.entry((row.hour, id)).or_default();
        *sum += row.amounts;
        *is_apportioned |= row.usage_key.is_apportioned;
    }
    let entry = |((first, id), (amounts, is_apportioned)): ((Hour, &str), (Amounts, bool))| {
        BreakdownEntry {
            first,
            subject: Subject::new(by, id),
            name: match by {
                SubjectKind::Workspace => naming.directory.name_of(id).to_owned(),
                SubjectKind::ApiKey => naming.directory.key_name(id).to_owned(),
                SubjectKind::User => naming.directory.user_name(id, naming.naming).to_owned(),
                SubjectKind::Organization | SubjectKind::Model | SubjectKind::Team => id.to_owned(),
            },
            amounts,
            is_apportioned,
        }
    };
    let mut entries: Vec<BreakdownEntry> = sums.into_iter().map(entry).collect();
    entries.retain(|entry| !entry.amounts.is_zero());
    entries.sort_by_key(|entry| (entry.first, std::cmp::Reverse(entry.amounts.spend)));
    entries
}

/// Returns the sum over all entries.
pub fn total(entries: &[BreakdownEntry]) -> Amounts {
    entries
        .iter()
        .fold(Amounts::ZERO, |sum, entry| sum + entry.amounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::org::directory::UserInfo;
    use crate::units::ids::ActorId;
    use crate::units::matcher::Glob;
    use crate::units::money::Usd;
    use crate::usage::bucket::{Part, UsageKey, UsageKeyFields};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn hour(at: &str) -> Hour {
        Hour::containing(at.parse::<Timestamp>().unwrap())
    }

    fn check(period: Period, zone: &str, start: &str, end: &str, expected: &[(&str, &str)]) {
        let zone = TimeZone::get(zone).unwrap();
        let hours = HourSpan {
            start: hour(start),
            end: hour(end),
        };
        let slices = TimeSlices::new(period, &zone, hours);
        let result: Vec<(String, &str)> = slices
            .0
            .iter()
            .map(|(first, label)| (first.start().to_string(), &**label))
            .collect();
        let result: Vec<(&str, &str)> = result
            .iter()
            .map(|(at, label)| (at.as_str(), *label))
            .collect();
        assert_eq!(result, expected);
    }

    #[test]
    fn spans_are_divided_by_the_calendar_of_the_zone() {
        check(
            Period::Month,
            "UTC",
            "2026-10-20T00:00:00Z",
            "2026-11-03T00:00:00Z",
            &[
                ("2026-10-20T00:00:00Z", "2026-10"),
                ("2026-11-01T00:00:00Z", "2026-11"),
            ],
        );
        check(
            Period::Day,
            "Europe/Berlin",
            "2026-10-23T22:00:00Z",
            "2026-10-26T23:00:00Z",
            &[
                ("2026-10-23T22:00:00Z", "2026-10-24"),
                ("2026-10-24T22:00:00Z", "2026-10-25"),
                ("2026-10-25T23:00:00Z", "2026-10-26"),
            ],
        );
        check(
            Period::Hour,
            "Asia/Kolkata",
            "2026-11-24T10:00:00Z",
            "2026-11-24T12:00:00Z",
            &[
                ("2026-11-24T10:00:00Z", "2026-11-24T15+05:30"),
                ("2026-11-24T11:00:00Z", "2026-11-24T16+05:30"),
            ],
        );
    }

    fn row(part: Part, model: &str, hour: i32, pico: i128) -> UsageRow {
        UsageRow {
            part,
            usage_key: model.into(),
            hour: Hour::from_count(hour),
            amounts: Amounts {
                spend: Usd::from_pico(pico),
                ..Amounts::ZERO
            },
        }
    }

    #[test]
    fn spend_outside_of_team_workspaces_is_unassigned() {
        let teams = [Team {
            name: "search".into(),
            workspaces: vec![Glob::new("a*").unwrap()],
            api_keys: Vec::new(),
            workspace_tags: BTreeMap::new(),
            notify: Vec::new(),
        }];
        let naming = BreakdownContext {
            organization: &"acme".into(),
            directory: &Directory::default(),
            teams: &teams,
            naming: UserNaming::Email,
        };
        let rows = [
            row(Part::Workspace("a1".into()), "m", 1, 5),
            row(Part::Workspace("a2".into()), "n", 1, 7),
            row(Part::Workspace("b".into()), "m", 1, 100),
            row(Part::Unattributed, "m", 1, -1),
        ];
        let result: Vec<(String, i128)> = break_down(SubjectKind::Team, naming, &rows)
            .into_iter()
            .map(|entry| (entry.name, entry.amounts.spend.pico()))
            .collect();
        assert_eq!(
            result,
            [("unassigned".to_owned(), 99), ("search".to_owned(), 12)]
        );
    }

    #[test]
    fn keys_and_users_are_named_and_the_rest_is_unattributed() {
        let of = |key: Option<&str>, user: Option<&str>, is_apportioned, pico| {
            let mut row = row(Part::Unattributed, "m", 1, pico);
            row.usage_key = UsageKey::from(UsageKeyFields {
                model: "m".into(),
                api_key: key.map(Into::into),
                user: user.map(ActorId::new),
                is_apportioned,
            });
            row
        };
        let rows = [
            of(Some("apikey_a"), None, true, 50),
            of(Some("apikey_a"), None, false, 40),
            of(Some("apikey_new"), Some("user_a"), false, 30),
            of(None, Some("user_b"), false, 20),
            of(None, None, false, 10),
        ];
        let user_info = |name: &str, email: &str| UserInfo {
            name: name.to_owned(),
            email: email.to_owned(),
        };
        let directory = Directory {
            keys: [("apikey_a".into(), "nightly".to_owned())].into(),
            users: [
                (ActorId::new("user_a"), user_info("Ada", "ada@example.com")),
                (ActorId::new("user_b"), user_info("Robot", "")),
            ]
            .into(),
            ..Directory::default()
        };
        let result = |by, naming| -> Vec<(String, i128, bool)> {
            let naming = BreakdownContext {
                organization: &"acme".into(),
                directory: &directory,
                teams: &[],
                naming,
            };
            let entries = break_down(by, naming, &rows).into_iter();
            entries
                .map(|entry| (entry.name, entry.amounts.spend.pico(), entry.is_apportioned))
                .collect()
        };
        let row = |name: &str, pico, is_apportioned| (name.to_owned(), pico, is_apportioned);
        assert_eq!(
            result(SubjectKind::ApiKey, UserNaming::Email),
            [
                row("nightly", 90, true),
                row("apikey_new", 30, false),
                row("unattributed", 30, false),
            ]
        );
        let by_user = |naming| {
            let result = result(SubjectKind::User, naming).into_iter();
            result
                .map(|(name, pico, _)| (name, pico))
                .collect::<Vec<_>>()
        };
        let row = |name: &str, pico| (name.to_owned(), pico);
        let rest = row("unattributed", 100);
        assert_eq!(
            by_user(UserNaming::Email),
            [rest.clone(), row("ada@example.com", 30), row("Robot", 20)]
        );
        assert_eq!(
            by_user(UserNaming::Id),
            [rest.clone(), row("user_a", 30), row("user_b", 20)]
        );
        assert_eq!(by_user(UserNaming::Hidden), [rest, row("hidden", 50)]);
    }

    proptest! {
        #[test]
        fn every_breakdown_sums_to_the_whole(
            parts in proptest::collection::vec((0_usize..4, 0_usize..3, 0_i32..100, -1000_i128..1000), 0..40)
        ) {
            let part = |place: usize| match place {
                0 => Part::Unattributed,
                n => Part::Workspace(format!("w{n}").as_str().into()),
            };
            let rows: Vec<UsageRow> = parts
                .iter()
                .map(|(place, model, hour, pico)| row(part(*place), ["m", "n", "o"][*model], *hour, *pico))
                .collect();
            let whole: i128 = parts.iter().map(|(_, _, _, pico)| pico).sum();
            let naming = BreakdownContext {
                organization: &"acme".into(),
                directory: &Directory::default(),
                teams: &[],
                naming: UserNaming::Email,
            };
            for by in SubjectKind::ALL {
                let entries = break_down(by, naming, &rows);
                prop_assert_eq!(total(&entries).spend.pico(), whole);
            }
        }
    }
}
