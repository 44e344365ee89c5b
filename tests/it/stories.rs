//! The whole daemon with receivers on loopback: who receives messages, and when.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};

use crate::program::{Home, Program, get};
use crate::receiver::{Answer, Receiver};

/// Only the first cycle runs, because it runs at startup.
const ONCE_A_YEAR: (&str, &str) = ("SPENDWATCH__POLL__SCHEDULE", "0 0 0 1 1 *");

fn hook(name: &str, receiver: &Receiver, more: &str) -> String {
    format!(
        "[[notifiers]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"{}\"\ngroup_wait = \"0s\"\n{more}",
        receiver.url
    )
}

fn run_one_cycle(home: &Home) -> Program {
    let config = home.path("spendwatch.toml");
    let arguments = ["run", "--config", config.to_str().unwrap()];
    Program::start(home, &arguments, &[ONCE_A_YEAR])
}

/// Returns the alerts of all posts.
fn received_alerts(receiver: &Receiver) -> Vec<Value> {
    let posts = receiver.posts();
    let bodies = posts
        .iter()
        .map(|post| serde_json::from_slice::<Value>(&post.body).unwrap());
    bodies
        .flat_map(|body| body["alerts"].as_array().unwrap().clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_is_notified_when_a_notifier_is_parked_without_another_cycle() {
    for status in [401, 404] {
        let clock = Clock::system();
        let mut world = World::empty();
        world.add_workspace("workspace_a", "Alpha");
        world.spend("workspace_a", "claude-sonnet-4-5", clock.now(), "50");
        let simulator = Simulator::start(world, clock).await.unwrap();
        let first = Receiver::start(|_| None).await;
        let second = Receiver::start(|_| None).await;
        for _ in 0..100 {
            first.answer(Answer::Reply(status, Vec::new(), String::new()));
        }
        let home = Home::new();
        let rest = [
            "[[rules]]\nname = \"month\"\nlimit_usd = 40\nnotify = [\"a\"]\n".to_owned(),
            hook("a", &first, "fallback = \"b\"\n"),
            hook("b", &second, ""),
        ];
        home.configure(&simulator, &rest.concat());
        let mut program = run_one_cycle(&home);
        let address = program.address();
        second.wait_for(1).await;
        let alerts = received_alerts(&second);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        let figures = &alerts[0]["spendwatch"];
        assert_eq!(figures["in_place_of"], "a", "{status}");
        assert_eq!(figures["reason"], "first", "{status}");
        let metrics = get(&address, "/metrics");
        assert!(metrics.contains("spendwatch_notifier_parked{notifier=\"a\"} 1"));
        program.signal("TERM");
        let (_, log) = program.ended();
        let cycles = log.iter().filter(|line| line.contains("cycle ok"));
        assert_eq!(cycles.count(), 1, "{log:?}");
        assert_eq!(received_alerts(&second).len(), 1, "once");
    }
}

/// An active key created by the only user.
fn key(id: &str, last_used_at: Timestamp) -> SimulatedKey {
    SimulatedKey {
        id: id.to_owned(),
        name: format!("name of {id}"),
        workspace: Some("workspace_a".to_owned()),
        created_by: "user_1".to_owned(),
        status: "active".to_owned(),
        last_used_at: Some(last_used_at),
        ..SimulatedKey::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_key_is_reported_once_across_a_restart_and_resolved_when_revoked() {
    let clock = Clock::system();
    let now = clock.now();
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let ago = |days: i64| now - SignedDuration::from_hours(24 * days);
    world.keys = vec![key("apikey_1", ago(91)), key("apikey_2", ago(89))];
    world.users = vec![SimulatedUser {
        id: "user_1".to_owned(),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        role: "developer".to_owned(),
        status: "active".to_owned(),
        last_active_at: Some(now),
    }];
    let simulator = Simulator::start(world, clock).await.unwrap();
    let receiver = Receiver::start(|_| None).await;
    let home = Home::new();
    let rest = [
        "[[rules]]\nname = \"keys\"\nwatch = \"lifecycle\"\nevents = [\"key_idle\", \"key_of_removed_user\"]\n",
        &hook("hook", &receiver, ""),
    ];
    home.configure(&simulator, &rest.concat());
    let run_two_cycles = || {
        let mut program = Program::run(&home);
        program.wait_for("cycle ok");
        program.wait_for("cycle ok");
        program
    };
    let end = |program: Program| {
        program.signal("TERM");
        assert_eq!(program.ended().0.code(), Some(0));
    };
    let program = run_two_cycles();
    receiver.wait_for(1).await;
    end(program);
    end(run_two_cycles());
    let alerts = received_alerts(&receiver);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let firing = &alerts[0];
    assert_eq!(firing["status"], "firing");
    assert_eq!(firing["labels"]["event"], "key_idle");
    assert_eq!(firing["labels"]["api_key_id"], "apikey_1");
    let moment: Timestamp = firing["spendwatch"]["moment"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(ago(91).duration_since(moment) < SignedDuration::from_secs(1));

    "inactive".clone_into(&mut simulator.world().keys[0].status);
    let program = run_two_cycles();
    receiver.wait_for(2).await;
    end(program);
    let alerts = received_alerts(&receiver);
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert_eq!(alerts[1]["status"], "resolved");
    assert_eq!(alerts[1]["spendwatch"]["ended_by"], "cleared");
    assert_eq!(alerts[1]["fingerprint"], firing["fingerprint"]);
    let methods: BTreeSet<String> = simulator
        .requests()
        .iter()
        .map(|request| request.method.to_string())
        .collect();
    assert_eq!(methods, BTreeSet::from(["GET".to_owned()]));
}
