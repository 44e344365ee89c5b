//! The newer reports: rows that are sparse and flat, the greatest first; money with list price, key by key and hour by hour.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::span::{Hour, HourSpan};
use crate::simulator::buckets::{Buckets, bounds, cents, list_cents, text};
use crate::simulator::charges::{Charge, positions, whole};
use crate::simulator::dimensions::{self, ANALYTICS_CHOICES, Chosen, OF_ANALYTICS};
use crate::simulator::lines::{Manner, Wanted};
use crate::simulator::paging;
use crate::simulator::question::{groups, instant, known, limit, one_of, parameter};
use crate::simulator::refusal::{Query, Refusal};
use crate::simulator::speech::Speaks;
use crate::simulator::sums::{Key, Sums, sums};
use crate::simulator::told::Told;
use crate::simulator::world::{Used, World};

/// These divide the money of a row, and do not count towards the five.
const DIVIDING: [&str; 2] = ["cost_type", "token_type"];
/// The longest range.
const MOST_HOURS: i64 = 24 * 31;
/// So long ago a range may start.
const HOURS_BACK: i64 = 24 * 365;
/// And not before this.
const BEGINNING: &str = "2026-01-01T00:00:00Z";

/// Which of the two reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// `…/analytics/usage`: tokens.
    Usage,
    /// `…/analytics/cost`: money.
    Cost,
}

/// What rows are ranked by.
#[derive(Debug, Clone, Copy)]
enum Rank {
    Time,
    Spend,
    Tokens,
    Input,
    Output,
    Requests,
}

/// How rows are written.
struct Form {
    report: Report,
    buckets: Buckets,
    /// First those that count, then those that divide.
    groups: Vec<String>,
    n_counted: usize,
    discount_percent: i64,
}

