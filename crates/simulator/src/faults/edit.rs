//! Edits JSON bodies as text, so that digits, order and errors stay unchanged.

use serde_json::value::RawValue;

/// Replaces the first value of a field; unchanged if there is no such field.
pub fn with_field(body: &str, name: &str, json: &str) -> String {
    match field(body, name) {
        Some((_, start, end)) => format!("{}{json}{}", &body[..start], &body[end..]),
        None => body.to_owned(),
    }
}

/// Removes all occurrences of a field.
pub fn without_field(body: &str, name: &str) -> String {
    let mut body = body.to_owned();
    while let Some((start, _, end)) = field(&body, name) {
        let before = body[..start].trim_end();
        let after = body[end..].trim_start();
        // Also removes one comma: the one after the field, or the one before the last field.
        body = match after.strip_prefix(',') {
            Some(after) => format!("{before}{after}"),
            None => format!("{}{after}", before.strip_suffix(',').unwrap_or(before)),
        };
    }
    body
}

/// Changes the rows of a body; unchanged if it has none.
pub fn with_rows(body: &str, change: impl FnOnce(&mut Vec<String>)) -> String {
    let Some((_, start, end)) = field(body, "data") else {
        return body.to_owned();
    };
    let Ok(rows) = serde_json::from_str::<Vec<&RawValue>>(&body[start..end]) else {
        return body.to_owned();
    };
    let mut rows = rows.into_iter().map(|row| row.get().to_owned()).collect();
    change(&mut rows);
    format!("{}[{}]{}", &body[..start], rows.join(","), &body[end..])
}

/// Returns the start of a field's key, and start and end of its value.
fn field(body: &str, name: &str) -> Option<(usize, usize, usize)> {
    let key = format!("\"{name}\":");
    let at = body.find(&key)?;
    let start = at + key.len();
    let value = serde_json::Deserializer::from_str(&body[start..])
        .into_iter::<&RawValue>()
        .next()?
        .ok()?;
    Some((at, start, start + value.get().len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"data":[{"date":"a","requests":1},{"date":"b","requests":2}],"has_more":false,"last_id":"x"}"#;

    #[test]
    fn fields_are_replaced_and_removed() {
        assert_eq!(
            with_field(BODY, "requests", "1e30"),
            BODY.replacen(":1}", ":1e30}", 1)
        );
        assert_eq!(
            without_field(&without_field(BODY, "has_more"), "last_id"),
            r#"{"data":[{"date":"a","requests":1},{"date":"b","requests":2}]}"#
        );
        assert_eq!(
            without_field(BODY, "date"),
            BODY.replace(r#""date":"a","#, "")
                .replace(r#""date":"b","#, "")
        );
        assert_eq!(without_field(BODY, "absent"), BODY);
    }

    #[test]
    fn rows_are_changed() {
        let twice = with_rows(BODY, |rows| rows.insert(0, rows[0].clone()));
        assert_eq!(twice.matches(r#""date":"a""#).count(), 2);
        assert_eq!(
            with_rows(BODY, Vec::clear),
            r#"{"data":[],"has_more":false,"last_id":"x"}"#
        );
    }
}
