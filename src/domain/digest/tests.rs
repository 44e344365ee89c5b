use super::*;
use crate::domain::census::{Census, CountedKey};
use crate::domain::directory::{Directory, Presence};
use crate::domain::figures::Figures;
use crate::domain::ids::WorkspaceId;
use crate::domain::knowledge::Figure;
use crate::domain::period::Zone;
use crate::domain::privacy::Privacy;
use crate::domain::span::Hour;
use crate::domain::usage::Part;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[track_caller]
fn check_closed(period: Period, zone: &str, slot: &str, expected: &str) {
    let zone = TimeZone::get(zone).unwrap();
    let closed = closed(period, &zone, at(slot));
    let span = closed.cut.span;
    let told = format!("{} {} {}", closed.before.span.start, span.start, span.end);
    assert_eq!(told, expected);
}

#[test]
fn a_digest_is_about_the_period_that_was_over() {
    check_closed(
        Period::Week,
        "Europe/Berlin",
        "2026-11-23T08:00:00Z",
        "2026-11-08T23:00:00Z 2026-11-15T23:00:00Z 2026-11-22T23:00:00Z",
    );
    check_closed(
        Period::Month,
        "UTC",
        "2026-12-01T00:00:00Z",
        "2026-10-01T00:00:00Z 2026-11-01T00:00:00Z 2026-12-01T00:00:00Z",
    );
    check_closed(
        Period::Day,
        "UTC",
        "2026-11-23T00:00:00Z",
        "2026-11-21T00:00:00Z 2026-11-22T00:00:00Z 2026-11-23T00:00:00Z",
    );
    check_closed(
        Period::Rolling(24),
        "UTC",
        "2026-11-23T09:30:00Z",
        "2026-11-21T09:00:00Z 2026-11-22T09:00:00Z 2026-11-23T09:00:00Z",
    );
}

#[track_caller]
fn check_turn(last: Option<&str>, now: &str, expected: Turn) {
    let schedule = Schedule::parse("0 0 9 * * *", Zone::utc()).unwrap();
    assert_eq!(turn(&schedule, last.map(at), at(now)), expected);
}

#[test]
fn each_slot_has_its_turn_once() {
    let now = "2026-11-24T10:00:00Z";
    check_turn(None, now, Turn::Count(at(now)));
    check_turn(Some("2026-11-24T09:00:00Z"), now, Turn::Rest);
    let due = |since| Turn::Due {
        slot: at("2026-11-24T09:00:00Z"),
        since: at(since),
    };
    check_turn(
        Some("2026-11-23T09:00:00Z"),
        now,
        due("2026-11-24T09:00:00Z"),
    );
    check_turn(
        Some("2026-11-20T09:00:00Z"),
        now,
        due("2026-11-21T09:00:00Z"),
    );
    check_turn(Some("2030-01-01T09:00:00Z"), now, Turn::Count(at(now)));
}

fn coverage(from: &str, as_of: Option<&str>) -> Coverage {
    Coverage {
        as_of: as_of.map(at),
        hours_from: Some(Day::of(at(from))),
        ..Coverage::new(at(from))
    }
}

#[track_caller]
fn check_gaps(coverages: &[Option<Coverage>], expected: &[Missing], may_go: bool) {
    let closed = closed(Period::Week, &TimeZone::UTC, at("2026-11-23T08:00:00Z"));
    let parts: Vec<_> = coverages
        .iter()
        .enumerate()
        .map(|(place, coverage)| (format!("w{place}"), coverage.as_ref()))
        .collect();
    let gaps = gaps(&parts, &closed, SignedDuration::from_mins(10));
    assert_eq!(gaps, expected);
    assert_eq!(is_complete(&gaps), may_go);
}

#[test]
fn what_is_not_known_is_said_and_waited_for() {
    let good = || {
        Some(coverage(
            "2026-11-01T00:00:00Z",
            Some("2026-11-23T00:10:00Z"),
        ))
    };
    check_gaps(&[good(), good()], &[], true);
    let behind = "2026-11-23T00:09:59Z";
    let stale = Missing::Stale {
        name: "w0".to_owned(),
        as_of: at(behind),
    };
    let late = Some(coverage("2026-11-01T00:00:00Z", Some(behind)));
    check_gaps(&[late.clone(), good()], &[stale], false);
    check_gaps(
        &[None, good()],
        &[Missing::Unread { n: 1, n_all: 2 }],
        false,
    );
    let young = coverage("2026-11-10T00:00:00Z", Some("2026-11-23T08:00:00Z"));
    let known_from = Missing::KnownFrom {
        at: at("2026-11-10T00:00:00Z"),
    };
    check_gaps(&[Some(young), good()], &[known_from], true);
}

