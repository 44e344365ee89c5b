//! Admin commands against the simulator: output, effects and refusals.

mod affected_keys;
mod journey;
mod ledger;
mod orders;
mod promises;
pub mod tables;
pub mod terminal;

use std::process::Output;

use serde_json::Value;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::api::{EndpointAccess, PlatformOptions, SimulatedApi};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::directory::{SimulatedKey, SimulatedUser};

use crate::program::Home;

/// Configured home and its simulated server.
pub struct AdminFixture {
    pub home: Home,
    pub simulator: Simulator,
}

/// Simulated server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Guide,
    Real,
    /// Real server that refuses the newer reports.
    Older,
}

pub const BOTH: [Dialect; 2] = [Dialect::Guide, Dialect::Real];

pub fn user(id: &str, email: &str, role: &str) -> SimulatedUser {
    SimulatedUser {
        id: id.to_owned(),
        email: email.to_owned(),
        name: email.split('@').next().unwrap_or_default().to_owned(),
        role: role.to_owned(),
        status: "active".to_owned(),
        last_active_at: None,
    }
}

pub fn key(id: &str, name: &str, creator: &str, workspace: &str) -> SimulatedKey {
    SimulatedKey {
        id: id.to_owned(),
        name: name.to_owned(),
        workspace: Some(workspace.to_owned()),
        created_by: creator.to_owned(),
        status: "active".to_owned(),
        ..SimulatedKey::default()
    }
}

impl Dialect {
    pub fn workspace(self) -> &'static str {
        match self {
            Dialect::Guide => "workspace_search",
            Dialect::Real | Dialect::Older => "wrkspc_search",
        }
    }

    /// Ada with two keys, Bo with one, in two workspaces.
    pub fn world(self) -> World {
        let mut world = World::seeded(7);
        let home = self.workspace();
        if self != Dialect::Guide {
            let analytics = match self {
                Dialect::Older => EndpointAccess::Forbidden,
                Dialect::Guide | Dialect::Real => EndpointAccess::Open,
            };
            world.api = SimulatedApi::Platform(PlatformOptions {
                analytics,
                ..PlatformOptions::default()
            });
            world.default_workspace = Some("wrkspc_default0".to_owned());
        }
        world.add_workspace(home, "Search");
        world.add_workspace(&home.replace("search", "support"), "Support");
        world.users = vec![
            user("user_1", "ada@example.com", "developer"),
            user("user_2", "bo@example.com", "billing"),
        ];
        world.keys = vec![
            key("apikey_1", "ci", "user_1", home),
            key("apikey_2", "nightly", "user_1", home),
            key("apikey_3", "bo", "user_2", home),
        ];
        world
    }

    pub async fn fixture(self) -> AdminFixture {
        AdminFixture::of(self.world()).await
    }
}

impl AdminFixture {
    pub async fn of(world: World) -> AdminFixture {
        let simulator = Simulator::start(world, Clock::system()).await.unwrap();
        let home = Home::new();
        let audit = home.path("audit.jsonl");
        home.configure(
            &simulator,
            &format!("[audit]\nfile = \"{}\"\n", audit.display()),
        );
        AdminFixture { home, simulator }
    }

    pub fn run(&self, line: &str) -> Output {
        self.home.command(&words(line))
    }

    /// Runs a command with `--output json` and returns its rows and standard error.
    #[track_caller]
    pub fn run_json(&self, exit: i32, line: &str) -> (Value, String) {
        let output = self.run(&format!("{line} --output json"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{line}\n{stderr}\n{printed}"
        );
        (
            serde_json::from_str(&printed).unwrap_or(Value::Null),
            stderr,
        )
    }

    /// Runs a command that must change nothing and returns its standard error.
    #[track_caller]
    pub fn run_refused(&self, exit: i32, line: &str) -> String {
        let n_before = self.simulator.n_writes();
        let (_, stderr) = self.run_json(exit, line);
        assert_eq!(self.simulator.n_writes(), n_before, "{line}");
        stderr
    }

    pub fn audited(&self) -> Value {
        self.run_json(0, "audit list --limit 10000").0
    }

    #[track_caller]
    pub fn check_audit(&self) {
        let (report, stderr) = self.run_json(0, "audit verify");
        assert_eq!(
            (report[0]["whole"].clone(), stderr.as_str()),
            (Value::Bool(true), "")
        );
    }

    pub fn keys(&self) -> Vec<String> {
        let world = self.simulator.world();
        world
            .keys
            .iter()
            .filter(|key| key.status == "active")
            .map(|key| key.id.clone())
            .collect()
    }

    pub fn has_user(&self, id: &str) -> bool {
        self.simulator
            .world()
            .users
            .iter()
            .any(|user| user.id == id)
    }
}

/// Splits a command line like a shell; single quotes keep spaces.
pub fn words(line: &str) -> Vec<&str> {
    line.split('\'')
        .enumerate()
        .flat_map(|(place, piece)| {
            if place % 2 == 1 {
                vec![piece]
            } else {
                piece.split_whitespace().collect()
            }
        })
        .collect()
}

/// Returns the values of one column.
pub fn column(rows: &Value, name: &str) -> Vec<String> {
    let cells = rows
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
    cells.collect()
}
