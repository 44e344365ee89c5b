//! Snapshot tests of valid and invalid responses below `tests/wire`. The first part of a file's name is the kind of request.

use std::fmt::Write as _;
use std::path::Path;

use crate::transport::decode::DecodeError;
use crate::transport::json_text;
use crate::wire::report::{BucketSpan, DuplicateCheck, PageResponse, RowError};
use crate::wire::{analytics, limits, lists, organization, reports};
use spendwatch_domain::units::span::HourSpan;
use spendwatch_domain::usage::report_rows::{
    Actor, CostRow, Dimensions, PricingAttributes, TokenRow,
};

use super::*;
use proptest::prelude::*;

/// The request of every file: the first three days of November 2026, of the whole organization.
fn span(granularity: Granularity) -> BucketSpan {
    let day = |day| Day::from_date(civil::date(2026, 11, day)).first_hour();
    let (start, end) = (day(1), day(4));
    BucketSpan {
        granularity,
        hours: HourSpan { start, end },
    }
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::User { id, email } => format!("user {id} {}", email.as_deref().unwrap_or("-")),
        Actor::ServiceAccount { id } => format!("service account {id}"),
        Actor::Federated { provider, subject } => {
            format!("{} of {provider}", subject.as_deref().unwrap_or("-"))
        }
        Actor::ApiKey { id } => format!("key {id}"),
        Actor::Other { kind } => format!("another, {kind}"),
    }
}

/// Renders the dimensions that are present.
fn who(who: &Dimensions) -> String {
    let dimensions = [
        ("workspace", who.workspace.as_ref().map(ToString::to_string)),
        ("model", who.model.as_ref().map(ToString::to_string)),
        ("key", who.api_key.as_ref().map(ToString::to_string)),
        ("actor", who.actor.as_ref().map(actor)),
    ];
    dimensions
        .into_iter()
        .filter_map(|(name, value)| Some(format!(" {name}={:?}", value?)))
        .collect()
}

fn how(how: &PricingAttributes) -> String {
    let attributes = [&how.service_tier, &how.context_window, &how.inference_geo];
    let texts = attributes.map(|text| text.as_deref().unwrap_or("-"));
    texts.join("/")
}

fn render<T>(page: &PageResponse<T>, row: impl Fn(&T) -> String) -> String {
    let mut text = String::new();
    for decoded in &page.rows {
        writeln!(text, "{}", row(decoded)).unwrap();
    }
    for unreadable in &page.unreadable {
        writeln!(text, "{}", unknown(unreadable)).unwrap();
    }
    if let Some(at) = page.refreshed_at {
        writeln!(text, "refreshed at {at}").unwrap();
    }
    match &page.next {
        Some(next) => writeln!(text, "next page {next:?}").unwrap(),
        None => writeln!(text, "the last page").unwrap(),
    }
    text
}

fn unknown(unreadable: &RowError) -> String {
    let (start, end) = (unreadable.hours.start, unreadable.hours.end);
    let workspace = match &unreadable.workspace {
        None => "any workspace".to_owned(),
        Some(None) => "no workspace".to_owned(),
        Some(Some(id)) => format!("workspace {id}"),
    };
    let (start, end) = (start.start(), end.start());
    format!(
        "unknown: {workspace} from {start} to {end}: {}",
        unreadable.error
    )
}

fn cost_row(row: &CostRow) -> String {
    let list = row.list.map(|list| format!(" (list {list})"));
    let requests = row.requests.map(|n| format!(", {n} requests"));
    let kind = row.cost_type.as_ref().map(|kind| format!(", {kind}"));
    format!(
        "{}:{}: {} USD{}{}{}",
        row.hour.start(),
        who(&row.dimensions),
        row.billed,
        list.unwrap_or_default(),
        requests.unwrap_or_default(),
        kind.unwrap_or_default()
    )
}

fn used_row(row: &TokenRow) -> String {
    let tokens = &row.tokens;
    format!(
        "{}:{} {}: input {}, output {}, cache_read {}, cache_write_5m {}, cache_write_1h {}, searches {}",
        row.hour.start(),
        who(&row.dimensions),
        how(&row.attributes),
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        row.web_searches
    )
}

fn decode_analytics(name: &str, body: &[u8]) -> Result<String, DecodeError> {
    let mut duplicates = DuplicateCheck::default();
    let (hours, days) = (span(Granularity::Hour), span(Granularity::Day));
    match kind_of(name) {
        "cost" => analytics::cost(body, hours, &mut duplicates).map(|page| render(&page, cost_row)),
        "daycost" => {
            analytics::cost(body, days, &mut duplicates).map(|page| render(&page, cost_row))
        }
        "used" => {
            analytics::usage(body, hours, &mut duplicates).map(|page| render(&page, used_row))
        }
        other => panic!("no such kind: {other}"),
    }
}

