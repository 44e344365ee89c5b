//! A receiver of posts on a loopback port: it keeps what it gets and answers as it is told; otherwise as the real one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A JSON body → the word with which it is refused.
pub(crate) type Complaint = fn(&Value) -> Option<&'static str>;

/// A query → status and body for what is not complained about.
pub(crate) type Acceptance = fn(Option<&str>) -> (u16, &'static str);

/// Runs until it is dropped.
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    complaint: Complaint,
    acceptance: Acceptance,
    answers: Mutex<VecDeque<Answer>>,
    posts: Mutex<Vec<Post>>,
    n_posts: watch::Sender<usize>,
}

/// What is answered instead.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, headers and body.
    Reply(u16, Vec<(&'static str, String)>, String),
    /// Never anything.
    Hang,
}

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Receiver {
    /// Answers 200 `ok` to whatever is not complained about.
    pub(crate) async fn start(complaint: Complaint) -> Receiver {
        Receiver::start_with(complaint, |_| (200, "ok")).await
    }

    /// Answers whatever is not complained about in its own way.
    pub(crate) async fn start_with(complaint: Complaint, acceptance: Acceptance) -> Receiver {
        let shared = Arc::new(Shared {
            complaint,
            acceptance,
            answers: Mutex::default(),
            posts: Mutex::default(),
            n_posts: watch::Sender::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/services/{*secret}", post(receive))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Receiver {
            url: format!("http://{address}/services/canary-0001"),
            shared,
            task,
        }
    }

    /// The next post is answered so.
    pub(crate) fn answer(&self, answer: Answer) {
        self.shared.answers.lock().unwrap().push_back(answer);
    }

    /// What was to be answered is forgotten: from now on it answers as the real one.
    pub(crate) fn recover(&self) {
        self.shared.answers.lock().unwrap().clear();
    }

    /// Waits until so many posts have come.
    pub(crate) async fn wait_for(&self, n: usize) {
        let mut n_posts = self.shared.n_posts.subscribe();
        n_posts.wait_for(|n_posts| *n_posts >= n).await.unwrap();
    }

    /// What came so far.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    shared.posts.lock().unwrap().push(Post { headers, body });
    shared.n_posts.send_modify(|n_posts| *n_posts += 1);
    let scripted = shared.answers.lock().unwrap().pop_front();
    match scripted {
        Some(Answer::Hang) => std::future::pending().await,
        Some(Answer::Reply(status, headers, body)) => {
            let mut response = body.into_response();
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        None => match json.as_ref().map(shared.complaint) {
            None => (StatusCode::BAD_REQUEST, "invalid_payload").into_response(),
            Some(Some(word)) => (StatusCode::BAD_REQUEST, word).into_response(),
            Some(None) => {
                let (status, body) = (shared.acceptance)(query.as_deref());
                (StatusCode::from_u16(status).unwrap(), body).into_response()
            }
        },
    }
}
