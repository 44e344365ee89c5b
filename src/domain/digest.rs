//! A digest: what was spent in the period that was over at a slot of the schedule, beside the period before it.
//!
//! It is made once, from the ledger's rows and from what rules measured, and is frozen: nothing is looked up when it is
//! put into words. Its parts sum to the whole, and what is not known is said.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::Alert;
use crate::domain::breakdown::{Naming, Pieces, break_down};
use crate::domain::coverage::{Coverage, is_settled};
use crate::domain::event::Event;
use crate::domain::ground::Ground;
use crate::domain::ids::{ApiKeyId, OrganizationName, RuleName};
use crate::domain::measure::Measurement;
use crate::domain::money::Usd;
use crate::domain::period::{self, Cut, Period};
use crate::domain::rule::{Quantity, Rule, Severity, Watch};
use crate::domain::schedule::{Due, Schedule, due};
use crate::domain::span::{Day, Span};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::{Amounts, UsageRow};

/// How long a digest waits for figures that are not complete.
pub const PATIENCE: SignedDuration = SignedDuration::from_hours(6);
/// Lines of a breakdown, of the limits and of the alerts.
const MAX_LINES: usize = 10;
/// Movers up, and as many down.
const MAX_MOVERS: usize = 3;
/// Parts that are behind, by name.
const MAX_STALE: usize = 5;

/// A summary of one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Of which organization.
    pub organization: OrganizationName,
    /// As it is configured.
    pub name: String,
    /// `2026-W47`; `None` for a rolling span.
    pub label: Option<String>,
    /// The period.
    pub span: Span,
    /// The zone in which it is cut.
    pub zone_name: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// All spend, and that of the period before; `None` where the ledger does not reach back to its beginning.
    pub spend: Usd,
    /// See `spend`.
    pub before: Option<Usd>,
    /// The period in pieces, each with its label; empty for an hour.
    pub series: Vec<(String, Usd)>,
    /// The largest workspaces.
    pub workspaces: Breakdown,
    /// The workspaces that changed the most, up before down; empty where nothing is known of the period before.
    pub movers: Breakdown,
    /// Teams; empty where none is configured.
    pub teams: Breakdown,
    /// Models.
    pub models: Breakdown,
    /// Limits of rules over just this period, the most used first.
    pub limits: Listed<LimitUse>,
    /// Alerts that fire now, the worst first.
    pub alerts: Listed<OpenAlert>,
    /// Keys that a rule tells to be idle, the longest first; `None` where no rule asks, or nobody knows.
    pub idle_keys: Option<Listed<IdleKey>>,
    /// What is not known.
    pub gaps: Vec<Missing>,
}

/// The first few of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// At most ten.
    pub first: Vec<T>,
    /// How many there are besides.
    pub n_more: usize,
}

/// Spend by subject. The lines and the rest sum to the whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breakdown {
    /// One for each subject.
    pub lines: Vec<Line>,
    /// All others together.
    pub rest: Option<Rest>,
}

/// One subject's spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name at the time.
    pub name: String,
    /// In the period.
    pub spend: Usd,
    /// In the one before.
    pub before: Option<Usd>,
}

/// What has no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// How many subjects.
    pub n: usize,
    /// In the period.
    pub spend: Usd,
    /// In the one before.
    pub before: Option<Usd>,
}

/// How much of a limit was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// The rule.
    pub rule: RuleName,
    /// Whose.
    pub subject: Subject,
    /// Its name at the time.
    pub name: String,
    /// Spent.
    pub value: Usd,
    /// Part of it is not known.
    pub is_lower_bound: bool,
    /// The limit.
    pub limit: Usd,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    /// The rule.
    pub rule: RuleName,
    /// About whom.
    pub subject: Subject,
    /// Its name at the time.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// `80%`
    pub threshold: String,
    /// The event, of a rule on events.
    pub event: Option<Event>,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A key that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its name at the time.
    pub name: String,
    /// The name of the workspace that it belongs to, where that is known.
    pub workspace: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// Something that is not known of the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Of so many parts of so many nothing was ever read.
    Unread {
        /// How many.
        n: usize,
        /// Of how many.
        n_all: usize,
    },
    /// A part was not read since before the period's end was settled.
    Stale {
        /// Its name.
        name: String,
        /// Up to when it is known.
        as_of: Timestamp,
    },
    /// So many further parts are behind.
    MoreStale {
        /// How many.
        n: usize,
    },
    /// Nothing is known from before.
    KnownFrom {
        /// From when on all is known.
        at: Timestamp,
    },
    /// Part of the spend is not billed yet.
    Estimated {
        /// How much.
        spend: Usd,
    },
    /// Tokens without a known price are in no spend.
    Unpriced {
        /// How many.
        n_tokens: i64,
    },
}

