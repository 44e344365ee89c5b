//! Extracts a secret from its text: a field of a JSON object, or the text itself. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use spendwatch_base::secret::Secret;

/// Field of a JSON secret that is used by default.
pub const DEFAULT_FIELD: &str = "anthropic_admin_key";

/// Why a secret cannot be extracted. Names fields, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("no field `{field}`; available: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Missing { field: String, known: Vec<String> },
    #[error("field `{0}` is not a string, or is empty")]
    NoText(String),
    #[error("not a JSON object, so it has no field `{0}`; remove `field` to use the whole text")]
    NoObject(String),
    #[error("the secret is empty")]
    Empty,
}

/// Extracts the named field; without a name, the default field of an object or the whole text.
pub fn value_of(text: &str, field: Option<&str>) -> Result<Secret, FieldError> {
    // Borrows from the text, so that no copy has to be zeroized.
    let object: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text).ok();
    let Some(object) = object else {
        return match (field, text.trim()) {
            (Some(field), _) => Err(FieldError::NoObject(field.to_owned())),
            (None, "") => Err(FieldError::Empty),
            (None, text) => Ok(Secret::new(text.to_owned())),
        };
    };
    let field = field.unwrap_or(DEFAULT_FIELD);
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
        let result = value_of(text, field).map_or_else(
            |error| error.to_string(),
            |secret| secret.expose().to_owned(),
        );
        assert_eq!(result, expected);
    }

    #[test]
    fn fields_and_whole_texts() {
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
    fn errors_do_not_contain_values() {
        check(
            r#"{"a":"canary","b":"canary"}"#,
            None,
            "no field `anthropic_admin_key`; available: a, b",
        );
        check("{}", Some("x"), "no field `x`; available: none");
        check(
            r#"{"a":["canary"]}"#,
            Some("a"),
            "field `a` is not a string, or is empty",
        );
        check(
            r#"{"a":" "}"#,
            Some("a"),
            "field `a` is not a string, or is empty",
        );
        check(
            "canary",
            Some("a"),
            "not a JSON object, so it has no field `a`; remove `field` to use the whole text",
        );
        check(" \n", None, "the secret is empty");
    }
}
