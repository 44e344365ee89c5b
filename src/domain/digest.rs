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
use crate::domain::ground::OrganizationSnapshot;
use crate::domain::ids::{ApiKeyId, OrganizationName, RuleName};
use crate::domain::measure::Measurement;
use crate::domain::money::Usd;
use crate::domain::period::{self, Cut, Period};
use crate::domain::rule::{Quantity, Rule, Severity, Watch};
use crate::domain::schedule::{Due, Schedule, due};
use crate::domain::span::{Day, Hour, HourSpan, Span};
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::usage::{Amounts, UsageRow};

/// How long a digest waits for figures that are not complete.
pub const PATIENCE: SignedDuration = SignedDuration::from_hours(6);
/// Lines of a breakdown, of the limits and of the alerts.
const MAX_LINES: usize = 10;
/// Movers up, and as many down.
const MAX_MOVERS: usize = 3;
/// The settled hours whose pace is taken: seven days, so that a weekend counts as one.
pub const FORECAST_HOURS: i32 = 7 * 24;
/// Parts that are behind, by name.
const MAX_STALE: usize = 5;

/// A summary of one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    pub organization: OrganizationName,
    pub name: String,
    /// `2026-W47`; `None` for a rolling span.
    pub label: Option<String>,
    pub span: Span,
    /// The zone in which it is cut.
    pub zone_name: String,
    pub made_at: Timestamp,
    /// Where the running month would end; `None` where the last week is not known.
    pub forecast: Option<Forecast>,
    /// All spend, and that of the period before; `None` where the ledger does not reach back to its beginning.
    pub spend: Usd,
    /// See `spend`.
    pub before: Option<Usd>,
    /// The period in pieces, each with its label; empty for an hour.
    pub series: Vec<(String, Usd)>,
    pub workspaces: Breakdown,
    /// The workspaces that changed the most, up before down; empty where nothing is known of the period before.
    pub movers: Breakdown,
    /// Teams; empty where none is configured.
    pub teams: Breakdown,
    pub models: Breakdown,
    /// Limits of rules over just this period, the most used first.
    pub limits: Listed<LimitUse>,
    /// Alerts that fire now, the worst first.
    pub alerts: Listed<OpenAlert>,
    /// Keys that a rule tells to be idle, the longest first; `None` where no rule asks, or nobody knows.
    pub idle_keys: Option<Listed<IdleKey>>,
    pub gaps: Vec<Missing>,
    /// The newest entry of the audit log, noted here so that a log that was made anew is known; `None` where there is none.
    pub audit: Option<Anchor>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Its number, from 1.
    pub entry: u64,
    pub hash: String,
}

/// What the running month would have cost in the end, if it went on as in the last [`FORECAST_HOURS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// `2026-11`.
    pub label: String,
    pub spend: Usd,
    pub so_far: Usd,
}

/// The first few of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    pub first: Vec<T>,
    /// How many there are besides.
    pub n_more: usize,
}

/// Spend by subject. The lines and the rest sum to the whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breakdown {
    pub lines: Vec<Line>,
    pub rest: Option<Rest>,
}

/// One subject's spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name at the time.
    pub name: String,
    pub spend: Usd,
    pub before: Option<Usd>,
}

/// What has no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    pub n: usize,
    pub spend: Usd,
    pub before: Option<Usd>,
}

/// How much of a limit was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    pub rule: RuleName,
    pub subject: Subject,
    /// Its name at the time.
    pub name: String,
    pub value: Usd,
    /// Part of it is not known.
    pub is_lower_bound: bool,
    pub limit: Usd,
}

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    pub rule: RuleName,
    pub subject: Subject,
    /// Its name at the time.
    pub name: String,
    pub severity: Severity,
    /// `80%`
    pub threshold: String,
    /// The event, of a rule on events.
    pub event: Option<Event>,
    pub since: Option<Timestamp>,
}

/// A key that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleKey {
    pub id: ApiKeyId,
    /// Its name at the time.
    pub name: String,
    /// The name of the workspace that it belongs to, where that is known.
    pub workspace: Option<String>,
    pub since: Timestamp,
}

/// Something that is not known of the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Of so many parts of so many nothing was ever read.
    Unread { n: usize, n_all: usize },
    /// A part was not read since before the period's end was settled.
    Stale {
        name: String,
        /// Up to when it is known.
        as_of: Timestamp,
    },
    /// So many further parts are behind.
    MoreStale { n: usize },
    /// Nothing is known from before.
    KnownFrom {
        /// From when on all is known.
        at: Timestamp,
    },
    /// Part of the spend is not billed yet.
    Estimated { spend: Usd },
    /// Tokens without a known price are in no spend.
    Unpriced { n_tokens: i64 },
}

/// What is to be done about a digest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
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
    pub cut: Cut,
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
    pub ground: OrganizationSnapshot<'a>,
    pub name: &'a str,
    /// Where the period is cut.
    pub zone_name: &'a str,
    pub closed: &'a Closed,
    /// Its pieces, by which its rows are grouped.
    pub pieces: &'a Pieces,
    pub rows: &'a [UsageRow],
    /// Rows of the one before.
    pub rows_before: &'a [UsageRow],
    /// By which measurements know theirs.
    pub rules: &'a [Rule],
    /// Of the newest decision.
    pub measurements: &'a [Measurement],
    /// See [`forecast`].
    pub forecast: Option<&'a Forecast>,
    /// See [`gaps`].
    pub gaps: &'a [Missing],
    /// The newest entry of the audit log.
    pub audit: Option<&'a Anchor>,
}

/// The hours that a forecast needs: of the month in which a moment lies, and the last week, up to the newest settled hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    pub month: Cut,
    /// Of it, what is settled.
    pub so_far: HourSpan,
    /// The week before that hour's end.
    pub last_week: HourSpan,
}

/// The pace at a moment, where `newest` is the newest settled hour.
pub fn pace(zone: &TimeZone, newest: Hour, now: Timestamp) -> Pace {
    let month = period::cut(Period::Month, zone, now);
    let (start, end) = (month.span.hours().start, newest.plus(1));
    Pace {
        so_far: HourSpan {
            start,
            end: end.max(start),
        },
        last_week: HourSpan {
            start: end.plus(-FORECAST_HOURS),
            end,
        },
        month,
    }
}

/// What was spent so far, and as much for each hour that is left as in an hour of the last week. `None` where tokens have no
/// price: their money is in neither.
pub fn forecast(pace: &Pace, so_far: &[UsageRow], last_week: &[UsageRow]) -> Option<Forecast> {
    let n_left = pace.month.span.hours().end.count() - pace.so_far.end.count();
    let (so_far, last_week) = (sum(so_far), sum(last_week));
    if so_far.unpriced > 0 || last_week.unpriced > 0 {
        return None;
    }
    let more = last_week.spend.pico() * i128::from(n_left) / i128::from(FORECAST_HOURS);
    Some(Forecast {
        label: pace.month.label.clone()?,
        spend: so_far.spend + Usd::from_pico(more),
        so_far: so_far.spend,
    })
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
        forecast: source.forecast.cloned(),
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
        audit: source.audit.cloned(),
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
    ground: &OrganizationSnapshot<'_>,
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
fn idle_keys(
    ground: &OrganizationSnapshot<'_>,
    measurements: &[Measurement],
) -> Option<Listed<IdleKey>> {
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
mod tests;
