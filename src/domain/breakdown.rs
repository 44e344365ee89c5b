//! Usage broken down: by organization, workspace, model, API key, user or team, in pieces of time. The parts always sum to the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::domain::counting::{key_of, user_of};
use crate::domain::directory::Directory;
use crate::domain::ids::{OrganizationName, UNATTRIBUTED};
use crate::domain::matcher::Team;
use crate::domain::period::{self, Period};
use crate::domain::privacy::People;
use crate::domain::span::{Hour, HourSpan};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::teams;
use crate::domain::usage::{Amounts, UsageRow};

/// A span cut into periods. The first and the last may be pieces of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces(Vec<(Hour, Arc<str>)>);

impl Pieces {
    /// Cuts a span by the calendar of a zone. A bucket belongs to the period in which it begins.
    pub fn cut(period: Period, zone: &TimeZone, hours: HourSpan) -> Pieces {
        let mut pieces = Vec::new();
        let mut hour = hours.start;
        while hour < hours.end {
            let cut = period::cut(period, zone, hour.start());
            pieces.push((hour, cut.label.unwrap_or_default().into()));
            // Whatever a zone does to its clock, time goes on.
            hour = Hour::ceil(cut.span.end).max(hour.plus(1));
        }
        Pieces(pieces)
    }

    /// The first hour of the piece in which an hour lies; of the first piece where it lies before all.
    pub fn first_hour(&self, hour: Hour) -> Hour {
        let after = self.0.partition_point(|(first, _)| *first <= hour);
        self.0
            .get(after.saturating_sub(1))
            .map_or(hour, |(first, _)| *first)
    }

    /// All, in order: the first hour of each and its label.
    pub fn all(&self) -> impl Iterator<Item = (Hour, &str)> {
        self.0.iter().map(|(first, label)| (*first, &**label))
    }

    /// `2026-11`, `2026-11-24` or `2026-11-24T14+01:00`, by the first hour.
    pub fn label(&self, first: Hour) -> Option<&str> {
        let place = self.0.binary_search_by_key(&first, |(first, _)| *first);
        place.ok().map(|place| &*self.0[place].1)
    }
}

/// One subject in one piece of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The piece's first hour.
    pub first: Hour,
    pub subject: Subject,
    pub name: String,
    pub amounts: Amounts,
    /// The service told the sum over all keys, and this is a share by tokens.
    pub is_apportioned: bool,
}

/// Whom rows are told of.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    pub organization: &'a OrganizationName,
    pub directory: &'a Directory,
    /// Teams, in the order of the configuration.
    pub teams: &'a [Team],
    /// By what people are named.
    pub people: People,
}

/// Sums rows by piece and subject: in order of time, then the largest spend first.
pub fn break_down(by: SubjectKind, naming: Naming<'_>, rows: &[UsageRow]) -> Vec<Entry> {
    let mut sums: BTreeMap<(Hour, &str), (Amounts, bool)> = BTreeMap::new();
    for row in rows {
        // The whole has no id of its own: of it, nothing is told apart.
        let workspace = row.part.workspace_id().unwrap_or(UNATTRIBUTED);
        let id = match by {
            SubjectKind::Organization => naming.organization.as_str(),
            SubjectKind::Workspace => workspace,
            SubjectKind::Model => row.cell.model.as_str(),
            SubjectKind::ApiKey => key_of(&row.cell),
            SubjectKind::User => user_of(&row.cell, naming.people),
            SubjectKind::Team => teams::of(naming.teams, naming.directory, workspace, &row.cell),
        };
        let (sum, is_apportioned) = sums.entry((row.hour, id)).or_default();
        *sum += row.amounts;
        *is_apportioned |= row.cell.is_apportioned;
    }
    let entry = |((first, id), (amounts, is_apportioned)): ((Hour, &str), (Amounts, bool))| Entry {
        first,
        subject: Subject::new(by, id),
        name: match by {
            SubjectKind::Workspace => naming.directory.name_of(id).to_owned(),
            SubjectKind::ApiKey => naming.directory.key_name(id).to_owned(),
            SubjectKind::User => naming.directory.person_name(id, naming.people).to_owned(),
            SubjectKind::Organization | SubjectKind::Model | SubjectKind::Team => id.to_owned(),
        },
        amounts,
        is_apportioned,
    };
    let mut entries: Vec<Entry> = sums.into_iter().map(entry).collect();
    entries.retain(|entry| !entry.amounts.is_zero());
    entries.sort_by_key(|entry| (entry.first, std::cmp::Reverse(entry.amounts.spend)));
    entries
}

