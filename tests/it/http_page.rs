//! The page and the alerts API over HTTP.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spendwatch::app::published::OrganizationStatus;
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert, Identity, Observed, Slot, State};
use spendwatch_domain::alerts::silence::{LabelMatcher, Silence};
use spendwatch_domain::rules::rule::{Rule, Severity};
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::span::Span;
use spendwatch_domain::units::subject::{Subject, SubjectKind};
use spendwatch_metrics::counters::CycleOutcome;
use spendwatch_store::decisions::Commit;
use spendwatch_store::resume_state::ResumeState;

use crate::alerts::month_rule;
use crate::harness::{at, organization};
use crate::http_silences::HttpFixture;

/// Must be escaped by templates.
const NASTY: &str = "<script>alert(1)</script> \"quoted\" 'single' & مرحبا";

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        let shown = page.split("</style>").last().unwrap();
        assert!(page.contains(text), "no `{text}` in\n{shown}");
    }
}

#[track_caller]
fn page(fixture: &HttpFixture, path: &str) -> String {
    let (status, _, page) = fixture.exchange(&format!("GET {path}"), "", "");
    assert_eq!(status, 200, "{path}: {page}");
    page
}

/// Sends the form as a browser on our page.
fn send(fixture: &HttpFixture, fingerprint: &str, form: &str) -> (u16, String, String) {
    let headers = format!(
        "\r\nOrigin: http://{}\r\nContent-Type: application/x-www-form-urlencoded",
        fixture.address()
    );
    fixture.exchange(&format!("POST /alerts/{fingerprint}/ack"), &headers, form)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_shows_alerts_silences_and_organizations() {
    let mut fixture = HttpFixture::new().await;
    let status = |outcome, reasons: &[&str]| OrganizationStatus {
        last_cycle: Some((outcome, at("2026-11-24T12:25:00Z"))),
        reasons: reasons.iter().map(ToString::to_string).collect(),
        remarks: Vec::new(),
        ..OrganizationStatus::default()
    };
    let published = &fixture.app.published;
    published.add_organization(&"waiting".into());
    published.record_cycle(&organization(), status(CycleOutcome::Ok, &[]));
    let late = status(
        CycleOutcome::Partial,
        &["workspace_b: 503", "workspace_c: 503"],
    );
    published.record_cycle(&"late".into(), late);
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
    let now = fixture.stage.now();
    fixture.store.add_silence(&silence, now).await.unwrap();
    let fingerprint = fixture.fingerprint().await;
    let first = page(&fixture, "/");
    shows(
        &first,
        &[
            "<title>spendwatch: 1 alert firing</title>",
            "1: 1 warning",
            &format!("href=\"./alerts/{fingerprint}\"><bdi>Workspace Alpha</bdi>"),
            "<bdi>month</bdi>, <bdi>acme</bdi>",
            "November 2026",
            "<span title=\"90 USD\">$90.00</span><small>90.0% of <span title=\"100 USD\">$100.00</span>",
            "<time datetime=\"2026-11-24T12:30:00Z\">2026-11-24 12:30 UTC</time><small>for 0 s</small>",
            "rule=year",
            "until <time datetime=\"2026-11-24T16:00:00Z\">2026-11-24 16:00 UTC</time>, by <bdi>ada</bdi>",
            "no cycle completed yet",
            "last cycle 5 min ago",
            "workspace_b: 503, and 1 more: see <a href=\"./-/ready\">",
        ],
    );
    assert!(!first.contains("<script"), "{first}");
    // A higher limit ends the alert.
    fixture.stage.policy.rules = vec![month_rule(1000)];
    let settings = fixture.stage.settings();
    fixture.watcher.reconfigure(settings).await.unwrap();
    fixture.stage.cycle_after(5, &mut fixture.watcher).await;
    shows(
        &page(&fixture, "/"),
        &[
            "<title>spendwatch: no alerts firing</title>",
            "<p>No alerts are firing.</p>",
            "The limit was raised",
            "from 2026-11-24 12:30 UTC",
        ],
    );
    let over = page(&fixture, &format!("/alerts/{fingerprint}"));
    shows(
        &over,
        &[
            "<td>ended<small>The limit was raised</small></td>",
            "2026-11-24 12:35:00 UTC",
            "<bdi>chat: first</bdi>",
            "<bdi>chat: resolved</bdi>",
            "<td>not firing</td>",
        ],
    );
    assert!(
        !over.contains("<form"),
        "only firing alerts can be acknowledged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_with_the_form_stops_repeats_until_the_alert_gets_worse() {
    let rule = Rule {
        repeat_interval: Some(SignedDuration::from_mins(10)),
        ..month_rule(100)
    };
    let mut fixture = HttpFixture::on("Alpha", rule, None, "127.0.0.1:0").await;
    let fingerprint = fixture.fingerprint().await;
    let repeated = fixture.stage.cycle_after(10, &mut fixture.watcher).await;
    assert_eq!(repeated.n_messages, 1);
    shows(
        &page(&fixture, &format!("/alerts/{fingerprint}")),
        &[&format!(
            "<form method=\"post\" action=\"../alerts/{fingerprint}/ack\">"
        )],
    );
    let (status, head, _) = send(
        &fixture,
        &fingerprint,
        "author=Ada+L.&comment=it%27s+%3Cmine%3E",
    );
    assert_eq!(status, 303);
    shows(&head, &[&format!("location: ../{fingerprint}")]);
    for _ in 0..2 {
        let quiet = fixture.stage.cycle_after(10, &mut fixture.watcher).await;
        assert_eq!(quiet.n_messages, 0);
    }
    shows(&page(&fixture, "/"), &["by <bdi>Ada L.</bdi>"]);
    shows(
        &page(&fixture, &format!("/alerts/{fingerprint}")),
        &[
            "<bdi>Ada L.</bdi></strong> at 80%",
            "no repeats until the alert gets worse",
            "<bdi>it&#x27;s &lt;mine&gt;</bdi>",
        ],
    );
    let now = fixture.stage.now();
    let (simulator, model) = (&fixture.stage.simulator, "claude-sonnet-4-5");
    simulator.world().spend("workspace_a", model, now, "20");
    let worse = fixture.stage.cycle_after(5, &mut fixture.watcher).await;
    assert_eq!(worse.n_messages, 1);
    shows(
        &page(&fixture, &format!("/alerts/{fingerprint}")),
        &["the alert got worse since, repeats are sent again"],
    );
    shows(&page(&fixture, "/"), &["<span class=\"none\">no</span>"]);
    // Reopening the response to the form redirects to the alert.
    let (status, head, _) = fixture.exchange(&format!("GET /alerts/{fingerprint}/ack"), "", "");
    assert!(status == 303 && head.contains(&format!("location: ../{fingerprint}\r\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn form_errors_are_shown_on_the_page() {
    let mut fixture = HttpFixture::new().await;
    let fingerprint = fixture.fingerprint().await;
    let (status, _, message) = send(&fixture, &fingerprint, "author=+&comment=%22later%22");
    assert_eq!(status, 400);
    shows(
        &message,
        &[
            "Not acknowledged: `author` is empty.",
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
            "exceeds 65536 bytes",
        ),
    ] {
        let (code, _, message) = send(&fixture, &fingerprint, form);
        assert_eq!(code, status, "{form:.40}");
        shows(&message, &[expected]);
    }
    for unknown in ["zz", &fingerprint[..6], "%3Cscript%3E", "..%2F..%2Fetc"] {
        let (status, head, message) = send(&fixture, unknown, "author=ada");
        assert_eq!(status, 404, "{unknown}");
        shows(&head, &["content-security-policy"]);
        shows(
            &message,
            &["No alert `", "<a href=\"../../\">All alerts</a>"],
        );
        assert!(!message.contains("<script"), "{message}");
        let (status, _, message) = fixture.exchange(&format!("GET /alerts/{unknown}"), "", "");
        assert_eq!(status, 404, "{unknown}");
        shows(&message, &["No alert `", "<a href=\"../\">All alerts</a>"]);
    }
    let typed = "\r\nContent-Type: application/json";
    let path = format!("POST /alerts/{fingerprint}/ack");
    let (status, _, message) = fixture.exchange(&path, typed, "{\"author\":\"ada\"}");
    assert_eq!(status, 415);
    shows(&message, &["the body must be a form"]);
    for origin in ["http://evil.example", "null"] {
        let cross =
            format!("\r\nOrigin: {origin}\r\nContent-Type: application/x-www-form-urlencoded");
        assert_eq!(fixture.exchange(&path, &cross, "author=eve").0, 403);
    }
    assert_eq!(
        fixture.store.acknowledgement(&fingerprint).await.unwrap(),
        None
    );
    fixture.stage.policy.rules = vec![month_rule(1000)];
    let settings = fixture.stage.settings();
    fixture.watcher.reconfigure(settings).await.unwrap();
    fixture.stage.cycle_after(5, &mut fixture.watcher).await;
    let (status, _, message) = send(&fixture, &fingerprint, "author=ada");
    assert_eq!(status, 409);
    shows(&message, &["Not acknowledged: the alert is not firing"]);
    assert_eq!(fixture.exchange("GET /nothing", "", "").0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_escaped_and_headers_are_strict() {
    let name = format!("{NASTY}{}", "x".repeat(10_000));
    let fixture = HttpFixture::on(&name, month_rule(100), None, "127.0.0.1:0").await;
    let fingerprint = fixture.fingerprint().await;
    let form = "author=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E%22%27&comment=%E2%80%AEturned";
    assert_eq!(send(&fixture, &fingerprint, form).0, 303);
    for path in ["/".to_owned(), format!("/alerts/{fingerprint}")] {
        let (status, head, page) = fixture.exchange(&format!("GET {path}"), "", "");
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
async fn the_page_obeys_access_rules() {
    let outside = HttpFixture::with(None, "0.0.0.0:0").await;
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
    let locked = HttpFixture::with(Some("canary-token-of-http"), "127.0.0.1:0").await;
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
async fn the_api_has_the_same_fields_as_commands() {
    let fixture = HttpFixture::new().await;
    let fingerprint = fixture.fingerprint().await;
    let command = |arguments: &[&str]| -> Value {
        let config = fixture.stage.folder.path().join("spendwatch.toml");
        let text = format!(
            "[[organizations]]\nname = \"acme\"\nadmin_key = {{ env = \"KEY\" }}\n[store]\nurl = \"sqlite://{}\"\n",
            fixture.stage.store_path().display()
        );
        fs::write(&config, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(arguments)
            .args(["--output", "json", "--config", config.to_str().unwrap()])
            .env("KEY", fixture.stage.simulator.key().expose())
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let one = format!("/api/v1/alerts/{fingerprint}");
    let shown = fixture.get(&one).1;
    assert_eq!(shown["changes"].as_array().unwrap().len(), 1);
    assert_eq!(shown["acknowledged"], Value::Null);
    assert_eq!(shown, command(&["alerts", "show", &fingerprint]));
    assert_eq!(send(&fixture, &fingerprint, "author=ada").0, 303);
    let taken_up = fixture.get(&one).1;
    assert_eq!(taken_up["acknowledged"]["author"], "ada");
    assert_eq!(taken_up, command(&["alerts", "show", &fingerprint]));
    let (status, listed) = fixture.get("/api/v1/alerts");
    assert_eq!((status, &listed), (200, &command(&["alerts", "list"])));
    for (query, n) in [
        ("state=firing", 1),
        ("state=ended,pending", 0),
        ("state=pending,firing,ended&rule=month&limit=1000", 1),
        ("rule=other", 0),
        ("limit=0", 0),
    ] {
        let (status, listed) = fixture.get(&format!("/api/v1/alerts?{query}"));
        assert_eq!(
            (status, listed.as_array().unwrap().len()),
            (200, n),
            "{query}"
        );
    }
    for (query, expected) in [
        (
            "state=burning",
            "`state` is `burning`, expected `pending`, `firing` or `ended`",
        ),
        ("limit=1001", "at most 1000"),
        ("limit=x", "limit"),
        ("states=firing", "`states`"),
        ("rule=a&rule=b", "rule"),
    ] {
        let (status, message) = fixture.get(&format!("/api/v1/alerts?{query}"));
        let message = message["error"].as_str().unwrap();
        assert!(
            status == 400 && message.contains(expected),
            "{query}: {message}"
        );
    }
    let expected = json!({ "error": "no alert `zz`" });
    assert_eq!(fixture.get("/api/v1/alerts/zz"), (404, expected));
}

fn many(n: u32) -> Vec<Alert> {
    let alert = |place: u32| {
        let severity = if place < 30 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let line = AbsoluteThreshold {
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
                threshold: line,
                clearing_since: None,
            },
            rising: Vec::new(),
            sequence: 1,
            firing_since: Some(at("2026-11-24T12:00:00Z")),
            is_late: false,
            is_silenced: false,
            value: Usd::from_dollars(i64::from(81 + place)).pico(),
            limit: Some(Usd::from_dollars(100).pico()),
            notified: BTreeMap::new(),
        }
    };
    (0..n).map(alert).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_stays_small_with_ten_thousand_alerts() {
    let fixture = HttpFixture::new().await;
    let commit = Commit {
        alerts: many(10_000),
        messages: Vec::new(),
        resume_state: ResumeState {
            last_at: None,
            observed: Observed(0),
            store_began: fixture.stage.now(),
            last_cycle: None,
            rules_began: BTreeMap::new(),
            dialect: None,
            billed_until: None,
        },
        at: fixture.stage.now(),
    };
    fixture
        .store
        .commit_decision(&organization(), commit)
        .await
        .unwrap();
    let page = page(&fixture, "/");
    shows(
        &page,
        &[
            "10001: 30 critical, 9971 warning",
            "And 9801 more of the same or lower severity",
        ],
    );
    assert!(page.len() < 200_000, "{}", page.len());
    // Worst first: critical ones, then by share of the limit.
    let places: Vec<usize> = ["model-29<", "model-0<", "model-9999<", "model-9830<"]
        .iter()
        .map(|name| page.find(name).unwrap_or_else(|| panic!("no {name}")))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}
