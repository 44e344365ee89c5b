//! What a client meets while the simulated service fails.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::Value;
use spendwatch::simulator::Simulator;
use spendwatch::simulator::faults::{Fault, FaultOn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{at, hours};
use crate::simulator::{Answer, OPUS, TODAY, get, realistic, request, start, try_get, two};

fn list() -> FaultOn {
    FaultOn::endpoint("workspaces")
}

/// Meets a fault once in the list of five workspaces; after it all is well.
async fn meet(fault: Fault) -> reqwest::Result<Answer> {
    let (simulator, _) = start(realistic(3, 5)).await;
    simulator.fail(list().times(1), fault);
    let met = try_get(&simulator, "/v1/workspaces").await;
    assert_eq!(get(&simulator, "/v1/workspaces").await.rows("id").len(), 5);
    met
}

/// Every byte that comes before the connection closes.
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
    // A connection that is reset has told what it has told.
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn statuses_pages_of_proxies_and_redirects() {
    let busy = Fault::Status(503, "{}".to_owned(), Some("7".to_owned()));
    let answer = meet(busy).await.unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("7"))
    );
    let answer = meet(Fault::Html(502)).await.unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert!(answer.body.contains("502 Bad Gateway"));
    let answer = meet(Fault::Body("null".to_owned())).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "null"));
    let answer = meet(Fault::Redirect).await.unwrap();
    assert_eq!(
        answer.header("location"),
        Some("http://127.0.0.1:9/elsewhere")
    );
    let there = Fault::RedirectTo("/v1/users".to_owned());
    let answer = meet(there).await.unwrap();
    assert_eq!(
        (answer.status, answer.header("location")),
        (302, Some("/v1/users"))
    );
}

#[tokio::test]
async fn bodies_that_are_cut_off_or_too_long() {
    let (simulator, _) = start(realistic(3, 5)).await;
    let whole = get(&simulator, "/v1/workspaces").await.body;
    let half = meet(Fault::Truncated).await.unwrap();
    assert_eq!(half.body, whole[..whole.len() / 2]);
    assert!(meet(Fault::CutOff).await.is_err());
    simulator.fail(list(), Fault::CutOff);
    let bytes = raw(&simulator, "/v1/workspaces").await;
    let told = String::from_utf8(bytes).unwrap();
    let length = format!("content-length: {}\r\n", whole.len());
    assert!(
        told.contains(&length) && told.ends_with(&whole[..whole.len() / 2]),
        "{told}"
    );
    simulator.heal();
    simulator.fail(list(), Fault::Reset);
    assert_eq!(raw(&simulator, "/v1/workspaces").await, b"");
    let padded = meet(Fault::Padded(3_000_000)).await.unwrap();
    assert_eq!(padded.body.len(), whole.len() + 3_000_000);
    assert_eq!(padded.rows("id").len(), 5);
}

