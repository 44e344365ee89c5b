//! The page and the alerts over HTTP, as a browser and a program see them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spendwatch::app::board::Status;
use spendwatch::domain::alert::{Alert, Identity, Line, Observed, Slot, State};
use spendwatch::domain::money::Usd;
use spendwatch::domain::rule::{Rule, Severity, Watch};
use spendwatch::domain::silence::{LabelMatcher, Silence};
use spendwatch::domain::span::Span;
use spendwatch::domain::subject::{Subject, SubjectKind};
use spendwatch::metrics::counters::CycleOutcome;
use spendwatch::store::decisions::Commit;
use spendwatch::store::engine::Engine;

use crate::alerts::month_rule;
use crate::harness::{at, organization};
use crate::http_quiet::Desk;

/// What a template must not let through.
const NASTY: &str = "<script>alert(1)</script> \"quoted\" 'single' & مرحبا";

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        let shown = page.split("</style>").last().unwrap();
        assert!(page.contains(text), "no `{text}` in\n{shown}");
    }
}

#[track_caller]
fn page(desk: &Desk, path: &str) -> String {
    let (status, _, page) = desk.exchange(&format!("GET {path}"), "", "");
    assert_eq!(status, 200, "{path}: {page}");
    page
}

/// As a browser on a page of ours sends it.
fn send(desk: &Desk, fingerprint: &str, form: &str) -> (u16, String, String) {
    let headers = format!(
        "\r\nOrigin: http://{}\r\nContent-Type: application/x-www-form-urlencoded",
        desk.address()
    );
    desk.exchange(&format!("POST /alerts/{fingerprint}/ack"), &headers, form)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_fires_what_keeps_quiet_and_how_organizations_fare() {
    let mut desk = Desk::new().await;
    let status = |outcome, reasons: &[&str]| Status {
        last_cycle: Some((outcome, at("2026-11-24T12:25:00Z"))),
        reasons: reasons.iter().map(ToString::to_string).collect(),
        remarks: Vec::new(),
        ..Status::default()
    };
    let board = &desk.app.board;
    board.expect(&"waiting".into());
    board.note_cycle(&organization(), status(CycleOutcome::Ok, &[]));
    let late = status(
        CycleOutcome::Partial,
        &["workspace_b: 503", "workspace_c: 503"],
    );
    board.note_cycle(&"late".into(), late);
    let silence = Silence {
        id: "one".to_owned(),
        span: Span {
            start: at("2026-11-24T12:00:00Z"),
            end: at("2026-11-24T16:00:00Z"),
        },
        matchers: vec![LabelMatcher::parse("rule=year").unwrap()],
        author: "ada".to_owned(),
        comment: NASTY.to_owned(),
    };
    let now = desk.stage.now();
    desk.store.add_silence(&silence, now).await.unwrap();
    let fingerprint = desk.fingerprint().await;
    let first = page(&desk, "/");
    shows(
        &first,
        &[
            "<title>spendwatch: 1 alert fires</title>",
            "1: 1 warning",
            &format!("href=\"./alerts/{fingerprint}\"><bdi>Workspace Alpha</bdi>"),
            "<bdi>month</bdi>, <bdi>acme</bdi>",
            "November 2026",
            "<span title=\"90 USD\">$90.00</span><small>90.0% of <span title=\"100 USD\">$100.00</span>",
            "<time datetime=\"2026-11-24T12:30:00Z\">2026-11-24 12:30 UTC</time><small>for 0 s</small>",
            "rule=year",
            "until <time datetime=\"2026-11-24T16:00:00Z\">2026-11-24 16:00 UTC</time>, by <bdi>ada</bdi>",
            "no cycle has ended yet",
            "last cycle 5 min ago",
            "workspace_b: 503, and 1 more: see <a href=\"./-/ready\">",
        ],
    );
    assert!(!first.contains("<script"), "{first}");
    // A limit that is higher: it ends.
    desk.stage.policy.rules = vec![month_rule(1000)];
    let settings = desk.stage.settings();
    desk.watcher.reconfigure(settings).await.unwrap();
    desk.stage.cycle_after(5, &mut desk.watcher).await;
    shows(
        &page(&desk, "/"),
        &[
            "<title>spendwatch: nothing fires</title>",
            "<p>Nothing fires.</p>",
            "The limit was changed",
            "from 2026-11-24 12:30 UTC",
        ],
    );
    let over = page(&desk, &format!("/alerts/{fingerprint}"));
    shows(
        &over,
        &[
            "<td>ended<small>The limit was changed</small></td>",
            "2026-11-24 12:35:00 UTC",
            "<bdi>chat: first</bdi>",
            "<bdi>chat: resolved</bdi>",
            "<td>nothing fires</td>",
        ],
    );
    assert!(!over.contains("<form"), "only what fires is taken up");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_the_form_stops_repeats_until_it_gets_worse() {
    let rule = Rule {
        repeat_interval: Some(SignedDuration::from_mins(10)),
        ..month_rule(100)
    };
    let mut desk = Desk::on("Alpha", rule, None, "127.0.0.1:0").await;
    let fingerprint = desk.fingerprint().await;
    let repeated = desk.stage.cycle_after(10, &mut desk.watcher).await;
    assert_eq!(repeated.n_messages, 1);
    shows(
        &page(&desk, &format!("/alerts/{fingerprint}")),
        &[&format!(
            "<form method=\"post\" action=\"../alerts/{fingerprint}/ack\">"
        )],
    );
    let (status, head, _) = send(
        &desk,
        &fingerprint,
        "author=Ada+L.&comment=it%27s+%3Cmine%3E",
    );
    assert_eq!(status, 303);
    shows(&head, &[&format!("location: ../{fingerprint}")]);
    for _ in 0..2 {
        let quiet = desk.stage.cycle_after(10, &mut desk.watcher).await;
        assert_eq!(quiet.n_messages, 0);
    }
    shows(&page(&desk, "/"), &["by <bdi>Ada L.</bdi>"]);
    shows(
        &page(&desk, &format!("/alerts/{fingerprint}")),
        &[
            "<bdi>Ada L.</bdi></strong> at 80%",
            "it is not repeated until it gets worse",
            "<bdi>it&#x27;s &lt;mine&gt;</bdi>",
        ],
    );
    let now = desk.stage.now();
    let (simulator, model) = (&desk.stage.simulator, "claude-sonnet-4-5");
    simulator.world().spend("workspace_a", model, now, "20");
    let worse = desk.stage.cycle_after(5, &mut desk.watcher).await;
    assert_eq!(worse.n_messages, 1);
    shows(
        &page(&desk, &format!("/alerts/{fingerprint}")),
        &["it got worse since, and is repeated again"],
    );
    shows(&page(&desk, "/"), &["<span class=\"none\">no</span>"]);
    // An answer to the form that is opened again leads to the alert.
    let (status, head, _) = desk.exchange(&format!("GET /alerts/{fingerprint}/ack"), "", "");
    assert!(status == 303 && head.contains(&format!("location: ../{fingerprint}\r\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_form_is_shown_on_the_page() {
    let mut desk = Desk::new().await;
    let fingerprint = desk.fingerprint().await;
    let (status, _, told) = send(&desk, &fingerprint, "author=+&comment=%22later%22");
    assert_eq!(status, 400);
    shows(
        &told,
        &[
            "It was not acknowledged: `author` is empty.",
            "value=\"&quot;later&quot;\"",
            &format!("action=\"../../alerts/{fingerprint}/ack\""),
        ],
    );
    for (form, status, expected) in [
        ("comment=x", 400, "`author` is missing"),
        ("author=a&author=b", 400, "`author` is given twice"),
        ("author=a&autor=b", 400, "did you mean `author`?"),
        (
            &"author=a&comment=".repeat(5000)[..],
            400,
            "more than 65536 bytes",
        ),
    ] {
        let (code, _, told) = send(&desk, &fingerprint, form);
        assert_eq!(code, status, "{form:.40}");
        shows(&told, &[expected]);
    }
    for unknown in ["zz", &fingerprint[..6], "%3Cscript%3E", "..%2F..%2Fetc"] {
        let (status, head, told) = send(&desk, unknown, "author=ada");
        assert_eq!(status, 404, "{unknown}");
        shows(&head, &["content-security-policy"]);
        shows(
            &told,
            &["There is no alert `", "<a href=\"../../\">All alerts</a>"],
        );
        assert!(!told.contains("<script"), "{told}");
        let (status, _, told) = desk.exchange(&format!("GET /alerts/{unknown}"), "", "");
        assert_eq!(status, 404, "{unknown}");
        shows(
            &told,
            &["There is no alert `", "<a href=\"../\">All alerts</a>"],
        );
    }
    let typed = "\r\nContent-Type: application/json";
    let path = format!("POST /alerts/{fingerprint}/ack");
    let (status, _, told) = desk.exchange(&path, typed, "{\"author\":\"ada\"}");
    assert_eq!(status, 415);
    shows(&told, &["the body must be a form"]);
    for origin in ["http://evil.example", "null"] {
        let cross =
            format!("\r\nOrigin: {origin}\r\nContent-Type: application/x-www-form-urlencoded");
        assert_eq!(desk.exchange(&path, &cross, "author=eve").0, 403);
    }
    assert_eq!(
        desk.store.acknowledgement(&fingerprint).await.unwrap(),
        None
    );
    desk.stage.policy.rules = vec![month_rule(1000)];
    let settings = desk.stage.settings();
    desk.watcher.reconfigure(settings).await.unwrap();
    desk.stage.cycle_after(5, &mut desk.watcher).await;
    let (status, _, told) = send(&desk, &fingerprint, "author=ada");
    assert_eq!(status, 409);
    shows(&told, &["It was not acknowledged: the alert does not fire"]);
    assert_eq!(desk.exchange("GET /nothing", "", "").0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_do_no_harm_and_headers_let_nothing_in() {
    let name = format!("{NASTY}{}", "x".repeat(10_000));
    let desk = Desk::on(&name, month_rule(100), None, "127.0.0.1:0").await;
    let fingerprint = desk.fingerprint().await;
    let form = "author=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E%22%27&comment=%E2%80%AEturned";
    assert_eq!(send(&desk, &fingerprint, form).0, 303);
    for path in ["/".to_owned(), format!("/alerts/{fingerprint}")] {
        let (status, head, page) = desk.exchange(&format!("GET {path}"), "", "");
        assert_eq!(status, 200);
        shows(
            &page,
            &[
                "Workspace &lt;script&gt;alert(1)&lt;&#x2f;script&gt; &quot;quoted&quot; &#x27;single&#x27; &amp; مرحبا",
                "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;",
            ],
        );
        assert!(page.len() < 20_000, "{}", page.len());
        for evil in ["<script", "<img", "\u{202e}", "://", "style=", " on"] {
            let place = page.find(evil).map(|place| &page[place..]);
            let is_harmless = evil == " on" && !page.contains(" on\"") && !page.contains(" on=");
            assert!(place.is_none() || is_harmless, "{evil}: {place:?}");
        }
        let (_, style) = page.split_once("<style>").unwrap();
        let (style, _) = style.split_once("</style>").unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        shows(
            &head,
            &[
                &format!(
                    "content-security-policy: default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; \
                     frame-ancestors 'none'; base-uri 'none'\r\n"
                ),
                "content-type: text/html; charset=utf-8\r\n",
                "x-content-type-options: nosniff\r\n",
                "referrer-policy: same-origin\r\n",
                "cache-control: no-store\r\n",
            ],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_behind_the_doors() {
    let outside = Desk::with(None, "0.0.0.0:0").await;
    let fingerprint = outside.fingerprint().await;
    let paths = [
        "/".to_owned(),
        format!("/alerts/{fingerprint}"),
        "/api/v1/alerts".to_owned(),
        format!("/api/v1/alerts/{fingerprint}"),
    ];
    for path in &paths {
        assert_eq!(outside.exchange(&format!("GET {path}"), "", "").0, 403);
    }
    assert_eq!(send(&outside, &fingerprint, "author=ada").0, 403);
    let locked = Desk::with(Some("canary-token-of-http"), "127.0.0.1:0").await;
    for path in &paths {
        assert_eq!(locked.exchange(&format!("GET {path}"), "", "").0, 401);
    }
    assert_eq!(send(&locked, &fingerprint, "author=ada").0, 401);
    let token = "\r\nAuthorization: Bearer canary-token-of-http";
    for path in &paths {
        let (status, _, page) = locked.exchange(&format!("GET {path}"), token, "");
        assert!(status == 200 && !page.contains("canary"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_has_the_fields_of_the_commands() {
    let desk = Desk::new().await;
    let fingerprint = desk.fingerprint().await;
    let command = |arguments: &[&str]| -> Value {
        let config = desk.stage.folder.path().join("spendwatch.toml");
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nadmin_key = {{ env = \"KEY\" }}\n[store]\nurl = \"sqlite://{}\"\n",
            desk.stage.store_path().display()
        );
        fs::write(&config, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(arguments)
            .args(["--output", "json", "--config", config.to_str().unwrap()])
            .env("KEY", desk.stage.simulator.key().expose())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let one = format!("/api/v1/alerts/{fingerprint}");
    let shown = desk.get(&one).1;
    assert_eq!(shown["changes"].as_array().unwrap().len(), 1);
    assert_eq!(shown["acknowledged"], Value::Null);
    assert_eq!(shown, command(&["alerts", "show", &fingerprint]));
    assert_eq!(send(&desk, &fingerprint, "author=ada").0, 303);
    let taken_up = desk.get(&one).1;
    assert_eq!(taken_up["acknowledged"]["author"], "ada");
    assert_eq!(taken_up, command(&["alerts", "show", &fingerprint]));
    let (status, listed) = desk.get("/api/v1/alerts");
    assert_eq!((status, &listed), (200, &command(&["alerts", "list"])));
    for (query, n) in [
        ("state=firing", 1),
        ("state=ended,pending", 0),
        ("state=pending,firing,ended&rule=month&limit=1000", 1),
        ("rule=other", 0),
        ("limit=0", 0),
    ] {
        let (status, listed) = desk.get(&format!("/api/v1/alerts?{query}"));
        assert_eq!(
            (status, listed.as_array().unwrap().len()),
            (200, n),
            "{query}"
        );
    }
    for (query, expected) in [
        (
            "state=burning",
            "`burning` is none of pending, firing, ended",
        ),
        ("limit=1001", "at most 1000"),
        ("limit=x", "limit"),
        ("states=firing", "`states`"),
        ("rule=a&rule=b", "rule"),
    ] {
        let (status, told) = desk.get(&format!("/api/v1/alerts?{query}"));
        let told = told["error"].as_str().unwrap();
        assert!(status == 400 && told.contains(expected), "{query}: {told}");
    }
    let expected = json!({ "error": "there is no alert `zz`" });
    assert_eq!(desk.get("/api/v1/alerts/zz"), (404, expected));
}

fn many(n: u32) -> Vec<Alert> {
    let alert = |place: u32| {
        let severity = if place < 30 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let line = Line {
            quantity: Usd::from_dollars(80).pico(),
            severity,
            text: "80%".into(),
        };
        Alert {
            identity: Identity {
                organization: organization(),
                slot: Slot {
                    rule: "many".into(),
                    subject: Subject::new(SubjectKind::Model, format!("model-{place}")),
                    period: Some("2026-11".into()),
                    event: None,
                },
                started_at: at("2026-11-24T12:00:00Z"),
            },
            watch: Watch::Spend,
            span: Span {
                start: at("2026-11-01T00:00:00Z"),
                end: at("2026-12-01T00:00:00Z"),
            },
            state: State::Firing {
                line,
                clearing_since: None,
            },
            rising: Vec::new(),
            sequence: 1,
            firing_since: Some(at("2026-11-24T12:00:00Z")),
            is_late: false,
            is_silenced: false,
            value: Usd::from_dollars(i64::from(81 + place)).pico(),
            limit: Some(Usd::from_dollars(100).pico()),
            told: BTreeMap::new(),
        }
    };
    (0..n).map(alert).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_alerts_make_a_small_page() {
    let desk = Desk::new().await;
    let commit = Commit {
        alerts: many(10_000),
        messages: Vec::new(),
        engine: Engine {
            last_at: None,
            observed: Observed(0),
            store_began: desk.stage.now(),
            last_cycle: None,
            rules_began: BTreeMap::new(),
            dialect: None,
            billed_until: None,
        },
        at: desk.stage.now(),
    };
    desk.store
        .commit_decision(&organization(), commit)
        .await
        .unwrap();
    let page = page(&desk, "/");
    shows(
        &page,
        &[
            "10001: 30 critical, 9971 warning",
            "And 9801 more, which are no worse",
        ],
    );
    assert!(page.len() < 200_000, "{}", page.len());
    // The worst first: those that are critical, then by how much of the limit is used.
    let places: Vec<usize> = ["model-29<", "model-0<", "model-9999<", "model-9830<"]
        .iter()
        .map(|name| page.find(name).unwrap_or_else(|| panic!("no {name}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}
