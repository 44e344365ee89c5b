//! Secrets from AWS Secrets Manager, against a moto server and fake credential endpoints of containers and instances. Skipped unless
//! `SPENDWATCH_TEST_MOTO_PYTHON` is a Python with moto.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use spendwatch_base::clock::Clock;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::world::World;

use crate::program::{Home, Program, exchange, month_rule};

/// A moto server, killed on drop.
struct Moto {
    child: Child,
    address: String,
}

impl Moto {
    fn start() -> Option<Moto> {
        let python = std::env::var_os("SPENDWATCH_TEST_MOTO_PYTHON")?;
        let mut child = Command::new(python)
            .args(["-m", "moto.server", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line =
            lines.find_map(|line| line.ok().filter(|line| line.contains("Running on http://")));
        let address = line.unwrap().rsplit('/').next().unwrap().to_owned();
        // Keeps the pipe from filling up.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Moto { child, address })
    }

    /// Calls Secrets Manager; moto accepts any signature.
    fn call(&self, action: &str, body: &str) {
        let credential = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0";
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Amz-Target: secretsmanager.{action}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nAuthorization: {credential}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let response = String::from_utf8(exchange(&self.address, &request)).unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }

    fn create(&self, name: &str, secret: &str) {
        self.call(
            "CreateSecret",
            &serde_json::json!({"Name": name, "SecretString": secret}).to_string(),
        );
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "canary-of-aws".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command with only these AWS variables.
fn run(
    home: &Home,
    line: &[&str],
    environment: &[(&'static str, String)],
) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_spendwatch"))
        .args(line)
        .arg("--config")
        .arg(home.path("spendwatch.toml"))
        .env_clear()
        .env("HOME", home.folder.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(
            environment
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        )
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn configure(home: &Home, simulator: &Simulator, admin_key: &str) {
    home.configure(simulator, "");
    let path = home.path("spendwatch.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let key = format!("{{ file = \"{}\" }}", home.path("key").display());
    std::fs::write(&path, text.replace(&key, admin_key)).unwrap();
}

async fn simulator() -> Simulator {
    let mut world = World::empty();
    world.add_workspace("workspace_a", "Alpha");
    Simulator::start(world, Clock::system()).await.unwrap()
}

const LIST: [&str; 4] = ["workspaces", "list", "--output", "json"];

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_a_field_or_the_whole_text() {
    let Some(moto) = Moto::start() else { return };
    let (simulator, home) = (simulator().await, Home::new());
    let key = simulator.key().expose().to_owned();
    moto.create(
        "prod/claude",
        &format!("{{\"anthropic_admin_key\":\"{key}\",\"other\":\"canary-other\"}}"),
    );
    moto.create("plain", &key);
    for source in [
        "{ aws_secret = \"prod/claude\" }",
        "{ aws_secret = \"prod/claude\", field = \"anthropic_admin_key\", region = \"us-east-1\" }",
        "{ aws_secret = \"plain\" }",
    ] {
        configure(&home, &simulator, source);
        let (code, output) = run(&home, &LIST, &moto.environment());
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains("Alpha"), "{output}");
    }
    // Not even trace logs contain a secret.
    let mut traced = moto.environment();
    traced.push(("RUST_LOG", "trace".to_owned()));
    let (code, output) = run(&home, &LIST, &traced);
    assert!(code == Some(0) && output.contains("Alpha"), "{output}");
    assert!(
        !output.contains(&key) && !output.contains("canary"),
        "a secret in a trace log"
    );
    let (code, output) = run(&home, &["check-config", "--show"], &moto.environment());
    assert!(
        code == Some(0) && output.contains("admin_key = { aws_secret = \"plain\" }"),
        "{output}"
    );
    for (source, expected) in [
        (
            "{ aws_secret = \"prod/claude\", field = \"nope\" }",
            "no field `nope`; available: anthropic_admin_key, other",
        ),
        (
            "{ aws_secret = \"missing\" }",
            "AWS Secrets Manager, secret `missing`: ",
        ),
        (
            "{ aws_secret = \"plain\", field = \"x\" }",
            "not a JSON object",
        ),
    ] {
        configure(&home, &simulator, source);
        let (code, output) = run(&home, &LIST, &moto.environment());
        assert_eq!(code, Some(1), "{output}");
        assert!(
            output.contains(expected) && !output.contains(&key) && !output.contains("canary"),
            "{output}"
        );
    }
    let no_region: Vec<_> = moto
        .environment()
        .into_iter()
        .filter(|(name, _)| *name != "AWS_REGION")
        .collect();
    configure(&home, &simulator, "{ aws_secret = \"plain\" }");
    let (_, output) = run(&home, &LIST, &no_region);
    assert!(output.contains("no region; set `region`"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_a_profile_or_a_web_identity() {
    let Some(moto) = Moto::start() else { return };
    let (simulator, home) = (simulator().await, Home::new());
    moto.create("plain", simulator.key().expose());
    configure(&home, &simulator, "{ aws_secret = \"plain\" }");
    let endpoint = || ("AWS_ENDPOINT_URL", format!("http://{}", moto.address));
    std::fs::create_dir(home.path(".aws")).unwrap();
    std::fs::write(
        home.path(".aws/config"),
        "[profile ops]\nregion = us-east-1\n",
    )
    .unwrap();
    std::fs::write(
        home.path(".aws/credentials"),
        "[ops]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = canary\n",
    )
    .unwrap();
    let (code, output) = run(
        &home,
        &LIST,
        &[endpoint(), ("AWS_PROFILE", "ops".to_owned())],
    );
    assert_eq!(code, Some(0), "{output}");
    let token = home.path("token");
    std::fs::write(&token, "a.b.c").unwrap();
    let web = [
        endpoint(),
        ("AWS_REGION", "us-east-1".to_owned()),
        (
            "AWS_ROLE_ARN",
            "arn:aws:iam::123456789012:role/spendwatch".to_owned(),
        ),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
    ];
    let (code, output) = run(&home, &LIST, &web);
    assert_eq!(code, Some(0), "{output}");
}

/// Starts a server of credential endpoints; the channel receives the request lines.
fn credentials_server() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (send, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if send.send(respond(stream)).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

fn respond(mut stream: TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let credentials = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"canary","Token":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
    let body = match line.split(' ').nth(1).unwrap_or_default() {
        "/latest/api/token" => "token",
        "/latest/meta-data/iam/security-credentials/"
        | "/latest/meta-data/iam/security-credentials-extended/" => "role",
        "/latest/meta-data/placement/region" => "us-east-1",
        _ => credentials,
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 600\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // The client may have disconnected.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_a_container_or_an_instance() {
    let Some(moto) = Moto::start() else { return };
    let (simulator, home) = (simulator().await, Home::new());
    moto.create("plain", simulator.key().expose());
    configure(&home, &simulator, "{ aws_secret = \"plain\" }");
    let (address, requests) = credentials_server();
    let common = || {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", moto.address)),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    };
    let mut container = common();
    container.push((
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        format!("http://{address}/pod"),
    ));
    container.push((
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "canary-token".to_owned(),
    ));
    let (code, output) = run(&home, &LIST, &container);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(requests.recv().unwrap(), "GET /pod HTTP/1.1");
    let mut instance = common();
    instance.push((
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        format!("http://{address}"),
    ));
    instance.push(("AWS_EC2_METADATA_DISABLED", "false".to_owned()));
    let (code, output) = run(&home, &LIST, &instance);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(requests.recv().unwrap(), "PUT /latest/api/token HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_needs_no_restart() {
    let Some(moto) = Moto::start() else { return };
    let (simulator, home) = (simulator().await, Home::new());
    moto.create("plain", simulator.key().expose());
    configure(&home, &simulator, "{ aws_secret = \"plain\" }");
    let path = home.path("spendwatch.toml");
    let text = std::fs::read_to_string(&path).unwrap() + &month_rule("100");
    std::fs::write(&path, text).unwrap();
    let environment = moto.environment();
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut program = Program::start(
        &home,
        &["run", "--config", path.to_str().unwrap()],
        &environment,
    );
    program.wait_for("cycle ok");
    simulator.accept_key("sk-ant-admin-canary-rotated");
    program.wait_for("rejected the key");
    moto.call(
        "PutSecretValue",
        r#"{"SecretId":"plain","SecretString":"sk-ant-admin-canary-rotated"}"#,
    );
    program.wait_for("cycle ok");
    program.signal("TERM");
    let (status, log) = program.ended();
    assert!(status.success());
    assert!(!log.join("\n").contains("canary"), "{log:?}");
}
