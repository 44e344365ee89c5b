//! The web page: an overview of alerts, and each alert with its history and an acknowledgement form.
//!
//! It is plain HTML without scripts and external resources; the templates escape all text.

mod view;

mod markup;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::Value;

use crate::app::App;
use crate::http::alerts;
use crate::http::body::{FormBody, RequestError};
use crate::http::page::markup::{PageRoute, PageTemplate, page_response};
use crate::http::page::view::AckForm;
use crate::http::silences::{self, AckFields};
use spendwatch_store::alerts::overview::OverviewLimits;

/// Limits the page with thousands of alerts.
const COUNTS: OverviewLimits = OverviewLimits {
    n_firing: 200,
    n_pending: 50,
    n_ended: 20,
};

/// `GET /`: overview of alerts.
pub async fn overview(State(app): State<Arc<App>>) -> Response {
    let now = app.clock.now();
    let overview = app
        .store
        .overview(COUNTS, app.published.privacy(), now)
        .await;
    match overview {
        Ok(overview) => {
            let organizations = app.published.organizations();
            let view = view::overview(&overview, &organizations, now);
            page_response(
                StatusCode::OK,
                PageTemplate::Overview,
                PageRoute::Overview,
                &view,
            )
        }
        Err(error) => problem_response(&error.into(), PageRoute::Overview),
    }
}

/// `GET /alerts/{fingerprint}`: an alert with its history.
pub async fn alert(State(app): State<Arc<App>>, Path(fingerprint): Path<String>) -> Response {
    match alert_view(&app, &fingerprint, &AckForm::default()).await {
        Ok(view) => page_response(StatusCode::OK, PageTemplate::Alert, PageRoute::Alert, &view),
        Err(error) => problem_response(&error, PageRoute::Alert),
    }
}

/// `POST /alerts/{fingerprint}/ack`: redirects to the alert, or shows it with the problem.
pub async fn acknowledge(
    State(app): State<Arc<App>>,
    Path(fingerprint): Path<String>,
    form: Result<FormBody<AckFields>, RequestError>,
) -> Response {
    let mut shown = AckForm::default();
    let outcome = match form {
        Ok(FormBody(by)) => {
            shown.author.clone_from(&by.author);
            shown.comment = by.comment.clone().unwrap_or_default();
            silences::acknowledge_alert(&app, &fingerprint, by).await
        }
        Err(error) => Err(error),
    };
    let Err(error) = outcome else {
        return redirect_to_alert(&fingerprint);
    };
    let (status, message) = error.status_and_message();
    shown.problem = message;
    match alert_view(&app, &fingerprint, &shown).await {
        Ok(view) => page_response(status, PageTemplate::Alert, PageRoute::AckForm, &view),
        Err(error) => problem_response(&error, PageRoute::AckForm),
    }
}

/// `GET /alerts/{fingerprint}/ack`: redirects to the alert when a browser reopens the response to the form.
pub async fn return_to_alert(Path(fingerprint): Path<String>) -> Response {
    redirect_to_alert(&fingerprint)
}

/// Relative, so that it works behind a proxy with its own path prefix.
fn redirect_to_alert(fingerprint: &str) -> Response {
    let is_plain = fingerprint.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain {
        Redirect::to(&format!("../{fingerprint}")).into_response()
    } else {
        problem_response(&alerts::not_found(fingerprint), PageRoute::AckForm)
    }
}

async fn alert_view(app: &App, fingerprint: &str, form: &AckForm) -> Result<Value, RequestError> {
    let shown = app
        .store
        .displayed_alert(fingerprint, app.published.privacy())
        .await?;
    let (shown, changes) = shown.ok_or_else(|| alerts::not_found(fingerprint))?;
    Ok(view::alert(&shown, &changes, form, app.clock.now()))
}

fn problem_response(error: &RequestError, route: PageRoute) -> Response {
    let (status, message) = error.status_and_message();
    page_response(
        status,
        PageTemplate::Problem,
        route,
        &view::problem(&message),
    )
}
