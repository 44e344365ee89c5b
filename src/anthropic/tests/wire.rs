//! Answers as the real service sends them, and as it must not: the files below `tests/wire`, with what becomes of each
//! beside it. The beginning of a file's name says which question it answers.

use std::fmt::Write as _;
use std::path::Path;

use crate::anthropic::report::{Asked, Seen, Told, Unreadable};
use crate::anthropic::{analytics, json_text, limits, real, real_admin, reports};
use crate::domain::report::{Actor, CostRow, How, UsedRow, Who};
use crate::domain::span::HourSpan;

use super::*;
use proptest::prelude::*;

/// What is asked for in every file: the first three days of November 2026, of the whole organization.
fn asked(granularity: Granularity) -> Asked {
    let day = |day| Day::from_date(civil::date(2026, 11, day)).first_hour();
    let (start, end) = (day(1), day(4));
    Asked {
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

/// What is told of the dimensions; those that are not told are left out.
fn who(who: &Who) -> String {
    let told = [
        ("workspace", who.workspace.as_ref().map(ToString::to_string)),
        ("model", who.model.as_ref().map(ToString::to_string)),
        ("key", who.api_key.as_ref().map(ToString::to_string)),
        ("actor", who.actor.as_ref().map(actor)),
    ];
    told.into_iter()
        .filter_map(|(name, value)| Some(format!(" {name}={:?}", value?)))
        .collect()
}

fn how(how: &How) -> String {
    let told = [&how.service_tier, &how.context_window, &how.inference_geo];
    let texts = told.map(|text| text.as_deref().unwrap_or("-"));
    texts.join("/")
}

fn render<T>(told: &Told<T>, row: impl Fn(&T) -> String) -> String {
    let mut text = String::new();
    for told in &told.rows {
        writeln!(text, "{}", row(told)).unwrap();
    }
    for unreadable in &told.unreadable {
        writeln!(text, "{}", unknown(unreadable)).unwrap();
    }
    if let Some(at) = told.refreshed_at {
        writeln!(text, "refreshed at {at}").unwrap();
    }
    match &told.next {
        Some(next) => writeln!(text, "next page {next:?}").unwrap(),
        None => writeln!(text, "the last page").unwrap(),
    }
    text
}

fn unknown(unreadable: &Unreadable) -> String {
    let (start, end) = (unreadable.hours.start, unreadable.hours.end);
    let whose = match &unreadable.workspace {
        None => "any workspace".to_owned(),
        Some(None) => "no workspace".to_owned(),
        Some(Some(id)) => format!("workspace {id}"),
    };
    let (start, end) = (start.start(), end.start());
    format!(
        "unknown: {whose} from {start} to {end}: {}",
        unreadable.fault
    )
}

fn cost_row(row: &CostRow) -> String {
    let list = row.list.map(|list| format!(" (list {list})"));
    let requests = row.requests.map(|n| format!(", {n} requests"));
    let kind = row.cost_type.as_ref().map(|kind| format!(", {kind}"));
    format!(
        "{}:{}: {} USD{}{}{}",
        row.hour.start(),
        who(&row.who),
        row.billed,
        list.unwrap_or_default(),
        requests.unwrap_or_default(),
        kind.unwrap_or_default()
    )
}

fn used_row(row: &UsedRow) -> String {
    let tokens = &row.tokens;
    format!(
        "{}:{} {}: input {}, output {}, cache_read {}, cache_write_5m {}, cache_write_1h {}, searches {}",
        row.hour.start(),
        who(&row.who),
        how(&row.how),
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        row.web_searches
    )
}

fn of_analytics(name: &str, body: &[u8]) -> Result<String, Fault> {
    let mut seen = Seen::default();
    let (hours, days) = (asked(Granularity::Hour), asked(Granularity::Day));
    match question(name) {
        "cost" => analytics::cost(body, hours, &mut seen).map(|told| render(&told, cost_row)),
        "daycost" => analytics::cost(body, days, &mut seen).map(|told| render(&told, cost_row)),
        "used" => analytics::used(body, hours, &mut seen).map(|told| render(&told, used_row)),
        other => panic!("no such question: {other}"),
    }
}

fn of_reports(name: &str, body: &[u8]) -> Result<String, Fault> {
    let mut seen = Seen::default();
    let (hours, days) = (asked(Granularity::Hour), asked(Granularity::Day));
    match question(name) {
        "cost" => reports::cost(body, days, &mut seen).map(|told| render(&told, cost_row)),
        "used" => reports::used(body, days, &mut seen).map(|told| render(&told, used_row)),
        "hourused" => reports::used(body, hours, &mut seen).map(|told| render(&told, used_row)),
        other => panic!("no such question: {other}"),
    }
}

fn of_lists(name: &str, body: &[u8]) -> Result<String, Fault> {
    match question(name) {
        "me" => real::me(body).map(|info| format!("{info:#?}")),
        "workspaces" => real::workspaces(body).map(|page| format!("{page:#?}")),
        "keys" => real::api_keys(body).map(|page| format!("{page:#?}")),
        "users" => real::users(body).map(|page| format!("{page:#?}")),
        "invites" => real_admin::invites(body).map(|page| format!("{page:#?}")),
        "members" => real_admin::members(body).map(|page| format!("{page:#?}")),
        "rates" => limits::rate_limits(body).map(|page| format!("{page:#?}")),
        "ownrates" => limits::workspace_rate_limits(body).map(|page| format!("{page:#?}")),
        "spend" => limits::spend_limits(body).map(|page| {
            let faults = page.unreadable.iter();
            let faults: String = faults.map(|fault| format!("{fault}\n")).collect();
            let lowest = limits::lowest(page.rows);
            format!("{lowest:#?}\n{faults}next {:?}", page.next)
        }),
        other => panic!("no such question: {other}"),
    }
}

fn question(name: &str) -> &str {
    let (question, _) = name.split_once('-').unwrap();
    question
}

/// Every file of one folder, with the expected text beside it.
fn check(folder: &str, at_least: usize, translate: fn(&str, &[u8]) -> Result<String, Fault>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
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
        let text = match translate(&name, &body) {
            Ok(text) => text,
            Err(fault) => format!("refused: {fault}"),
        };
        insta::with_settings!({
            snapshot_path => &folder,
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, text);
        });
    }
    assert!(n_files >= at_least, "{n_files}");
}

