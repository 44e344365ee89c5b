//! Tables at several terminal widths: numbers, ids and times are not wrapped, and no line is too long.

use jiff::SignedDuration;
use spendwatch_base::clock::Clock;
use spendwatch_simulator::world::directory::SimulatedInvite;
use unicode_width::UnicodeWidthStr;

use super::terminal::Terminal;
use super::{AdminFixture, Dialect, key, user, words};

const KEY: &str = "apikey_01Rj2N8SVvo6BePZj99NhmiT";
const USER: &str = "user_01WCz1FkmYMm4gnmykNKUu3Q";
const EMAIL: &str = "ada.lovelace@example.com";
const NAME: &str = "夜間バッチ処理用のキー 👩\u{200d}💻 that has a long name for a reason";

/// Checks that no line exceeds the width and that the given texts are not wrapped.
#[track_caller]
pub fn check_table(shown: &str, width: u16, whole: &[&str]) {
    let plain = without_color(shown);
    // Links and hashes must not be wrapped, so that they can be followed and copied.
    let may_be_long = |line: &&str| line.contains("://") || !line.contains(' ');
    for line in plain.lines().filter(|line| !may_be_long(line)) {
        assert!(
            line.width() <= usize::from(width),
            "{width}: {line}\n{plain}"
        );
    }
    for text in whole {
        assert!(plain.contains(text), "{width}: {text}\n{plain}");
    }
}

fn without_color(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        text + piece.split_once('m').map_or(piece, |(_, rest)| rest)
    })
}

/// Fixture with realistic ids and long names.
async fn fixture(dialect: Dialect) -> AdminFixture {
    let now = Clock::system().now();
    let mut world = dialect.world();
    let mut one = key(KEY, NAME, USER, dialect.workspace());
    one.last_used_at = Some(now - SignedDuration::from_hours(3));
    one.expires_at = Some("2027-03-04T05:06:00Z".parse().unwrap());
    world.users = vec![user(USER, EMAIL, "developer")];
    world.users[0].name = NAME.to_owned();
    world.keys = vec![one];
    if dialect == Dialect::Real {
        world.invites.push(SimulatedInvite {
            id: "invite_015gWxCN9Hfg2QhZwTK7Mdeu".to_owned(),
            email: "grace.hopper@example.com".to_owned(),
            role: "user".to_owned(),
            status: "pending".to_owned(),
            expires_at: "2099-01-01T00:00:00Z".parse().unwrap(),
            ..SimulatedInvite::default()
        });
    }
    AdminFixture::of(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_any_terminal_width() {
    for dialect in [Dialect::Guide, Dialect::Real] {
        let fixture = fixture(dialect).await;
        let offboard = format!("offboard {EMAIL} --dry-run");
        let revoke = format!("keys revoke {KEY} --dry-run");
        let mut tables: Vec<(&str, Vec<&str>)> = vec![
            ("users list", vec![USER, EMAIL]),
            ("keys list", vec![KEY]),
            ("workspaces list", vec![dialect.workspace()]),
            (&offboard, vec![KEY, USER]),
            (&revoke, vec![KEY]),
            ("audit list", vec!["keys.list"]),
            ("audit verify", vec![]),
            ("doctor", vec![]),
            ("org show", vec![]),
        ];
        if dialect == Dialect::Real {
            tables.push(("keys list", vec![KEY, "2027-03-04 05:06Z"]));
            let invite = vec!["invite_015gWxCN9Hfg2QhZwTK7Mdeu", "2099-01-01 00:00Z"];
            tables.push(("invites list", invite));
        }
        for (line, whole) in tables {
            for width in [40, 80, 200] {
                let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"));
                command
                    .args(words(line))
                    .args(["--quiet", "--config"])
                    .arg(fixture.home.path("spendwatch.toml"));
                let (exit, shown) = Terminal::start(command, Some(width)).end();
                let shown = shown.replace('\r', "");
                assert_eq!(exit, Some(0), "{line}\n{shown}");
                let whole: Vec<&str> = whole
                    .iter()
                    .copied()
                    .filter(|text| text.width() <= usize::from(width))
                    .collect();
                check_table(&shown, width, &whole);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_before_question_fits_terminal() {
    let fixture = fixture(Dialect::Guide).await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"));
    command
        .args(["keys", "revoke", KEY, "--config"])
        .arg(fixture.home.path("spendwatch.toml"));
    let mut terminal = Terminal::start(command, Some(200));
    terminal.until("[y/N] ");
    terminal.answer("n\n");
    let (_, shown) = terminal.end();
    // On a wide terminal, each row is one line.
    let is_row =
        |line: &&str| line.contains(KEY) && line.contains("Search") && line.contains("yes");
    assert_eq!(shown.lines().filter(is_row).count(), 1, "{shown}");
}
