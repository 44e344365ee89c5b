//! Digests: whole payloads, sizes, and names that are up to something.

use proptest::prelude::*;
use serde_json::Value;

use super::pagerduty_teams_discord::{discord_rules, teams_rules};
use super::{header_names, pretty, slack_rules};
use crate::domain::digest::{
    Anchor, Breakdown, Digest, Forecast, IdleKey, LimitUse, Line, Listed, Missing, OpenAlert, Rest,
};
use crate::domain::money::Usd;
use crate::domain::rule::Severity;
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::notify::digest::{Letter, plain_text, render};
use crate::notify::envelope::Links;
use crate::notify::samples::at;
use crate::notify::{console, discord, email, slack, teams, webhook};

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

fn line(name: &str, spend: &str, before: &str) -> Line {
    Line {
        name: name.to_owned(),
        spend: usd(spend),
        before: Some(usd(before)),
    }
}

fn breakdown(lines: Vec<Line>, rest: Option<(usize, &str, &str)>) -> Breakdown {
    Breakdown {
        lines,
        rest: rest.map(|(n, spend, before)| Rest {
            n,
            spend: usd(spend),
            before: Some(usd(before)),
        }),
    }
}

/// A week, in which the bill of the last day is not there yet.
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
        made_at: at("2026-11-23T08:00:00Z"),
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
        limits: Listed {
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
        alerts: Listed {
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
        idle_keys: Some(Listed {
            first: vec![IdleKey {
                id: "apikey_01".into(),
                name: "ci".to_owned(),
                workspace: Some("Search".to_owned()),
                since: at("2026-08-20T10:00:00Z"),
            }],
            n_more: 11,
        }),
        gaps: vec![
            Missing::Stale {
                name: "Ads & <Co>".to_owned(),
                as_of: at("2026-11-22T20:05:00Z"),
            },
            Missing::Estimated {
                spend: usd("4.125"),
            },
            Missing::Unpriced { n_tokens: 12_500 },
        ],
        audit: Some(Anchor {
            entry: 1234,
            hash: "3f9a".repeat(16),
        }),
    }
}

/// With other names everywhere, and as many of everything as there can be.
fn full(name: &str) -> Digest {
    let lines: Vec<Line> = (0..10)
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
    let stale = Missing::Stale {
        name: name.to_owned(),
        as_of: at("2026-11-22T20:05:00Z"),
    };
    digest.gaps = vec![stale; 5];
    digest
}

