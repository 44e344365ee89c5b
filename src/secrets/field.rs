//! A secret's text becomes its value: a field of a JSON object, or the text itself. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::secret::Secret;

/// The field of a JSON secret that is meant where none is named.
pub const USUAL_FIELD: &str = "anthropic_admin_key";

/// Why a text has no such value. Names fields, never what is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The object has no such field.
    #[error("it has no field `{field}`; it has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Missing {
        /// The one that was asked for.
        field: String,
        known: Vec<String>,
    },
    /// The field is no text, or empty.
    #[error("its field `{0}` is no text, or empty")]
    NoText(String),
    /// A field is named, and it is no object.
    #[error(
        "it is no JSON object, so it has no field `{0}`; leave `field` out to take it as it is"
    )]
    NoObject(String),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
}

/// A named field; without a name, the usual field of an object, or else the text as it is.
pub fn value_of(text: &str, field: Option<&str>) -> Result<Secret, FieldError> {
    // Pieces of the text itself: nothing that would have to be wiped is copied.
    let object: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text).ok();
    let Some(object) = object else {
        return match (field, text.trim()) {
            (Some(field), _) => Err(FieldError::NoObject(field.to_owned())),
            (None, "") => Err(FieldError::Empty),
            (None, text) => Ok(Secret::new(text.to_owned())),
        };
    };
    let field = field.unwrap_or(USUAL_FIELD);
    let Some(raw) = object.get(field) else {
        return Err(FieldError::Missing {
            field: field.to_owned(),
            known: object.into_keys().collect(),
        });
    };
    let secret = serde_json::from_str::<String>(raw.get()).map(Secret::new);
    let secret = secret.map_err(|_| FieldError::NoText(field.to_owned()))?;
    match secret.expose().trim() {
        "" => Err(FieldError::NoText(field.to_owned())),
        trimmed => Ok(Secret::new(trimmed.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, field: Option<&str>, expected: &str) {
        let told = value_of(text, field).map_or_else(
            |error| error.to_string(),
            |secret| secret.expose().to_owned(),
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn a_field_or_the_text_itself() {
        check(" sk-ant-canary\n", None, "sk-ant-canary");
        check(
            r#"{"anthropic_admin_key":" sk-ant-canary ","other":1}"#,
            None,
            "sk-ant-canary",
        );
        check(r#"{"a":"1","b":"2"}"#, Some("b"), "2");
        check(r#"{"b":"l\u0061st"}"#, Some("b"), "last");
        check("12345", None, "12345");
    }

    #[test]
    fn what_is_not_there_is_told_without_a_value() {
        check(
            r#"{"a":"canary","b":"canary"}"#,
            None,
            "it has no field `anthropic_admin_key`; it has a, b",
        );
        check("{}", Some("x"), "it has no field `x`; it has none");
        check(
            r#"{"a":["canary"]}"#,
            Some("a"),
            "its field `a` is no text, or empty",
        );
        check(
            r#"{"a":" "}"#,
            Some("a"),
            "its field `a` is no text, or empty",
        );
        check(
            "canary",
            Some("a"),
            "it is no JSON object, so it has no field `a`; leave `field` out to take it as it is",
        );
        check(" \n", None, "it is empty");
    }
}
