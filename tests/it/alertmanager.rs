//! Alertmanager: everything is told again and again, to each member, past the outbox; against one that refuses what the real one
//! refuses, and against the real one where there is one (`scripts/test` says where).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use spendwatch::clock::Clock;
use spendwatch::delivery::resend::Resender;
use spendwatch::domain::alert::{Alert, EndedBy, Line, Observed, State};
use spendwatch::domain::notification::Reason;
use spendwatch::domain::privacy::Privacy;
use spendwatch::domain::resend::{Listener, Sent};
use spendwatch::domain::rule::{Rule, Severity};
use spendwatch::domain::subject::SubjectKind;
use spendwatch::notify::alertmanager::{self, Alertmanager, MAX_ALERTS};
use spendwatch::notify::envelope::Links;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::world::World;
use spendwatch::store::Store;
use spendwatch::store::decisions::Commit;
use spendwatch::store::engine::Engine;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alertmanager_rules::complaint;
use crate::harness::{at, organization, rule};
use crate::office::{Office, client, fact, secret};
use crate::program::{Home, Program, post_reload};
use crate::receiver::{Answer, Receiver};

const MINUTE: Duration = Duration::from_mins(1);
/// Nothing that is awaited takes so long, on however slow a machine.
const LIMIT: Duration = Duration::from_secs(60);

fn rule_for_am() -> Rule {
    let mut rule = rule("month", SubjectKind::Workspace, 100);
    rule.notify = vec!["am".into()];
    rule
}

fn resender(store: &Store, clock: Clock, urls: &[&str]) -> Resender {
    let members = urls.iter().map(|url| (client(url), secret(url))).collect();
    let settings = alertmanager::Settings {
        members,
        headers: vec![("Authorization".to_owned(), secret("Bearer canary-0001"))],
    };
    Resender {
        listener: Listener {
            name: "am".into(),
            send_resolved: true,
            min_severity: Severity::Info,
            lasts: alertmanager::lasts(MINUTE),
        },
        interval: MINUTE,
        alertmanager: Alertmanager::new(settings).unwrap(),
        teams: Vec::new(),
        rules: vec![rule_for_am()],
        organizations: vec![organization()],
        privacy: Privacy::default(),
        store: store.clone(),
        clock,
        links: Links::default(),
    }
}

