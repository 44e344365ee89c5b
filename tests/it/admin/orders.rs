//! Noun by noun: each command in each dialect.

use super::{BOTH, Dialect, Office, column};

#[tokio::test(flavor = "multi_thread")]
async fn the_organization_is_shown_and_only_what_is_named_changes() {
    let office = Dialect::Guide.office().await;
    let (told, _) = office.told(0, "org show");
    assert_eq!(told[0]["default_model"], "claude-sonnet-4-5");
    assert_eq!(told[0]["require_mfa"], true);
    let (_, said) = office.told(0, "org update --default-model claude-opus-4-5");
    assert!(
        said.contains("default_model: claude-sonnet-4-5 -> claude-opus-4-5"),
        "{said}"
    );
    let seen = office.simulator.seen();
    let sent = seen.iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(
        sent.body,
        r#"{"settings":{"default_model":"claude-opus-4-5"}}"#
    );
    let settings = office.simulator.world().settings.clone();
    assert_eq!(
        (settings.default_model.as_str(), settings.require_mfa),
        ("claude-opus-4-5", true)
    );
    // Again: nothing is left to do, and nothing is sent.
    let said = office.refused(
        0,
        "org update --default-model claude-opus-4-5 --require-mfa true",
    );
    assert!(said.contains("all of it is so already"), "{said}");
    office.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_post_is_told_by_post_once() {
    let mut world = Dialect::Guide.world();
    world.without_patch = true;
    let office = Office::of(world).await;
    office.told(0, "org update --require-mfa false");
    let seen = office.simulator.seen();
    let sent: Vec<&str> = seen
        .iter()
        .map(|seen| seen.method.as_str())
        .filter(|method| *method != "GET")
        .collect();
    assert_eq!(sent, ["PATCH", "POST"]);
    assert!(!office.simulator.world().settings.require_mfa);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_lock_somebody_out_is_asked_twice() {
    let office = Dialect::Guide.office().await;
    let narrow = "org update --allowed-ip-ranges 10.0.0.0/8";
    for line in [narrow.to_owned(), format!("{narrow} --yes")] {
        let said = office.refused(2, &line);
        assert!(
            said.contains("add `--yes --yes`") && said.contains("organization `acme`"),
            "{said}"
        );
    }
    office.told(0, &format!("{narrow} --yes --yes"));
    assert_eq!(
        office.simulator.world().settings.allowed_ip_ranges,
        ["10.0.0.0/8"]
    );
    // Who lets more in is not asked.
    office.told(0, "org update --allowed-ip-ranges everywhere");
    assert!(
        office
            .simulator
            .world()
            .settings
            .allowed_ip_ranges
            .is_empty()
    );
    let said = office.refused(2, "org update --allowed-ip-ranges 10.0.0.7/8,nonsense");
    assert!(
        said.contains("did you mean `10.0.0.0/8`") && said.contains("`nonsense` is no block"),
        "{said}"
    );
    let said = office.refused(2, "org update");
    assert!(said.contains("nothing is asked for"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_listed_invited_changed_and_removed() {
    for dialect in BOTH {
        let office = dialect.office().await;
        let (told, _) = office.told(0, "users list --role billing");
        assert_eq!(column(&told, "email"), ["bo@example.com"]);
        let (told, _) = office.told(0, "users invite cy@example.com --role developer --dry-run");
        assert_eq!(column(&told, "outcome"), ["planned"]);
        assert_eq!(office.simulator.n_not_get(), 0);
        let (told, _) = office.told(0, "users invite cy@example.com --role developer");
        assert_eq!(column(&told, "outcome"), ["done"]);
        assert_eq!(office.simulator.world().invites[0].email, "cy@example.com");
        // Once more: the service says that it has it.
        let (told, _) = office.told(0, "users invite cy@example.com --role developer");
        assert_eq!(column(&told, "outcome"), ["stands"]);
        assert_eq!(office.simulator.world().invites.len(), 1);
        office.told(0, "users set-role ADA@example.com billing");
        assert_eq!(office.simulator.world().users[0].role, "billing");
        let said = office.refused(0, "users set-role user_1 billing");
        assert!(said.contains("is billing already"), "{said}");
        let said = office.refused(2, "users set-role user_1 emperor");
        assert!(
            said.contains("`emperor` is no role of this service"),
            "{said}"
        );
        let said = office.refused(1, "users remove nobody@example.com --yes");
        assert!(
            said.contains("there is no user `nobody@example.com`"),
            "{said}"
        );
        let said = office.refused(2, "users remove bo@example.com");
        assert!(
            said.contains("add `--yes`") && said.contains("`bo@example.com`"),
            "{said}"
        );
        office.told(0, "users remove bo@example.com --yes");
        assert!(!office.has_user("user_2"));
        office.check_audit();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_are_listed_and_taken_back_where_the_service_can() {
    let office = Dialect::Real.office().await;
    office.told(0, "users invite cy@example.com --role user");
    let (told, _) = office.told(0, "invites list --status pending");
    assert_eq!(column(&told, "email"), ["cy@example.com"]);
    office.told(0, "invites remove cy@example.com --yes");
    let (told, _) = office.told(0, "invites list");
    assert_eq!(column(&told, "status"), ["deleted"]);
    let said = office.refused(1, "invites remove cy@example.com --yes");
    assert!(said.contains("there is no open invitation"), "{said}");
    let guide = Dialect::Guide.office().await;
    for line in ["invites list", "invites remove invite_1 --yes"] {
        let said = guide.refused(2, line);
        assert!(said.contains("this service"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_keys_secret_goes_to_one_place() {
    let office = Dialect::Guide.office().await;
    let said = office.refused(2, "keys create deploy --workspace Search");
    assert!(said.contains("`--secret-out FILE`"), "{said}");
    let file = office.home.path("secret");
    let (told, _) = office.told(
        0,
        &format!(
            "keys create deploy --workspace Search --secret-out {}",
            file.display()
        ),
    );
    assert_eq!(column(&told, "outcome"), ["done"]);
    let secret = office.simulator.world().secrets[0].clone();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    let said = office.refused(
        1,
        &format!(
            "keys create deploy --workspace Search --secret-out {}",
            file.display()
        ),
    );
    assert!(said.contains("is there already"), "{said}");
    let got = office.home.path("got");
    office.told(
        0,
        &format!(
            "keys create deploy --workspace Search --secret-to-command 'cat > {}'",
            got.display()
        ),
    );
    assert_eq!(
        std::fs::read_to_string(&got).unwrap(),
        office.simulator.world().secrets[1]
    );
    let n_keys = office.keys().len();
    let (told, said) = office.told(
        3,
        "keys create deploy --workspace Search --secret-to-command false",
    );
    assert_eq!(column(&told, "outcome"), ["undone"]);
    assert!(said.contains("revoked again"), "{said}");
    assert_eq!(office.keys().len(), n_keys);
    let unused = office.home.path("unused");
    let said = office.refused(
        2,
        &format!(
            "keys create deploy --workspace Nowhere --secret-out {}",
            unused.display()
        ),
    );
    assert!(
        said.contains("there is no workspace `Nowhere`") && !unused.exists(),
        "{said}"
    );
    office.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_service_creates_no_keys_and_says_where() {
    let office = Dialect::Real.office().await;
    let said = office.refused(
        2,
        "keys create deploy --workspace Search --secret-out ./never",
    );
    assert!(
        said.contains("in the Console alone") && said.contains("workspaces members add"),
        "{said}"
    );
    for (line, expected) in [
        (
            "org update --require-mfa true --yes --yes",
            "no settings of the organization",
        ),
        ("workspaces create X --limit-usd 5", "without limits"),
    ] {
        let said = office.refused(2, line);
        assert!(said.contains(expected), "{said}");
    }
    let guide = Dialect::Guide.office().await;
    for line in [
        "keys rename apikey_1 other",
        "keys restore apikey_1",
        "keys revoke apikey_1 --archive --yes",
        "workspaces archive Search --yes",
        "workspaces members list Search",
        "workspaces create X --tag team=x",
        "offboard user_1 --keep-key apikey_1 --yes",
    ] {
        let said = guide.refused(2, line);
        assert!(said.contains("service"), "{line}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_renamed_revoked_and_restored() {
    let office = Dialect::Real.office().await;
    let (told, _) = office.told(0, "keys list --user ada@example.com --workspace Search");
    assert_eq!(column(&told, "id"), ["apikey_1", "apikey_2"]);
    assert_eq!(
        column(&told, "created_by"),
        ["ada@example.com", "ada@example.com"]
    );
    office.told(0, "keys rename apikey_1 'ci 2026'");
    assert_eq!(office.simulator.world().keys[0].name, "ci 2026");
    office.told(0, "keys revoke apikey_1 apikey_2 --yes");
    assert_eq!(office.keys(), ["apikey_3"]);
    office.told(0, "keys restore apikey_1");
    assert_eq!(office.keys(), ["apikey_1", "apikey_3"]);
    office.told(0, "keys revoke apikey_1 --archive --yes");
    let said = office.refused(1, "keys restore apikey_1");
    assert!(
        said.contains("is archived; only one that is inactive can be restored"),
        "{said}"
    );
    let said = office.refused(1, "keys revoke apikey_9 apikey_3 --yes");
    assert!(
        said.contains("there is no key apikey_9; nothing was changed"),
        "{said}"
    );
    let said = office.refused(2, "keys list --idle 90d");
    assert!(said.contains("no ledger here knows it"), "{said}");
    office.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_revoked_in_batches() {
    let mut world = Dialect::Guide.world();
    let old = "2026-01-01T00:00:00Z".parse().unwrap();
    for key in &mut world.keys {
        key.last_used_at = Some(old);
    }
    world.keys[1].last_used_at = Some(spendwatch::clock::Clock::system().now());
    let office = Office::of(world).await;
    let (told, _) = office.told(0, "keys list --idle 90d");
    assert_eq!(column(&told, "id"), ["apikey_1", "apikey_3"]);
    let (told, _) = office.told(0, "keys revoke --idle 90d --dry-run");
    assert_eq!(column(&told, "target"), ["apikey_1", "apikey_3"]);
    let said = office.refused(2, "keys revoke --idle 90d");
    assert!(said.contains("these 2 keys"), "{said}");
    office.told(0, "keys revoke --idle 90d --yes");
    assert_eq!(office.keys(), ["apikey_2"]);
    let file = office.home.path("ids");
    std::fs::write(&file, "# old\napikey_1\napikey_2 # gone soon\n\n").unwrap();
    // The one that is left is in use.
    let line = format!("keys revoke --from {} --yes --yes", file.display());
    let (told, said) = office.told(0, &line);
    assert_eq!(column(&told, "target"), ["apikey_2"]);
    assert!(said.contains("key `apikey_1` is not there"), "{said}");
    assert!(office.keys().is_empty());
    std::fs::write(&file, "apikey_1, apikey_2\n").unwrap();
    let said = office.refused(2, &format!("keys revoke --from {} --yes", file.display()));
    assert!(
        said.contains("line 1: `apikey_1, apikey_2` is no id"),
        "{said}"
    );
    let said = office.refused(2, "keys revoke --yes");
    assert!(said.contains("no key is named"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_listed_made_archived_and_joined() {
    let guide = Dialect::Guide.office().await;
    guide.told(
        0,
        "workspaces create 'Sales & Söhne' --limit-usd 99.50 --requests-per-minute 60",
    );
    let (told, _) = guide.told(0, "workspaces list");
    let new = &told[2];
    assert_eq!(
        (new["name"].as_str(), new["monthly_limit_usd"].as_str()),
        (Some("Sales & Söhne"), Some("99.5"))
    );
    assert_eq!(
        (
            told[0]["active_keys"].as_i64(),
            new["requests_per_minute"].as_i64()
        ),
        (Some(3), Some(60))
    );
    let said = guide.refused(1, "workspaces create Search");
    assert!(said.contains("is there already"), "{said}");
    let real = Dialect::Real.office().await;
    real.told(0, "workspaces create Sales --tag team=sales");
    real.told(
        0,
        "workspaces members add Search ada@example.com --role workspace_admin",
    );
    let (told, _) = real.told(0, "workspaces members list Search");
    assert_eq!(column(&told, "workspace_role"), ["workspace_admin"]);
    let (told, _) = real.told(0, "workspaces members add Search ada@example.com");
    assert_eq!(column(&told, "outcome"), ["stands"]);
    real.told(
        0,
        "workspaces members set-role Search user_1 --role workspace_user",
    );
    real.told(0, "workspaces members remove Search user_1 --yes");
    let said = real.refused(
        2,
        "workspaces members add Search ada@example.com --role workspace_billing",
    );
    assert!(said.contains("cannot be given by the API"), "{said}");
    let said = real.refused(2, "workspaces archive Search");
    assert!(
        said.contains("cannot be undone; disables its 3 active keys"),
        "{said}"
    );
    real.told(0, "workspaces archive Search --yes");
    assert!(real.keys().is_empty());
    real.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_to_mend_and_sends_nothing() {
    for dialect in BOTH {
        let office = dialect.office().await;
        let (told, _) = office.told(0, "doctor");
        let health = column(&told, "health");
        assert!(!health.contains(&"bad".to_owned()), "{told}");
        assert!(
            column(&told, "told")
                .iter()
                .any(|text| text.contains("may read keys")),
            "{told}"
        );
        office.simulator.world().clock_skew = jiff::SignedDuration::from_mins(5);
        office.simulator.fail(
            spendwatch::simulator::faults::FaultOn::endpoint("users"),
            spendwatch::simulator::faults::Fault::Status(403, "{}".to_owned(), None),
        );
        let (told, _) = office.told(1, "doctor");
        let bad: Vec<_> = told
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["health"] == "bad")
            .collect();
        assert!(
            bad.len() == 1 && bad[0]["mend"] == "let NTP set this machine's clock",
            "{told}"
        );
        assert!(column(&told, "health").contains(&"warning".to_owned()));
        office.simulator.accept_key("sk-ant-admin-another");
        let (told, _) = office.told(1, "doctor");
        assert!(
            told.to_string()
                .contains("the Admin API rejected the key (401)"),
            "{told}"
        );
        assert_eq!(office.simulator.n_not_get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_may_read_is_warned_about_and_one_that_they_may_write_refused() {
    use std::os::unix::fs::PermissionsExt;
    let office = Dialect::Guide.office().await;
    let set = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(office.home.path("key"), mode).unwrap();
    };
    set(0o644);
    let (_, said) = office.told(0, "users list");
    assert!(
        said.contains("may be read by others; `chmod go-r` it"),
        "{said}"
    );
    let (_, said) = office.told(0, "users list --quiet");
    assert_eq!(said, "");
    set(0o622);
    let said = office.refused(2, "users list");
    assert!(
        said.contains("may be written by others; `chmod go-w"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_told() {
    let office = Dialect::Guide.office().await;
    let busy =
        spendwatch::simulator::faults::Fault::Status(429, "{}".to_owned(), Some("3600".to_owned()));
    office.simulator.fail(
        spendwatch::simulator::faults::FaultOn::endpoint("users"),
        busy,
    );
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(["users", "list", "--config"])
        .arg(office.home.path("spendwatch.toml"))
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(
        line.contains("the service asks to be left alone for 3600 s"),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
