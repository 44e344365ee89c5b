//! Alertmanager: alerts are resent to each member without the outbox; tested against a fake, and against the real one if
//! `scripts/test` found it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use spendwatch::delivery::resend::Resender;
use spendwatch_base::clock::Clock;
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert, EndedBy, Observed, State};
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::alerts::resend::{ResendState, ResendTarget};
use spendwatch_domain::rules::rule::{Rule, Severity};
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_notify::envelope::Links;
use spendwatch_notify::receivers::alertmanager::{self, Alertmanager, MAX_ALERTS};
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_store::Store;
use spendwatch_store::decisions::Commit;
use spendwatch_store::resume_state::ResumeState;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alertmanager_rules::complaint;
use crate::harness::{at, organization, rule};
use crate::outbox_fixture::{OutboxFixture, client, endpoint, fact, secret};
use crate::program::{Home, Program, post_reload};
use crate::receiver::{Answer, Receiver};

const MINUTE: Duration = Duration::from_mins(1);
/// Longer than any wait takes, even on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

fn rule_for_am() -> Rule {
    let mut rule = rule("month", SubjectKind::Workspace, 100);
    rule.notify = vec!["am".into()];
    rule
}

fn resender(store: &Store, clock: Clock, urls: &[&str]) -> Resender {
    let members = urls.iter().map(|url| endpoint(url)).collect();
    let headers = vec![("Authorization".to_owned(), secret("Bearer canary-0001"))];
    Resender {
        target: ResendTarget {
            name: "am".into(),
            send_resolved: true,
            min_severity: Severity::Info,
            valid_for: alertmanager::validity(MINUTE),
        },
        interval: MINUTE,
        alertmanager: Alertmanager::new(members, headers).unwrap(),
        teams: Vec::new(),
        rules: vec![rule_for_am()],
        organizations: vec![organization()],
        privacy: Privacy::default(),
        store: store.clone(),
        clock,
        links: Links::default(),
    }
}

/// An alert of a workspace that has been firing since a time.
fn alert(workspace: &str, severity: Severity, since: Timestamp) -> Alert {
    let fact = fact(workspace, 1, Reason::First, since);
    Alert {
        identity: fact.identity,
        watch: fact.watch,
        span: fact.span,
        state: State::Firing {
            threshold: AbsoluteThreshold {
                severity,
                ..fact.threshold
            },
            clearing_since: None,
        },
        rising: Vec::new(),
        sequence: 1,
        firing_since: Some(since),
        is_late: false,
        is_silenced: false,
        value: fact.value,
        limit: fact.limit,
        notified: BTreeMap::new(),
    }
}

fn ended(alert: &Alert, at: Timestamp) -> Alert {
    Alert {
        state: State::Ended {
            by: EndedBy::Corrected,
            at,
            threshold: alert.threshold().clone(),
        },
        sequence: alert.sequence + 1,
        ..alert.clone()
    }
}

async fn decide(store: &Store, alerts: Vec<Alert>, at: Timestamp) {
    let engine = ResumeState {
        last_at: Some(at),
        observed: Observed(0),
        store_began: at,
        last_cycle: Some(at),
        rules_began: BTreeMap::new(),
        dialect: None,
        billed_until: None,
    };
    let commit = Commit {
        alerts,
        messages: Vec::new(),
        resume_state: engine,
        at,
    };
    store
        .commit_decision(&organization(), commit)
        .await
        .unwrap();
}

/// Returns the alerts of a post as `subject severity start-end`, in minutes after noon.
fn posted(am: &Receiver, place: usize) -> Vec<String> {
    let body: Value = serde_json::from_slice(&am.posts()[place].body).unwrap();
    let noon = at("2026-11-24T12:00:00Z");
    let word = |alert: &Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let minute = |name: &str| at(&text(&alert[name])).duration_since(noon).as_mins();
        let labels = &alert["labels"];
        format!(
            "{} {} {}-{}",
            text(&labels["subject_id"]),
            text(&labels["severity"]),
            minute("startsAt"),
            minute("endsAt")
        )
    };
    body.as_array().unwrap().iter().map(word).collect()
}