fn with_letter<T>(digest: &Digest, test: impl FnOnce(Letter<'_>) -> T) -> T {
    let links = Links {
        external_url: Some("https://spend.example.com".to_owned()),
        ..Links::default()
    };
    test(Letter {
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

fn mail(letter: &Letter<'_>) -> String {
    let from = "spendwatch@example.com".parse().unwrap();
    let to = "cfo@example.com".parse().unwrap();
    String::from_utf8(email::digest_payload(letter, &from, &to).unwrap()).unwrap()
}

#[track_caller]
fn check_accepted(digest: &Digest) {
    with_letter(digest, |letter| {
        let slack = slack::digest_payload(&letter);
        assert_eq!(slack_rules::complaint(&slack), None, "{}", pretty(&slack));
        let teams = teams::digest_payload(&letter);
        assert_eq!(teams_rules::complaint(&teams), None, "{}", pretty(&teams));
        let discord = discord::digest_payload(&letter);
        assert_eq!(
            discord_rules::complaint(&discord),
            None,
            "{}",
            pretty(&discord)
        );
        let webhook = webhook::digest_payload(&letter).to_string();
        let parsed: Value = serde_json::from_str(&webhook).unwrap();
        assert_eq!(parsed["status"], "digest");
        let console = console::digest_payload(&letter);
        assert!(console.chars().all(|c| c == '\n' || !c.is_control()));
        let mail = mail(&letter);
        assert!(mail.lines().all(|line| line.len() <= 998));
        let plain = with_letter(&weekly(), |letter| super::digests::mail(&letter));
        assert_eq!(header_names(&mail), header_names(&plain));
    });
}

#[test]
fn payloads_of_a_digest() {
    let digest = weekly();
    check_accepted(&digest);
    with_letter(&digest, |letter| {
        insta::assert_snapshot!("digest_console", console::digest_payload(&letter));
        insta::assert_snapshot!("digest_email", mail(&letter));
        insta::assert_snapshot!("digest_slack", pretty(&slack::digest_payload(&letter)));
        insta::assert_snapshot!("digest_teams", pretty(&teams::digest_payload(&letter)));
        insta::assert_snapshot!("digest_discord", pretty(&discord::digest_payload(&letter)));
        insta::assert_snapshot!("digest_webhook", pretty(&webhook::digest_payload(&letter)));
    });
}

#[track_caller]
fn check_summary(change: impl FnOnce(&mut Digest), expected: &str) {
    let mut digest = weekly();
    digest.gaps = Vec::new();
    change(&mut digest);
    let report = with_letter(&digest, |letter| render(&letter));
    assert_eq!(format!("{}: {}", report.title, report.summary), expected);
}

#[test]
fn the_sentence_tells_the_change_and_what_is_unknown() {
    let title = "weekly: acme, week 47 of 2026";
    check_summary(
        |_| {},
        &format!("{title}: $750.00 spent, 25.0% more than the $600.00 of the period before"),
    );
    check_summary(
        |digest| digest.before = Some(usd("1000")),
        &format!("{title}: $750.00 spent, 25.0% less than the $1,000.00 of the period before"),
    );
    check_summary(
        |digest| digest.before = Some(usd("750")),
        &format!("{title}: $750.00 spent, exactly the $750.00 of the period before"),
    );
    check_summary(
        |digest| digest.before = Some(Usd::ZERO),
        &format!("{title}: $750.00 spent, $750.00 more than the $0.00 of the period before"),
    );
    check_summary(
        |digest| digest.before = None,
        &format!("{title}: $750.00 spent; the period before is not known"),
    );
    check_summary(
        |digest| digest.gaps = vec![Missing::Unpriced { n_tokens: 1 }],
        &format!("{title}: At least $750.00 spent; $600.00 in the period before"),
    );
    check_summary(
        |digest| {
            digest.label = None;
            digest.before = None;
        },
        "weekly: acme, 2026-11-16 00:00 to 2026-11-23 00:00 Europe/Berlin: $750.00 spent; the period before is not known",
    );
}

#[test]
fn a_digest_that_is_late_or_sent_again_says_so() {
    let mut digest = weekly();
    digest.gaps = Vec::new();
    let notes = with_letter(&digest, |letter| {
        let now = at("2026-11-23T09:00:00Z");
        render(&Letter {
            now,
            is_replay: true,
            in_place_of: Some(&"chat".into()),
            ..letter
        })
        .notes
    });
    let expected = [
        "All of this is as it was known at 2026-11-23 09:00 Europe/Berlin",
        "Sent here because `chat` could not deliver it",
        "This is sent again because somebody asked for it",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn a_digest_without_anything_is_a_digest_all_the_same() {
    let mut digest = weekly();
    digest.spend = Usd::ZERO;
    (digest.series, digest.gaps) = (Vec::new(), Vec::new());
    for breakdown in [
        &mut digest.workspaces,
        &mut digest.movers,
        &mut digest.teams,
        &mut digest.models,
    ] {
        *breakdown = Breakdown::default();
    }
    (digest.limits.first, digest.limits.n_more) = (Vec::new(), 0);
    digest.alerts.first = Vec::new();
    digest.idle_keys = None;
    digest.forecast = None;
    digest.audit = None;
    check_accepted(&digest);
    let text = with_letter(&digest, |letter| plain_text(&render(&letter)));
    let expected = "weekly: acme, week 47 of 2026\n\
                    $0.00 spent, 100.0% less than the $600.00 of the period before\n\n\
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
    let mail = with_letter(&digest, |letter| mail(&letter));
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
