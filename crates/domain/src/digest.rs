//! Digests: the spend of the last period that had ended at a slot of the schedule, compared with the period before.
//!
//! A digest is created once from ledger rows and measurements; rendering looks up nothing else. Its parts sum to the total,
//! and it lists what is unknown.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::Alert;
use crate::alerts::measure::Measurement;
use crate::figures::breakdown::{BreakdownContext, TimeSlices, break_down};
use crate::figures::snapshot::OrganizationSnapshot;
use crate::ledger::coverage::{Coverage, is_settled};
use crate::org::events::Event;
use crate::rules::rule::{Rule, Severity};
use crate::rules::watch::{Quantity, Watch};
use crate::units::ids::{ApiKeyId, OrganizationName, RuleName};
use crate::units::money::Usd;
use crate::units::period::{self, Period, PeriodSpan};
use crate::units::schedule::{Due, Schedule, due};
use crate::units::span::{Day, Hour, HourSpan, Span};
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::{Amounts, UsageRow};

/// Maximum time that a digest waits for complete figures.
pub const MAX_WAIT: SignedDuration = SignedDuration::from_hours(6);
/// Maximum number of entries of a breakdown or list.
const MAX_LINES: usize = 10;
/// Maximum number of movers in each direction.
const MAX_MOVERS: usize = 3;
/// Hours whose spend a forecast extrapolates: seven days, so that one weekend is included.
pub const FORECAST_HOURS: i32 = 7 * 24;
/// Maximum number of stale parts that are named.
const MAX_STALE: usize = 5;

/// Summary of one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    pub organization: OrganizationName,
    pub name: String,
    /// Such as `2026-W47`; `None` for rolling periods.
    pub label: Option<String>,
    pub span: Span,
    /// Time zone of the period.
    pub zone_name: String,
    pub created_at: Timestamp,
    /// Expected spend of the current month; `None` if the last week is unknown.
    pub forecast: Option<Forecast>,
    pub spend: Usd,
    /// Spend of the previous period; `None` if the ledger does not reach back.
    pub before: Option<Usd>,
    /// Spend per time bucket of the period, by label; empty for an hour.
    pub series: Vec<(String, Usd)>,
    pub workspaces: SpendBreakdown,
    /// Workspaces that changed most, increases first; empty if the previous period is unknown.
    pub movers: SpendBreakdown,
    /// Empty if no teams are configured.
    pub teams: SpendBreakdown,
    pub models: SpendBreakdown,
    /// Limits of rules with exactly this period, most used first.
    pub limits: Truncated<LimitUse>,
    /// Firing alerts, most severe first.
    pub alerts: Truncated<OpenAlert>,
    /// Keys that a lifecycle rule reports as idle, longest first; `None` without such a rule or a list of keys.
    pub idle_keys: Option<Truncated<IdleKey>>,
    pub gaps: Vec<DataGap>,
    /// Newest entry of the audit log, so that a replaced log can be detected.
    pub audit: Option<AuditAnchor>,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditAnchor {
    /// Number, from 1.
    pub entry: u64,
    pub hash: String,
}

/// Expected spend of the current month at the rate of the last [`FORECAST_HOURS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// Such as `2026-11`.
    pub label: String,
    pub spend: Usd,
    pub so_far: Usd,
}

/// First entries of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated<T> {
    pub first: Vec<T>,
    pub n_more: usize,
}

/// Spend by subject; `lines` and `rest` sum to the total.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendBreakdown {
    pub lines: Vec<SubjectSpend>,
    pub rest: Option<OtherSubjects>,
}

/// One subject's spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectSpend {
    pub name: String,
    pub spend: Usd,
    pub before: Option<Usd>,
}

/// All subjects without an entry of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherSubjects {
    pub n: usize,
    pub spend: Usd,
    pub before: Option<Usd>,
}

/// Use of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    pub rule: RuleName,
    pub subject: Subject,
    pub name: String,
    pub value: Usd,
    /// Whether part of the figure is unknown.
    pub is_lower_bound: bool,
    pub limit: Usd,
}

/// A firing alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAlert {
    pub rule: RuleName,
    pub subject: Subject,
    pub name: String,
    pub severity: Severity,
    /// Such as `80%`.
    pub threshold: String,
    pub event: Option<Event>,
    pub since: Option<Timestamp>,
}

/// An idle API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleKey {
    pub id: ApiKeyId,
    pub name: String,
    /// Name of the workspace, if known.
    pub workspace: Option<String>,
    pub since: Timestamp,
}

