//! Digests: whole payloads, sizes and hostile names.

use proptest::prelude::*;
use serde_json::Value;

use super::pagerduty_teams_discord::{discord_rules, teams_rules};
use super::{header_names, pretty, slack_rules};
use crate::envelope::Links;
use crate::json::digests;
use crate::receivers::{console, discord, email, slack, teams};
use crate::samples::at;
use crate::wording::digest::{DigestEnvelope, render};
use crate::wording::message::plain_text;
use spendwatch_domain::digest::{
    AuditAnchor, DataGap, Digest, Forecast, IdleKey, LimitUse, OpenAlert, OtherSubjects,
    SpendBreakdown, SubjectSpend, Truncated,
};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn line(name: &str, spend: &str, before: &str) -> SubjectSpend {
    SubjectSpend {
        name: name.to_owned(),
        spend: usd(spend),
        before: Some(usd(before)),
    }
}

fn breakdown(lines: Vec<SubjectSpend>, rest: Option<(usize, &str, &str)>) -> SpendBreakdown {
    SpendBreakdown {
        lines,
        rest: rest.map(|(n, spend, before)| OtherSubjects {
            n,
            spend: usd(spend),
            before: Some(usd(before)),
        }),
    }
}

/// A week whose last day is not billed yet.
fn weekly() -> Digest {
    let series = ["120.5", "98", "140.25", "310", "77.125", "0", "4.125"];
    let series = series.iter().enumerate();
    let search = || Subject::new(SubjectKind::Workspace, "workspace_01");
    Digest {
        organization: "acme".into(),
        name: "weekly".to_owned(),
        label: Some("2026-W47".to_owned()),
        span: Span {
            start: at("2026-11-15T23:00:00Z"),
            end: at("2026-11-22T23:00:00Z"),
        },
        zone_name: "Europe/Berlin".to_owned(),
        created_at: at("2026-11-23T08:00:00Z"),
        spend: usd("750"),
        before: Some(usd("600")),
        series: series
            .map(|(day, spend)| (format!("2026-11-{}", 16 + day), usd(spend)))
            .collect(),
        workspaces: breakdown(
            vec![
                line("Search", "450", "200"),
                line("Ads & <Co>", "200", "300"),
                line("unattributed", "60", "0"),
            ],
            Some((4, "40", "100")),
        ),
        movers: breakdown(
            vec![
                line("Search", "450", "200"),
                line("Ads & <Co>", "200", "300"),
            ],
            Some((5, "100", "100")),
        ),
        teams: breakdown(
            vec![line("find", "450", "200"), line("unassigned", "300", "400")],
            None,
        ),
        models: breakdown(vec![line("claude-opus-4-1", "750", "600")], None),
        limits: Truncated {
            first: vec![LimitUse {
                rule: "workspace-week".into(),
                subject: search(),
                name: "Search".to_owned(),
                value: usd("450"),
                is_lower_bound: false,
                limit: usd("500"),
            }],
            n_more: 2,
        },
        alerts: Truncated {
            first: vec![OpenAlert {
                rule: "workspace-month".into(),
                subject: search(),
                name: "Search".to_owned(),
                severity: Severity::Warning,
                threshold: "80%".to_owned(),
                event: None,
                since: Some(at("2026-11-21T10:05:00Z")),
            }],
            n_more: 0,
        },
        forecast: Some(Forecast {
            label: "2026-11".to_owned(),
            spend: Usd::from_dollars(7210),
            so_far: Usd::from_dollars(5630),
        }),
        idle_keys: Some(Truncated {
            first: vec![IdleKey {
                id: "apikey_01".into(),
                name: "ci".to_owned(),
                workspace: Some("Search".to_owned()),
                since: at("2026-08-20T10:00:00Z"),
            }],
            n_more: 11,
        }),
        gaps: vec![
            DataGap::Stale {
                name: "Ads & <Co>".to_owned(),
                as_of: at("2026-11-22T20:05:00Z"),
            },
            DataGap::Estimated {
                spend: usd("4.125"),
            },
            DataGap::Unpriced { n_tokens: 12_500 },
        ],
        audit: Some(AuditAnchor {
            entry: 1234,
            hash: "3f9a".repeat(16),
        }),
    }
}

