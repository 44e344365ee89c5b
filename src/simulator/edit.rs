//! Changes to a body as text, so that digits, order and what is broken stay as they are.

use serde_json::value::RawValue;

/// A body with the first value of a field replaced; unchanged where the field is not there.
pub fn with_field(body: &str, name: &str, json: &str) -> String {
    match field(body, name) {
        Some((_, start, end)) => format!("{}{json}{}", &body[..start], &body[end..]),
        None => body.to_owned(),
    }
}

/// A body without a field, wherever it stands.
pub fn without_field(body: &str, name: &str) -> String {
    let mut body = body.to_owned();
    while let Some((start, _, end)) = field(&body, name) {
        let before = body[..start].trim_end();
        let after = body[end..].trim_start();
        // One comma goes with the field: the one behind it, or before the last field the one in front.
        body = match after.strip_prefix(',') {
            Some(after) => format!("{before}{after}"),
            None => format!("{}{after}", before.strip_suffix(',').unwrap_or(before)),
        };
    }
    body
}

/// A body whose rows were changed; unchanged where it has none.
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

/// Where a field's key begins, and where its value begins and ends.
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