#[tokio::test]
async fn an_endless_body_has_no_end() {
    let (simulator, _) = start(two()).await;
    simulator.fail(FaultOn::everything(), Fault::Endless);
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
async fn compression_that_is_right_huge_or_a_lie() {
    let (simulator, _) = start(realistic(3, 5)).await;
    let whole = get(&simulator, "/v1/workspaces").await.body;
    let gzip = meet(Fault::Gzip).await.unwrap();
    assert_eq!(gzip.body, whole, "the client unpacks it");
    simulator.fail(list(), Fault::GzipBomb(5_000_000));
    let bytes = raw(&simulator, "/v1/workspaces").await;
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert!(bytes.len() < 50_000, "{}", bytes.len());
    let mut unpacked = Vec::new();
    GzDecoder::new(&bytes[body..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked.len(), 5_000_000);
    let lie = meet(Fault::NotGzip).await;
    assert!(lie.err().unwrap().is_decode());
}

#[tokio::test]
async fn rows_and_fields_that_are_wrong() {
    let field = |name: &str, json: &str| Fault::Field(name.to_owned(), json.to_owned());
    let null = meet(field("name", "null")).await.unwrap();
    assert!(null.json()["data"][0]["name"].is_null());
    assert_eq!(null.json()["data"][1]["name"], "Workspace 1");
    let none = meet(Fault::WithoutField("has_more".to_owned()))
        .await
        .unwrap();
    assert!(none.json().get("has_more").is_none());
    assert_eq!(none.rows("id").len(), 5);
    let empty = meet(Fault::NoRows).await.unwrap();
    let expected = r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#;
    assert_eq!(empty.body, expected);
    let twice = meet(Fault::DuplicateRow).await.unwrap().rows("id");
    assert_eq!((twice.len(), &twice[0]), (6, &twice[5]));
    let reversed = meet(Fault::Reversed).await.unwrap();
    assert_eq!(reversed.rows("id")[0], "workspace_00004");
}

#[tokio::test]
async fn usage_that_is_wrong_for_one_workspace_alone() {
    let mut world = two();
    for hour in [12, 13, 14] {
        let when = format!("2026-11-24T{hour}:00:00Z");
        world.spend("workspace_a", OPUS, at(&when), "1");
    }
    let (simulator, _) = start(world).await;
    let of_a = format!("{TODAY}&workspace_id=workspace_a");
    let one = FaultOn::usage_of("workspace_a");
    let missing = Fault::MissingRows(hours("2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"));
    for (fault, expected) in [
        (missing, "2026-11-24T14:00:00Z"),
        (Fault::date("2001-01-01T00:00:00Z"), "2001-01-01T00:00:00Z"),
        (Fault::negative_spend(), r#""total_cost_usd":-0.5,"#),
    ] {
        simulator.heal();
        simulator.fail(one.clone(), fault.clone());
        let struck = get(&simulator, &of_a).await;
        assert!(struck.body.contains(expected), "{fault:?}: {}", struck.body);
        assert_ne!(struck.body, get(&simulator, TODAY).await.body);
        assert_eq!(get(&simulator, TODAY).await.spend().to_string(), "3");
    }
    simulator.heal();
    assert_eq!(get(&simulator, &of_a).await.spend().to_string(), "3");
}

#[tokio::test]
async fn lists_that_never_end_or_begin_again() {
    let (simulator, _) = start(realistic(3, 5)).await;
    for path in ["/v1/workspaces?limit=5", "/v1/users?limit=5"] {
        simulator.heal();
        simulator.fail(FaultOn::everything(), Fault::EndlessPages);
        let mut told = BTreeSet::new();
        let mut asked = path.to_owned();
        for _ in 0..10 {
            let page = get(&simulator, &asked).await;
            assert_eq!(page.json()["has_more"], true);
            let last = page.rows("id").pop().unwrap();
            assert_eq!(page.json()["last_id"], last.as_str());
            asked = format!("{path}&after_id={last}");
            told.extend(page.rows("id"));
        }
        assert_eq!(told.len(), 5 + 9, "{path}");
    }
    simulator.heal();
    simulator.fail(list().page(2), Fault::SamePage);
    let first = get(&simulator, "/v1/workspaces?limit=2").await;
    assert_eq!(first.json()["last_id"], "workspace_00001");
    let path = "/v1/workspaces?limit=2&after_id=workspace_00001";
    let again = get(&simulator, path).await;
    assert_eq!(again.body, first.body);
    simulator.heal();
    simulator.fail(list().after(1).times(1), Fault::EmptyPage);
    assert_eq!(get(&simulator, path).await.rows("id").len(), 2);
    let empty = get(&simulator, path).await.json();
    assert_eq!(
        (&empty["data"], &empty["has_more"]),
        (&Value::Array(vec![]), &true.into())
    );
    assert_eq!(get(&simulator, path).await.rows("id").len(), 2);
}

#[tokio::test]
async fn silence_lasts_until_it_is_released() {
    let (simulator, _) = start(two()).await;
    for fault in [Fault::Silence, Fault::StallAfter(10), Fault::StallAfter(0)] {
        simulator.fail(FaultOn::everything().times(1), fault.clone());
        let (answer, ()) = tokio::join!(get(&simulator, "/v1/workspaces"), async {
            simulator.until_silent(1).await;
            simulator.release();
        });
        assert_eq!(
            answer.rows("id"),
            ["workspace_a", "workspace_b"],
            "{fault:?}"
        );
    }
    simulator.fail(FaultOn::everything(), Fault::StallAfter(10));
    let mut response = request(&simulator, Method::GET, "/v1/workspaces")
        .send()
        .await
        .unwrap();
    let piece = response.chunk().await.unwrap().unwrap();
    assert_eq!(piece.as_ref(), b"{\"data\":[{");
    simulator.until_silent(1).await;
}

#[tokio::test]
async fn slow_answers_come_by_the_clock() {
    let (simulator, time) = start(two()).await;
    simulator.fail(
        FaultOn::everything().times(1),
        Fault::Delay(Duration::from_secs(40)),
    );
    let (late, ()) = tokio::join!(get(&simulator, "/v1/workspaces"), async {
        simulator.until_seen(1).await;
        time.advance(Duration::from_secs(40));
    });
    assert_eq!(late.header("date"), Some("Tue, 24 Nov 2026 14:30:40 GMT"));
    simulator.fail(list(), Fault::Drip(50, Duration::from_secs(3)));
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