/// A digest with this name everywhere and every list at its maximum length.
fn full(name: &str) -> Digest {
    let lines: Vec<SubjectSpend> = (0..10)
        .map(|_| line(name, "100000000", "99999999"))
        .collect();
    let many = || breakdown(lines.clone(), Some((900, "1", "1")));
    let mut digest = weekly();
    digest.organization = name.into();
    digest.name = name.to_owned();
    digest.zone_name = name.to_owned();
    digest.workspaces = many();
    digest.movers = many();
    digest.teams = many();
    digest.models = many();
    let mut used = digest.limits.first[0].clone();
    (used.rule, used.name) = (name.into(), name.to_owned());
    digest.limits.first = vec![used; 10];
    let mut alert = digest.alerts.first[0].clone();
    (alert.rule, alert.name) = (name.into(), name.to_owned());
    digest.alerts.first = vec![alert; 10];
    let idle = digest.idle_keys.as_mut().unwrap();
    let mut key = idle.first[0].clone();
    (key.name, key.workspace) = (name.to_owned(), Some(name.to_owned()));
    idle.first = vec![key; 10];
    digest.series = (1..=31)
        .map(|day| (format!("2026-10-{day:02}"), usd("123456.5")))
        .collect();
    let stale = DataGap::Stale {
        name: name.to_owned(),
        as_of: at("2026-11-22T20:05:00Z"),
    };
    digest.gaps = vec![stale; 5];
    digest
}