/// What is to be done about a digest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Rest,
    /// Slots count from this moment on; what was before is not made up for.
    Count(Timestamp),
    /// It is to be made.
    Due {
        /// For the newest slot that has passed.
        slot: Timestamp,
        /// The first slot that it makes up for.
        since: Timestamp,
    },
}

/// What is to be done, given the last slot that was done. Where the clock was set back behind that, slots count from now
/// on: else a clock that was wrong by years would silence the digest for as long.
pub fn turn(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> Turn {
    let Some(last) = last else {
        return Turn::Count(now);
    };
    match due(schedule, Some(last), now) {
        Due::Now(slot) if slot <= last => Turn::Count(slot),
        Due::Now(slot) => Turn::Due {
            slot,
            since: schedule
                .next_after(last)
                .map_or(slot, |first| first.min(slot)),
        },
        Due::At(_) | Due::Never => Turn::Rest,
    }
}

/// A period that is over, and the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The period.
    pub cut: Cut,
    /// The one before.
    pub before: Cut,
}

/// The last period that was over at a slot. Of a rolling span its open hour is left out.
pub fn closed(period: Period, zone: &TimeZone, slot: Timestamp) -> Closed {
    let (period, cut) = match period {
        Period::Rolling(hours) | Period::Complete(hours) => {
            let complete = Period::Complete(hours);
            (complete, period::cut(complete, zone, slot))
        }
        Period::Hour | Period::Day | Period::Week | Period::Month | Period::Quarter => {
            let open = period::cut(period, zone, slot);
            (period, period::previous(period, zone, &open))
        }
    };
    let before = period::previous(period, zone, &cut);
    Closed { cut, before }
}

/// How a period is cut for its chart: at most about thirty pieces.
pub fn pieces(period: Period, zone: &TimeZone, span: Span) -> Pieces {
    let piece = match period {
        Period::Hour | Period::Day => Period::Hour,
        Period::Week | Period::Month => Period::Day,
        Period::Quarter => Period::Week,
        Period::Rolling(hours) | Period::Complete(hours) => match hours {
            0..=48 => Period::Hour,
            49..=840 => Period::Day,
            841.. => Period::Month,
        },
    };
    Pieces::cut(piece, zone, span.hours())
}

/// How far the parts are known: the names of all that are asked for, with what is known of each.
pub fn gaps(
    parts: &[(String, Option<&Coverage>)],
    closed: &Closed,
    settle: SignedDuration,
) -> Vec<Missing> {
    let mut gaps = Vec::new();
    let read: Vec<(&String, Timestamp, &Coverage)> = parts
        .iter()
        .filter_map(|(name, coverage)| {
            let coverage = (*coverage)?;
            coverage.known_from()?;
            Some((name, coverage.as_of?, coverage))
        })
        .collect();
    let n = parts.len() - read.len();
    if n > 0 {
        gaps.push(Missing::Unread {
            n,
            n_all: parts.len(),
        });
    }
    let last_hour = closed.cut.span.hours().end.plus(-1);
    let stale: Vec<Missing> = read
        .iter()
        .filter(|(_, as_of, _)| !is_settled(last_hour, settle, *as_of))
        .map(|(name, as_of, _)| Missing::Stale {
            name: (*name).clone(),
            as_of: *as_of,
        })
        .collect();
    let n_more = stale.len().saturating_sub(MAX_STALE);
    gaps.extend(stale.into_iter().take(MAX_STALE));
    if n_more > 0 {
        gaps.push(Missing::MoreStale { n: n_more });
    }
    let known_from = read
        .iter()
        .filter_map(|(_, _, coverage)| coverage.known_from())
        .max();
    gaps.extend(
        known_from
            .map(Day::start)
            .filter(|at| *at > closed.before.span.start)
            .map(|at| Missing::KnownFrom { at }),
    );
    gaps
}

/// Whether a digest may go out without waiting: history that does not reach back is no reason, it will not come.
pub fn is_complete(gaps: &[Missing]) -> bool {
    gaps.iter().all(|gap| match gap {
        Missing::Unread { .. } | Missing::Stale { .. } | Missing::MoreStale { .. } => false,
        Missing::KnownFrom { .. } | Missing::Estimated { .. } | Missing::Unpriced { .. } => true,
    })
}

/// What a digest is made of.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Names.
    pub ground: Ground<'a>,
    /// As it is configured.
    pub name: &'a str,
    /// Where the period is cut.
    pub zone_name: &'a str,
    /// The period.
    pub closed: &'a Closed,
    /// Its pieces, by which its rows are grouped.
    pub pieces: &'a Pieces,
    /// Rows of the period.
    pub rows: &'a [UsageRow],
    /// Rows of the one before.
    pub rows_before: &'a [UsageRow],
    /// By which measurements know theirs.
    pub rules: &'a [Rule],
    /// Of the newest decision.
    pub measurements: &'a [Measurement],
    /// See [`gaps`].
    pub gaps: &'a [Missing],
}

