//! Users, API keys and invitations of the simulated organization, some idle.

use jiff::{SignedDuration, Timestamp};

use crate::world::World;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimulatedUser {
    /// `user_…`.
    pub id: String,
    pub email: String,
    pub name: String,
    /// `owner`, `admin`, `developer`, `billing`, or an unknown role.
    pub role: String,
    /// `active`, or an unknown status.
    pub status: String,
    pub last_active_at: Option<Timestamp>,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimulatedKey {
    /// `apikey_…`.
    pub id: String,
    pub name: String,
    /// `None` is the default workspace.
    pub workspace: Option<String>,
    pub created_by: String,
    /// `active`, `inactive`, or an unknown status.
    pub status: String,
    /// `None` if never used.
    pub last_used_at: Option<Timestamp>,
    /// `None` is before the start of the simulation.
    pub created_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimulatedInvite {
    /// `invite_…`.
    pub id: String,
    pub email: String,
    pub role: String,
    /// `pending`, `accepted` or `deleted`; reported as `expired` when pending after `expires_at`.
    pub status: String,
    pub invited_at: Timestamp,
    pub expires_at: Timestamp,
}

const USER_NAMES: [(&str, &str); 10] = [
    ("Ada Kern", "ada"),
    ("Björn Weiß", "bjoern"),
    ("Chen Li", "chen"),
    ("Dana O'Neil", "dana"),
    ("Emeka Obi", "emeka"),
    ("Fatima Zahra", "fatima"),
    ("Greta Holm", "greta"),
    ("Hiro Tanaka 田中", "hiro"),
    ("Íñigo \"Iggy\" Sáez", "inigo"),
    ("Robert'); DROP TABLE users;--", "bobby"),
];

const KEY_NAMES: [&str; 8] = [
    "production",
    "ci",
    "Ada Kern - notebooks",
    "batch nightly",
    "old laptop, do not delete!!",
    "test <script>alert(1)</script>",
    "staging \"blue\"",
    "鍵 2",
];

/// Creates users who were active in the last two days; every sixth was never active. The first is the owner, the second an
/// admin.
fn users(n_users: usize, now: Timestamp) -> Vec<SimulatedUser> {
    (0..n_users).map(|n| user(n, now)).collect()
}

/// Creates one key in the default workspace and two in each other, by the users in turn. Of five keys one was never used and
/// one not for three months.
fn keys<'a>(
    workspaces: impl Iterator<Item = &'a str>,
    users: &[SimulatedUser],
    now: Timestamp,
) -> Vec<SimulatedKey> {
    let workspaces = [None]
        .into_iter()
        .chain(workspaces.flat_map(|id| [Some(id), Some(id)]));
    workspaces
        .enumerate()
        .map(|(n, workspace)| SimulatedKey {
            id: format!("apikey_{n:05}"),
            name: KEY_NAMES[n % KEY_NAMES.len()].to_owned(),
            workspace: workspace.map(str::to_owned),
            created_by: users[n % users.len()].id.clone(),
            status: if n % 9 == 8 { "inactive" } else { "active" }.to_owned(),
            last_used_at: match n % 5 {
                3 => None,
                4 => Some(ago(now, 24 * 90)),
                hours => Some(ago(now, hours)),
            },
            ..SimulatedKey::default()
        })
        .collect()
}

impl World {
    /// Adds users and keys, some of them idle at `now`: two users per workspace, at least 3 and at most 250.
    #[must_use]
    pub fn with_users_and_keys(mut self, now: Timestamp) -> World {
        self.users = users((self.workspaces.len() * 2).clamp(3, 250), now);
        let ids = self
            .workspaces
            .iter()
            .map(|workspace| workspace.id.as_str());
        self.keys = keys(ids, &self.users, now);
        self
    }
}

fn user(n: usize, now: Timestamp) -> SimulatedUser {
    let (name, mailbox) = USER_NAMES[n % USER_NAMES.len()];
    let role = match n {
        0 => "owner",
        1 => "admin",
        n if n % 7 == 6 => "billing",
        _ => "developer",
    };
    SimulatedUser {
        id: format!("user_{n:05}"),
        email: match n / USER_NAMES.len() {
            0 => format!("{mailbox}@simulated.example"),
            again => format!("{mailbox}{again}@simulated.example"),
        },
        name: name.to_owned(),
        role: role.to_owned(),
        status: "active".to_owned(),
        last_active_at: (n % 6 != 5).then(|| ago(now, n % 48)),
    }
}

fn ago(now: Timestamp, hours: usize) -> Timestamp {
    let hours = SignedDuration::from_hours(i64::try_from(hours).unwrap_or(i64::MAX));
    now.checked_sub(hours).unwrap_or(Timestamp::MIN)
}