#[test]
fn answers_of_the_newer_reports() {
    check("analytics", 30, of_analytics);
}

#[test]
fn answers_of_the_older_reports() {
    check("reports", 25, of_reports);
}

#[test]
fn answers_with_lists() {
    check("lists", 25, of_lists);
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(
        at in 0_usize..3000,
        cut in 0_usize..3000,
        piece in "[-0-9.eE\"{}\\[\\],:a-z]{0,8}",
    ) {
        let good = [
            include_str!("../../../tests/wire/analytics/cost-good.json"),
            include_str!("../../../tests/wire/analytics/used-good.json"),
            include_str!("../../../tests/wire/reports/used-good.json"),
            include_str!("../../../tests/wire/reports/cost-good.json"),
            include_str!("../../../tests/wire/lists/keys-2023-06-01.json"),
            include_str!("../../../tests/wire/lists/spend-good.json"),
        ];
        for good in good {
            let mut body = good.as_bytes().to_vec();
            let at = at.min(body.len());
            let end = (at + cut % 7).min(body.len());
            body.splice(at..end, piece.bytes());
            for body in [&body[..], &body[..cut.min(body.len())]] {
                for name in ["cost-", "daycost-", "used-"] {
                    let _ = of_analytics(name, body);
                }
                for name in ["cost-", "used-", "hourused-"] {
                    let _ = of_reports(name, body);
                }
                for name in [
                    "me-", "workspaces-", "keys-", "users-", "invites-", "members-", "rates-", "ownrates-", "spend-",
                ] {
                    let _ = of_lists(name, body);
                }
            }
        }
    }
}
