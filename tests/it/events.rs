//! Lifecycle rules through the real cycle: store, commands and metrics.

use std::fs;
use std::process::Command;
use std::time::Duration;

use spendwatch::cycle::state::Watcher;
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::{Condition, EventRule, Rule};
use spendwatch_metrics::gauges::Renderer;
use spendwatch_metrics::view::{SeriesOptions, View};
use spendwatch_simulator::world::World;
use spendwatch_store::Store;

use crate::harness::WatcherFixture;

fn rule_on_new_workspaces() -> Rule {
    let event_rule = EventRule::new(Event::WorkspaceCreated);
    Rule {
        notify: vec!["chat".into()],
        ..Rule::new("new", Condition::Lifecycle(vec![event_rule]))
    }
}

/// A workspace is created between two cycles.
async fn fixture() -> (WatcherFixture, Store, Watcher) {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    let fixture = WatcherFixture::new(world, "2026-11-24T12:30:00Z")
        .await
        .with_rule(rule_on_new_workspaces());
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    fixture.clock.advance(Duration::from_mins(1));
    {
        let mut world = fixture.simulator.world();
        world.add_workspace("workspace_b", "Beta");
        world.workspace_mut("workspace_b").created_at = Some(fixture.now().to_string());
    }
    fixture.cycle_after(15, &mut watcher).await;
    (fixture, store, watcher)
}

fn listed(fixture: &WatcherFixture, arguments: &[&str]) -> String {
    let file = fixture.folder.path().join("spendwatch.toml");
    let text = format!(
        "[[organizations]]\nname = \"acme\"\nbase_url = \"{}\"\nadmin_key = {{ env = \"KEY\" }}\n\
         [store]\nurl = \"sqlite://{}\"\n",
        fixture.simulator.base_url(),
        fixture.store_path().display()
    );
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(arguments)
        .arg("--config")
        .arg(file)
        .env("KEY", fixture.simulator.key().expose())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_listed_and_shown() {
    let (fixture, store, _watcher) = fixture().await;
    let sent = fixture.deliver(&store).await;
    assert_eq!(sent.len(), 1);
    let id = sent[0].identity.fingerprint();
    let table = listed(&fixture, &["alerts", "show", &id, "--output", "table"]);
    let (first, rest) = table.split_once("\n\n").unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let row = first.lines().nth(1).unwrap();
    assert!(first.lines().next().unwrap().ends_with("EVENT"), "{table}");
    assert_eq!(words(row)[..4], [&*id, "firing", "info", "new"], "{table}");
    assert!(row.ends_with("workspace_created"), "{table}");
    assert!(
        rest.contains("Created on 2026-11-24"),
        "its message: {table}"
    );
    let history = "
TIME               STATE   ENDED BY  SEVERITY  THRESHOLD  VALUE  NOTIFIED
2026-11-24 12:46Z  firing  -         info      info       -      chat: first
";
    assert!(table.ends_with(history), "{table}");
    let list = listed(&fixture, &["alerts", "list", "--output", "json"]);
    assert!(list.contains("\"event\": \"workspace_created\""), "{list}");
}

#[tokio::test]
async fn an_event_counts_as_an_alert_and_has_no_limit_in_the_gauges() {
    let (_stage, _store, watcher) = fixture().await;
    let view = View {
        skew: None,
        ..watcher.view()
    };
    let shape = SeriesOptions {
        by_model: true,
        by_api_key: false,
        by_user: None,
        max_series: 200_000,
    };
    let rendered = Renderer::default().render(&view, shape, true);
    let chunks = rendered.chunks.iter().flatten();
    let text: String = chunks
        .map(|chunk| String::from_utf8(chunk.text().to_vec()).unwrap())
        .collect();
    let of_rule: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("rule=\"new\""))
        .collect();
    assert_eq!(
        of_rule,
        [
            "spendwatch_alerts{organization=\"acme\",rule=\"new\",severity=\"info\",state=\"firing\"} 1",
            "spendwatch_alerts{organization=\"acme\",rule=\"new\",severity=\"info\",state=\"pending\"} 0",
        ]
    );
}
