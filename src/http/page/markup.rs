//! A view → a page: templates in which every text is escaped, around them the layout, and headers that let nothing run in it,
//! load into it, or keep a copy of it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("style.css");
const LAYOUT: &str = include_str!("layout.html");

/// What a page has below its heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// All alerts at a glance.
    Overview,
    Alert,
    /// Why there is nothing to show.
    Problem,
}

impl Template {
    fn text(self) -> &'static str {
        match self {
            Template::Overview => include_str!("overview.html"),
            Template::Alert => include_str!("alert.html"),
            Template::Problem => include_str!("problem.html"),
        }
    }
}

/// Under which path a page is shown. Links are relative, so that they are right behind a proxy that serves this under a path
/// of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `/`
    Top,
    /// `/alerts/{fingerprint}`
    Alert,
    /// `/alerts/{fingerprint}/ack`
    Form,
}

impl Place {
    /// Our own text, and the same in every link: it is not escaped.
    fn root(self) -> Value {
        let path = match self {
            Place::Top => "./",
            Place::Alert => "../",
            Place::Form => "../../",
        };
        Value::from_safe_string(path.to_owned())
    }
}

/// A page with its headers. The view has a `title`.
pub fn answer(
    status: StatusCode,
    template: Template,
    place: Place,
    view: &impl Serialize,
) -> Response {
    let mut response = match render(template, place, view) {
        Ok(page) => (status, Html(page)).into_response(),
        Err(error) => {
            tracing::error!("a page could not be made: {error:#}");
            let told = "the page could not be made; the log says why\n";
            (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with it a browser says `Origin: null` when it sends the form, as a page of anybody's could.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The one style is let in by its hash.
fn policy() -> HeaderValue {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 fits a header")
}

fn render(template: Template, place: Place, view: &impl Serialize) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut lines = SyntaxConfig::builder();
    environment.set_syntax(lines.trim_blocks(true).lstrip_blocks(true).build()?);
    let view = Value::from(Serde(view));
    let body = environment.render_str(
        template.text(),
        context! { root => place.root(), view => view.clone() },
    )?;
    let around = context! {
        root => place.root(),
        title => view.get_attr("title")?,
        style => Value::from_safe_string(STYLE.to_owned()),
        body => Value::from_safe_string(body),
    };
    environment.render_str(LAYOUT, around)
}