fn row(workspace: &str, model: &str, hour: Hour, dollars: i64) -> UsageRow {
    UsageRow {
        part: Part::Workspace(workspace.into()),
        cell: model.into(),
        hour,
        amounts: Amounts {
            spend: Usd::from_dollars(dollars),
            ..Amounts::ZERO
        },
    }
}

#[track_caller]
fn check_forecast(now: &str, so_far: i64, last_week: i64, expected: &str) {
    let now = at(now);
    let pace = pace(&TimeZone::UTC, Hour::of(now).plus(-1), now);
    let spent = |dollars| [row("w", "m", pace.last_week.start, dollars)];
    let told = forecast(&pace, &spent(so_far), &spent(last_week)).unwrap();
    let week = pace.last_week.span();
    assert_eq!(week.duration(), SignedDuration::from_hours(7 * 24));
    let months = format!("{} {} {}", told.label, pace.so_far.span().start, week.end);
    assert_eq!(format!("{months} {}", told.spend), expected);
}

#[test]
fn a_month_goes_on_as_in_the_last_seven_days() {
    // Ten days are left, and a day of the last week cost 100 USD.
    let expected = "2026-11 2026-11-01T00:00:00Z 2026-11-21T00:00:00Z 3000";
    check_forecast("2026-11-21T00:30:00Z", 2000, 700, expected);
    // Nothing of the month is settled yet: all of it is the pace of the one before.
    let expected = "2026-12 2026-12-01T00:00:00Z 2026-12-01T00:00:00Z 3100";
    check_forecast("2026-12-01T00:30:00Z", 0, 700, expected);
    let expected = "2026-11 2026-11-01T00:00:00Z 2026-11-30T23:00:00Z 2999";
    check_forecast("2026-11-30T23:30:00Z", 2998, 168, expected);
}

#[test]
fn nothing_is_forecast_where_tokens_have_no_price() {
    let now = at("2026-11-21T00:30:00Z");
    let pace = pace(&TimeZone::UTC, Hour::of(now).plus(-1), now);
    let priced = [row("w", "m", pace.last_week.start, 700)];
    let mut unpriced = priced.clone();
    unpriced[0].amounts.unpriced = 1;
    assert!(forecast(&pace, &priced, &priced).is_some());
    assert_eq!(forecast(&pace, &unpriced, &priced), None);
    assert_eq!(forecast(&pace, &priced, &unpriced), None);
}

/// A digest of a week, in which each workspace spent so much, and so much the week before.
fn digest_of(spent: &[(i64, i64)], gaps: &[Missing]) -> Digest {
    let closed = closed(Period::Week, &TimeZone::UTC, at("2026-11-23T08:00:00Z"));
    let pieces = pieces(Period::Week, &TimeZone::UTC, closed.cut.span);
    let rows = |span: Span, amount: fn(&(i64, i64)) -> i64| -> Vec<UsageRow> {
        let first = span.hours().start;
        let each = spent.iter().enumerate();
        each.map(|(place, spent)| {
            let hour = first.plus(i32::try_from(place % 7).unwrap() * 24 + 5);
            row(&format!("w{place:02}"), "m", hour, amount(spent))
        })
        .collect()
    };
    let now = at("2026-11-23T08:00:00Z");
    let figures = Figures::new(&[], SignedDuration::from_mins(10), now);
    let source = Source {
        ground: OrganizationSnapshot {
            organization: &"acme".into(),
            directory: &Directory::default(),
            census: &Census::UNKNOWN,
            teams: &[],
            figures: &figures,
            privacy: Privacy::default(),
        },
        name: "weekly",
        zone_name: "UTC",
        closed: &closed,
        pieces: &pieces,
        rows: &rows(closed.cut.span, |spent| spent.0),
        rows_before: &rows(closed.before.span, |spent| spent.1),
        forecast: None,
        rules: &[],
        measurements: &[],
        gaps,
        audit: None,
    };
    make(&source, std::iter::empty(), now)
}

fn names(breakdown: &Breakdown) -> Vec<&str> {
    breakdown.lines.iter().map(|line| &*line.name).collect()
}