/// The sum of all.
pub fn total(entries: &[Entry]) -> Amounts {
    entries
        .iter()
        .fold(Amounts::ZERO, |sum, entry| sum + entry.amounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::directory::Person;
    use crate::domain::ids::ActorId;
    use crate::domain::matcher::Glob;
    use crate::domain::money::Usd;
    use crate::domain::usage::{Cell, CellKey, Part};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn hour(at: &str) -> Hour {
        Hour::of(at.parse::<Timestamp>().unwrap())
    }

    fn check(period: Period, zone: &str, start: &str, end: &str, expected: &[(&str, &str)]) {
        let zone = TimeZone::get(zone).unwrap();
        let hours = HourSpan {
            start: hour(start),
            end: hour(end),
        };
        let pieces = Pieces::cut(period, &zone, hours);
        let told: Vec<(String, &str)> = pieces
            .0
            .iter()
            .map(|(first, label)| (first.start().to_string(), &**label))
            .collect();
        let told: Vec<(&str, &str)> = told
            .iter()
            .map(|(at, label)| (at.as_str(), *label))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_span_is_cut_by_the_calendar_of_the_zone() {
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
            cell: model.into(),
            hour: Hour::from_count(hour),
            amounts: Amounts {
                spend: Usd::from_pico(pico),
                ..Amounts::ZERO
            },
        }
    }

    #[test]
    fn a_team_has_its_workspaces_and_the_rest_is_unassigned() {
        let teams = [Team {
            name: "search".into(),
            workspaces: vec![Glob::new("a*").unwrap()],
            api_keys: Vec::new(),
            workspace_tags: BTreeMap::new(),
            notify: Vec::new(),
        }];
        let naming = Naming {
            organization: &"acme".into(),
            directory: &Directory::default(),
            teams: &teams,
            people: People::Email,
        };
        let rows = [
            row(Part::Workspace("a1".into()), "m", 1, 5),
            row(Part::Workspace("a2".into()), "n", 1, 7),
            row(Part::Workspace("b".into()), "m", 1, 100),
            row(Part::Unattributed, "m", 1, -1),
        ];
        let told: Vec<(String, i128)> = break_down(SubjectKind::Team, naming, &rows)
            .into_iter()
            .map(|entry| (entry.name, entry.amounts.spend.pico()))
            .collect();
        assert_eq!(
            told,
            [("unassigned".to_owned(), 99), ("search".to_owned(), 12)]
        );
    }

    #[test]
    fn keys_and_people_have_names_and_what_has_none_is_unattributed() {
        let of = |key: Option<&str>, user: Option<&str>, is_apportioned, pico| {
            let mut row = row(Part::Unattributed, "m", 1, pico);
            row.cell = Cell::from(CellKey {
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
        let person = |name: &str, email: &str| Person {
            name: name.to_owned(),
            email: email.to_owned(),
        };
        let directory = Directory {
            keys: [("apikey_a".into(), "nightly".to_owned())].into(),
            people: [
                (ActorId::new("user_a"), person("Ada", "ada@example.com")),
                (ActorId::new("user_b"), person("Robot", "")),
            ]
            .into(),
            ..Directory::default()
        };
        let told = |by, people| -> Vec<(String, i128, bool)> {
            let naming = Naming {
                organization: &"acme".into(),
                directory: &directory,
                teams: &[],
                people,
            };
            let entries = break_down(by, naming, &rows).into_iter();
            entries
                .map(|entry| (entry.name, entry.amounts.spend.pico(), entry.is_apportioned))
                .collect()
        };
        let row = |name: &str, pico, is_apportioned| (name.to_owned(), pico, is_apportioned);
        assert_eq!(
            told(SubjectKind::ApiKey, People::Email),
            [
                row("nightly", 90, true),
                row("apikey_new", 30, false),
                row("unattributed", 30, false),
            ]
        );
        let of_people = |people| {
            let told = told(SubjectKind::User, people).into_iter();
            told.map(|(name, pico, _)| (name, pico)).collect::<Vec<_>>()
        };
        let row = |name: &str, pico| (name.to_owned(), pico);
        let rest = row("unattributed", 100);
        assert_eq!(
            of_people(People::Email),
            [rest.clone(), row("ada@example.com", 30), row("Robot", 20)]
        );
        assert_eq!(
            of_people(People::Id),
            [rest.clone(), row("user_a", 30), row("user_b", 20)]
        );
        assert_eq!(of_people(People::Hidden), [rest, row("hidden", 50)]);
    }

    proptest! {
        #[test]
        fn however_it_is_broken_down_the_parts_sum_to_the_whole(
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
            let naming = Naming {
                organization: &"acme".into(),
                directory: &Directory::default(),
                teams: &[],
                people: People::Email,
            };
            for by in SubjectKind::ALL {
                let entries = break_down(by, naming, &rows);
                prop_assert_eq!(total(&entries).spend.pico(), whole);
            }
        }
    }
}