/// Something unknown about the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataGap {
    /// `n` of `n_all` parts were never read.
    Unread { n: usize, n_all: usize },
    /// A part was last read before the end of the period had settled.
    Stale { name: String, as_of: Timestamp },
    /// Number of further stale parts.
    MoreStale { n: usize },
    /// The ledger starts at this time.
    KnownFrom { at: Timestamp },
    /// Part of the spend is estimated.
    Estimated { spend: Usd },
    /// Tokens without a known price, which are not included in spend.
    Unpriced { n_tokens: i64 },
}

/// What to do about a digest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAction {
    Rest,
    /// Count slots from this time on, skipping earlier ones.
    Count(Timestamp),
    Due {
        /// Newest slot that has passed.
        slot: Timestamp,
        /// First slot that it makes up for.
        since: Timestamp,
    },
}

/// Returns what to do, given the last slot that was handled. If the clock was set back before it, slots count from now on;
/// otherwise a clock that was wrong by years would stop the digest for years.
pub fn next_action(schedule: &Schedule, last: Option<Timestamp>, now: Timestamp) -> DigestAction {
    let Some(last) = last else {
        return DigestAction::Count(now);
    };
    match due(schedule, Some(last), now) {
        Due::Now(slot) if slot <= last => DigestAction::Count(slot),
        Due::Now(slot) => DigestAction::Due {
            slot,
            since: schedule
                .next_after(last)
                .map_or(slot, |first| first.min(slot)),
        },
        Due::At(_) | Due::Never => DigestAction::Rest,
    }
}

/// A closed period and the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedPeriod {
    pub cut: PeriodSpan,
    pub before: PeriodSpan,
}

/// Returns the last period that had ended at a slot. Rolling periods exclude the open hour.
pub fn last_closed_period(period: Period, zone: &TimeZone, slot: Timestamp) -> ClosedPeriod {
    let (period, cut) = match period {
        Period::Rolling(hours) | Period::Complete(hours) => {
            let complete = Period::Complete(hours);
            (complete, period::containing(complete, zone, slot))
        }
        Period::Hour | Period::Day | Period::Week | Period::Month | Period::Quarter => {
            let open = period::containing(period, zone, slot);
            (period, period::previous(period, zone, &open))
        }
    };
    let before = period::previous(period, zone, &cut);
    ClosedPeriod { cut, before }
}

/// Returns the time buckets of a period's chart, about thirty at most.
pub fn pieces(period: Period, zone: &TimeZone, span: Span) -> TimeSlices {
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
    TimeSlices::new(piece, zone, span.hours())
}

/// Returns what is unknown, given the name and coverage of each part.
pub fn gaps(
    parts: &[(String, Option<&Coverage>)],
    closed: &ClosedPeriod,
    settle: SignedDuration,
) -> Vec<DataGap> {
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
        gaps.push(DataGap::Unread {
            n,
            n_all: parts.len(),
        });
    }
    let last_hour = closed.cut.span.hours().end.plus(-1);
    let stale: Vec<DataGap> = read
        .iter()
        .filter(|(_, as_of, _)| !is_settled(last_hour, settle, *as_of))
        .map(|(name, as_of, _)| DataGap::Stale {
            name: (*name).clone(),
            as_of: *as_of,
        })
        .collect();
    let n_more = stale.len().saturating_sub(MAX_STALE);
    gaps.extend(stale.into_iter().take(MAX_STALE));
    if n_more > 0 {
        gaps.push(DataGap::MoreStale { n: n_more });
    }
    let known_from = read
        .iter()
        .filter_map(|(_, _, coverage)| coverage.known_from())
        .max();
    gaps.extend(
        known_from
            .map(Day::start)
            .filter(|at| *at > closed.before.span.start)
            .map(|at| DataGap::KnownFrom { at }),
    );
    gaps
}

/// Returns whether a digest can be sent without waiting. It does not wait for history, which would not arrive.
pub fn is_complete(gaps: &[DataGap]) -> bool {
    gaps.iter().all(|gap| match gap {
        DataGap::Unread { .. } | DataGap::Stale { .. } | DataGap::MoreStale { .. } => false,
        DataGap::KnownFrom { .. } | DataGap::Estimated { .. } | DataGap::Unpriced { .. } => true,
    })
}

/// Inputs of a digest.
#[derive(Debug, Clone, Copy)]
pub struct DigestInput<'a> {
    pub snapshot: OrganizationSnapshot<'a>,
    pub name: &'a str,
    /// Time zone of the period.
    pub zone_name: &'a str,
    pub closed: &'a ClosedPeriod,
    /// Time buckets by which `rows` are grouped.
    pub pieces: &'a TimeSlices,
    pub rows: &'a [UsageRow],
    /// Rows of the previous period.
    pub rows_before: &'a [UsageRow],
    /// Indexed by [`Measurement::rule`].
    pub rules: &'a [Rule],
    /// From the newest decision.
    pub measurements: &'a [Measurement],
    /// See [`forecast`].
    pub forecast: Option<&'a Forecast>,
    /// See [`gaps`].
    pub gaps: &'a [DataGap],
    pub audit: Option<&'a AuditAnchor>,
}

