//! Onboarding and offboarding, with a fault at every step: what is reported is what stands.

use serde_json::Value;
use spendwatch::simulator::faults::{Fault, FaultOn};

use super::{BOTH, Dialect, Office, column, key, user};

const CY: &str = "onboard cy@example.com --name 'Cy Low' --team search --workspace Search";

impl Office {
    fn onboard(&self, exit: i32) -> (Value, String) {
        let place = self.home.path("cy.key");
        self.told(exit, &format!("{CY} --secret-out {}", place.display()))
    }

    fn key_of_cy(&self) -> Option<String> {
        let world = self.simulator.world();
        let found = world.keys.iter().find(|key| key.name == "Cy Low - search");
        found.map(|key| key.id.clone())
    }

    fn n_secrets(&self) -> usize {
        self.simulator.world().secrets.len()
    }

    fn n_invites(&self) -> usize {
        self.simulator.world().invites.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_gets_a_key_and_an_invitation_once() {
    let office = Dialect::Guide.office().await;
    let (told, _) = office.told(0, &format!("{CY} --dry-run"));
    assert_eq!(column(&told, "outcome"), ["planned", "planned"]);
    assert_eq!(office.simulator.n_not_get(), 0);
    let (told, _) = office.onboard(0);
    assert_eq!(column(&told, "outcome"), ["done", "done"]);
    let expires = told[0]["key_expires_at"].as_str().unwrap().to_owned();
    let world_key = office.simulator.world().keys.last().unwrap().clone();
    assert_eq!(world_key.expires_at.unwrap().to_string(), expires);
    let secret = std::fs::read_to_string(office.home.path("cy.key")).unwrap();
    assert_eq!(secret, office.simulator.world().secrets[0]);
    // Again: nothing is made twice, and no place for a secret is needed.
    let (told, _) = office.told(0, CY);
    assert_eq!(column(&told, "outcome"), ["stands", "stands"]);
    assert_eq!((office.n_secrets(), office.n_invites()), (1, 1));
    office.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_service_invites_and_says_what_is_left() {
    let office = Dialect::Real.office().await;
    let said = office.refused(2, &format!("{CY} --secret-out ./never"));
    assert!(said.contains("leave `--secret-out` out"), "{said}");
    let (told, _) = office.told(0, CY);
    assert_eq!(column(&told, "outcome"), ["by hand", "done", "by hand"]);
    office.simulator.world().accept_invite("cy@example.com");
    let (told, _) = office.told(0, CY);
    assert_eq!(column(&told, "outcome"), ["by hand", "stands", "done"]);
    let (told, _) = office.told(0, CY);
    assert_eq!(column(&told, "outcome"), ["by hand", "stands", "stands"]);
    assert_eq!(office.n_invites(), 1);
}

/// What a fault at a step leaves: outcomes, exit code, whether the key stands, whether the invitation does.
struct Case {
    on: FaultOn,
    fault: Fault,
    exit: i32,
    outcomes: [&'static str; 2],
    has_key: bool,
    has_invite: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fault_at_any_step_the_report_is_what_stands_and_a_repeat_finishes() {
    let refuse = || {
        Fault::Status(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#
                .to_owned(),
            None,
        )
    };
    let keys = || FaultOn::endpoint("api_keys").method("POST");
    let invites = || FaultOn::endpoint("users_invite");
    let cases = [
        Case {
            on: keys(),
            fault: refuse(),
            exit: 1,
            outcomes: ["failed", "not begun"],
            has_key: false,
            has_invite: false,
        },
        // Not done: it is looked for, not there, and sent once more.
        Case {
            on: keys().times(1),
            fault: Fault::Reset,
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: keys().times(1),
            fault: Fault::Html(503),
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        // Done, and the secret is lost on the way: that key is revoked, and another one made.
        Case {
            on: keys().times(1),
            fault: Fault::LostAnswer,
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: keys().times(1),
            fault: Fault::LostStatus(502),
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: keys().times(1),
            fault: Fault::CutOff,
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: invites(),
            fault: refuse(),
            exit: 1,
            outcomes: ["undone", "failed"],
            has_key: false,
            has_invite: false,
        },
        // Nobody knows whether the mail went out: the key stays, and is told.
        Case {
            on: invites(),
            fault: Fault::Reset,
            exit: 3,
            outcomes: ["done", "unknown"],
            has_key: true,
            has_invite: false,
        },
        Case {
            on: invites(),
            fault: Fault::LostAnswer,
            exit: 3,
            outcomes: ["done", "unknown"],
            has_key: true,
            has_invite: true,
        },
    ];
    for case in cases {
        let office = Dialect::Guide.office().await;
        office.simulator.fail(case.on.clone(), case.fault.clone());
        let (told, said) = office.onboard(case.exit);
        let about = format!("{:?} {:?}\n{said}", case.on, case.fault);
        assert_eq!(column(&told, "outcome"), case.outcomes, "{about}");
        assert_eq!(
            (office.key_of_cy().is_some(), office.n_invites() > 0),
            (case.has_key, case.has_invite),
            "{about}"
        );
        assert_eq!(office.home.path("cy.key").exists(), case.has_key, "{about}");
        if case.exit == 1 {
            assert!(said.contains("nothing stands"), "{about}");
        }
        if case.exit == 3 {
            assert!(
                said.contains(&format!("key `{}` (done)", office.key_of_cy().unwrap())),
                "{about}"
            );
        }
        office.check_audit();
        office.simulator.heal();
        let place = office.home.path("again.key");
        let (told, said) = office.told(0, &format!("{CY} --secret-out {}", place.display()));
        let is_there = |outcome: &String| outcome == "done" || outcome == "stands";
        assert!(
            column(&told, "outcome").iter().all(is_there),
            "{about} {said}"
        );
        let n_keys = office
            .simulator
            .world()
            .keys
            .iter()
            .filter(|key| key.name == "Cy Low - search")
            .count();
        assert_eq!((n_keys, office.n_invites()), (1, 1), "{about}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_fails_says_what_stands() {
    let office = Dialect::Guide.office().await;
    office.simulator.fail(
        FaultOn::endpoint("users_invite"),
        Fault::Status(400, "{}".to_owned(), None),
    );
    office.simulator.fail(
        FaultOn::endpoint("api_key").method("DELETE"),
        Fault::Status(403, "{}".to_owned(), None),
    );
    let (told, said) = office.onboard(3);
    assert_eq!(column(&told, "outcome"), ["done", "failed"]);
    let key = office.key_of_cy().unwrap();
    assert!(
        said.contains(&format!("what stands: key `{key}`")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_come_by_a_file() {
    let office = Dialect::Guide.office().await;
    let (file, folder) = (office.home.path("people.csv"), office.home.path("keys"));
    std::fs::create_dir(&folder).unwrap();
    let line = format!(
        "onboard --from {} --secret-out {}",
        file.display(),
        folder.display()
    );
    std::fs::write(
        &file,
        "email,name,team,workspace,role,key_days\ncy@example.com,Cy,a,Search,,\nnobody,X,a,Search,,\ncy@example.com,Cy,a,Search,,\ndi@example.com,,b,Search,,0\n",
    )
    .unwrap();
    let said = office.refused(2, &line);
    for expected in [
        "line 3: `nobody` is no email address",
        "line 4: `cy@example.com` is there twice",
        "line 5: `name` is empty",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    std::fs::write(&file, "email,name,team,workspace,role\ncy@example.com,Cy,a,Nowhere,emperor\ndi@example.com,Di,b,Search,emperor\n").unwrap();
    let said = office.refused(2, &line);
    assert!(
        said.contains("line 2: ") && said.contains("line 3: "),
        "{said}"
    );
    std::fs::write(&file, "email,name,team,workspace\ncy@example.com,Cy,a,Search\nada@example.com,Ada,b,Support\nei@example.com,Ei,c,Search\n").unwrap();
    office.simulator.fail(
        FaultOn::endpoint("users_invite").after(1).times(1),
        Fault::Status(400, "{}".to_owned(), None),
    );
    let (told, said) = office.told(3, &line);
    assert_eq!(
        column(&told, "outcome"),
        ["done", "done", "done", "stands", "undone", "failed"],
        "{said}"
    );
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["ada@example.com.key", "cy@example.com.key"]);
    let (told, _) = office.told(0, &line);
    assert_eq!(
        column(&told, "outcome"),
        ["stands", "stands", "stands", "stands", "done", "done"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_make_one_key() {
    let office = Dialect::Guide.office().await;
    let start = |name: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(super::words(CY))
            .arg("--secret-out")
            .arg(office.home.path(name))
            .arg("--config")
            .arg(office.home.path("spendwatch.toml"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [start("one"), start("two")];
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((office.n_secrets(), office.n_invites()), (1, 1));
    office.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_leaves_with_all_their_keys() {
    for dialect in BOTH {
        let mut world = dialect.world();
        for n in 0..250 {
            world.keys.push(key(
                &format!("apikey_x{n}"),
                "x",
                "user_1",
                dialect.workspace(),
            ));
        }
        let office = Office::of(world).await;
        let (told, _) = office.told(0, "offboard ada@example.com --dry-run");
        assert_eq!(column(&told, "outcome").len(), 253);
        assert_eq!(office.simulator.n_not_get(), 0);
        let said = office.refused(2, "offboard ada@example.com");
        assert!(
            said.contains("Revoke 252 keys of `user_1` (ada@example.com)"),
            "{said}"
        );
        let (told, said) = office.told(0, "offboard ada@example.com --yes");
        assert!(
            column(&told, "outcome")
                .iter()
                .all(|outcome| outcome == "done")
        );
        assert!(said.contains("read again: user `user_1` is gone"), "{said}");
        assert_eq!(
            (office.keys(), office.has_user("user_1")),
            (vec!["apikey_3".to_owned()], false)
        );
        let seen = office.simulator.seen();
        let sent: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.method != "GET")
            .map(spendwatch::simulator::journal::Seen::route)
            .collect();
        assert!(
            sent.last().unwrap().ends_with("/users/user_1"),
            "revoke before remove"
        );
        // By id also when they are gone; by address where the audit log knows who was removed.
        for who in ["user_1", "Ada@example.com"] {
            let (told, said) = office.told(0, &format!("offboard {who} --yes"));
            assert_eq!(told, serde_json::json!([]), "{said}");
        }
        let said = office.refused(1, "offboard nobody@example.com --yes");
        assert!(said.contains("named by their id"), "{said}");
        office.check_audit();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_middle_goes_on_and_still_removes_the_user() {
    let forbidden = || Fault::Status(403, "{}".to_owned(), None);
    for dialect in BOTH {
        let office = dialect.office().await;
        let revoke = || FaultOn::endpoint("api_key").times(1);
        office.simulator.fail(revoke(), forbidden());
        let (told, said) = office.told(3, "offboard user_1 --yes");
        assert_eq!(
            column(&told, "outcome"),
            ["failed", "done", "done"],
            "{said}"
        );
        assert!(!office.has_user("user_1"));
        let stands = office.keys().contains(&"apikey_1".to_owned());
        // The guide's service revokes them with the person.
        assert_eq!(stands, dialect == Dialect::Real, "{said}");
        assert_eq!(
            said.contains("still key `apikey_1` is active"),
            stands,
            "{said}"
        );
        office.simulator.heal();
        office.told(0, "offboard user_1 --yes");
        assert_eq!(office.keys(), ["apikey_3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_removed_keeps_no_key_and_is_told() {
    for dialect in BOTH {
        for fault in [
            Fault::Status(400, "{}".to_owned(), None),
            Fault::Html(502),
            Fault::Reset,
        ] {
            let office = dialect.office().await;
            office
                .simulator
                .fail(FaultOn::endpoint("user").method("DELETE"), fault);
            let (told, said) = office.told(3, "offboard user_1 --yes");
            let outcomes = column(&told, "outcome");
            assert_eq!(outcomes[..2], ["done", "done"], "{said}");
            assert!(
                ["failed", "unknown"].contains(&outcomes[2].as_str()),
                "{outcomes:?}"
            );
            assert!(
                said.contains("still user `user_1` is in the organization"),
                "{said}"
            );
            assert_eq!(
                (office.keys(), office.has_user("user_1")),
                (vec!["apikey_3".to_owned()], true)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_no_failure_where_twice_is_as_good_as_once() {
    for dialect in BOTH {
        for fault in [
            Fault::LostAnswer,
            Fault::LostStatus(502),
            Fault::CutOff,
            Fault::Html(503),
            Fault::Reset,
        ] {
            let office = dialect.office().await;
            office
                .simulator
                .fail(FaultOn::endpoint("api_key").times(1), fault.clone());
            office
                .simulator
                .fail(FaultOn::endpoint("user").method("DELETE").times(1), fault);
            let (told, said) = office.told(0, "offboard user_1 --yes");
            assert_eq!(column(&told, "outcome"), ["done", "done", "done"], "{said}");
            assert_eq!(office.keys(), ["apikey_3"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_again_is_told() {
    let office = Dialect::Real.office().await;
    office.simulator.fail(
        FaultOn::endpoint("users").after(1),
        Fault::Status(403, "{}".to_owned(), None),
    );
    let (_, said) = office.told(3, "offboard user_1 --yes");
    assert!(said.contains("it could not be read what is left"), "{said}");
    assert!(!office.has_user("user_1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_live_on_where_the_service_lets_it() {
    let office = Dialect::Real.office().await;
    office.told(0, "offboard ada@example.com --keep-key apikey_2 --yes");
    assert_eq!(office.keys(), ["apikey_2", "apikey_3"]);
    let said = office.refused(1, "offboard bo@example.com --keep-key apikey_2 --yes");
    assert!(said.contains("has made no such key"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_leave_by_a_file() {
    for dialect in BOTH {
        let mut world = dialect.world();
        world
            .users
            .push(user("user_3", "cy@example.com", "developer"));
        let office = Office::of(world).await;
        let file = office.home.path("left.csv");
        std::fs::write(
            &file,
            "email,name\nada@example.com,Ada\nwho@example.com,Who\n",
        )
        .unwrap();
        let said = office.refused(1, &format!("offboard --all-left {} --yes", file.display()));
        assert!(
            said.contains("there is no user `who@example.com`"),
            "{said}"
        );
        std::fs::write(&file, "user\nada@example.com\nuser_2\n").unwrap();
        let line = format!("offboard --all-left {} --yes", file.display());
        let (told, _) = office.told(0, &line);
        assert_eq!(column(&told, "outcome").len(), 5);
        let (told, _) = office.told(0, &line);
        assert_eq!(told, serde_json::json!([]), "again: all are gone");
        std::fs::write(&file, "name\nAda\n").unwrap();
        let said = office.refused(2, &line);
        assert!(
            said.contains("one column says who is meant: `email` or `user`"),
            "{said}"
        );
        assert!(
            office.keys().is_empty() && office.has_user("user_3") && !office.has_user("user_2")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_service_is_asked_what_became_of_an_invitation() {
    let refuse = |code: &str| {
        let body = format!(
            "{{\"type\":\"error\",\"error\":{{\"type\":\"invalid_request_error\",\"message\":\"no\",\"details\":{{\"error_code\":\"{code}\"}}}}}}"
        );
        Fault::Status(400, body, None)
    };
    // Exit code, outcome, and how many invitations stand.
    let cases = [
        (Fault::Reset, 0, "done", 1),
        (Fault::LostAnswer, 0, "done", 1),
        (Fault::LostStatus(502), 0, "done", 1),
        (Fault::Html(503), 0, "done", 1),
        (
            Fault::Status(429, "{}".to_owned(), Some("0".to_owned())),
            0,
            "done",
            1,
        ),
        (refuse("org_member_limit_exceeded"), 1, "failed", 0),
        (refuse("already_member"), 0, "stands", 0),
    ];
    for (fault, exit, outcome, n_invites) in cases {
        let office = Dialect::Real.office().await;
        office.simulator.fail(
            FaultOn::endpoint("invites").method("POST").times(1),
            fault.clone(),
        );
        let (told, said) = office.told(exit, CY);
        assert_eq!(column(&told, "outcome")[1], outcome, "{fault:?}\n{said}");
        assert_eq!(office.n_invites(), n_invites, "{fault:?}\n{said}");
        office.check_audit();
    }
    // A membership that fails leaves the person invited, and says so.
    let office = Dialect::Real.office().await;
    office
        .simulator
        .fail(FaultOn::endpoint("members").method("POST"), refuse("nope"));
    let (told, said) = office.told(3, &CY.replace("cy@", "ada@"));
    assert_eq!(
        column(&told, "outcome"),
        ["by hand", "stands", "failed"],
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_made_is_looked_for_before_it_is_made_again() {
    for fault in [
        Fault::LostAnswer,
        Fault::LostStatus(500),
        Fault::Reset,
        Fault::Truncated,
    ] {
        for dialect in BOTH {
            let office = dialect.office().await;
            office.simulator.fail(
                FaultOn::endpoint("workspaces").method("POST").times(1),
                fault.clone(),
            );
            office.simulator.fail(
                FaultOn::endpoint("members").method("POST").times(1),
                fault.clone(),
            );
            let (told, said) = office.told(0, "workspaces create Ranking");
            assert_eq!(column(&told, "outcome"), ["done"], "{fault:?}\n{said}");
            let n_made = office
                .simulator
                .world()
                .workspaces
                .iter()
                .filter(|one| one.name == "Ranking")
                .count();
            assert_eq!(n_made, 1, "{fault:?}");
            if dialect == Dialect::Real {
                let (told, _) = office.told(0, "workspaces members add Search user_1");
                assert_eq!(column(&told, "outcome"), ["done"], "{fault:?}");
            }
        }
    }
}
