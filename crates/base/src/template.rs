//! Templates. In all of them an undefined name is an error.
//!
//! Users define templates of message bodies, whose work and output are bounded. Our own templates of HTML escape every text.
//!
//! Below both the configuration, which checks templates, and the notifiers, which render them.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// Maximum steps of a template; limits its memory to about 64 times as many bytes.
const FUEL: u64 = 1_000_000;
/// Maximum length of the output, in bytes.
pub const MAX_OUTPUT: usize = 256 * 1024;
/// Maximum length of a template, in bytes.
pub const MAX_TEMPLATE: usize = 16 * 1024;
/// Stack size, in bytes, for compiling a template. The compiler recurses along chains of operators, whose length [`MAX_TEMPLATE`]
/// bounds.
const STACK: usize = 128 * 1024 * 1024;
/// Maximum number of values in one `tojson`.
const MAX_JSON_VALUES: usize = 100_000;
/// Maximum indentation of JSON, in spaces.
const MAX_JSON_INDENT: usize = 16;

/// A template whose syntax was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// Why a template is invalid or cannot be rendered. Contains names of the context, but no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{message} (line {line})")]
    At {
        message: String,
        /// From 1.
        line: usize,
    },
    /// A name is undefined.
    #[error(
        "{message} (line {line}); use the `default` filter for fields that only some messages have"
    )]
    Missing {
        message: String,
        /// From 1.
        line: usize,
    },
    #[error("{0}")]
    Somewhere(String),
    #[error("the output exceeds {MAX_OUTPUT} bytes")]
    TooLong,
    #[error("the template has {0} bytes, at most {MAX_TEMPLATE} are allowed")]
    TooLarge(usize),
}

impl Template {
    /// Checks length and syntax.
    pub fn new(text: impl Into<String>) -> Result<Template, TemplateError> {
        let template = Template(text.into());
        if template.0.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLarge(template.0.len()));
        }
        on_large_stack(|| {
            environment()
                .template_from_str(&template.0)
                .map(|_| ())
                .map_err(|error| template_error(&error))
        })?;
        Ok(template)
    }

    /// Returns the source.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Renders the template.
    pub fn render(&self, context: &Value) -> Result<String, TemplateError> {
        on_large_stack(|| self.render_on_this_thread(context))
    }

    fn render_on_this_thread(&self, context: &Value) -> Result<String, TemplateError> {
        let environment = environment();
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| template_error(&error))?;
        let mut output = BoundedBuffer::default();
        let context = minijinja::Value::from(Serde(context));
        let rendered = template
            .render_captured_to(context, &mut output)
            .map(|_| ())
            .map_err(|error| template_error(&error));
        if output.is_full {
            return Err(TemplateError::TooLong);
        }
        rendered?;
        String::from_utf8(output.bytes)
            .map_err(|_| TemplateError::Somewhere("the output is not UTF-8".to_owned()))
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

/// Nothing is escaped automatically; templates of JSON use `tojson`.
fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("tojson", to_json);
    // A namespace can contain itself, or values nested so deeply that dropping them overflows any stack.
    environment.remove_global("namespace");
    environment
}

/// Returns an environment for our own templates of HTML. Every text is escaped, and lines with statements alone leave none.
pub fn html_environment<'a>() -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let mut lines = SyntaxConfig::builder();
    let syntax = lines.trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment
}

/// Like the built-in filter, which would render an undefined name as `null`, but rejects undefined and very large values.
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
        let message = format!("`tojson` indents by at most {MAX_JSON_INDENT} spaces");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let mut n_left = MAX_JSON_VALUES;
    let is_missing = has_missing(value, &mut n_left);
    if n_left == 0 {
        let message = format!("`tojson` takes at most {MAX_JSON_VALUES} values");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    if is_missing {
        let message = "the value for `tojson`, or a part of it, is undefined";
        return Err(Error::new(ErrorKind::UndefinedError, message));
    }
    minijinja::filters::tojson(value, indent, options)
}

/// Returns whether a value or a part of it is undefined, checking at most `n_left` values.
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

fn template_error(error: &Error) -> TemplateError {
    let kind = match error.kind() {
        ErrorKind::OutOfFuel => "the template takes too many steps".to_owned(),
        kind => kind.to_string(),
    };
    let message = match error.detail() {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    };
    match error.line() {
        Some(line) if error.kind() == ErrorKind::UndefinedError => {
            TemplateError::Missing { message, line }
        }
        Some(line) => TemplateError::At { message, line },
        None => TemplateError::Somewhere(message),
    }
}

/// Output up to [`MAX_OUTPUT`] bytes.
#[derive(Default)]
struct BoundedBuffer {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for BoundedBuffer {
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
        let result = Template::new(text).and_then(|template| template.render(&context));
        let result = result.unwrap_or_else(|error| format!("error: {error}"));
        assert_eq!(result, expected, "{text}");
    }

    #[test]
    fn templates_are_rendered() {
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
    fn errors_name_their_line() {
        let hint = "; use the `default` filter for fields that only some messages have";
        check(
            "{\n{{ name }\n}",
            "error: syntax error: unexpected `}`, expected end of variable block (line 2)",
        );
        check(
            "\n\n{{ nmae }}",
            &format!("error: undefined value: `nmae` is undefined (line 3){hint}"),
        );
        check(
            "{{ list.first.name }}",
            &format!("error: undefined value: `list.first` is undefined (line 1){hint}"),
        );
        check(
            "{% if missing %}x{% endif %}",
            &format!("error: undefined value: `missing` is undefined (line 1){hint}"),
        );
        let undefined = "undefined value: the value for `tojson`, or a part of it, is undefined";
        for text in ["{{ nmae | tojson }}", "{{ {'a': [nmae]} | tojson }}"] {
            check(text, &format!("error: {undefined} (line 1){hint}"));
        }
        check(
            "{{ 'a' ~ nmae }}",
            &format!("error: undefined value: `nmae` is undefined (line 1){hint}"),
        );
        check(
            "{{ name | nofilter }}",
            "error: unknown filter: filter nofilter is unknown (line 1)",
        );
    }

    #[test]
    fn steps_and_output_are_bounded() {
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        check(endless, "error: the template takes too many steps (line 1)");
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
        check(&longer, "error: the output exceeds 262144 bytes");
        check(
            "{{ 'x' * 900000000 }}",
            "error: the template takes too many steps (line 1)",
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
            // A result or an error, but no abort.
            let _ = Template::new(text).and_then(|template| template.render(&json!({ "a": 1 })));
        }
        check("{{ [1]|tojson(indent=2) }}", "[\n  1\n]");
        let large = "x".repeat(MAX_TEMPLATE + 1);
        check(
            &large,
            "error: the template has 16385 bytes, at most 16384 are allowed",
        );
    }
}
