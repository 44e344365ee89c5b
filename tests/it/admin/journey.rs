//! Onboarding and offboarding with a fault at every step: the report matches the state.

use serde_json::Value;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};

use super::{AdminFixture, BOTH, Dialect, column, key, user};

const CY: &str = "onboard cy@example.com --name 'Cy Low' --team search --workspace Search";

impl AdminFixture {
    fn onboard(&self, exit: i32) -> (Value, String) {
        let place = self.home.path("cy.key");
        self.run_json(exit, &format!("{CY} --secret-out {}", place.display()))
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
async fn onboarding_creates_key_and_invitation_once() {
    let fixture = Dialect::Guide.fixture().await;
    let (rows, _) = fixture.run_json(0, &format!("{CY} --dry-run"));
    assert_eq!(column(&rows, "outcome"), ["planned", "planned"]);
    assert_eq!(fixture.simulator.n_writes(), 0);
    let (rows, _) = fixture.onboard(0);
    assert_eq!(column(&rows, "outcome"), ["done", "done"]);
    let expires = rows[0]["key_expires_at"].as_str().unwrap().to_owned();
    let world_key = fixture.simulator.world().keys.last().unwrap().clone();
    assert_eq!(world_key.expires_at.unwrap().to_string(), expires);
    let secret = std::fs::read_to_string(fixture.home.path("cy.key")).unwrap();
    assert_eq!(secret, fixture.simulator.world().secrets[0]);
    // A rerun creates nothing and needs no secret destination.
    let (rows, _) = fixture.run_json(0, CY);
    assert_eq!(column(&rows, "outcome"), ["stands", "stands"]);
    assert_eq!((fixture.n_secrets(), fixture.n_invites()), (1, 1));
    fixture.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_server_only_sends_invitation() {
    let fixture = Dialect::Real.fixture().await;
    let stderr = fixture.run_refused(2, &format!("{CY} --secret-out ./never"));
    assert!(stderr.contains("omit `--secret-out`"), "{stderr}");
    let (rows, _) = fixture.run_json(0, CY);
    assert_eq!(column(&rows, "outcome"), ["by hand", "done", "by hand"]);
    fixture.simulator.world().accept_invite("cy@example.com");
    let (rows, _) = fixture.run_json(0, CY);
    assert_eq!(column(&rows, "outcome"), ["by hand", "stands", "done"]);
    let (rows, _) = fixture.run_json(0, CY);
    assert_eq!(column(&rows, "outcome"), ["by hand", "stands", "stands"]);
    assert_eq!(fixture.n_invites(), 1);
}

/// Expected state after a fault.
struct Case {
    on: FaultTarget,
    fault: ServerFault,
    exit: i32,
    outcomes: [&'static str; 2],
    has_key: bool,
    has_invite: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn report_after_fault_is_correct_and_rerun_completes() {
    let refuse = || {
        ServerFault::Status(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#
                .to_owned(),
            None,
        )
    };
    let keys = || FaultTarget::endpoint("api_keys").method("POST");
    let invites = || FaultTarget::endpoint("users_invite");
    let cases = [
        Case {
            on: keys(),
            fault: refuse(),
            exit: 1,
            outcomes: ["failed", "not begun"],
            has_key: false,
            has_invite: false,
        },
        // Not created: the lookup finds nothing and the request is repeated.
        Case {
            on: keys().times(1),
            fault: ServerFault::Reset,
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: keys().times(1),
            fault: ServerFault::Html(503),
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        // Created, but the secret is lost: the key is revoked and another one created.
        Case {
            on: keys().times(1),
            fault: ServerFault::LostResponse,
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: keys().times(1),
            fault: ServerFault::LostStatus(502),
            exit: 0,
            outcomes: ["done", "done"],
            has_key: true,
            has_invite: true,
        },
        Case {
            on: keys().times(1),
            fault: ServerFault::CutOff,
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
        // The invitation may have been sent: the key is kept and reported.
        Case {
            on: invites(),
            fault: ServerFault::Reset,
            exit: 3,
            outcomes: ["done", "unknown"],
            has_key: true,
            has_invite: false,
        },
        Case {
            on: invites(),
            fault: ServerFault::LostResponse,
            exit: 3,
            outcomes: ["done", "unknown"],
            has_key: true,
            has_invite: true,
        },
    ];
    for case in cases {
        let fixture = Dialect::Guide.fixture().await;
        fixture
            .simulator
            .inject_fault(case.on.clone(), case.fault.clone());
        let (rows, stderr) = fixture.onboard(case.exit);
        let about = format!("{:?} {:?}\n{stderr}", case.on, case.fault);
        assert_eq!(column(&rows, "outcome"), case.outcomes, "{about}");
        assert_eq!(
            (fixture.key_of_cy().is_some(), fixture.n_invites() > 0),
            (case.has_key, case.has_invite),
            "{about}"
        );
        assert_eq!(
            fixture.home.path("cy.key").exists(),
            case.has_key,
            "{about}"
        );
        if case.exit == 1 {
            assert!(stderr.contains("nothing was created"), "{about}");
        }
        if case.exit == 3 {
            assert!(
                stderr.contains(&format!("key `{}` (done)", fixture.key_of_cy().unwrap())),
                "{about}"
            );
        }
        fixture.check_audit();
        fixture.simulator.clear_faults();
        let place = fixture.home.path("again.key");
        let (rows, stderr) = fixture.run_json(0, &format!("{CY} --secret-out {}", place.display()));
        let is_there = |outcome: &String| outcome == "done" || outcome == "stands";
        assert!(
            column(&rows, "outcome").iter().all(is_there),
            "{about} {stderr}"
        );
        let n_keys = fixture
            .simulator
            .world()
            .keys
            .iter()
            .filter(|key| key.name == "Cy Low - search")
            .count();
        assert_eq!((n_keys, fixture.n_invites()), (1, 1), "{about}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_revocation_is_reported() {
    let fixture = Dialect::Guide.fixture().await;
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("users_invite"),
        ServerFault::Status(400, "{}".to_owned(), None),
    );
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("api_key").method("DELETE"),
        ServerFault::Status(403, "{}".to_owned(), None),
    );
    let (rows, stderr) = fixture.onboard(3);
    assert_eq!(column(&rows, "outcome"), ["done", "failed"]);
    let key = fixture.key_of_cy().unwrap();
    assert!(
        stderr.contains(&format!("existing: key `{key}`")),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn onboards_users_from_file() {
    let fixture = Dialect::Guide.fixture().await;
    let (file, folder) = (fixture.home.path("people.csv"), fixture.home.path("keys"));
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
    let stderr = fixture.run_refused(2, &line);
    for expected in [
        "line 3: `nobody` is not an email address",
        "line 4: `cy@example.com` is listed twice",
        "line 5: `name` is empty",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    std::fs::write(&file, "email,name,team,workspace,role\ncy@example.com,Cy,a,Nowhere,emperor\ndi@example.com,Di,b,Search,emperor\n").unwrap();
    let stderr = fixture.run_refused(2, &line);
    assert!(
        stderr.contains("line 2: ") && stderr.contains("line 3: "),
        "{stderr}"
    );
    std::fs::write(&file, "email,name,team,workspace\ncy@example.com,Cy,a,Search\nada@example.com,Ada,b,Support\nei@example.com,Ei,c,Search\n").unwrap();
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("users_invite").after(1).times(1),
        ServerFault::Status(400, "{}".to_owned(), None),
    );
    let (rows, stderr) = fixture.run_json(3, &line);
    assert_eq!(
        column(&rows, "outcome"),
        ["done", "done", "done", "stands", "undone", "failed"],
        "{stderr}"
    );
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["ada@example.com.key", "cy@example.com.key"]);
    let (rows, _) = fixture.run_json(0, &line);
    assert_eq!(
        column(&rows, "outcome"),
        ["stands", "stands", "stands", "stands", "done", "done"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_create_one_key() {
    let fixture = Dialect::Guide.fixture().await;
    let start = |name: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"))
            .args(super::words(CY))
            .arg("--secret-out")
            .arg(fixture.home.path(name))
            .arg("--config")
            .arg(fixture.home.path("spendwatch.toml"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [start("one"), start("two")];
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((fixture.n_secrets(), fixture.n_invites()), (1, 1));
    fixture.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn offboarding_revokes_all_keys() {
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
        let fixture = AdminFixture::of(world).await;
        let (rows, _) = fixture.run_json(0, "offboard ada@example.com --dry-run");
        assert_eq!(column(&rows, "outcome").len(), 253);
        assert_eq!(fixture.simulator.n_writes(), 0);
        let stderr = fixture.run_refused(2, "offboard ada@example.com");
        assert!(
            stderr.contains("Revoke 252 keys of `user_1` (ada@example.com)"),
            "{stderr}"
        );
        let (rows, stderr) = fixture.run_json(0, "offboard ada@example.com --yes");
        assert!(
            column(&rows, "outcome")
                .iter()
                .all(|outcome| outcome == "done")
        );
        assert!(
            stderr.contains("verified: user `user_1` was removed"),
            "{stderr}"
        );
        assert_eq!(
            (fixture.keys(), fixture.has_user("user_1")),
            (vec!["apikey_3".to_owned()], false)
        );
        let seen = fixture.simulator.requests();
        let sent: Vec<&str> = seen
            .iter()
            .filter(|seen| seen.method != "GET")
            .map(spendwatch_simulator::faults::request_log::LoggedRequest::route)
            .collect();
        assert!(
            sent.last().unwrap().ends_with("/users/user_1"),
            "revoke before remove"
        );
        // Removed users are found by id, or by address through the audit log.
        for who in ["user_1", "Ada@example.com"] {
            let (rows, stderr) = fixture.run_json(0, &format!("offboard {who} --yes"));
            assert_eq!(rows, serde_json::json!([]), "{stderr}");
        }
        let stderr = fixture.run_refused(1, "offboard nobody@example.com --yes");
        assert!(stderr.contains("use the id"), "{stderr}");
        fixture.check_audit();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_step_does_not_stop_offboarding() {
    let forbidden = || ServerFault::Status(403, "{}".to_owned(), None);
    for dialect in BOTH {
        let fixture = dialect.fixture().await;
        let revoke = || FaultTarget::endpoint("api_key").times(1);
        fixture.simulator.inject_fault(revoke(), forbidden());
        let (rows, stderr) = fixture.run_json(3, "offboard user_1 --yes");
        assert_eq!(
            column(&rows, "outcome"),
            ["failed", "done", "done"],
            "{stderr}"
        );
        assert!(!fixture.has_user("user_1"));
        let stands = fixture.keys().contains(&"apikey_1".to_owned());
        // The `guide` server revokes the keys with the user.
        assert_eq!(stands, dialect == Dialect::Real, "{stderr}");
        assert_eq!(
            stderr.contains("key `apikey_1` is still active"),
            stands,
            "{stderr}"
        );
        fixture.simulator.clear_faults();
        fixture.run_json(0, "offboard user_1 --yes");
        assert_eq!(fixture.keys(), ["apikey_3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_revoked_even_if_removal_fails() {
    for dialect in BOTH {
        for fault in [
            ServerFault::Status(400, "{}".to_owned(), None),
            ServerFault::Html(502),
            ServerFault::Reset,
        ] {
            let fixture = dialect.fixture().await;
            fixture
                .simulator
                .inject_fault(FaultTarget::endpoint("user").method("DELETE"), fault);
            let (rows, stderr) = fixture.run_json(3, "offboard user_1 --yes");
            let outcomes = column(&rows, "outcome");
            assert_eq!(outcomes[..2], ["done", "done"], "{stderr}");
            assert!(
                ["failed", "unknown"].contains(&outcomes[2].as_str()),
                "{outcomes:?}"
            );
            assert!(
                stderr.contains("user `user_1` is still in the organization"),
                "{stderr}"
            );
            assert_eq!(
                (fixture.keys(), fixture.has_user("user_1")),
                (vec!["apikey_3".to_owned()], true)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_response_of_repeatable_change_is_retried() {
    for dialect in BOTH {
        for fault in [
            ServerFault::LostResponse,
            ServerFault::LostStatus(502),
            ServerFault::CutOff,
            ServerFault::Html(503),
            ServerFault::Reset,
        ] {
            let fixture = dialect.fixture().await;
            fixture
                .simulator
                .inject_fault(FaultTarget::endpoint("api_key").times(1), fault.clone());
            fixture.simulator.inject_fault(
                FaultTarget::endpoint("user").method("DELETE").times(1),
                fault,
            );
            let (rows, stderr) = fixture.run_json(0, "offboard user_1 --yes");
            assert_eq!(
                column(&rows, "outcome"),
                ["done", "done", "done"],
                "{stderr}"
            );
            assert_eq!(fixture.keys(), ["apikey_3"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_verification_is_reported() {
    let fixture = Dialect::Real.fixture().await;
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("users").after(1),
        ServerFault::Status(403, "{}".to_owned(), None),
    );
    let (_, stderr) = fixture.run_json(3, "offboard user_1 --yes");
    assert!(
        stderr.contains("cannot verify that user `user_1` was offboarded"),
        "{stderr}"
    );
    assert!(!fixture.has_user("user_1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_can_be_kept_where_supported() {
    let fixture = Dialect::Real.fixture().await;
    fixture.run_json(0, "offboard ada@example.com --keep-key apikey_2 --yes");
    assert_eq!(fixture.keys(), ["apikey_2", "apikey_3"]);
    let stderr = fixture.run_refused(1, "offboard bo@example.com --keep-key apikey_2 --yes");
    assert!(stderr.contains("did not create key `apikey_2`"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offboards_users_from_file() {
    for dialect in BOTH {
        let mut world = dialect.world();
        world
            .users
            .push(user("user_3", "cy@example.com", "developer"));
        let fixture = AdminFixture::of(world).await;
        let file = fixture.home.path("left.csv");
        std::fs::write(
            &file,
            "email,name\nada@example.com,Ada\nwho@example.com,Who\n",
        )
        .unwrap();
        let stderr =
            fixture.run_refused(1, &format!("offboard --all-left {} --yes", file.display()));
        assert!(stderr.contains("no user `who@example.com`"), "{stderr}");
        std::fs::write(&file, "user\nada@example.com\nuser_2\n").unwrap();
        let line = format!("offboard --all-left {} --yes", file.display());
        let (rows, _) = fixture.run_json(0, &line);
        assert_eq!(column(&rows, "outcome").len(), 5);
        let (rows, _) = fixture.run_json(0, &line);
        assert_eq!(rows, serde_json::json!([]), "again: all are gone");
        std::fs::write(&file, "name\nAda\n").unwrap();
        let stderr = fixture.run_refused(2, &line);
        assert!(
            stderr.contains("exactly one of the columns `email` or `user`"),
            "{stderr}"
        );
        assert!(
            fixture.keys().is_empty() && fixture.has_user("user_3") && !fixture.has_user("user_2")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_invitation_is_looked_up() {
    let refuse = |code: &str| {
        let body = format!(
            "{{\"type\":\"error\",\"error\":{{\"type\":\"invalid_request_error\",\"message\":\"no\",\"details\":{{\"error_code\":\"{code}\"}}}}}}"
        );
        ServerFault::Status(400, body, None)
    };
    // Exit code, outcome and number of invitations.
    let cases = [
        (ServerFault::Reset, 0, "done", 1),
        (ServerFault::LostResponse, 0, "done", 1),
        (ServerFault::LostStatus(502), 0, "done", 1),
        (ServerFault::Html(503), 0, "done", 1),
        (
            ServerFault::Status(429, "{}".to_owned(), Some("0".to_owned())),
            0,
            "done",
            1,
        ),
        (refuse("org_member_limit_exceeded"), 1, "failed", 0),
        (refuse("already_member"), 0, "stands", 0),
    ];
    for (fault, exit, outcome, n_invites) in cases {
        let fixture = Dialect::Real.fixture().await;
        fixture.simulator.inject_fault(
            FaultTarget::endpoint("invites").method("POST").times(1),
            fault.clone(),
        );
        let (rows, stderr) = fixture.run_json(exit, CY);
        assert_eq!(column(&rows, "outcome")[1], outcome, "{fault:?}\n{stderr}");
        assert_eq!(fixture.n_invites(), n_invites, "{fault:?}\n{stderr}");
        fixture.check_audit();
    }
    // A failed membership keeps the invitation and is reported.
    let fixture = Dialect::Real.fixture().await;
    fixture.simulator.inject_fault(
        FaultTarget::endpoint("members").method("POST"),
        refuse("nope"),
    );
    let (rows, stderr) = fixture.run_json(3, &CY.replace("cy@", "ada@"));
    assert_eq!(
        column(&rows, "outcome"),
        ["by hand", "stands", "failed"],
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_creation_is_looked_up_before_retry() {
    for fault in [
        ServerFault::LostResponse,
        ServerFault::LostStatus(500),
        ServerFault::Reset,
        ServerFault::Truncated,
    ] {
        for dialect in BOTH {
            let fixture = dialect.fixture().await;
            fixture.simulator.inject_fault(
                FaultTarget::endpoint("workspaces").method("POST").times(1),
                fault.clone(),
            );
            fixture.simulator.inject_fault(
                FaultTarget::endpoint("members").method("POST").times(1),
                fault.clone(),
            );
            let (rows, stderr) = fixture.run_json(0, "workspaces create Ranking");
            assert_eq!(column(&rows, "outcome"), ["done"], "{fault:?}\n{stderr}");
            let n_made = fixture
                .simulator
                .world()
                .workspaces
                .iter()
                .filter(|one| one.name == "Ranking")
                .count();
            assert_eq!(n_made, 1, "{fault:?}");
            if dialect == Dialect::Real {
                let (rows, _) = fixture.run_json(0, "workspaces members add Search user_1");
                assert_eq!(column(&rows, "outcome"), ["done"], "{fault:?}");
            }
        }
    }
}
