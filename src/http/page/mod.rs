//! The web page: what fires, waits and ended, one alert with its history, and a form that takes it up. It is plain HTML:
//! nothing runs in it, nothing is loaded from elsewhere, and every foreign text is escaped by the template.

mod view;

mod markup;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use crate::app::App;
use crate::http::alerts;
use crate::http::fields::{Filled, Wrong};
use crate::http::page::markup::{Place, Template, answer};
use crate::http::page::view::{AlertView, Attempt, OverviewView, ProblemView};
use crate::http::quiet;
use crate::store::overview::Counts;

/// With thousands of alerts the page stays small.
const COUNTS: Counts = Counts {
    n_firing: 200,
    n_pending: 50,
    n_ended: 20,
};

/// `GET /`: all alerts at a glance.
pub async fn overview(State(app): State<Arc<App>>) -> Response {
    let now = app.clock.now();
    let overview = app.store.overview(COUNTS, app.board.privacy(), now).await;
    match overview {
        Ok(overview) => {
            let organizations = app.board.organizations();
            let view = OverviewView::new(&overview, &organizations, now);
            answer(StatusCode::OK, Template::Overview, Place::Top, &view)
        }
        Err(error) => problem(&error.into(), Place::Top),
    }
}

/// `GET /alerts/{fingerprint}`: one alert with its history.
pub async fn alert(State(app): State<Arc<App>>, Path(fingerprint): Path<String>) -> Response {
    match view_of(&app, &fingerprint, None).await {
        Ok(view) => answer(StatusCode::OK, Template::Alert, Place::Alert, &view),
        Err(wrong) => problem(&wrong, Place::Alert),
    }
}

/// `POST /alerts/{fingerprint}/ack`: back to the alert where it is taken up, else the alert with what was wrong.
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
    filled: Result<Filled, Wrong>,
) -> Response {
    let (attempt, outcome) = match filled {
        Ok(Filled(fields)) => {
            let typed = |name: &str| fields.peek(name).unwrap_or_default().to_owned();
            let (author, comment) = (typed("author"), typed("comment"));
            let outcome = quiet::take_up(&app, &fingerprint, fields).await;
            (
                Attempt {
                    author,
                    comment,
                    problem: String::new(),
                },
                outcome,
            )
        }
        Err(wrong) => (Attempt::default(), Err(wrong)),
    };
    let Err(wrong) = outcome else {
        return back(&fingerprint);
    };
    let (status, told) = wrong.told();
    let attempt = Attempt {
        problem: told,
        ..attempt
    };
    match view_of(&app, &fingerprint, Some(attempt)).await {
        Ok(view) => answer(status, Template::Alert, Place::Form, &view),
        Err(wrong) => problem(&wrong, Place::Form),
    }
}

/// `GET /alerts/{fingerprint}/ack`: what a browser asks for when an answer to the form is opened again.
pub async fn return_to_alert(Path(fingerprint): Path<String>) -> Response {
    back(&fingerprint)
}

/// Relative, so that it is right behind a proxy that serves this under a path of its own.
fn back(fingerprint: &str) -> Response {
    let is_plain = fingerprint.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain {
        Redirect::to(&format!("../{fingerprint}")).into_response()
    } else {
        problem(&alerts::none(fingerprint), Place::Form)
    }
}

async fn view_of(
    app: &App,
    fingerprint: &str,
    attempt: Option<Attempt>,
) -> Result<AlertView, Wrong> {
    let shown = app.store.shown(fingerprint, app.board.privacy()).await?;
    let (shown, changes) = shown.ok_or_else(|| alerts::none(fingerprint))?;
    Ok(AlertView::new(&shown, &changes, attempt, app.clock.now()))
}

fn problem(wrong: &Wrong, place: Place) -> Response {
    let (status, told) = wrong.told();
    answer(status, Template::Problem, place, &ProblemView::new(&told))
}
