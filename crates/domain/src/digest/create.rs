//! Creates a digest from rows and measurements.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::alerts::alert::Alert;
use crate::alerts::measure::Measurement;
use crate::digest::period::ClosedPeriod;
use crate::digest::{
    AuditAnchor, DataGap, Digest, Forecast, IdleKey, LimitUse, MAX_LINES, OpenAlert, OtherSubjects,
    SpendBreakdown, SubjectSpend, Truncated, sum,
};
use crate::figures::breakdown::{BreakdownContext, TimeSlices, break_down};
use crate::figures::snapshot::OrganizationSnapshot;
use crate::org::events::Event;
use crate::rules::rule::Rule;
use crate::rules::watch::{Quantity, Watch};
use crate::units::money::Usd;
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::UsageRow;

/// Maximum number of movers in each direction.
const MAX_MOVERS: usize = 3;

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
    /// See [`super::forecast`].
    pub forecast: Option<&'a Forecast>,
    /// See [`super::gaps`].
    pub gaps: &'a [DataGap],
    pub audit: Option<&'a AuditAnchor>,
}

/// Creates the digest of a closed period. Comparisons are left out where the previous period is not fully known.
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
pub(super) fn idle_keys(
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
