//! Renders a view as a page: templates that escape all text, the layout, and headers that forbid scripts, external resources
//! and caching.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{Error, Value, context};
use sha2::{Digest, Sha256};

use spendwatch_base::template::html_environment;

const STYLE: &str = include_str!("style.css");
const LAYOUT: &str = include_str!("layout.html");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageTemplate {
    Overview,
    Alert,
    Problem,
}

impl PageTemplate {
    fn text(self) -> &'static str {
        match self {
            PageTemplate::Overview => include_str!("overview.html"),
            PageTemplate::Alert => include_str!("alert.html"),
            PageTemplate::Problem => include_str!("problem.html"),
        }
    }
}

/// Route of a page. Links are relative to it, so that they work behind a proxy with its own path prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRoute {
    /// `/`
    Overview,
    /// `/alerts/{fingerprint}`
    Alert,
    /// `/alerts/{fingerprint}/ack`
    AckForm,
}

impl PageRoute {
    /// Returns the relative path of the root; not escaped, because it is our own text.
    fn root(self) -> Value {
        let path = match self {
            PageRoute::Overview => "./",
            PageRoute::Alert => "../",
            PageRoute::AckForm => "../../",
        };
        Value::from_safe_string(path.to_owned())
    }
}

/// Renders a page with its headers. The view must have a `title`.
pub fn page_response(
    status: StatusCode,
    template: PageTemplate,
    route: PageRoute,
    view: &serde_json::Value,
) -> Response {
    let mut response = match render(template, route, view) {
        Ok(page) => (status, Html(page)).into_response(),
        Err(error) => {
            tracing::error!("cannot render page: {error:#}");
            let message = "cannot render the page; see the log\n";
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer`, browsers send `Origin: null` with the form, as other sites' pages can.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Allows only our style sheet, by its hash.
fn policy() -> HeaderValue {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 fits a header")
}

fn render(
    template: PageTemplate,
    route: PageRoute,
    view: &serde_json::Value,
) -> Result<String, Error> {
    let environment = html_environment();
    let view = Value::from(Serde(view));
    let body = environment.render_str(
        template.text(),
        context! { root => route.root(), view => view.clone() },
    )?;
    let layout = context! {
        root => route.root(),
        title => view.get_attr("title")?,
        style => Value::from_safe_string(STYLE.to_owned()),
        body => Value::from_safe_string(body),
    };
    environment.render_str(LAYOUT, layout)
}