/// Hours that a forecast needs, up to the newest settled hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForecastSpans {
    pub month: PeriodSpan,
    /// Settled part of the month.
    pub so_far: HourSpan,
    /// Week up to the end of the newest settled hour.
    pub last_week: HourSpan,
}

/// Returns the hours that a forecast needs at `now`; `newest` is the newest settled hour.
pub fn forecast_spans(zone: &TimeZone, newest: Hour, now: Timestamp) -> ForecastSpans {
    let month = period::containing(Period::Month, zone, now);
    let (start, end) = (month.span.hours().start, newest.plus(1));
    ForecastSpans {
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

/// Extrapolates the average hour of the last week to the end of the month. Returns `None` if tokens have no price, because
/// their spend is missing.
pub fn forecast(
    spans: &ForecastSpans,
    so_far: &[UsageRow],
    last_week: &[UsageRow],
) -> Option<Forecast> {
    let n_left = spans.month.span.hours().end.count() - spans.so_far.end.count();
    let (so_far, last_week) = (sum(so_far), sum(last_week));
    if so_far.unpriced > 0 || last_week.unpriced > 0 {
        return None;
    }
    let more = last_week.spend.pico() * i128::from(n_left) / i128::from(FORECAST_HOURS);
    Some(Forecast {
        label: spans.month.label.clone()?,
        spend: so_far.spend + Usd::from_pico(more),
        so_far: so_far.spend,
    })
}

/// Creates a digest.
pub fn create<'a>(
    source: &DigestInput<'_>,
    alerts: impl Iterator<Item = &'a Alert>,
    now: Timestamp,
) -> Digest {
    let total = sum(source.rows);
    // A partly known previous period would be mistaken for all of it.
    let is_before_known = !source.gaps.iter().any(|gap| match gap {
        DataGap::KnownFrom { .. } | DataGap::Unread { .. } => true,
        DataGap::Stale { .. }
        | DataGap::MoreStale { .. }
        | DataGap::Estimated { .. }
        | DataGap::Unpriced { .. } => false,
    });
    let by = |kind| subjects(kind, source, is_before_known);
    let workspaces = by(SubjectKind::Workspace);
    let mut gaps = source.gaps.to_vec();
    if total.estimated != Usd::ZERO {
        let spend = total.estimated;
        gaps.push(DataGap::Estimated { spend });
    }
    if total.unpriced > 0 {
        let n_tokens = total.unpriced;
        gaps.push(DataGap::Unpriced { n_tokens });
    }
    Digest {
        organization: source.snapshot.organization.clone(),
        name: source.name.to_owned(),
        label: source.closed.cut.label.clone(),
        span: source.closed.cut.span,
        zone_name: source.zone_name.to_owned(),
        created_at: now,
        forecast: source.forecast.cloned(),
        spend: total.spend,
        before: is_before_known.then(|| sum(source.rows_before).spend),
        series: series(source),
        movers: movers(&workspaces),
        workspaces: largest(workspaces),
        teams: match source.snapshot.teams {
            [] => SpendBreakdown::default(),
            [..] => largest(by(SubjectKind::Team)),
        },
        models: largest(by(SubjectKind::Model)),
        limits: limits(source),
        alerts: open_alerts(&source.snapshot, alerts),
        idle_keys: source
            .rules
            .iter()
            .any(|rule| rule.event(Event::KeyIdle).is_some())
            .then(|| idle_keys(&source.snapshot, source.measurements))
            .flatten(),
        gaps,
        audit: source.audit.cloned(),
    }
}

fn sum(rows: &[UsageRow]) -> Amounts {
    rows.iter()
        .fold(Amounts::ZERO, |sum, row| sum + row.amounts)
}

/// Returns all subjects with spend in either period, largest first.
fn subjects(
    kind: SubjectKind,
    source: &DigestInput<'_>,
    is_before_known: bool,
) -> Vec<SubjectSpend> {
    let naming = BreakdownContext {
        organization: source.snapshot.organization,
        directory: source.snapshot.directory,
        teams: source.snapshot.teams,
        naming: source.snapshot.privacy.in_messages(),
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
    let mut lines: Vec<SubjectSpend> = sums
        .into_values()
        .map(|(name, spend, before)| SubjectSpend {
            name,
            spend,
            before: is_before_known.then_some(before),
        })
        .filter(|line| line.spend != Usd::ZERO || line.before.is_some_and(|it| it != Usd::ZERO))
        .collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.spend));
    lines
}