/// `GET …/analytics/usage` and `…/analytics/cost`.
pub fn analytics(
    world: &mut World,
    query: &Query,
    report: Report,
    now: Timestamp,
) -> Result<String, Refusal> {
    let plain = [
        "starting_at",
        "ending_at",
        "time_bucket_width",
        "limit",
        "group_by[]",
        "order_by",
        "order",
        "page",
    ];
    let choices = ANALYTICS_CHOICES.map(|(name, ..)| name);
    known(query, &[plain.as_slice(), &choices].concat())?;
    let (dividing, name): (&[&str], _) = match report {
        Report::Usage => (&[], "analytics_usage"),
        Report::Cost => (&DIVIDING, "analytics_cost"),
    };
    let mut groups = groups(query, &OF_ANALYTICS, dividing)?;
    groups.sort_by_key(|group| dividing.contains(&group.as_str()));
    let counted = groups
        .iter()
        .filter(|group| !dividing.contains(&group.as_str()));
    let n_counted = counted.count();
    let limit = limit(query, 20, 1000)?;
    let (buckets, span) = range(query, now)?;
    let (rank, is_rising) = order(query, report, buckets)?;
    let mut chosen = Chosen::read(query, &ANALYTICS_CHOICES)?;
    if world.ignores_speeds {
        chosen = chosen.without("speed");
    }
    let form = Form {
        report,
        buckets,
        groups,
        n_counted,
        discount_percent: world.discount_percent,
    };
    paging::of_report(world, name, query, (limit, now), |world| {
        let watermark = world
            .refreshed_until
            .unwrap_or(now - world.refresh_lag)
            .min(now);
        let default = world.default_workspace.clone();
        let default = default.as_deref();
        let wanted = Wanted {
            hours: span,
            until: watermark,
            of: &|id| chosen.has_workspace(id, default),
            is_by_key: chosen.asks_keys() || dimensions::ask_keys(&form.groups),
        };
        let lines = world.lines(&wanted, now);
        let parts = match form.is_divided() {
            true => positions,
            false => whole,
        };
        let key = |manner: &Manner, charge| {
            let is_asked = form.tells(manner) && chosen.has(manner, default);
            is_asked.then(|| form.key(manner, charge, default))
        };
        let sums = sums(&lines, |hour| buckets.first(hour), parts, key);
        let mut told = ranked(form, sums, rank, is_rising);
        if !matches!(world.speaks, Speaks::Real(real) if real.hides_watermark) {
            told.more = format!(r#","data_refreshed_at":"{watermark}""#);
        }
        told
    })
}

/// The buckets, and whole ones around what is asked for.
fn range(query: &Query, now: Timestamp) -> Result<(Buckets, HourSpan), Refusal> {
    let width = one_of(query, "time_bucket_width", &["1d", "1h", "1m"])?;
    let longest = SignedDuration::from_hours(MOST_HOURS);
    let started = instant(query, "starting_at")?;
    let ended = match parameter(query, "ending_at") {
        None if width.is_none() => now.min(started.checked_add(longest).unwrap_or(now)),
        None | Some(_) => instant(query, "ending_at")?,
    };
    let beginning: Timestamp = BEGINNING.parse().expect("a moment");
    let year_ago = now - SignedDuration::from_hours(HOURS_BACK);
    if started < beginning || started < year_ago {
        return Err(Refusal::bad("starting_at is too long ago"));
    }
    if ended <= started {
        return Err(Refusal::bad("ending_at must be after starting_at"));
    }
    if ended.duration_since(started) > longest {
        return Err(Refusal::bad("a range spans at most 31 days"));
    }
    let Some(width) = width else {
        // Both bounds are rounded down to the hour.
        let (start, end) = (Hour::of(started), Hour::of(ended));
        let span = HourSpan { start, end };
        return match span.is_empty() {
            true => Err(Refusal::bad("the range has no hour")),
            false => Ok((Buckets::Whole(span), span)),
        };
    };
    let buckets = Buckets::read(width)?;
    let hours = HourSpan {
        start: Hour::of(started),
        end: Hour::ceil(ended),
    };
    Ok((buckets, buckets.around(hours)))
}

/// What rows are ranked by, and whether the least comes first.
fn order(query: &Query, report: Report, buckets: Buckets) -> Result<(Rank, bool), Refusal> {
    let is_rising = one_of(query, "order", &["asc", "desc"])? == Some("asc");
    let (usual, by): (Rank, &[&str]) = match report {
        Report::Cost => (Rank::Spend, &["amount", "list_amount", "time"]),
        Report::Usage => (
            Rank::Tokens,
            &[
                "total_tokens",
                "uncached_input_tokens",
                "output_tokens",
                "requests",
                "time",
            ],
        ),
    };
    let rank = match (one_of(query, "order_by", by)?, buckets) {
        (Some("time"), Buckets::Hours | Buckets::Days) => Rank::Time,
        (Some("uncached_input_tokens"), _) => Rank::Input,
        (Some("output_tokens"), _) => Rank::Output,
        (Some("requests"), _) => Rank::Requests,
        (_, Buckets::Hours | Buckets::Days | Buckets::Whole(_)) => usual,
    };
    Ok((rank, is_rising))
}

impl Rank {
    fn of(self, bucket: Hour, used: &Used) -> i64 {
        match self {
            Rank::Time => i64::from(bucket.count()),
            Rank::Spend => used.micros,
            Rank::Tokens => tokens(used),
            Rank::Input => used.input,
            Rank::Output => used.output,
            Rank::Requests => used.requests,
        }
    }
}

/// Rows in their order. Those into which the money of one is divided stay together, and count as one.
fn ranked(form: Form, mut sums: Sums, rank: Rank, is_rising: bool) -> Told {
    let bases = bases(&sums.groups, form.n_counted);
    if form.is_divided() {
        sums.rows
            .sort_by_key(|(bucket, group, _)| (*bucket, bases[*group], *group));
    }
    let mut blocks = Vec::new();
    let mut start = 0;
    let is_together = |left: &(Hour, usize, Used), right: &(Hour, usize, Used)| {
        (left.0, bases[left.1]) == (right.0, bases[right.1])
    };
    for block in sums.rows.chunk_by(is_together) {
        let mut total = Used::default();
        block.iter().for_each(|(.., used)| total += *used);
        let rank = rank.of(block[0].0, &total);
        let rank = if is_rising { rank } else { -rank };
        blocks.push((rank, start, start + block.len()));
        start += block.len();
    }
    blocks.sort_unstable_by_key(|(rank, start, _)| (*rank, *start));
    Told::new(blocks.len(), move |place| {
        let (_, start, end) = blocks[place];
        let rows = sums.rows[start..end].iter();
        let rows: Vec<String> = rows
            .map(|(bucket, group, used)| form.row(*bucket, &sums.groups[*group], used))
            .collect();
        rows.join(",")
    })
}

/// Of each group the place of the first one that differs from it in nothing that counts.
fn bases(groups: &[Key], n_counted: usize) -> Vec<usize> {
    let mut firsts: HashMap<&[Option<String>], usize> = HashMap::new();
    let places = groups.iter().enumerate();
    places
        .map(|(place, key)| *firsts.entry(&key[..n_counted]).or_insert(place))
        .collect()
}

impl Form {
    fn is_divided(&self) -> bool {
        self.n_counted < self.groups.len()
    }

    /// Whether this report knows of usage of a kind. Corrections belong to no hour.
    fn tells(&self, manner: &Manner) -> bool {
        let has_days = match self.buckets {
            Buckets::Days => true,
            Buckets::Hours | Buckets::Whole(_) => false,
        };
        let is_known = match self.report {
            Report::Usage => !manner.model.is_empty(),
            Report::Cost => has_days || !manner.is_of_day,
        };
        is_known && manner.is_billed()
    }

    fn key(&self, manner: &Manner, charge: Charge, default: Option<&str>) -> Key {
        let groups = self.groups.iter();
        groups
            .map(|group| match group.as_str() {
                "cost_type" => charge.cost_type().map(str::to_owned),
                "token_type" => charge.token_type().map(str::to_owned),
                name => dimensions::value(manner, name, default),
            })
            .collect()
    }

    fn row(&self, bucket: Hour, key: &Key, used: &Used) -> String {
        let bounds = bounds(self.buckets, bucket);
        let group = self.group(key);
        let figures = match self.report {
            Report::Usage => usage(used),
            Report::Cost => self.cost(used),
        };
        format!(r#"{{{bounds},"group":{{{group}}},{figures}}}"#)
    }

    /// Every dimension; null, where it was not asked for.
    fn group(&self, key: &Key) -> String {
        let dividing = match self.report {
            Report::Usage => [].iter(),
            Report::Cost => DIVIDING.iter(),
        };
        let fields = OF_ANALYTICS.iter().chain(dividing).map(|name| {
            let place = self.groups.iter().position(|group| group == name);
            match place.and_then(|place| key[place].as_deref()) {
                Some(actor) if *name == "actor" => format!(r#""actor":{actor}"#),
                value => format!(r#""{name}":{}"#, text(value)),
            }
        });
        fields.collect::<Vec<String>>().join(",")
    }

    fn cost(&self, used: &Used) -> String {
        // Of divided money nobody can say how many requests it was for.
        let requests = match self.is_divided() {
            true => "null".to_owned(),
            false => used.requests.to_string(),
        };
        format!(
            r#""cost":{{"amount":"{}","list_amount":"{}","currency":"USD","requests":{requests}}}"#,
            cents(used.micros),
            list_cents(used.micros, self.discount_percent),
        )
    }
}

fn usage(used: &Used) -> String {
    format!(
        concat!(
            r#""usage":{{"uncached_input_tokens":{},"output_tokens":{},"cache_creation":{{"#,
            r#""ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}},"#,
            r#""cache_read_input_tokens":{},"total_tokens":{},"requests":{},"#,
            r#""server_tool_use":{{"web_search_requests":{}}}}}"#
        ),
        used.input,
        used.output,
        used.cache_write_5m,
        used.cache_write_1h,
        used.cache_read,
        tokens(used),
        used.requests,
        used.web_searches,
    )
}

fn tokens(used: &Used) -> i64 {
    used.input + used.output + used.cache_read + used.cache_write_5m + used.cache_write_1h
}
