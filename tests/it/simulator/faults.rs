//! Responses of the simulator with faults.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::Value;
use spendwatch_simulator::Simulator;
use spendwatch_simulator::faults::{FaultTarget, ServerFault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{at, hours};
use crate::simulator::{OPUS, TODAY, TestResponse, get, realistic, request, start, try_get, two};

fn list() -> FaultTarget {
    FaultTarget::endpoint("workspaces")
}

/// Requests a list of five workspaces with a fault, then without.
async fn get_with_fault(fault: ServerFault) -> reqwest::Result<TestResponse> {
    let (simulator, _) = start(realistic(3, 5)).await;
    simulator.inject_fault(list().times(1), fault);
    let met = try_get(&simulator, "/v1/workspaces").await;
    assert_eq!(get(&simulator, "/v1/workspaces").await.rows("id").len(), 5);
    met
}

/// Returns all bytes until the connection closes.
async fn raw(simulator: &Simulator, path: &str) -> Vec<u8> {
    let request = request(simulator, Method::GET, path).build().unwrap();
    let address = simulator.base_url().replace("http://", "");
    let mut head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in request.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A reset connection keeps the bytes received before.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn error_statuses_proxy_pages_and_redirects() {
    let busy = ServerFault::Status(503, "{}".to_owned(), Some("7".to_owned()));
    let response = get_with_fault(busy).await.unwrap();
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("7"))
    );
    let response = get_with_fault(ServerFault::Html(502)).await.unwrap();
    assert_eq!(response.status, 502);
    assert_eq!(response.header("content-type"), Some("text/html"));
    assert!(response.body.contains("502 Bad Gateway"));
    let response = get_with_fault(ServerFault::Body("null".to_owned()))
        .await
        .unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, "null"));
    let response = get_with_fault(ServerFault::Redirect).await.unwrap();
    assert_eq!(
        response.header("location"),
        Some("http://127.0.0.1:9/elsewhere")
    );
    let there = ServerFault::RedirectTo("/v1/users".to_owned());
    let response = get_with_fault(there).await.unwrap();
    assert_eq!(
        (response.status, response.header("location")),
        (302, Some("/v1/users"))
    );
}

#[tokio::test]
async fn truncated_and_padded_bodies() {
    let (simulator, _) = start(realistic(3, 5)).await;
    let whole = get(&simulator, "/v1/workspaces").await.body;
    let half = get_with_fault(ServerFault::Truncated).await.unwrap();
    assert_eq!(half.body, whole[..whole.len() / 2]);
    assert!(get_with_fault(ServerFault::CutOff).await.is_err());
    simulator.inject_fault(list(), ServerFault::CutOff);
    let bytes = raw(&simulator, "/v1/workspaces").await;
    let received = String::from_utf8(bytes).unwrap();
    let length = format!("content-length: {}\r\n", whole.len());
    assert!(
        received.contains(&length) && received.ends_with(&whole[..whole.len() / 2]),
        "{received}"
    );
    simulator.clear_faults();
    simulator.inject_fault(list(), ServerFault::Reset);
    assert_eq!(raw(&simulator, "/v1/workspaces").await, b"");
    let padded = get_with_fault(ServerFault::Padded(3_000_000))
        .await
        .unwrap();
    assert_eq!(padded.body.len(), whole.len() + 3_000_000);
    assert_eq!(padded.rows("id").len(), 5);
}

#[tokio::test]
async fn an_endless_body_does_not_end() {
    let (simulator, _) = start(two()).await;
    simulator.inject_fault(FaultTarget::everything(), ServerFault::Endless);
    let mut response = request(&simulator, Method::GET, TODAY)
        .send()
        .await
        .unwrap();
    let mut n_bytes = 0;
    while n_bytes < 3_000_000 {
        n_bytes += response.chunk().await.unwrap().expect("no end").len();
    }
}