fn largest(mut lines: Vec<SubjectSpend>) -> SpendBreakdown {
    // Listing a single remaining entry takes no more room than mentioning it.
    let n_lines = if lines.len() == MAX_LINES + 1 {
        lines.len()
    } else {
        MAX_LINES
    };
    let rest = lines.split_off(lines.len().min(n_lines));
    SpendBreakdown {
        lines,
        rest: rest_of(&rest),
    }
}

fn rest_of(lines: &[SubjectSpend]) -> Option<OtherSubjects> {
    (!lines.is_empty()).then(|| OtherSubjects {
        n: lines.len(),
        spend: lines.iter().map(|line| line.spend).sum(),
        before: lines.iter().map(|line| line.before).sum::<Option<Usd>>(),
    })
}

fn movers(lines: &[SubjectSpend]) -> SpendBreakdown {
    let change = |line: &SubjectSpend| line.before.map(|before| line.spend - before);
    let mut moved: Vec<(Usd, &SubjectSpend)> = lines
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
    let rest: Vec<SubjectSpend> = moved
        .drain(n_up..moved.len() - n_down)
        .map(|(_, line)| line.clone())
        .collect();
    SpendBreakdown {
        lines: moved.into_iter().map(|(_, line)| line.clone()).collect(),
        rest: rest_of(&rest),
    }
}

/// Returns the spend of each time bucket, including empty ones.
fn series(source: &DigestInput<'_>) -> Vec<(String, Usd)> {
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

fn limits(source: &DigestInput<'_>) -> Truncated<LimitUse> {
    let limit_use = |measured: &Measurement| {
        let rule = source.rules.get(measured.rule)?;
        let is_same_period =
            rule.watch() == Watch::Spend && measured.span == source.closed.cut.span;
        let limit = measured
            .limit
            .filter(|limit| is_same_period && *limit > 0)?;
        Some(LimitUse {
            rule: rule.name.clone(),
            name: source.snapshot.name_of(&measured.subject).to_owned(),
            subject: measured.subject.clone(),
            value: Usd::from_pico(measured.figure.value()?),
            is_lower_bound: !measured.figure.is_known(),
            limit: Usd::from_pico(limit),
        })
    };
    let mut used: Vec<LimitUse> = source.measurements.iter().filter_map(limit_use).collect();
    used.sort_by(|a, b| {
        let share = |used: &LimitUse, other: &LimitUse| -> Option<Quantity> {
            used.value.pico().checked_mul(other.limit.pico())
        };
        // By used ratio, without dividing; by value if the amounts are too large for that.
        let order = match (share(a, b), share(b, a)) {
            (Some(a), Some(b)) => b.cmp(&a),
            (Some(_), None) | (None, Some(_)) | (None, None) => b.value.cmp(&a.value),
        };
        order.then_with(|| (&a.rule, &a.subject).cmp(&(&b.rule, &b.subject)))
    });
    Truncated::new(used)
}

fn open_alerts<'a>(
    snapshot: &OrganizationSnapshot<'_>,
    alerts: impl Iterator<Item = &'a Alert>,
) -> Truncated<OpenAlert> {
    let mut open: Vec<OpenAlert> = alerts
        .filter(|alert| alert.is_firing())
        .map(|alert| OpenAlert {
            rule: alert.identity.slot.rule.clone(),
            name: snapshot.name_of(&alert.identity.slot.subject).to_owned(),
            subject: alert.identity.slot.subject.clone(),
            severity: alert.threshold().severity,
            threshold: alert.threshold().text.to_string(),
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
    Truncated::new(open)
}

/// Returns the idle keys that rules measured, each once.
fn idle_keys(
    snapshot: &OrganizationSnapshot<'_>,
    measurements: &[Measurement],
) -> Option<Truncated<IdleKey>> {
    let keys = snapshot.inventory.keys.as_ref()?;
    let is_idle = |measured: &&Measurement| {
        measured.event == Some(Event::KeyIdle) && measured.figure.value().is_some_and(|n| n > 0)
    };
    let since: BTreeMap<&str, Timestamp> = measurements
        .iter()
        .filter(is_idle)
        .map(|measured| (&*measured.subject.id, measured.span.start))
        .collect();
    let directory = snapshot.directory;
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
    Some(Truncated::new(idle))
}

impl<T> Truncated<T> {
    fn new(mut all: Vec<T>) -> Truncated<T> {
        let n_more = all.len().saturating_sub(MAX_LINES);
        all.truncate(MAX_LINES);
        Truncated { first: all, n_more }
    }
}

#[cfg(test)]
mod tests;