/// Runs until the script ends.
async fn run(
    fixture: &OutboxFixture,
    resender: &Resender,
    wakeup: &Notify,
    script: impl Future<Output = ()>,
) {
    let (mut sent, stop) = (ResendState::default(), CancellationToken::new());
    let ended = async {
        script.await;
        stop.cancel();
    };
    let both = async {
        tokio::join!(
            resender.run(&mut sent, &fixture.counters, wakeup, &stop),
            ended
        )
    };
    tokio::time::timeout(LIMIT, both).await.unwrap();
}

/// Waits until a task sleeps on the clock, then advances it.
async fn pass(fixture: &OutboxFixture, time: Duration) {
    while fixture.clock.n_sleeping() < 1 {
        tokio::task::yield_now().await;
    }
    fixture.clock.advance(time);
}

fn count(fixture: &OutboxFixture, outcome: &str) -> String {
    let text = fixture.counters.render();
    let series =
        format!("spendwatch_notifications_total{{notifier=\"am\",outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or("0").to_owned()
}

#[tokio::test]
async fn alerts_are_resent_every_interval_and_after_decisions() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let (one, other) = (
        Receiver::start(complaint).await,
        Receiver::start(complaint).await,
    );
    let resender = resender(
        &store,
        Clock::Manual(fixture.clock.clone()),
        &[&one.url, &other.url],
    );
    let fires = alert("a", Severity::Warning, fixture.now());
    decide(&store, vec![fires.clone()], fixture.now()).await;
    let wakeup = Notify::new();
    run(&fixture, &resender, &wakeup, async {
        one.wait_for(1).await;
        pass(&fixture, MINUTE).await;
        one.wait_for(2).await;
        // A new severity ends the old one in the same request.
        let worse = alert("a", Severity::Critical, fires.firing_since.unwrap());
        decide(&store, vec![worse.clone()], fixture.now()).await;
        wakeup.notify_one();
        one.wait_for(3).await;
        pass(&fixture, MINUTE).await;
        one.wait_for(4).await;
        decide(&store, vec![ended(&worse, fixture.now())], fixture.now()).await;
        wakeup.notify_one();
        one.wait_for(5).await;
        other.wait_for(5).await;
        while count(&fixture, "delivered") != "10" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for am in [&one, &other] {
        assert_eq!(posted(am, 0), ["a warning 0-15"]);
        assert_eq!(posted(am, 1), ["a warning 0-16"]);
        assert_eq!(posted(am, 2), ["a critical 0-16", "a warning 0-1"]);
        assert_eq!(posted(am, 3), ["a critical 0-17", "a warning 0-1"]);
        assert_eq!(posted(am, 4), ["a critical 0-2", "a warning 0-1"]);
        let post = &am.posts()[0];
        assert_eq!(post.headers["authorization"], "Bearer canary-0001");
        assert_eq!(post.headers["content-type"], "application/json");
    }
    assert_eq!(
        store.next_due(&"am".into(), Timestamp::MAX).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn failing_member_delays_no_other_and_is_retried() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let (good, bad) = (
        Receiver::start(complaint).await,
        Receiver::start(complaint).await,
    );
    bad.answer(Answer::Hang);
    let resender = resender(
        &store,
        Clock::Manual(fixture.clock.clone()),
        &[&bad.url, &good.url],
    );
    decide(
        &store,
        vec![alert("a", Severity::Warning, fixture.now())],
        fixture.now(),
    )
    .await;
    run(&fixture, &resender, &Notify::new(), async {
        for n in 1..=3 {
            good.wait_for(n).await;
            pass(&fixture, MINUTE).await;
        }
        bad.wait_for(1).await;
    })
    .await;
    bad.answer(Answer::Reply(
        400,
        Vec::new(),
        "Bearer canary-0001 is no label".to_owned(),
    ));
    let mut sent = ResendState::default();
    let problems = resender
        .send_once(&mut sent, &fixture.counters)
        .await
        .unwrap();
    assert_eq!(
        problems,
        ["member 1 of 2: answered 400: Bearer [redacted] is no label"]
    );
    let problems = resender
        .send_once(&mut sent, &fixture.counters)
        .await
        .unwrap();
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test]
async fn ends_are_sent_after_a_restart_and_many_alerts_are_split() {
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let am = Receiver::start(complaint).await;
    let resender = resender(&store, Clock::Manual(fixture.clock.clone()), &[&am.url]);
    let mut sent = ResendState::default();
    assert_eq!(
        resender
            .send_once(&mut sent, &fixture.counters)
            .await
            .unwrap()
            .len(),
        0
    );
    assert_eq!(am.posts().len(), 0, "there is nothing to tell");
    let fires = alert("a", Severity::Warning, fixture.now());
    decide(&store, vec![ended(&fires, fixture.now())], fixture.now()).await;
    fixture.clock.advance(10 * MINUTE);
    resender
        .send_once(&mut ResendState::default(), &fixture.counters)
        .await
        .unwrap();
    assert_eq!(posted(&am, 0), ["a warning 0-0"]);
    fixture.clock.advance(5 * MINUTE);
    let many = (0..=MAX_ALERTS).map(|n| alert(&format!("w{n:04}"), Severity::Info, fixture.now()));
    decide(&store, many.collect(), fixture.now()).await;
    resender
        .send_once(&mut ResendState::default(), &fixture.counters)
        .await
        .unwrap();
    assert_eq!(
        (posted(&am, 1).len(), posted(&am, 2)),
        (MAX_ALERTS, vec!["w1000 info 15-30".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn daemon_resends_without_the_outbox_and_a_reload_ends_removed_rules() {
    let clock = Clock::system();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "50");
    let simulator = Simulator::start(world, clock.clone()).await.unwrap();
    let am = Receiver::start(complaint).await;
    let home = Home::new();
    let configured = |rule: &str| {
        let rest = format!(
            "{rule}\n[[notifiers]]\nname = \"am\"\ntype = \"alertmanager\"\nurls = [\"{}\", \"http://127.0.0.1:1\"]\n",
            am.url
        );
        home.configure(&simulator, &rest);
    };
    configured("[[rules]]\nname = \"month\"\nlimit_usd = 40");
    let mut program = Program::run(&home);
    let address = program.address();
    am.wait_for(1).await;
    program.wait_for("notifier `am`, member 2 of 2: no connection");
    assert_eq!(home.json(0, &["notifications", "list"]), json!([]));
    let alerts = home.json(0, &["alerts", "list"]);
    assert_eq!(alerts[0]["state"], "firing");
    let test = home.command(&["notify", "test", "am"]);
    assert_eq!(test.status.code(), Some(1));
    let output = String::from_utf8(test.stderr).unwrap();
    assert!(output.contains("member 2 of 2: no connection"), "{output}");
    configured("");
    assert!(post_reload(&address).starts_with("HTTP/1.1 200"));
    let is_end = |post: &Value| {
        let alert = &post[0];
        let end = at(alert["endsAt"].as_str().unwrap());
        alert["labels"]["alertname"] == "month" && end <= clock.now()
    };
    let mut n_seen = 0;
    loop {
        am.wait_for(n_seen + 1).await;
        let body = &am.posts()[n_seen].body;
        if is_end(&serde_json::from_slice(body).unwrap()) {
            break;
        }
        n_seen += 1;
    }
    let bodies: Vec<String> = am
        .posts()
        .iter()
        .map(|post| String::from_utf8(post.body.to_vec()).unwrap())
        .collect();
    assert!(
        bodies
            .iter()
            .any(|body| body.contains("sent by `spendwatch notify test`"))
    );
    program.signal("TERM");
    let (_, output) = program.ended();
    let n_lines = output
        .iter()
        .filter(|line| line.contains("member 2 of 2"))
        .count();
    // Logged once per configuration.
    assert!(n_lines <= 2, "{output:?}");
}

/// The real Alertmanager; killed on drop.
struct Real {
    _process: Child,
    _folder: tempfile::TempDir,
    url: String,
}

impl Real {
    /// Returns `None` if it is not installed. It notifies a webhook without delay.
    async fn start(webhook: &str) -> Option<Real> {
        let program = tool("SPENDWATCH_TEST_ALERTMANAGER")?;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("alertmanager.yml");
        let route = "route: {receiver: hook, group_by: [alertname, severity], group_wait: 0s, group_interval: 1s}";
        let receivers =
            format!("receivers: [{{name: hook, webhook_configs: [{{url: '{webhook}'}}]}}]");
        std::fs::write(&config, format!("{route}\n{receivers}\n")).unwrap();
        let mut process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .args([
                "--cluster.listen-address=",
                "--web.listen-address=127.0.0.1:0",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next_line().await.unwrap().expect("it begins to listen");
            if let Some((_, rest)) = line.split_once("address=127.0.0.1:") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Some(Real {
            _process: process,
            _folder: folder,
            url: format!("http://127.0.0.1:{address}"),
        })
    }

    /// Returns the firing alerts from its API.
    async fn firing(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.url);
        let answer = client(&self.url).get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Polls until these severities fire.
    async fn wait_for(&self, severities: &[&str]) -> Vec<Value> {
        let ask = async {
            loop {
                let firing = self.firing().await;
                let is = |alert: &Value, severity: &&str| alert["labels"]["severity"] == **severity;
                if firing.len() == severities.len()
                    && firing
                        .iter()
                        .zip(severities)
                        .all(|(alert, severity)| is(alert, severity))
                {
                    return firing;
                }
            }
        };
        tokio::time::timeout(LIMIT, ask).await.unwrap()
    }
}

/// Returns the path of an optional tool; `scripts/test` reports missing ones.
fn tool(variable: &str) -> Option<OsString> {
    let tool = std::env::var_os(variable);
    if tool.is_none() {
        eprintln!("left out: {variable} is not set");
    }
    tool
}

#[tokio::test]
async fn real_alertmanager_accepts_firing_and_ended_alerts() {
    let hook = Receiver::start(|_| None).await;
    let Some(real) = Real::start(&hook.url).await else {
        return;
    };
    let fixture = OutboxFixture::new();
    let store = fixture.open().await;
    let clock = Clock::system();
    let resender = resender(&store, clock.clone(), &[&real.url]);
    let mut sent = ResendState::default();
    let mut tell = async |alerts: Vec<Alert>| {
        decide(&store, alerts, clock.now()).await;
        let problems = resender.send_once(&mut sent, &fixture.counters).await;
        assert_eq!(problems.unwrap(), Vec::<String>::new());
    };
    let since = clock.now() - SignedDuration::from_hours(1);
    let warning = alert("a", Severity::Warning, since);
    tell(vec![warning]).await;
    let firing = real.wait_for(&["warning"]).await;
    let start = at(firing[0]["startsAt"].as_str().unwrap());
    assert!(start.duration_since(since).abs() < SignedDuration::from_millis(1));
    assert_eq!(firing[0]["labels"]["subject_id"], "a");
    assert_eq!(firing[0]["annotations"]["subject_name"], "a");
    if let Some(amtool) = tool("SPENDWATCH_TEST_AMTOOL") {
        let asked = Command::new(amtool)
            .arg(format!("--alertmanager.url={}", real.url))
            .args(["alert", "query", "organization=acme", "--output=extended"])
            .output()
            .await
            .unwrap();
        let output = String::from_utf8(asked.stdout).unwrap();
        assert!(
            output.contains("month") && output.contains("$120.00 of"),
            "{output}"
        );
    }
    let critical = alert("a", Severity::Critical, since);
    tell(vec![critical.clone()]).await;
    real.wait_for(&["critical"]).await;
    let end = clock.now();
    tell(vec![ended(&critical, end)]).await;
    real.wait_for(&[]).await;
    // Alertmanager reports both as resolved, with their times.
    for severity in ["warning", "critical"] {
        let (mut n_seen, mut states) = (0, Vec::new());
        while !states.contains(&"resolved".to_owned()) {
            tokio::time::timeout(LIMIT, hook.wait_for(n_seen + 1))
                .await
                .unwrap();
            let post: Value = serde_json::from_slice(&hook.posts()[n_seen].body).unwrap();
            n_seen += 1;
            let alert = &post["alerts"][0];
            if alert["labels"]["severity"] == severity {
                states.push(alert["status"].as_str().unwrap().to_owned());
                let ended_at = at(alert["endsAt"].as_str().unwrap());
                assert!(states.len() == 1 || ended_at <= clock.now());
            }
        }
        assert_eq!(states, ["firing", "resolved"], "{severity}");
    }
}