fn with_digest_envelope<T>(digest: &Digest, test: impl FnOnce(DigestEnvelope<'_>) -> T) -> T {
    let links = Links {
        external_url: Some("https://spend.example.com".to_owned()),
        ..Links::default()
    };
    test(DigestEnvelope {
        id: "id-000001",
        notifier: &"finops".into(),
        digest,
        created_at: at("2026-11-23T08:00:00Z"),
        now: at("2026-11-23T08:00:01Z"),
        n_attempts: 0,
        is_replay: false,
        links: &links,
        recipient: Some("cfo@example.com"),
        in_place_of: None,
    })
}

fn mail(envelope: &DigestEnvelope<'_>) -> String {
    let from = "spendwatch@example.com".parse().unwrap();
    let to = "cfo@example.com".parse().unwrap();
    String::from_utf8(email::digest_payload(envelope, &from, &to).unwrap()).unwrap()
}

#[track_caller]
fn check_accepted(digest: &Digest) {
    with_digest_envelope(digest, |envelope| {
        let slack = slack::digest_payload(&envelope);
        assert_eq!(slack_rules::complaint(&slack), None, "{}", pretty(&slack));
        let teams = teams::digest_payload(&envelope);
        assert_eq!(teams_rules::complaint(&teams), None, "{}", pretty(&teams));
        let discord = discord::digest_payload(&envelope);
        assert_eq!(
            discord_rules::complaint(&discord),
            None,
            "{}",
            pretty(&discord)
        );
        let webhook = digests::payload(&envelope).to_string();
        let parsed: Value = serde_json::from_str(&webhook).unwrap();
        assert_eq!(parsed["status"], "digest");
        let console = console::digest_payload(&envelope);
        assert!(console.chars().all(|c| c == '\n' || !c.is_control()));
        let mail = mail(&envelope);
        assert!(mail.lines().all(|line| line.len() <= 998));
        let plain = with_digest_envelope(&weekly(), |envelope| super::digests::mail(&envelope));
        assert_eq!(header_names(&mail), header_names(&plain));
    });
}

#[test]
fn payloads_of_a_digest() {
    let digest = weekly();
    check_accepted(&digest);
    with_digest_envelope(&digest, |envelope| {
        insta::assert_snapshot!("digest_console", console::digest_payload(&envelope));
        insta::assert_snapshot!("digest_email", mail(&envelope));
        insta::assert_snapshot!("digest_slack", pretty(&slack::digest_payload(&envelope)));
        insta::assert_snapshot!("digest_teams", pretty(&teams::digest_payload(&envelope)));
        insta::assert_snapshot!(
            "digest_discord",
            pretty(&discord::digest_payload(&envelope))
        );
        insta::assert_snapshot!("digest_webhook", pretty(&digests::payload(&envelope)));
    });
}

#[track_caller]
fn check_summary(change: impl FnOnce(&mut Digest), expected: &str) {
    let mut digest = weekly();
    digest.gaps = Vec::new();
    change(&mut digest);
    let message = with_digest_envelope(&digest, |envelope| render(&envelope));
    assert_eq!(format!("{}: {}", message.title, message.summary), expected);
}

#[test]
fn title_states_change_and_missing_data() {
    let next = "month to date $5,630.00, forecast $7,210.00";
    check_summary(
        |_| {},
        &format!(
            "acme: $750.00 in week 47 of 2026, up 25.0% from the week before: $600.00 in the week before; {next}"
        ),
    );
    check_summary(
        |digest| digest.before = Some(usd("1000")),
        &format!(
            "acme: $750.00 in week 47 of 2026, down 25.0% from the week before: $1,000.00 in the week before; {next}"
        ),
    );
    check_summary(
        |digest| digest.before = Some(usd("750")),
        &format!(
            "acme: $750.00 in week 47 of 2026, the same as the week before: $750.00 in the week before; {next}"
        ),
    );
    check_summary(
        |digest| digest.before = Some(Usd::ZERO),
        &format!(
            "acme: $750.00 in week 47 of 2026, up $750.00 from the week before: $0.00 in the week before; {next}"
        ),
    );
    check_summary(
        |digest| digest.before = None,
        &format!(
            "acme: $750.00 in week 47 of 2026 (no data for the week before): No data for the week before; {next}"
        ),
    );
    check_summary(
        |digest| digest.gaps = vec![DataGap::Unpriced { n_tokens: 1 }],
        &format!("acme: at least $750.00 in week 47 of 2026: $600.00 in the week before; {next}"),
    );
    check_summary(
        |digest| {
            digest.label = None;
            digest.before = None;
        },
        &format!(
            "acme: $750.00 from 2026-11-16 00:00 to 2026-11-23 00:00 Europe/Berlin (no data for the period before): \
             No data for the period before; {next}"
        ),
    );
}

#[test]
fn late_and_replayed_digests_have_notes() {
    let mut digest = weekly();
    digest.gaps = Vec::new();
    let notes = with_digest_envelope(&digest, |envelope| {
        let now = at("2026-11-23T09:00:00Z");
        render(&DigestEnvelope {
            now,
            is_replay: true,
            in_place_of: Some(&"chat".into()),
            ..envelope
        })
        .notes
    });
    let expected = [
        "Data as of 2026-11-23 09:00 Europe/Berlin.",
        "Sent here because `chat` is not reachable.",
        "Sent again on request.",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn empty_digest_is_sent() {
    let mut digest = weekly();
    digest.spend = Usd::ZERO;
    (digest.series, digest.gaps) = (Vec::new(), Vec::new());
    for breakdown in [
        &mut digest.workspaces,
        &mut digest.movers,
        &mut digest.teams,
        &mut digest.models,
    ] {
        *breakdown = SpendBreakdown::default();
    }
    (digest.limits.first, digest.limits.n_more) = (Vec::new(), 0);
    digest.alerts.first = Vec::new();
    digest.idle_keys = None;
    digest.forecast = None;
    digest.audit = None;
    check_accepted(&digest);
    let text = with_digest_envelope(&digest, |envelope| plain_text(&render(&envelope)));
    let expected = "acme: $0.00 in week 47 of 2026, down 100.0% from the week before\n\
                    $600.00 in the week before\n\n\
                    spendwatch: https://spend.example.com\n";
    assert_eq!(text, expected);
}

#[test]
fn names_are_harmless_everywhere() {
    for name in [
        "<!channel> & \"x\"\r\nBcc: a@b",
        "'; DROP TABLE x; -- </td><script>alert(1)</script>",
        "<@U123|you> [a](http://evil) ```x```",
        "\u{1b}]0;title\u{7}\u{202e}gnp.exe",
        "",
    ] {
        check_accepted(&full(name));
    }
    let digest = full("</td><script>alert(1)</script>");
    let mail = with_digest_envelope(&digest, |envelope| mail(&envelope));
    let (_, html) = mail.split_once("text/html").unwrap();
    assert!(html.contains("&lt;script") && !html.contains("<script"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_name_fits(name in any::<String>()) {
        check_accepted(&full(&name));
    }

    #[test]
    fn long_names_of_costly_characters_fit(name in "[&<>😀\"\\\\\n_*]{60,200}") {
        check_accepted(&full(&name));
    }
}
