//! Slack's Web API on a loopback port, as far as a bot needs it: it keeps the messages of one channel, and refuses what the
//! real one refuses, with status 200 and a word.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::slack_rules;

pub(crate) const TOKEN: &str = "xoxb-canary-0001";
const CHANNEL: &str = "C0FINOPS1";

/// Runs until it is dropped.
pub(crate) struct SlackServer {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    messages: Vec<Posted>,
    n_posted: u32,
    calls: Vec<String>,
    answers: VecDeque<Scripted>,
}

/// What is answered instead.
struct Scripted {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A message that stands in the channel.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) ts: String,
    pub(crate) thread_ts: Option<String>,
    pub(crate) is_broadcast: bool,
    pub(crate) text: String,
}

impl SlackServer {
    pub(crate) async fn start() -> SlackServer {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/api/{method}", post(call))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        SlackServer { url, shared, task }
    }

    /// The next call is answered so.
    pub(crate) fn answer(&self, status: u16, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let answer = Scripted {
            status,
            headers: headers.collect(),
            body: body.to_owned(),
        };
        self.shared.lock().unwrap().answers.push_back(answer);
    }

    /// The next call is refused so.
    pub(crate) fn refuse(&self, word: &str) {
        self.answer(200, &[], &json!({ "ok": false, "error": word }).to_string());
    }

    /// Everything that stands in the channel is deleted.
    pub(crate) fn delete_all(&self) {
        self.shared.lock().unwrap().messages.clear();
    }

    /// What stands in the channel, oldest first.
    pub(crate) fn messages(&self) -> Vec<Posted> {
        self.shared.lock().unwrap().messages.clone()
    }

    /// The methods that were called since the last question.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().calls)
    }
}

impl Drop for SlackServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn call(
    State(shared): State<Arc<Mutex<Shared>>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut shared = shared.lock().unwrap();
    shared.calls.push(method.clone());
    if let Some(scripted) = shared.answers.pop_front() {
        let mut response = scripted.body.into_response();
        *response.status_mut() = StatusCode::from_u16(scripted.status).unwrap();
        for (name, value) in scripted.headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let payload: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let answer = if header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        Err("invalid_auth")
    } else if header("content-type") != Some("application/json; charset=utf-8") {
        Err("invalid_arguments")
    } else if let Some(word) = slack_rules::complaint(&payload) {
        Err(word)
    } else {
        match method.as_str() {
            "chat.postMessage" => post_message(&mut shared, &payload),
            "chat.update" => update(&mut shared, &payload),
            _ => Err("unknown_method"),
        }
    };
    Json(answer.unwrap_or_else(|word| json!({ "ok": false, "error": word }))).into_response()
}

fn text_of(payload: &Value) -> String {
    payload["text"].as_str().unwrap().to_owned()
}

fn post_message(shared: &mut Shared, payload: &Value) -> Result<Value, &'static str> {
    if !matches!(payload["channel"].as_str(), Some("#finops" | CHANNEL)) {
        return Err("channel_not_found");
    }
    let thread_ts = payload["thread_ts"].as_str().map(str::to_owned);
    let is_known = |ts: &String| shared.messages.iter().any(|message| message.ts == *ts);
    if thread_ts.as_ref().is_some_and(|ts| !is_known(ts)) {
        return Err("thread_not_found");
    }
    shared.n_posted += 1;
    let ts = format!("1795525500.{:06}", shared.n_posted);
    shared.messages.push(Posted {
        ts: ts.clone(),
        is_broadcast: payload["reply_broadcast"] == true,
        thread_ts,
        text: text_of(payload),
    });
    Ok(json!({ "ok": true, "channel": CHANNEL, "ts": ts, "message": {} }))
}

/// By the channel's id alone.
fn update(shared: &mut Shared, payload: &Value) -> Result<Value, &'static str> {
    if payload["channel"] != CHANNEL {
        return Err("channel_not_found");
    }
    let ts = payload["ts"].as_str().unwrap_or_default();
    let mut messages = shared.messages.iter_mut();
    let Some(message) = messages.find(|message| message.ts == ts) else {
        return Err("message_not_found");
    };
    message.text = text_of(payload);
    Ok(json!({ "ok": true, "channel": CHANNEL, "ts": ts, "text": message.text }))
}
