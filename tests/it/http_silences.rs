//! Silences and acknowledgements over HTTP, in a store with a firing alert.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};
use spendwatch::app::App;
use spendwatch::cycle::state::Watcher;
use spendwatch::http::access::AccessPolicy;
use spendwatch::http::{HandlerState, HttpServer};
use spendwatch_base::secret::Secret;
use spendwatch_config::sections::HttpConfig;
use spendwatch_config::source::{Environment, SecretSource};
use spendwatch_domain::rules::rule::Rule;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use spendwatch_store::alerts::AlertFilter;
use tokio::sync::mpsc;

use crate::alerts::month_rule;
use crate::harness::{WatcherFixture, at};
use crate::program::exchange;

const NOW: &str = "2026-11-24T12:30:00Z";

/// Server with a store that has one firing alert.
pub struct HttpFixture {
    pub stage: WatcherFixture,
    pub store: Store,
    pub watcher: Watcher,
    pub app: Arc<App>,
    server: HttpServer,
}

impl HttpFixture {
    pub async fn new() -> HttpFixture {
        HttpFixture::with(None, "127.0.0.1:0").await
    }

    pub async fn with(token: Option<&str>, listen: &str) -> HttpFixture {
        HttpFixture::on("Alpha", month_rule(100), token, listen).await
    }

    /// Creates a workspace that has spent 90 USD.
    pub async fn on(name: &str, rule: Rule, token: Option<&str>, listen: &str) -> HttpFixture {
        let mut world = World::empty();
        world.add_workspace("workspace_a", name);
        let spent_at = at("2026-11-24T12:10:00Z");
        world.spend("workspace_a", "claude-sonnet-4-5", spent_at, "90");
        let stage = WatcherFixture::new(world, NOW).await.with_rule(rule);
        let store = stage.open_store();
        let mut watcher = stage.watcher(&store).await;
        stage.cycle(&mut watcher).await;
        let app = Arc::new(stage.app(&store));
        let (reload_requests, _) = mpsc::channel(1);
        let served = HandlerState {
            app: Arc::clone(&app),
            reload_requests,
        };
        let listener = TcpListener::bind(listen).unwrap();
        let http = HttpConfig {
            listen: listener.local_addr().unwrap(),
            external_url: None,
            bearer_token: token.map(|token| SecretSource::Literal(Secret::new(token.to_owned()))),
            public_metrics: false,
            max_connections: 512,
        };
        let access = AccessPolicy::from_config(&http, http.listen, &Environment::new())
            .await
            .unwrap();
        HttpFixture {
            server: HttpServer::start(listener, served, access, 512).unwrap(),
            stage,
            store,
            watcher,
            app,
        }
    }