/// A workspace's alert that fires since a moment.
fn alert(workspace: &str, severity: Severity, since: Timestamp) -> Alert {
    let fact = fact(workspace, 1, Reason::First, since);
    Alert {
        identity: fact.identity,
        watch: fact.watch,
        span: fact.span,
        state: State::Firing {
            line: Line {
                severity,
                ..fact.line
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
        told: BTreeMap::new(),
    }
}

fn ended(alert: &Alert, at: Timestamp) -> Alert {
    Alert {
        state: State::Ended {
            by: EndedBy::Corrected,
            at,
            line: alert.line().clone(),
        },
        sequence: alert.sequence + 1,
        ..alert.clone()
    }
}

async fn decide(store: &Store, alerts: Vec<Alert>, at: Timestamp) {
    let engine = Engine {
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
        engine,
        at,
    };
    store
        .commit_decision(&organization(), commit)
        .await
        .unwrap();
}

/// What was told in a post, as `subject severity start-end` in minutes after noon.
fn told(am: &Receiver, place: usize) -> Vec<String> {
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
    office: &Office,
    resender: &Resender,
    bell: &Notify,
    script: impl Future<Output = ()>,
) {
    let (mut sent, stop) = (Sent::default(), CancellationToken::new());
    let ended = async {
        script.await;
        stop.cancel();
    };
    let both = async {
        tokio::join!(
            resender.run(&mut sent, &office.counters, bell, &stop),
            ended
        )
    };
    tokio::time::timeout(LIMIT, both).await.unwrap();
}

/// Waits until somebody waits for the clock, then moves it.
async fn pass(office: &Office, time: Duration) {
    while office.clock.n_waiting() < 1 {
        tokio::task::yield_now().await;
    }
    office.clock.advance(time);
}

fn count(office: &Office, outcome: &str) -> String {
    let text = office.counters.render();
    let series =
        format!("spendwatch_notifications_total{{notifier=\"am\",outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or("0").to_owned()
}

#[tokio::test]
async fn what_fires_is_told_in_each_interval_and_after_each_decision_to_all_members() {
    let office = Office::new();
    let store = office.open().await;
    let (one, other) = (
        Receiver::start(complaint).await,
        Receiver::start(complaint).await,
    );
    let resender = resender(
        &store,
        Clock::Manual(office.clock.clone()),
        &[&one.url, &other.url],
    );
    let fires = alert("a", Severity::Warning, office.now());
    decide(&store, vec![fires.clone()], office.now()).await;
    let bell = Notify::new();
    run(&office, &resender, &bell, async {
        one.wait_for(1).await;
        pass(&office, MINUTE).await;
        one.wait_for(2).await;
        // A new severity ends the old one in the same request.
        let worse = alert("a", Severity::Critical, fires.firing_since.unwrap());
        decide(&store, vec![worse.clone()], office.now()).await;
        bell.notify_one();
        one.wait_for(3).await;
        pass(&office, MINUTE).await;
        one.wait_for(4).await;
        decide(&store, vec![ended(&worse, office.now())], office.now()).await;
        bell.notify_one();
        one.wait_for(5).await;
        other.wait_for(5).await;
        while count(&office, "delivered") != "10" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for am in [&one, &other] {
        assert_eq!(told(am, 0), ["a warning 0-15"]);
        assert_eq!(told(am, 1), ["a warning 0-16"]);
        assert_eq!(told(am, 2), ["a critical 0-16", "a warning 0-1"]);
        assert_eq!(told(am, 3), ["a critical 0-17", "a warning 0-1"]);
        assert_eq!(told(am, 4), ["a critical 0-2", "a warning 0-1"]);
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
async fn a_member_that_hangs_or_refuses_holds_up_no_other_and_is_told_again() {
    let office = Office::new();
    let store = office.open().await;
    let (good, bad) = (
        Receiver::start(complaint).await,
        Receiver::start(complaint).await,
    );
    bad.answer(Answer::Hang);
    let resender = resender(
        &store,
        Clock::Manual(office.clock.clone()),
        &[&bad.url, &good.url],
    );
    decide(
        &store,
        vec![alert("a", Severity::Warning, office.now())],
        office.now(),
    )
    .await;
    run(&office, &resender, &Notify::new(), async {
        for n in 1..=3 {
            good.wait_for(n).await;
            pass(&office, MINUTE).await;
        }
        bad.wait_for(1).await;
    })
    .await;
    bad.answer(Answer::Reply(
        400,
        Vec::new(),
        "Bearer canary-0001 is no label".to_owned(),
    ));
    let mut sent = Sent::default();
    let problems = resender
        .tell_once(&mut sent, &office.counters)
        .await
        .unwrap();
    assert_eq!(
        problems,
        ["member 1 of 2: answered 400: Bearer [redacted] is no label"]
    );
    let problems = resender
        .tell_once(&mut sent, &office.counters)
        .await
        .unwrap();
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test]
async fn what_ended_while_nobody_told_is_told_after_the_restart_and_many_come_in_parts() {
    let office = Office::new();
    let store = office.open().await;
    let am = Receiver::start(complaint).await;
    let resender = resender(&store, Clock::Manual(office.clock.clone()), &[&am.url]);
    let mut sent = Sent::default();
    assert_eq!(
        resender
            .tell_once(&mut sent, &office.counters)
            .await
            .unwrap()
            .len(),
        0
    );
    assert_eq!(am.posts().len(), 0, "there is nothing to tell");
    let fires = alert("a", Severity::Warning, office.now());
    decide(&store, vec![ended(&fires, office.now())], office.now()).await;
    office.clock.advance(10 * MINUTE);
    resender
        .tell_once(&mut Sent::default(), &office.counters)
        .await
        .unwrap();
    assert_eq!(told(&am, 0), ["a warning 0-0"]);
    office.clock.advance(5 * MINUTE);
    let many = (0..=MAX_ALERTS).map(|n| alert(&format!("w{n:04}"), Severity::Info, office.now()));
    decide(&store, many.collect(), office.now()).await;
    resender
        .tell_once(&mut Sent::default(), &office.counters)
        .await
        .unwrap();
    assert_eq!(
        (told(&am, 1).len(), told(&am, 2)),
        (MAX_ALERTS, vec!["w1000 info 15-30".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_tells_an_alertmanager_past_its_outbox_and_a_reload_ends_what_it_takes_away() {
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
    let said = String::from_utf8(test.stderr).unwrap();
    assert!(said.contains("member 2 of 2: no connection"), "{said}");
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
            .any(|body| body.contains("made up by `spendwatch notify test`"))
    );
    program.signal("TERM");
    let (_, said) = program.ended();
    let n_told = said
        .iter()
        .filter(|line| line.contains("member 2 of 2"))
        .count();
    // Once for each configuration.
    assert!(n_told <= 2, "{said:?}");
}

/// The real one; killed when dropped.
struct Real {
    _process: Child,
    _folder: tempfile::TempDir,
    url: String,
}

impl Real {
    /// `None` where there is none. It tells a webhook of everything at once.
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

    /// What fires by its API, as labels say it.
    async fn firing(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.url);
        let answer = client(&self.url).get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Asks it until so many fire.
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

/// Left out where there is none; `scripts/test` says so.
fn tool(variable: &str) -> Option<OsString> {
    let tool = std::env::var_os(variable);
    if tool.is_none() {
        eprintln!("left out: {variable} is not set");
    }
    tool
}

#[tokio::test]
async fn the_real_alertmanager_takes_what_fires_and_what_ended() {
    let hook = Receiver::start(|_| None).await;
    let Some(real) = Real::start(&hook.url).await else {
        return;
    };
    let office = Office::new();
    let store = office.open().await;
    let clock = Clock::system();
    let resender = resender(&store, clock.clone(), &[&real.url]);
    let mut sent = Sent::default();
    let mut tell = async |alerts: Vec<Alert>| {
        decide(&store, alerts, clock.now()).await;
        let problems = resender.tell_once(&mut sent, &office.counters).await;
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
        let said = String::from_utf8(asked.stdout).unwrap();
        assert!(
            said.contains("month") && said.contains("$120.00 spent"),
            "{said}"
        );
    }
    let critical = alert("a", Severity::Critical, since);
    tell(vec![critical.clone()]).await;
    real.wait_for(&["critical"]).await;
    let end = clock.now();
    tell(vec![ended(&critical, end)]).await;
    real.wait_for(&[]).await;
    // It says itself that both were resolved, and when.
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
                let told = at(alert["endsAt"].as_str().unwrap());
                assert!(states.len() == 1 || told <= clock.now());
            }
        }
        assert_eq!(states, ["firing", "resolved"], "{severity}");
    }
}