#[test]
fn movers_are_told_up_and_down_and_the_rest_together() {
    let spent = [
        (5, 5),
        (9, 1),
        (1, 9),
        (7, 6),
        (6, 7),
        (8, 2),
        (2, 8),
        (50, 50),
    ];
    let digest = digest_of(&spent, &[]);
    assert_eq!(digest.spend, Usd::from_dollars(88));
    assert_eq!(
        names(&digest.movers),
        ["w01", "w05", "w03", "w04", "w06", "w02"]
    );
    let rest = digest.movers.rest.map(|rest| (rest.n, rest.spend));
    assert_eq!(rest, Some((2, Usd::from_dollars(55))));
    assert_eq!(digest.teams, Breakdown::default(), "there are no teams");
}

#[test]
fn a_week_before_that_is_not_known_is_compared_with_nothing() {
    let gap = Missing::KnownFrom {
        at: at("2026-11-12T00:00:00Z"),
    };
    let digest = digest_of(&[(5, 4)], &[gap]);
    assert_eq!(digest.before, None);
    assert_eq!(digest.workspaces.lines[0].before, None);
    assert_eq!(digest.movers, Breakdown::default());
}

#[test]
fn idle_keys_are_told_the_longest_first() {
    let key = |workspace: Option<&str>| CountedKey {
        name: String::new(),
        presence: Presence::Listed,
        is_active: true,
        workspace: workspace.map(WorkspaceId::from),
        created_by: None,
        created_at: None,
        expires_at: None,
        idle_since: None,
    };
    let mut directory = Directory::default();
    directory.keys.insert("b".into(), "ci".to_owned());
    let census = Census {
        keys: Some(BTreeMap::from([
            ("a".into(), key(None)),
            ("b".into(), key(Some("w"))),
        ])),
        ..Census::UNKNOWN
    };
    let now = at("2026-11-23T08:00:00Z");
    let figures = Figures::new(&[], SignedDuration::from_mins(10), now);
    let ground = OrganizationSnapshot {
        organization: &"acme".into(),
        directory: &directory,
        census: &census,
        teams: &[],
        figures: &figures,
        privacy: Privacy::default(),
    };
    let measured = |id: &str, event, since: &str, value| Measurement {
        rule: 0,
        subject: Subject::new(SubjectKind::ApiKey, id),
        figure: Figure::Known(value),
        limit: Some(2),
        label: None,
        event: Some(event),
        span: Span {
            start: at(since),
            end: now,
        },
        is_closed: false,
        fell: false,
        as_of: Some(now),
        sides: None,
    };
    let (early, late) = ("2026-08-01T00:00:00Z", "2026-08-02T00:00:00Z");
    let measurements = [
        measured("a", Event::KeyIdle, late, 2),
        measured("b", Event::KeyIdle, early, 2),
        measured("b", Event::KeyIdle, early, 1),
        measured("c", Event::KeyIdle, early, 0),
        measured("a", Event::KeyExpiring, early, 2),
    ];
    let idle = idle_keys(&ground, &measurements).unwrap();
    let told: Vec<_> = idle
        .first
        .iter()
        .map(|key| (&*key.name, key.workspace.as_deref(), key.since))
        .collect();
    let expected = [("ci", Some("w"), at(early)), ("a", None, at(late))];
    assert_eq!((told, idle.n_more), (expected.to_vec(), 0));
    let unlisted = OrganizationSnapshot {
        census: &Census::UNKNOWN,
        ..ground
    };
    assert_eq!(idle_keys(&unlisted, &measurements), None);
}

proptest! {
    #[test]
    fn parts_sum_to_the_whole(spent in prop::collection::vec((0i64..1000, 0i64..1000), 0..30)) {
        let digest = digest_of(&spent, &[]);
        for breakdown in [&digest.workspaces, &digest.movers, &digest.models] {
            let lines = breakdown.lines.iter().map(|line| line.spend);
            let rest = breakdown.rest.map(|rest| rest.spend);
            prop_assert_eq!(lines.chain(rest).sum::<Usd>(), digest.spend);
            let lines = breakdown.lines.iter().filter_map(|line| line.before);
            let rest = breakdown.rest.and_then(|rest| rest.before);
            prop_assert_eq!(Some(lines.chain(rest).sum::<Usd>()), digest.before);
        }
        let series: Usd = digest.series.iter().map(|(_, spend)| *spend).sum();
        prop_assert_eq!(series, digest.spend);
        prop_assert_eq!(digest.series.len(), 7);
    }
}