fn decode_reports(name: &str, body: &[u8]) -> Result<String, DecodeError> {
    let mut duplicates = DuplicateCheck::default();
    let (hours, days) = (span(Granularity::Hour), span(Granularity::Day));
    match kind_of(name) {
        "cost" => reports::cost(body, days, &mut duplicates).map(|page| render(&page, cost_row)),
        "used" => reports::usage(body, days, &mut duplicates).map(|page| render(&page, used_row)),
        "hourused" => {
            reports::usage(body, hours, &mut duplicates).map(|page| render(&page, used_row))
        }
        other => panic!("no such kind: {other}"),
    }
}

fn decode_lists(name: &str, body: &[u8]) -> Result<String, DecodeError> {
    match kind_of(name) {
        "me" => {
            organization::organization(ServerKind::Real, body).map(|(info, _)| format!("{info:#?}"))
        }
        "workspaces" => lists::workspaces(ServerKind::Real, body).map(|page| format!("{page:#?}")),
        "keys" => lists::api_keys(ServerKind::Real, body).map(|page| format!("{page:#?}")),
        "users" => lists::users(ServerKind::Real, body).map(|page| format!("{page:#?}")),
        "invites" => lists::invites(body).map(|page| format!("{page:#?}")),
        "members" => lists::members(body).map(|page| format!("{page:#?}")),
        "rates" => limits::rate_limits(body).map(|page| format!("{page:#?}")),
        "ownrates" => limits::workspace_rate_limits(body).map(|page| format!("{page:#?}")),
        "spend" => limits::spend_limits(body).map(|page| {
            let errors = page.unreadable.iter();
            let errors: String = errors.map(|error| format!("{error}\n")).collect();
            let lowest = limits::lowest(page.rows);
            format!("{lowest:#?}\n{errors}next {:?}", page.next)
        }),
        other => panic!("no such kind: {other}"),
    }
}

fn kind_of(name: &str) -> &str {
    let (kind, _) = name.split_once('-').unwrap();
    kind
}

/// Checks every file of a folder against its snapshot.
fn check(folder: &str, min_files: usize, decode: fn(&str, &[u8]) -> Result<String, DecodeError>) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("tests/wire")
        .join(folder);
    let mut n_files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        n_files += 1;
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut body = std::fs::read(&path).unwrap();
        json_text::repair(&mut body);
        let text = match decode(&name, &body) {
            Ok(text) => text,
            Err(error) => format!("refused: {error}"),
        };
        insta::with_settings!({
            snapshot_path => &folder,
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, text);
        });
    }
    assert!(n_files >= min_files, "{n_files}");
}

#[test]
fn analytics_responses() {
    check("analytics", 30, decode_analytics);
}

#[test]
fn reports_responses() {
    check("reports", 25, decode_reports);
}

#[test]
fn list_responses() {
    check("lists", 25, decode_lists);
}

proptest! {
    #[test]
    fn decoding_never_panics(
        at in 0_usize..3000,
        cut in 0_usize..3000,
        piece in "[-0-9.eE\"{}\\[\\],:a-z]{0,8}",
    ) {
        let good = [
            include_str!("../../../../tests/wire/analytics/cost-good.json"),
            include_str!("../../../../tests/wire/analytics/used-good.json"),
            include_str!("../../../../tests/wire/reports/used-good.json"),
            include_str!("../../../../tests/wire/reports/cost-good.json"),
            include_str!("../../../../tests/wire/lists/keys-2023-06-01.json"),
            include_str!("../../../../tests/wire/lists/spend-good.json"),
        ];
        for good in good {
            let mut body = good.as_bytes().to_vec();
            let at = at.min(body.len());
            let end = (at + cut % 7).min(body.len());
            body.splice(at..end, piece.bytes());
            for body in [&body[..], &body[..cut.min(body.len())]] {
                for name in ["cost-", "daycost-", "used-"] {
                    let _ = decode_analytics(name, body);
                }
                for name in ["cost-", "used-", "hourused-"] {
                    let _ = decode_reports(name, body);
                }
                for name in [
                    "me-", "workspaces-", "keys-", "users-", "invites-", "members-", "rates-", "ownrates-", "spend-",
                ] {
                    let _ = decode_lists(name, body);
                }
            }
        }
    }
}
