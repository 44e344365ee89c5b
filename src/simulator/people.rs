//! The people of the made-up organization and their API keys, some idle, some with names that are up to something.

use jiff::{SignedDuration, Timestamp};

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// `user_…`.
    pub id: String,
    pub email: String,
    /// As a person writes it.
    pub name: String,
    /// `owner`, `admin`, `developer`, `billing`, or something new.
    pub role: String,
    /// `active`, or something else.
    pub status: String,
    /// `None` is told as null.
    pub last_active_at: Option<Timestamp>,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Key {
    /// `apikey_…`.
    pub id: String,
    /// As a person writes it.
    pub name: String,
    /// Where it may be used; `None`, the default workspace, is told as null.
    pub workspace: Option<String>,
    /// Id of the user who made it.
    pub created_by: String,
    /// `active`, `inactive`, or something new.
    pub status: String,
    /// `None` is told as null: never used.
    pub last_used_at: Option<Timestamp>,
    /// `None` is the beginning.
    pub created_at: Option<Timestamp>,
    /// `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invite {
    /// `invite_…`.
    pub id: String,
    pub email: String,
    pub role: String,
    /// `pending`, `accepted`, `deleted`; one whose time is over is told as `expired`.
    pub status: String,
    pub invited_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Names as people write them: quotes, scripts from right to left, line ends, markup, commands, and great length.
pub const NASTY_NAMES: [&str; 12] = [
    "O'Brien \"Bob\" & <b>Söhne</b>",
    "search\\prod\nline two",
    "بحث الدعم",
    "検索ボット 🚀👩‍👩‍👧",
    "{{ .Labels }} ${HOME} $(id)",
    "=HYPERLINK(\"http://evil.example\";\"x\")",
    "<!channel> <https://evil.example|click>",
    "'; DROP TABLE buckets; --",
    "a\u{202e}txt.exe",
    "tab\there, comma; semicolon",
    "   ",
    "A very long name that goes on and on, past every column and every card, because nobody told its author to stop; and then on once more, to be sure that it is long enough for every limit",
];

const PEOPLE: [(&str, &str); 10] = [
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

/// So many people, who were last seen up to two days ago; every sixth was never seen. The first owns, the second administers.
pub fn users(n_users: usize, now: Timestamp) -> Vec<User> {
    (0..n_users).map(|n| user(n, now)).collect()
}

/// One key in the default workspace and two in each of these, made by these users by turns. Of five keys one was never
/// used and one not for three months.
pub fn keys<'a>(
    workspaces: impl Iterator<Item = &'a str>,
    users: &[User],
    now: Timestamp,
) -> Vec<Key> {
    let homes = [None]
        .into_iter()
        .chain(workspaces.flat_map(|id| [Some(id), Some(id)]));
    homes
        .enumerate()
        .map(|(n, workspace)| Key {
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
            ..Key::default()
        })
        .collect()
}

fn user(n: usize, now: Timestamp) -> User {
    let (name, mailbox) = PEOPLE[n % PEOPLE.len()];
    let role = match n {
        0 => "owner",
        1 => "admin",
        n if n % 7 == 6 => "billing",
        _ => "developer",
    };
    User {
        id: format!("user_{n:05}"),
        email: match n / PEOPLE.len() {
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
