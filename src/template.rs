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
/// Maximum length of a template, in bytes.
pub const MAX_TEMPLATE: usize = 16 * 1024;
/// Stack for a template. The compiler recurses over a chain of operators as often as the chain is long, which
/// [`MAX_TEMPLATE`] bounds.
const STACK: usize = 128 * 1024 * 1024;
/// Maximum number of values that are made into JSON at once.
const MAX_JSON_VALUES: usize = 100_000;
/// Maximum indentation of JSON, in spaces.
const MAX_JSON_INDENT: usize = 16;

/// A text that is a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// What is wrong with a template, or with filling it in. Shows no more of the context than its names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// As the template's language tells it.
    #[error("{message} (in its line {line})")]
    At {
        message: String,
        /// Counted from 1.
        line: usize,
    },
    /// A name that is not there.
    #[error("{message} (in its line {line}); what only some messages have goes in by `default`")]
    Missing {
        message: String,
        /// Counted from 1.
        line: usize,
    },
    #[error("{0}")]
    Somewhere(String),
    /// The result is longer than [`MAX_OUTPUT`].
    #[error("it makes more than {MAX_OUTPUT} bytes")]
    TooLong,
    /// The template is longer than [`MAX_TEMPLATE`].
    #[error("it has {0} bytes, at most {MAX_TEMPLATE} are allowed")]
    TooLarge(usize),
}

impl Template {
    /// Checks the language.
    pub fn new(text: impl Into<String>) -> Result<Template, TemplateError> {
        let template = Template(text.into());
        if template.0.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLarge(template.0.len()));
        }
        on_large_stack(|| {
            environment()
                .template_from_str(&template.0)
                .map(|_| ())
                .map_err(|error| told(&error))
        })?;
        Ok(template)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Fills it in.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        on_large_stack(|| self.render_here(context))
    }

    fn render_here(&self, context: &Value) -> Result<String, TemplateError> {
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

/// Runs `work` on a thread with a large stack, and waits for it.
fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, TemplateError> + Send,
) -> Result<T, TemplateError> {
    let failed = |what: &str| TemplateError::Somewhere(format!("the thread for templates {what}"));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| failed(&format!("cannot be started: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("panicked")))
    })
}

/// Nothing is escaped of itself: what goes into JSON goes through `tojson`.
fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("tojson", to_json);
    // A namespace can contain itself, or values nested so deep that showing or dropping them overflows any stack.
    environment.remove_global("namespace");
    environment
}

/// The built-in filter makes `null` of a name that is not there.
fn to_json(
    value: &minijinja::Value,
    indent: Option<minijinja::Value>,
    options: Kwargs,
) -> Result<minijinja::Value, Error> {
    let width = indent
        .as_ref()
        .or(options.peek::<Option<&minijinja::Value>>("indent")?)
        .and_then(minijinja::Value::as_usize);
    if width.is_some_and(|width| width > MAX_JSON_INDENT) {
        let message = format!("JSON is indented by at most {MAX_JSON_INDENT}");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let mut n_left = MAX_JSON_VALUES;
    let is_missing = has_missing(value, &mut n_left);
    if n_left == 0 {
        let message = format!("JSON is made of at most {MAX_JSON_VALUES} values");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    if is_missing {
        let message = "what is to be JSON, or a part of it, is undefined";
        return Err(Error::new(ErrorKind::UndefinedError, message));
    }
    minijinja::filters::tojson(value, indent, options)
}

/// Whether a value or a part of it is undefined. Looks at so many values at most.
fn has_missing(value: &minijinja::Value, n_left: &mut usize) -> bool {
    *n_left = n_left.saturating_sub(1);
    if *n_left == 0 || value.is_undefined() {
        return value.is_undefined();
    }
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && value.kind() != ValueKind::Seq && value.kind() != ValueKind::Iterable {
        return false;
    }
    let Ok(mut items) = value.try_iter() else {
        return false;
    };
    items.any(|item| {
        *n_left == 0
            || if is_map {
                value
                    .get_item(&item)
                    .is_ok_and(|item| has_missing(&item, n_left))
            } else {
                has_missing(&item, n_left)
            }
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

    #[test]
    fn no_template_overflows_the_stack_or_the_memory() {
        let chain_of = |length: usize, link: &str| {
            let n_links = (length - 10) / link.len();
            format!("{{{{ a{} }}}}", link.repeat(n_links))
        };
        let chain = |link: &str| chain_of(MAX_TEMPLATE, link);
        let prefixed = |prefix: &str| {
            let n_prefixes = (MAX_TEMPLATE - 10) / prefix.len();
            format!("{{{{ {}1 }}}}", prefix.repeat(n_prefixes))
        };
        let nested = |open: &str, close: &str| {
            let depth = (MAX_TEMPLATE - 10) / (open.len() + close.len());
            format!("{}1{}", open.repeat(depth), close.repeat(depth))
        };
        let mut texts: Vec<String> = [
            ".a",
            " and 1",
            "<1",
            " is a",
            " if a else a",
            "()",
            "[0]",
            "|e",
            " in a",
        ]
        .map(chain)
        .into();
        // The compiler folds a chain of constants in quadratic time.
        texts.push(chain_of(MAX_TEMPLATE / 3, "+1"));
        texts.extend(["-", "not ", "+", "(", "[", "{", "{1:", "a(", "a[", "a if "].map(prefixed));
        texts.push(format!("{{{{ {} }}}}", nested("(", ")")));
        texts.push(format!("{{{{ {} }}}}", nested("[", "]")));
        texts.push(nested("{% if 1 %}", "{% endif %}"));
        texts.push(nested("{% for b in [1] %}", "{% endfor %}"));
        texts.push(nested("{% filter e %}", "{% endfilter %}"));
        texts.push(format!(
            "{{% if a %}}{}{{% endif %}}",
            "{% elif a %}".repeat(1300)
        ));
        let deep = format!("{{% set x = [] %}}{}", "{% set x=[x] %}".repeat(1000));
        for end in ["", "{{ x }}", "{{ x|tojson }}", "{{ x == x }}"] {
            texts.push(format!("{deep}{end}"));
        }
        for cycle in [
            "{% set ns = namespace(v=[]) %}{% set ns.v = [ns] %}{{ ns }}",
            "{% set ns = namespace(v=[]) %}{% for i in range(99999) %}{% set ns.v = [ns.v] %}{% endfor %}",
            "{{ [[1]]|tojson(indent=1000000000) }}",
            "{{ [[1]]|tojson(1000000000) }}",
            "{{ ([1] * 100000000)|tojson|length }}",
            "{{ 'a\nb'|indent(1000000000) }}",
            "{{ '%1000000000d'|format(1) }}",
            "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        ] {
            let error = Template::new(cycle).and_then(|template| template.render(&json!({})));
            assert!(error.is_err(), "{cycle}");
        }
        for text in texts {
            assert!(text.len() <= MAX_TEMPLATE);
            // A result or an error, and no end of the process.
            let _ = Template::new(text).and_then(|template| template.render(&json!({ "a": 1 })));
        }
        check("{{ [1]|tojson(indent=2) }}", "[\n  1\n]");
        let large = "x".repeat(MAX_TEMPLATE + 1);
        check(
            &large,
            "error: it has 16385 bytes, at most 16384 are allowed",
        );
    }
}