/// Makes a digest.
pub fn make<'a>(
    source: &Source<'_>,
    alerts: impl Iterator<Item = &'a Alert>,
    now: Timestamp,
) -> Digest {
    let total = sum(source.rows);
    // What is known of a part of the period before would pass for all of it.
    let is_before_known = !source.gaps.iter().any(|gap| match gap {
        Missing::KnownFrom { .. } | Missing::Unread { .. } => true,
        Missing::Stale { .. }
        | Missing::MoreStale { .. }
        | Missing::Estimated { .. }
        | Missing::Unpriced { .. } => false,
    });
    let by = |kind| subjects(kind, source, is_before_known);
    let workspaces = by(SubjectKind::Workspace);
    let mut gaps = source.gaps.to_vec();
    if total.estimated != Usd::ZERO {
        let spend = total.estimated;
        gaps.push(Missing::Estimated { spend });
    }
    if total.unpriced > 0 {
        let n_tokens = total.unpriced;
        gaps.push(Missing::Unpriced { n_tokens });
    }
    Digest {
        organization: source.ground.organization.clone(),
        name: source.name.to_owned(),
        label: source.closed.cut.label.clone(),
        span: source.closed.cut.span,
        zone_name: source.zone_name.to_owned(),
        made_at: now,
        spend: total.spend,
        before: is_before_known.then(|| sum(source.rows_before).spend),
        series: series(source),
        movers: movers(&workspaces),
        workspaces: largest(workspaces),
        teams: match source.ground.teams {
            [] => Breakdown::default(),
            [..] => largest(by(SubjectKind::Team)),
        },
        models: largest(by(SubjectKind::Model)),
        limits: limits(source),
        alerts: open_alerts(&source.ground, alerts),
        idle_keys: source
            .rules
            .iter()
            .any(|rule| rule.event(Event::KeyIdle).is_some())
            .then(|| idle_keys(&source.ground, source.measurements))
            .flatten(),
        gaps,
    }
}

fn sum(rows: &[UsageRow]) -> Amounts {
    rows.iter()
        .fold(Amounts::ZERO, |sum, row| sum + row.amounts)
}

/// All subjects with any spend in either period, the largest first.
fn subjects(kind: SubjectKind, source: &Source<'_>, is_before_known: bool) -> Vec<Line> {
    let naming = Naming {
        organization: source.ground.organization,
        directory: source.ground.directory,
        teams: source.ground.teams,
        people: source.ground.privacy.in_messages(),
    };
    let mut sums: BTreeMap<Subject, (String, Usd, Usd)> = BTreeMap::new();
    let (now, before) = (source.rows, source.rows_before);
    for (rows, is_now) in [(now, true), (before, false)] {
        for entry in break_down(kind, naming, rows) {
            let (_, spend, before) =
                sums.entry(entry.subject)
                    .or_insert((entry.name, Usd::ZERO, Usd::ZERO));
            *if is_now { spend } else { before } += entry.amounts.spend;
        }
    }
    let mut lines: Vec<Line> = sums
        .into_values()
        .map(|(name, spend, before)| Line {
            name,
            spend,
            before: is_before_known.then_some(before),
        })
        .filter(|line| line.spend != Usd::ZERO || line.before.is_some_and(|it| it != Usd::ZERO))
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.spend));
    lines
}

fn largest(mut lines: Vec<Line>) -> Breakdown {
    // One line more takes no more room than saying that there is one.
    let n_lines = if lines.len() == MAX_LINES + 1 {
        lines.len()
    } else {
        MAX_LINES
    };
    let rest = lines.split_off(lines.len().min(n_lines));
    Breakdown {
        lines,
        rest: together(&rest),
    }
}

fn together(lines: &[Line]) -> Option<Rest> {
    (!lines.is_empty()).then(|| Rest {
        n: lines.len(),
        spend: lines.iter().map(|line| line.spend).sum(),
        before: lines.iter().map(|line| line.before).sum::<Option<Usd>>(),
    })
}

fn movers(lines: &[Line]) -> Breakdown {
    let change = |line: &Line| line.before.map(|before| line.spend - before);
    let mut moved: Vec<(Usd, &Line)> = lines
        .iter()
        .filter_map(|line| Some((change(line)?, line)))
        .collect();
    moved.sort_by_key(|(change, _)| std::cmp::Reverse(*change));
    let n_up = moved
        .iter()
        .take(MAX_MOVERS)
        .filter(|(change, _)| *change > Usd::ZERO)
        .count();
    let n_down = moved
        .iter()
        .rev()
        .take(MAX_MOVERS)
        .filter(|(change, _)| *change < Usd::ZERO)
        .count();
    let rest: Vec<Line> = moved
        .drain(n_up..moved.len() - n_down)
        .map(|(_, line)| line.clone())
        .collect();
    Breakdown {
        lines: moved.into_iter().map(|(_, line)| line.clone()).collect(),
        rest: together(&rest),
    }
}

