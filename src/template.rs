//! Templates that people write for a body of their own: bounded in work and in length, and strict, so that a misspelt name
//! is an error and never an empty place.
//!
//! Below the configuration and the receivers, because the one checks what the others fill in.

use std::io::{self, Write};

use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// About so many steps, or 64 times as many bytes, is what a template may take.
const FUEL: u64 = 1_000_000;
/// More than this is not made, in bytes.
pub const MAX_OUTPUT: usize = 256 * 1024;

/// A text that is a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// What is wrong with a template, or with filling it in. Shows no more of the context than its names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// As the template's language tells it.
    #[error("{message} (in its line {line})")]
    At {
        /// What.
        message: String,
        /// Counted from 1.
        line: usize,
    },
    /// A name that is not there.
    #[error("{message} (in its line {line}); what only some messages have goes in by `default`")]
    Missing {
        /// Which.
        message: String,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody knows where.
    #[error("{0}")]
    Somewhere(String),
    /// The result is longer than [`MAX_OUTPUT`].
    #[error("it makes more than {MAX_OUTPUT} bytes")]
    TooLong,
}

impl Template {
    /// Checks the language.
    pub fn new(text: impl Into<String>) -> Result<Template, TemplateError> {
        let template = Template(text.into());
        environment()
            .template_from_str(&template.0)
            .map_err(|error| told(&error))?;
        Ok(template)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Fills it in.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        let environment = environment();
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| told(&error))?;
        let mut page = Page::default();
        let context = minijinja::Value::from(Serde(context));
        let rendered = template
            .render_captured_to(context, &mut page)
            .map(|_| ())
            .map_err(|error| told(&error));
        if page.is_full {
            return Err(TemplateError::TooLong);
        }
        rendered?;
        String::from_utf8(page.bytes)
            .map_err(|_| TemplateError::Somewhere("it makes no text".to_owned()))
    }
}

/// Nothing is escaped of itself: what goes into JSON goes through `tojson`.
fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("tojson", to_json);
    environment
}

/// The built-in filter makes `null` of a name that is not there.
fn to_json(
    value: &minijinja::Value,
    indent: Option<minijinja::Value>,
    options: Kwargs,
) -> Result<minijinja::Value, Error> {
    if has_missing(value) {
        let message = "what is to be JSON, or a part of it, is undefined";
        return Err(Error::new(ErrorKind::UndefinedError, message));
    }
    minijinja::filters::tojson(value, indent, options)
}

fn has_missing(value: &minijinja::Value) -> bool {
    let is_map = value.kind() == ValueKind::Map;
    value.is_undefined()
        || (is_map || value.kind() == ValueKind::Seq)
            && value.try_iter().is_ok_and(|mut items| {
                items.any(|item| {
                    if is_map {
                        value.get_item(&item).is_ok_and(|item| has_missing(&item))
                    } else {
                        has_missing(&item)
                    }
                })
            })
}

fn told(error: &Error) -> TemplateError {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        kind => kind.to_string(),
    };
    let message = match error.detail() {
        Some(detail) => format!("{what}: {detail}"),
        None => what,
    };
    match error.line() {
        Some(line) if error.kind() == ErrorKind::UndefinedError => {
            TemplateError::Missing { message, line }
        }
        Some(line) => TemplateError::At { message, line },
        None => TemplateError::Somewhere(message),
    }
}

/// Takes so much and no more.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT {
            self.is_full = true;
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let context = json!({ "name": "a \"b\" <c>", "n": 3, "list": ["x", "y"], "none": null });
        let told = Template::new(text).and_then(|template| template.render(&context));
        let told = told.unwrap_or_else(|error| format!("error: {error}"));
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn what_is_filled_in() {
        check("{{ name }}", "a \"b\" <c>");
        check("{{ name | tojson }}", r#""a \"b\" \u003cc\u003e""#);
        check(
            "{{ {'a': list, 'b': none} | tojson }}",
            r#"{"a": ["x", "y"], "b": null}"#,
        );
        check(
            "{% for x in list %}{{ x | upper }}{% if not loop.last %},{% endif %}{% endfor %}",
            "X,Y",
        );
        check(
            "{{ missing | default('-') }} {{ missing is defined }}",
            "- False",
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let hint = "; what only some messages have goes in by `default`";
        check(
            "{\n{{ name }\n}",
            "error: syntax error: unexpected `}`, expected end of variable block (in its line 2)",
        );
        check(
            "\n\n{{ nmae }}",
            &format!("error: undefined value: `nmae` is undefined (in its line 3){hint}"),
        );
        check(
            "{{ list.first.name }}",
            &format!("error: undefined value: `list.first` is undefined (in its line 1){hint}"),
        );
        check(
            "{% if missing %}x{% endif %}",
            &format!("error: undefined value: `missing` is undefined (in its line 1){hint}"),
        );
        let undefined = "undefined value: what is to be JSON, or a part of it, is undefined";
        for text in ["{{ nmae | tojson }}", "{{ {'a': [nmae]} | tojson }}"] {
            check(text, &format!("error: {undefined} (in its line 1){hint}"));
        }
        check(
            "{{ 'a' ~ nmae }}",
            &format!("error: undefined value: `nmae` is undefined (in its line 1){hint}"),
        );
        check(
            "{{ name | nofilter }}",
            "error: unknown filter: filter nofilter is unknown (in its line 1)",
        );
    }

    #[test]
    fn nobody_waits_for_a_template_or_is_flooded_by_it() {
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        check(endless, "error: it takes too many steps (in its line 1)");
        let exactly = format!("{{% for a in range({}) %}}x{{% endfor %}}", MAX_OUTPUT / 4);
        assert_eq!(
            Template::new(exactly)
                .unwrap()
                .render(&json!({}))
                .unwrap()
                .len(),
            MAX_OUTPUT / 4
        );
        let longer = format!("{}{{{{ 'x' * 300000 }}}}", "y");
        check(&longer, "error: it makes more than 262144 bytes");
        check(
            "{{ 'x' * 900000000 }}",
            "error: it takes too many steps (in its line 1)",
        );
    }
}