#[tokio::test]
async fn valid_huge_and_invalid_compression() {
    let (simulator, _) = start(realistic(3, 5)).await;
    let whole = get(&simulator, "/v1/workspaces").await.body;
    let gzip = get_with_fault(ServerFault::Gzip).await.unwrap();
    assert_eq!(gzip.body, whole, "the client unpacks it");
    simulator.inject_fault(list(), ServerFault::GzipBomb(5_000_000));
    let bytes = raw(&simulator, "/v1/workspaces").await;
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert!(bytes.len() < 50_000, "{}", bytes.len());
    let mut unpacked = Vec::new();
    GzDecoder::new(&bytes[body..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked.len(), 5_000_000);
    let lie = get_with_fault(ServerFault::NotGzip).await;
    assert!(lie.err().unwrap().is_decode());
}

#[tokio::test]
async fn wrong_rows_and_fields() {
    let field = |name: &str, json: &str| ServerFault::Field(name.to_owned(), json.to_owned());
    let null = get_with_fault(field("name", "null")).await.unwrap();
    assert!(null.json()["data"][0]["name"].is_null());
    assert_eq!(null.json()["data"][1]["name"], "Workspace 1");
    let none = get_with_fault(ServerFault::WithoutField("has_more".to_owned()))
        .await
        .unwrap();
    assert!(none.json().get("has_more").is_none());
    assert_eq!(none.rows("id").len(), 5);
    let empty = get_with_fault(ServerFault::NoRows).await.unwrap();
    let expected = r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#;
    assert_eq!(empty.body, expected);
    let twice = get_with_fault(ServerFault::DuplicateRow)
        .await
        .unwrap()
        .rows("id");
    assert_eq!((twice.len(), &twice[0]), (6, &twice[5]));
    let reversed = get_with_fault(ServerFault::Reversed).await.unwrap();
    assert_eq!(reversed.rows("id")[0], "workspace_00004");
}

#[tokio::test]
async fn faults_can_affect_one_workspace() {
    let mut world = two();
    for hour in [12, 13, 14] {
        let when = format!("2026-11-24T{hour}:00:00Z");
        world.spend("workspace_a", OPUS, at(&when), "1");
    }
    let (simulator, _) = start(world).await;
    let of_a = format!("{TODAY}&workspace_id=workspace_a");
    let one = FaultTarget::usage_of("workspace_a");
    let missing = ServerFault::MissingRows(hours("2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"));
    for (fault, expected) in [
        (missing, "2026-11-24T14:00:00Z"),
        (
            ServerFault::date("2001-01-01T00:00:00Z"),
            "2001-01-01T00:00:00Z",
        ),
        (ServerFault::negative_spend(), r#""total_cost_usd":-0.5,"#),
    ] {
        simulator.clear_faults();
        simulator.inject_fault(one.clone(), fault.clone());
        let faulty = get(&simulator, &of_a).await;
        assert!(faulty.body.contains(expected), "{fault:?}: {}", faulty.body);
        assert_ne!(faulty.body, get(&simulator, TODAY).await.body);
        assert_eq!(get(&simulator, TODAY).await.spend().to_string(), "3");
    }
    simulator.clear_faults();
    assert_eq!(get(&simulator, &of_a).await.spend().to_string(), "3");
}

#[tokio::test]
async fn endless_and_repeating_lists() {
    let (simulator, _) = start(realistic(3, 5)).await;
    for path in ["/v1/workspaces?limit=5", "/v1/users?limit=5"] {
        simulator.clear_faults();
        simulator.inject_fault(FaultTarget::everything(), ServerFault::EndlessPages);
        let mut ids = BTreeSet::new();
        let mut next_path = path.to_owned();
        for _ in 0..10 {
            let page = get(&simulator, &next_path).await;
            assert_eq!(page.json()["has_more"], true);
            let last = page.rows("id").pop().unwrap();
            assert_eq!(page.json()["last_id"], last.as_str());
            next_path = format!("{path}&after_id={last}");
            ids.extend(page.rows("id"));
        }
        assert_eq!(ids.len(), 5 + 9, "{path}");
    }
    simulator.clear_faults();
    simulator.inject_fault(list().page(2), ServerFault::SamePage);
    let first = get(&simulator, "/v1/workspaces?limit=2").await;
    assert_eq!(first.json()["last_id"], "workspace_00001");
    let path = "/v1/workspaces?limit=2&after_id=workspace_00001";
    let again = get(&simulator, path).await;
    assert_eq!(again.body, first.body);
    simulator.clear_faults();
    simulator.inject_fault(list().after(1).times(1), ServerFault::EmptyPage);
    assert_eq!(get(&simulator, path).await.rows("id").len(), 2);
    let empty = get(&simulator, path).await.json();
    assert_eq!(
        (&empty["data"], &empty["has_more"]),
        (&Value::Array(vec![]), &true.into())
    );
    assert_eq!(get(&simulator, path).await.rows("id").len(), 2);
}

#[tokio::test]
async fn stalled_responses_wait_until_released() {
    let (simulator, _) = start(two()).await;
    for fault in [
        ServerFault::NoResponse,
        ServerFault::StallAfter(10),
        ServerFault::StallAfter(0),
    ] {
        simulator.inject_fault(FaultTarget::everything().times(1), fault.clone());
        let (response, ()) = tokio::join!(get(&simulator, "/v1/workspaces"), async {
            simulator.wait_until_stalled(1).await;
            simulator.release_stalled();
        });
        assert_eq!(
            response.rows("id"),
            ["workspace_a", "workspace_b"],
            "{fault:?}"
        );
    }
    simulator.inject_fault(FaultTarget::everything(), ServerFault::StallAfter(10));
    let mut response = request(&simulator, Method::GET, "/v1/workspaces")
        .send()
        .await
        .unwrap();
    let piece = response.chunk().await.unwrap().unwrap();
    assert_eq!(piece.as_ref(), b"{\"data\":[{");
    simulator.wait_until_stalled(1).await;
}

#[tokio::test]
async fn slow_responses_follow_the_clock() {
    let (simulator, time) = start(two()).await;
    simulator.inject_fault(
        FaultTarget::everything().times(1),
        ServerFault::Delay(Duration::from_secs(40)),
    );
    let (late, ()) = tokio::join!(get(&simulator, "/v1/workspaces"), async {
        simulator.wait_for_requests(1).await;
        time.advance(Duration::from_secs(40));
    });
    assert_eq!(late.header("date"), Some("Tue, 24 Nov 2026 14:30:40 GMT"));
    simulator.inject_fault(list(), ServerFault::Drip(50, Duration::from_secs(3)));
    let began = simulator.now();
    let slow = tokio::select! {
        slow = get(&simulator, "/v1/workspaces") => slow,
        () = async { loop {
            time.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }} => unreachable!("time goes on"),
    };
    assert_eq!(slow.body, late.body);
    let n_pieces = i64::try_from(slow.body.len().div_ceil(50)).unwrap();
    let took = simulator.now().duration_since(began).as_secs();
    assert!(
        n_pieces > 3 && took >= 3 * n_pieces,
        "{took} s, {n_pieces} pieces"
    );
}
