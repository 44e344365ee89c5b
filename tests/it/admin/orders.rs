//! Each admin command in each dialect.

use super::{AdminFixture, BOTH, Dialect, column};

#[tokio::test(flavor = "multi_thread")]
async fn org_update_changes_only_given_settings() {
    let fixture = Dialect::Guide.fixture().await;
    let (rows, _) = fixture.run_json(0, "org show");
    assert_eq!(rows[0]["default_model"], "claude-sonnet-4-5");
    assert_eq!(rows[0]["require_mfa"], true);
    let (_, stderr) = fixture.run_json(0, "org update --default-model claude-opus-4-5");
    assert!(
        stderr.contains("default_model: claude-sonnet-4-5 -> claude-opus-4-5"),
        "{stderr}"
    );
    let seen = fixture.simulator.requests();
    let sent = seen.iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(
        sent.body,
        r#"{"settings":{"default_model":"claude-opus-4-5"}}"#
    );
    let settings = fixture.simulator.world().settings.clone();
    assert_eq!(
        (settings.default_model.as_str(), settings.require_mfa),
        ("claude-opus-4-5", true)
    );
    // A rerun sends nothing.
    let stderr = fixture.run_refused(
        0,
        "org update --default-model claude-opus-4-5 --require-mfa true",
    );
    assert!(
        stderr.contains("no change: the settings already have these values"),
        "{stderr}"
    );
    fixture.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn falls_back_to_post_once() {
    let mut world = Dialect::Guide.world();
    world.without_patch = true;
    let fixture = AdminFixture::of(world).await;
    fixture.run_json(0, "org update --require-mfa false");
    let seen = fixture.simulator.requests();
    let sent: Vec<&str> = seen
        .iter()
        .map(|seen| seen.method.as_str())
        .filter(|method| *method != "GET")
        .collect();
    assert_eq!(sent, ["PATCH", "POST"]);
    assert!(!fixture.simulator.world().settings.require_mfa);
}

#[tokio::test(flavor = "multi_thread")]
async fn restricting_settings_need_two_confirmations() {
    let fixture = Dialect::Guide.fixture().await;
    let narrow = "org update --allowed-ip-ranges 10.0.0.0/8";
    for line in [narrow.to_owned(), format!("{narrow} --yes")] {
        let stderr = fixture.run_refused(2, &line);
        assert!(
            stderr.contains("pass `--yes --yes`") && stderr.contains("organization `acme`"),
            "{stderr}"
        );
    }
    fixture.run_json(0, &format!("{narrow} --yes --yes"));
    assert_eq!(
        fixture.simulator.world().settings.allowed_ip_ranges,
        ["10.0.0.0/8"]
    );
    // Lifting a restriction needs no confirmation.
    fixture.run_json(0, "org update --allowed-ip-ranges everywhere");
    assert!(
        fixture
            .simulator
            .world()
            .settings
            .allowed_ip_ranges
            .is_empty()
    );
    let stderr = fixture.run_refused(2, "org update --allowed-ip-ranges 10.0.0.7/8,nonsense");
    assert!(
        stderr.contains("did you mean `10.0.0.0/8`")
            && stderr.contains("`nonsense` is not a CIDR block"),
        "{stderr}"
    );
    let stderr = fixture.run_refused(2, "org update");
    assert!(stderr.contains("no settings given"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_lifecycle() {
    for dialect in BOTH {
        let fixture = dialect.fixture().await;
        let (rows, _) = fixture.run_json(0, "users list --role billing");
        assert_eq!(column(&rows, "email"), ["bo@example.com"]);
        let (rows, _) =
            fixture.run_json(0, "users invite cy@example.com --role developer --dry-run");
        assert_eq!(column(&rows, "outcome"), ["planned"]);
        assert_eq!(fixture.simulator.n_writes(), 0);
        let (rows, _) = fixture.run_json(0, "users invite cy@example.com --role developer");
        assert_eq!(column(&rows, "outcome"), ["done"]);
        assert_eq!(fixture.simulator.world().invites[0].email, "cy@example.com");
        // The server reports that it already exists.
        let (rows, _) = fixture.run_json(0, "users invite cy@example.com --role developer");
        assert_eq!(column(&rows, "outcome"), ["stands"]);
        assert_eq!(fixture.simulator.world().invites.len(), 1);
        fixture.run_json(0, "users set-role ADA@example.com billing");
        assert_eq!(fixture.simulator.world().users[0].role, "billing");
        let stderr = fixture.run_refused(0, "users set-role user_1 billing");
        assert!(stderr.contains("already has role billing"), "{stderr}");
        let stderr = fixture.run_refused(2, "users set-role user_1 emperor");
        assert!(stderr.contains("unknown role `emperor`"), "{stderr}");
        let stderr = fixture.run_refused(1, "users remove nobody@example.com --yes");
        assert!(stderr.contains("no user `nobody@example.com`"), "{stderr}");
        let stderr = fixture.run_refused(2, "users remove bo@example.com");
        assert!(
            stderr.contains("pass `--yes`") && stderr.contains("`bo@example.com`"),
            "{stderr}"
        );
        fixture.run_json(0, "users remove bo@example.com --yes");
        assert!(!fixture.has_user("user_2"));
        fixture.check_audit();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_lifecycle() {
    let fixture = Dialect::Real.fixture().await;
    fixture.run_json(0, "users invite cy@example.com --role user");
    let (rows, _) = fixture.run_json(0, "invites list --status pending");
    assert_eq!(column(&rows, "email"), ["cy@example.com"]);
    fixture.run_json(0, "invites remove cy@example.com --yes");
    let (rows, _) = fixture.run_json(0, "invites list");
    assert_eq!(column(&rows, "status"), ["deleted"]);
    let stderr = fixture.run_refused(1, "invites remove cy@example.com --yes");
    assert!(stderr.contains("no pending invitation"), "{stderr}");
    let guide = Dialect::Guide.fixture().await;
    for line in ["invites list", "invites remove invite_1 --yes"] {
        let stderr = guide.run_refused(2, line);
        assert!(stderr.contains("`guide` servers cannot"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_is_written_to_one_destination() {
    let fixture = Dialect::Guide.fixture().await;
    let stderr = fixture.run_refused(2, "keys create deploy --workspace Search");
    assert!(stderr.contains("`--secret-out FILE`"), "{stderr}");
    let file = fixture.home.path("secret");
    let (rows, _) = fixture.run_json(
        0,
        &format!(
            "keys create deploy --workspace Search --secret-out {}",
            file.display()
        ),
    );
    assert_eq!(column(&rows, "outcome"), ["done"]);
    let secret = fixture.simulator.world().secrets[0].clone();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), secret);
    let stderr = fixture.run_refused(
        1,
        &format!(
            "keys create deploy --workspace Search --secret-out {}",
            file.display()
        ),
    );
    assert!(stderr.contains("already exists"), "{stderr}");
    let got = fixture.home.path("got");
    fixture.run_json(
        0,
        &format!(
            "keys create deploy --workspace Search --secret-to-command 'cat > {}'",
            got.display()
        ),
    );
    assert_eq!(
        std::fs::read_to_string(&got).unwrap(),
        fixture.simulator.world().secrets[1]
    );
    let n_keys = fixture.keys().len();
    let (rows, stderr) = fixture.run_json(
        3,
        "keys create deploy --workspace Search --secret-to-command false",
    );
    assert_eq!(column(&rows, "outcome"), ["undone"]);
    assert!(stderr.contains("revoked again"), "{stderr}");
    assert_eq!(fixture.keys().len(), n_keys);
    let unused = fixture.home.path("unused");
    let stderr = fixture.run_refused(
        2,
        &format!(
            "keys create deploy --workspace Nowhere --secret-out {}",
            unused.display()
        ),
    );
    assert!(
        stderr.contains("no workspace `Nowhere`") && !unused.exists(),
        "{stderr}"
    );
    fixture.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_server_refuses_unsupported_changes() {
    let fixture = Dialect::Real.fixture().await;
    let stderr = fixture.run_refused(
        2,
        "keys create deploy --workspace Search --secret-out ./never",
    );
    assert!(
        stderr.contains("only the Console can") && stderr.contains("workspaces members add"),
        "{stderr}"
    );
    for (line, expected) in [
        (
            "org update --require-mfa true --yes --yes",
            "cannot change settings of the organization",
        ),
        (
            "workspaces create X --limit-usd 5",
            "cannot create workspaces with limits",
        ),
    ] {
        let stderr = fixture.run_refused(2, line);
        assert!(stderr.contains(expected), "{stderr}");
    }
    let guide = Dialect::Guide.fixture().await;
    for line in [
        "keys rename apikey_1 other",
        "keys restore apikey_1",
        "keys revoke apikey_1 --archive --yes",
        "workspaces archive Search --yes",
        "workspaces members list Search",
        "workspaces create X --tag team=x",
        "offboard user_1 --keep-key apikey_1 --yes",
    ] {
        let stderr = guide.run_refused(2, line);
        assert!(stderr.contains("`guide` servers "), "{line}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lifecycle() {
    let fixture = Dialect::Real.fixture().await;
    let (rows, _) = fixture.run_json(0, "keys list --user ada@example.com --workspace Search");
    assert_eq!(column(&rows, "id"), ["apikey_1", "apikey_2"]);
    assert_eq!(
        column(&rows, "created_by"),
        ["ada@example.com", "ada@example.com"]
    );
    fixture.run_json(0, "keys rename apikey_1 'ci 2026'");
    assert_eq!(fixture.simulator.world().keys[0].name, "ci 2026");
    fixture.run_json(0, "keys revoke apikey_1 apikey_2 --yes");
    assert_eq!(fixture.keys(), ["apikey_3"]);
    fixture.run_json(0, "keys restore apikey_1");
    assert_eq!(fixture.keys(), ["apikey_1", "apikey_3"]);
    fixture.run_json(0, "keys revoke apikey_1 --archive --yes");
    let stderr = fixture.run_refused(1, "keys restore apikey_1");
    assert!(
        stderr.contains("is archived, expected an inactive key"),
        "{stderr}"
    );
    let stderr = fixture.run_refused(1, "keys revoke apikey_9 apikey_3 --yes");
    assert!(stderr.contains("no API key `apikey_9`"), "{stderr}");
    let stderr = fixture.run_refused(2, "keys list --idle 90d");
    assert!(stderr.contains("no ledger has it"), "{stderr}");
    fixture.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn revokes_keys_by_idle_time_and_file() {
    let mut world = Dialect::Guide.world();
    let old = "2026-01-01T00:00:00Z".parse().unwrap();
    for key in &mut world.keys {
        key.last_used_at = Some(old);
    }
    world.keys[1].last_used_at = Some(spendwatch_base::clock::Clock::system().now());
    let fixture = AdminFixture::of(world).await;
    let (rows, _) = fixture.run_json(0, "keys list --idle 90d");
    assert_eq!(column(&rows, "id"), ["apikey_1", "apikey_3"]);
    let (rows, _) = fixture.run_json(0, "keys revoke --idle 90d --dry-run");
    assert_eq!(column(&rows, "target"), ["apikey_1", "apikey_3"]);
    let stderr = fixture.run_refused(2, "keys revoke --idle 90d");
    assert!(stderr.contains("Revoke 2 keys"), "{stderr}");
    fixture.run_json(0, "keys revoke --idle 90d --yes");
    assert_eq!(fixture.keys(), ["apikey_2"]);
    let file = fixture.home.path("ids");
    std::fs::write(&file, "# old\napikey_1\napikey_2 # gone soon\n\n").unwrap();
    // The remaining key is in use.
    let line = format!("keys revoke --from {} --yes --yes", file.display());
    let (rows, stderr) = fixture.run_json(0, &line);
    assert_eq!(column(&rows, "target"), ["apikey_2"]);
    assert!(stderr.contains("key `apikey_1` does not exist"), "{stderr}");
    assert!(fixture.keys().is_empty());
    std::fs::write(&file, "apikey_1, apikey_2\n").unwrap();
    let stderr = fixture.run_refused(2, &format!("keys revoke --from {} --yes", file.display()));
    assert!(
        stderr.contains("line 1: `apikey_1, apikey_2` is not an id"),
        "{stderr}"
    );
    let stderr = fixture.run_refused(2, "keys revoke --yes");
    assert!(stderr.contains("no keys given"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_lifecycle() {
    let guide = Dialect::Guide.fixture().await;
    guide.run_json(
        0,
        "workspaces create 'Sales & Söhne' --limit-usd 99.50 --requests-per-minute 60",
    );
    let (rows, _) = guide.run_json(0, "workspaces list");
    let new = &rows[2];
    assert_eq!(
        (new["name"].as_str(), new["monthly_limit_usd"].as_str()),
        (Some("Sales & Söhne"), Some("99.5"))
    );
    assert_eq!(
        (
            rows[0]["active_keys"].as_i64(),
            new["requests_per_minute"].as_i64()
        ),
        (Some(3), Some(60))
    );
    let stderr = guide.run_refused(1, "workspaces create Search");
    assert!(stderr.contains("already exists"), "{stderr}");
    let real = Dialect::Real.fixture().await;
    real.run_json(0, "workspaces create Sales --tag team=sales");
    real.run_json(
        0,
        "workspaces members add Search ada@example.com --role workspace_admin",
    );
    let (rows, _) = real.run_json(0, "workspaces members list Search");
    assert_eq!(column(&rows, "workspace_role"), ["workspace_admin"]);
    let (rows, _) = real.run_json(0, "workspaces members add Search ada@example.com");
    assert_eq!(column(&rows, "outcome"), ["stands"]);
    real.run_json(
        0,
        "workspaces members set-role Search user_1 --role workspace_user",
    );
    real.run_json(0, "workspaces members remove Search user_1 --yes");
    let stderr = real.run_refused(
        2,
        "workspaces members add Search ada@example.com --role workspace_billing",
    );
    assert!(
        stderr.contains("the API cannot assign role `workspace_billing`"),
        "{stderr}"
    );
    let stderr = real.run_refused(2, "workspaces archive Search");
    assert!(
        stderr.contains("cannot be undone; disables its 3 active keys"),
        "{stderr}"
    );
    real.run_json(0, "workspaces archive Search --yes");
    assert!(real.keys().is_empty());
    real.check_audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_suggests_fixes_and_writes_nothing() {
    for dialect in BOTH {
        let fixture = dialect.fixture().await;
        let (rows, _) = fixture.run_json(0, "doctor");
        let health = column(&rows, "health");
        assert!(!health.contains(&"bad".to_owned()), "{rows}");
        assert!(
            column(&rows, "told")
                .iter()
                .any(|text| text.contains("can read keys")),
            "{rows}"
        );
        fixture.simulator.world().clock_skew = jiff::SignedDuration::from_mins(5);
        fixture.simulator.inject_fault(
            spendwatch_simulator::faults::FaultTarget::endpoint("users"),
            spendwatch_simulator::faults::ServerFault::Status(403, "{}".to_owned(), None),
        );
        let (rows, _) = fixture.run_json(1, "doctor");
        let bad: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["health"] == "bad")
            .collect();
        assert!(
            bad.len() == 1 && bad[0]["mend"] == "synchronize this machine's clock with NTP",
            "{rows}"
        );
        assert!(column(&rows, "health").contains(&"warning".to_owned()));
        fixture.simulator.accept_key("sk-ant-admin-another");
        let (rows, _) = fixture.run_json(1, "doctor");
        assert!(
            rows.to_string()
                .contains("the Admin API rejected the key (401)"),
            "{rows}"
        );
        assert_eq!(fixture.simulator.n_writes(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readable_key_file_warns_and_writable_one_fails() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Dialect::Guide.fixture().await;
    let set = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(fixture.home.path("key"), mode).unwrap();
    };
    set(0o644);
    let (_, stderr) = fixture.run_json(0, "users list");
    assert!(stderr.contains("run `chmod go-r` on it"), "{stderr}");
    let (_, stderr) = fixture.run_json(0, "users list --quiet");
    assert_eq!(stderr, "");
    set(0o622);
    let stderr = fixture.run_refused(2, "users list");
    assert!(
        stderr.contains("is writable by other users: `organizations[0].admin_key.file`")
            && stderr.contains("; run `chmod go-w "),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_wait_is_logged() {
    let fixture = Dialect::Guide.fixture().await;
    let busy = spendwatch_simulator::faults::ServerFault::Status(
        429,
        "{}".to_owned(),
        Some("3600".to_owned()),
    );
    fixture.simulator.inject_fault(
        spendwatch_simulator::faults::FaultTarget::endpoint("users"),
        busy,
    );
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(["users", "list", "--config"])
        .arg(fixture.home.path("spendwatch.toml"))
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(
        line.contains("rate limited by the Admin API, waiting 3600 s"),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