    /// Returns the address for a local browser.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.server.address().port())
    }

    /// Returns status, head and body.
    pub fn exchange(&self, line: &str, headers: &str, body: &str) -> (u16, String, String) {
        let address = self.address();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close{headers}\r\n\r\n{body}",
            body.len()
        );
        let response = String::from_utf8(exchange(&address, &request)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    /// Returns status and JSON body.
    fn send_request(&self, line: &str, headers: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.exchange(line, headers, body);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        self.send_request(&format!("GET {path}"), "", "")
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let json = "\r\nContent-Type: application/json";
        self.send_request(&format!("POST {path}"), json, &body.to_string())
    }

    pub async fn fingerprint(&self) -> String {
        let all = AlertFilter {
            organization: None,
            rule: None,
            phases: Vec::new(),
            limit: 1,
        };
        let found = self.store.worst_first(&all, Privacy::default()).await;
        found.unwrap().remove(0).row.fingerprint
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_are_added_listed_applied_and_ended() {
    let mut fixture = HttpFixture::new().await;
    let body = json!({
        "matchers": ["subject=Alpha", "rule=~month|year"], "for": "4h", "author": "ada", "comment": "load test",
    });
    let (status, added) = fixture.post("/api/v1/silences", &body);
    assert_eq!(status, 201);
    let id = added["id"].as_str().unwrap().to_owned();
    let mut shown = added.clone();
    shown["id"] = "…".into();
    insta::assert_snapshot!(format!("{shown:#}"), @r#"
    {
      "author": "ada",
      "comment": "load test",
      "ends_at": "2026-11-24T16:30:00Z",
      "id": "…",
      "matchers": [
        "subject=Alpha",
        "rule=~month|year"
      ],
      "starts_at": "2026-11-24T12:30:00Z",
      "state": "active"
    }
    "#);
    assert_eq!(fixture.get("/api/v1/silences"), (200, json!([added])));
    // The next evaluation applies it: the alert escalates without a message.
    let now = fixture.stage.now();
    let model = "claude-sonnet-4-5";
    let simulator = &fixture.stage.simulator;
    simulator.world().spend("workspace_a", model, now, "20");
    let report = fixture.stage.cycle_after(5, &mut fixture.watcher).await;
    assert_eq!(report.n_messages, 0);
    // Ids must be complete.
    let missing = fixture.send_request(&format!("DELETE /api/v1/silences/{}", &id[..5]), "", "");
    assert_eq!(missing.0, 404);
    for _ in 0..2 {
        let ended = fixture.send_request(&format!("DELETE /api/v1/silences/{id}"), "", "");
        assert_eq!(ended, (204, Value::Null));
    }
    let report = fixture.stage.cycle_after(5, &mut fixture.watcher).await;
    assert_eq!(report.n_messages, 1);
    assert_eq!(fixture.get("/api/v1/silences"), (200, json!([])));
    let (_, all) = fixture.get("/api/v1/silences?all=true");
    assert_eq!(
        (&all[0]["id"], &all[0]["state"]),
        (&id.into(), &"expired".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn firing_alerts_can_be_acknowledged() {
    let mut fixture = HttpFixture::new().await;
    let fingerprint = fixture.fingerprint().await;
    let ack = |fingerprint: &str| format!("/api/v1/alerts/{fingerprint}/ack");
    let body = json!({ "author": "ada", "comment": "on it" });
    let response = fixture.post(&ack(&fingerprint), &body);
    let expected = json!({
        "id": fingerprint,
        "acknowledged": { "at": NOW, "threshold": "80%", "author": "ada", "comment": "on it" },
    });
    assert_eq!(response, (200, expected));
    let known = fixture.store.acknowledgement(&fingerprint).await.unwrap();
    assert_eq!(known.unwrap().comment, "on it");
    for unknown in ["zz", &fingerprint[..6]] {
        let (status, message) = fixture.post(&ack(unknown), &body);
        let expected = format!("no alert `{unknown}`");
        assert_eq!((status, &message["error"]), (404, &expected.into()));
    }
    let (status, message) = fixture.post(&ack(&fingerprint), &json!({ "autor": "ada" }));
    let expected = "unknown field `autor`; did you mean `author`?";
    assert_eq!((status, &message["error"]), (400, &expected.into()));
    // A higher limit ends the alert.
    fixture.stage.policy.rules = vec![month_rule(1000)];
    let settings = fixture.stage.settings();
    fixture.watcher.reconfigure(settings).await.unwrap();
    fixture.stage.cycle_after(5, &mut fixture.watcher).await;
    let (status, message) = fixture.post(&ack(&fingerprint), &body);
    let expected = "the alert is not firing; only firing alerts can be acknowledged";
    assert_eq!((status, &message["error"]), (409, &expected.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_silences_are_rejected() {
    let fixture = HttpFixture::new().await;
    let (path, json) = (
        "POST /api/v1/silences",
        "\r\nContent-Type: application/json",
    );
    let good =
        json!({ "matchers": ["a=b"], "for": "1h", "author": "ada", "comment": "x" }).to_string();
    let none = json!({ "matchers": [], "for": "1h", "author": "ada", "comment": "x" }).to_string();
    let mut large = good.clone();
    large.push_str(&" ".repeat(64 * 1024 + 1 - good.len()));
    let cross = format!("{json}\r\nOrigin: http://evil.example");
    for (headers, body, status, expected) in [
        ("", good.as_str(), 415, "`content-type`"),
        ("\r\nContent-Type: text/plain", &good, 403, ""),
        (json, &large, 400, "exceeds 65536 bytes"),
        (json, &none, 400, "`matchers` must have"),
        (json, "{\"matchers\":[]}", 400, "`author` is missing"),
        (json, "\u{1}", 400, "not valid JSON"),
        (&cross, &good, 403, ""),
    ] {
        let (code, message) = fixture.send_request(path, headers, body);
        let message = message["error"].as_str().unwrap_or_default().to_owned();
        assert!(
            code == status && message.contains(expected),
            "{code}: {message}"
        );
    }
    for (query, expected) in [("all=maybe", "all"), ("al=true", "`al`")] {
        let (status, message) = fixture.get(&format!("/api/v1/silences?{query}"));
        let message = message["error"].as_str().unwrap();
        assert!(status == 400 && message.contains(expected), "{message}");
    }
    assert_eq!(fixture.get("/api/v1/silences?all=true"), (200, json!([])));
    assert_eq!(fixture.send_request(path, json, &good[..]).0, 201);
    assert_eq!(
        fixture.send_request("PUT /api/v1/silences", json, &good).0,
        405
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_need_the_token_or_loopback() {
    let body = json!({ "matchers": ["a=b"], "for": "1h", "author": "ada", "comment": "x" });
    let outside = HttpFixture::with(None, "0.0.0.0:0").await;
    assert_eq!(outside.get("/api/v1/silences").0, 403);
    assert_eq!(outside.post("/api/v1/silences", &body).0, 403);
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let locked = HttpFixture::with(Some("canary-token-of-http"), listen).await;
        assert_eq!(locked.get("/api/v1/silences").0, 401);
        assert_eq!(locked.post("/api/v1/silences", &body).0, 401);
        assert_eq!(
            locked.send_request("DELETE /api/v1/silences/a", "", "").0,
            401
        );
        let token = "\r\nAuthorization: Bearer canary-token-of-http";
        assert_eq!(
            locked.send_request("GET /api/v1/silences", token, "").0,
            200
        );
        assert_eq!(
            locked
                .send_request("DELETE /api/v1/silences/a", token, "")
                .0,
            404
        );
    }
}