/// One for each piece, those without any use included.
fn series(source: &Source<'_>) -> Vec<(String, Usd)> {
    let mut sums: BTreeMap<_, Usd> = BTreeMap::new();
    for row in source.rows {
        *sums.entry(source.pieces.first_hour(row.hour)).or_default() += row.amounts.spend;
    }
    let pieces: Vec<(String, Usd)> = source
        .pieces
        .all()
        .map(|(first, label)| {
            let spend = sums.get(&first).copied().unwrap_or_default();
            (label.to_owned(), spend)
        })
        .collect();
    if pieces.len() > 1 { pieces } else { Vec::new() }
}

fn limits(source: &Source<'_>) -> Listed<LimitUse> {
    let of_one = |measured: &Measurement| {
        let rule = source.rules.get(measured.rule)?;
        let is_it = rule.watch == Watch::Spend && measured.span == source.closed.cut.span;
        let limit = measured.limit.filter(|limit| is_it && *limit > 0)?;
        Some(LimitUse {
            rule: rule.name.clone(),
            name: source.ground.name_of(&measured.subject).to_owned(),
            subject: measured.subject.clone(),
            value: Usd::from_pico(measured.figure.value()?),
            is_lower_bound: !measured.figure.is_known(),
            limit: Usd::from_pico(limit),
        })
    };
    let mut used: Vec<LimitUse> = source.measurements.iter().filter_map(of_one).collect();
    used.sort_by(|a, b| {
        let share = |used: &LimitUse, other: &LimitUse| -> Option<Quantity> {
            used.value.pico().checked_mul(other.limit.pico())
        };
        // By share, without dividing; amounts that are too large for that by value.
        let order = match (share(a, b), share(b, a)) {
            (Some(of_a), Some(of_b)) => of_b.cmp(&of_a),
            (Some(_), None) | (None, Some(_)) | (None, None) => b.value.cmp(&a.value),
        };
        order.then_with(|| (&a.rule, &a.subject).cmp(&(&b.rule, &b.subject)))
    });
    Listed::of(used)
}

fn open_alerts<'a>(
    ground: &Ground<'_>,
    alerts: impl Iterator<Item = &'a Alert>,
) -> Listed<OpenAlert> {
    let mut open: Vec<OpenAlert> = alerts
        .filter(|alert| alert.is_firing())
        .map(|alert| OpenAlert {
            rule: alert.identity.slot.rule.clone(),
            name: ground.name_of(&alert.identity.slot.subject).to_owned(),
            subject: alert.identity.slot.subject.clone(),
            severity: alert.line().severity,
            threshold: alert.line().text.to_string(),
            event: alert.identity.slot.event,
            since: alert.firing_since,
        })
        .collect();
    open.sort_by(|a, b| {
        let key = |alert: &OpenAlert| {
            let subject = (alert.subject.clone(), alert.event);
            (alert.since, alert.rule.clone(), subject)
        };
        b.severity
            .cmp(&a.severity)
            .then_with(|| key(a).cmp(&key(b)))
    });
    Listed::of(open)
}

/// As rules measured them, each key once.
fn idle_keys(ground: &Ground<'_>, measurements: &[Measurement]) -> Option<Listed<IdleKey>> {
    let keys = ground.census.keys.as_ref()?;
    let stands = |measured: &&Measurement| {
        measured.event == Some(Event::KeyIdle) && measured.figure.value().is_some_and(|n| n > 0)
    };
    let since: BTreeMap<&str, Timestamp> = measurements
        .iter()
        .filter(stands)
        .map(|measured| (&*measured.subject.id, measured.span.start))
        .collect();
    let directory = ground.directory;
    let mut idle: Vec<IdleKey> = since
        .into_iter()
        .map(|(id, since)| IdleKey {
            id: id.into(),
            name: directory.key_name(id).to_owned(),
            workspace: keys
                .get(id)
                .and_then(|key| key.workspace.as_ref())
                .map(|workspace| directory.name_of(workspace.as_str()).to_owned()),
            since,
        })
        .collect();
    idle.sort_by(|one, other| (one.since, &one.id).cmp(&(other.since, &other.id)));
    Some(Listed::of(idle))
}

impl<T> Listed<T> {
    fn of(mut all: Vec<T>) -> Listed<T> {
        let n_more = all.len().saturating_sub(MAX_LINES);
        all.truncate(MAX_LINES);
        Listed { first: all, n_more }
    }
}

#[cfg(test)]
mod tests {
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
            ground: Ground {
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
            rules: &[],
            measurements: &[],
            gaps,
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
        let ground = Ground {
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
        let unlisted = Ground {
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
}
