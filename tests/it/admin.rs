//! The commands of the Admin API against the simulated services: what they say, what they leave behind, what they refuse.

mod journey;
mod ledger;
mod orders;
mod promises;
mod stakes;
pub mod tables;
pub mod terminal;

use std::process::Output;

use serde_json::Value;
use spendwatch::clock::Clock;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::people::{Key, User};
use spendwatch::simulator::speech::{Access, Real, Speaks};
use spendwatch::simulator::world::World;

use crate::program::Home;

/// A home with a configuration on a simulated service, and the service.
pub struct Office {
    pub home: Home,
    pub simulator: Simulator,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Guide,
    Real,
    /// The real service, whose newer reports the key may not read.
    Older,
}

pub const BOTH: [Dialect; 2] = [Dialect::Guide, Dialect::Real];

pub fn user(id: &str, email: &str, role: &str) -> User {
    User {
        id: id.to_owned(),
        email: email.to_owned(),
        name: email.split('@').next().unwrap_or_default().to_owned(),
        role: role.to_owned(),
        status: "active".to_owned(),
        last_active_at: None,
    }
}

pub fn key(id: &str, name: &str, maker: &str, workspace: &str) -> Key {
    Key {
        id: id.to_owned(),
        name: name.to_owned(),
        workspace: Some(workspace.to_owned()),
        created_by: maker.to_owned(),
        status: "active".to_owned(),
        ..Key::default()
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
                Dialect::Older => Access::Forbidden,
                Dialect::Guide | Dialect::Real => Access::Open,
            };
            world.speaks = Speaks::Real(Real {
                analytics,
                ..Real::default()
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

    pub async fn office(self) -> Office {
        Office::of(self.world()).await
    }
}

impl Office {
    pub async fn of(world: World) -> Office {
        let simulator = Simulator::start(world, Clock::system()).await.unwrap();
        let home = Home::new();
        let audit = home.path("audit.jsonl");
        home.configure(
            &simulator,
            &format!("[audit]\nfile = \"{}\"\n", audit.display()),
        );
        Office { home, simulator }
    }

    pub fn run(&self, line: &str) -> Output {
        self.home.command(&words(line))
    }

    /// Output in JSON, and what was said besides.
    #[track_caller]
    pub fn told(&self, exit: i32, line: &str) -> (Value, String) {
        let output = self.run(&format!("{line} --output json"));
        let said = String::from_utf8(output.stderr).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{line}\n{said}\n{printed}"
        );
        (serde_json::from_str(&printed).unwrap_or(Value::Null), said)
    }

    /// Refused before anything is sent; the reason.
    #[track_caller]
    pub fn refused(&self, exit: i32, line: &str) -> String {
        let n_before = self.simulator.n_not_get();
        let (_, said) = self.told(exit, line);
        assert_eq!(self.simulator.n_not_get(), n_before, "{line}");
        said
    }

    pub fn audited(&self) -> Value {
        self.told(0, "audit list --limit 10000").0
    }

    #[track_caller]
    pub fn check_audit(&self) {
        let (report, said) = self.told(0, "audit verify");
        assert_eq!(
            (report[0]["whole"].clone(), said.as_str()),
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

/// Words of a line, as a shell cuts it; single quotes keep blanks.
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

/// One column of rows.
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
