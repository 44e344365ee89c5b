//! Snapshot tests of responses below `tests/wire/guide`, and properties of usage.

use super::usage::{MonthUsage, UnreadableUsage, usage, usage_by_month};
use crate::transport::decode::DecodeError;
use crate::transport::json_text;
use crate::wire::field::MAX_COUNT;
use crate::wire::lists::{api_keys, users, workspaces};
use crate::wire::organization::organization;
use jiff::civil;
use proptest::prelude::*;
use spendwatch_domain::admin::server::ServerKind;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::{Day, HourSpan};
use spendwatch_domain::usage::bucket::{
    self, Amounts, Granularity, Part, Tokens, UsageByKey, UsageResponse,
};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

/// The request of every file: February 2026, of one workspace.
fn requested() -> (Part, Day, Day) {
    let day = |day| Day::from_date(civil::date(2026, 2, day));
    let part = Part::Workspace("workspace_01".into());
    (part, day(1), day(28))
}

fn amounts(amounts: &Amounts) -> String {
    let Amounts {
        spend,
        tokens,
        requests,
        ..
    } = amounts;
    format!(
        "{spend} USD, input {}, output {}, cache_read {}, requests {requests}",
        tokens.input, tokens.output, tokens.cache_read
    )
}

fn render_cells(text: &mut String, label: &str, cells: &UsageByKey) {
    writeln!(text, "{label}: {}", amounts(&bucket::sum(cells))).unwrap();
    for (cell, figures) in cells {
        writeln!(text, "  {:?}: {}", cell.model.as_str(), amounts(figures)).unwrap();
    }
}

fn render_usage(response: &UsageResponse) -> String {
    let mut text = String::new();
    for (hour, cells) in &response.buckets {
        render_cells(&mut text, &hour.start().to_string(), cells);
    }
    text
}

fn render_months(months: &[MonthUsage]) -> String {
    let mut text = String::new();
    for usage in months {
        render_cells(&mut text, &usage.month.to_string(), &usage.cells);
    }
    text
}

fn render_unread(unread: &UnreadableUsage) -> String {
    let line = |(hours, error): &(HourSpan, DecodeError)| {
        let (start, end) = (hours.start.start(), hours.end.start());
        format!("unknown from {start} to {end}: {error}\n")
    };
    unread.iter().map(line).collect()
}

/// The first part of a file's name is the kind of request.
fn translate(name: &str, body: &[u8]) -> Result<String, DecodeError> {
    let (part, first, last) = requested();
    let (kind, _) = name.split_once('-').unwrap();
    let by = |granularity| {
        let decoded = usage(body, &part, granularity, first, last);
        decoded.map(|(response, unread)| render_usage(&response) + &render_unread(&unread))
    };
    match kind {
        "hours" => by(Granularity::Hour),
        "days" => by(Granularity::Day),
        "months" => usage_by_month(body, first, last)
            .map(|(months, unread)| render_months(&months) + &render_unread(&unread)),
        "workspaces" => workspaces(ServerKind::Guide, body).map(|page| format!("{page:#?}")),
        "organization" => organization(ServerKind::Guide, body).map(|info| format!("{info:#?}")),
        "keys" => api_keys(ServerKind::Guide, body).map(|page| format!("{page:#?}")),
        "users" => users(ServerKind::Guide, body).map(|page| format!("{page:#?}")),
        other => panic!("no such kind: {other}"),
    }
}

#[test]
fn responses_are_decoded() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/wire/guide");
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
    assert!(n_files > 20, "{n_files}");
}

fn model() -> impl Strategy<Value = (String, u64, u64, u64)> {
    let counts = (
        0..=1_000_000_000_u64,
        0..=1_000_000_u64,
        0..=1_000_000_000_u64,
    );
    ("[a-z]{0,2}", counts).prop_map(|(name, (micros, input, output))| (name, micros, input, output))
}

fn decimal(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

proptest! {
    #[test]
    fn cells_sum_to_the_row(
        micros in 0..=10_000_000_000_u64, input in 0..=MAX_COUNT, output in 0..=MAX_COUNT, cache in 0..=MAX_COUNT,
        requests in 0..=MAX_COUNT, models in prop::collection::vec(model(), 0..6),
    ) {
        let mut names = HashSet::new();
        let models: Vec<String> = models
            .iter()
            .filter(|(name, ..)| names.insert(name.clone()))
            .map(|(name, micros, input, output)| format!(
                r#""{name}":{{"input_tokens":{input},"output_tokens":{output},"cost_usd":{}}}"#,
                decimal(*micros)
            ))
            .collect();
        let body = format!(
            r#"{{"data":[{{"date":"2026-02-03","input_tokens":{input},"output_tokens":{output},"cache_read_tokens":{cache},
            "total_cost_usd":{},"requests":{requests},"model_breakdown":{{{}}}}}]}}"#,
            decimal(micros),
            models.join(",")
        );
        let (part, first, last) = requested();
        let (response, unread) = usage(body.as_bytes(), &part, Granularity::Day, first, last).unwrap();
        prop_assert_eq!(unread, vec![]);
        let whole = Amounts {
            spend: Usd::from_pico(i128::from(micros) * 1_000_000),
            tokens: Tokens { input, output, cache_read: cache, ..Tokens::default() },
            requests,
            ..Amounts::ZERO
        };
        let sums: Vec<Amounts> = response.buckets.values().map(bucket::sum).collect();
        prop_assert_eq!(sums, vec![whole]);
    }

    #[test]
    fn decoding_never_panics(at in 0_usize..2000, cut in 0_usize..2000, piece in "[-0-9.eE\"{}\\[\\],:a-z]{0,8}") {
        let good = include_str!("../../../../../tests/wire/guide/hours-good.json");
        let mut body = good.as_bytes().to_vec();
        let at = at.min(body.len());
        let end = (at + cut % 7).min(body.len());
        body.splice(at..end, piece.bytes());
        let (part, first, last) = requested();
        let _ = usage(&body, &part, Granularity::Hour, first, last);
        let _ = usage(&body[..cut.min(body.len())], &part, Granularity::Day, first, last);
        for good in [
            include_str!("../../../../../tests/wire/guide/keys-good.json"),
            include_str!("../../../../../tests/wire/guide/users-good.json"),
        ] {
            let mut body = good.as_bytes().to_vec();
            let at = at.min(body.len());
            let end = (at + cut % 7).min(body.len());
            body.splice(at..end, piece.bytes());
            let _ = (
                api_keys(ServerKind::Guide, &body),
                users(ServerKind::Guide, &body),
            );
        }
    }
}
