//! Nearest matches for "did you mean".

/// Returns the nearest known word if it is close enough to be a typing error. Ignores case.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Comparing very long texts would be slow.
    if word.len() > 100 {
        return None;
    }
    let word = word.to_lowercase();
    let scored = known.map(|known| {
        (
            strsim::damerau_levenshtein(&word, &known.to_lowercase()),
            known,
        )
    });
    let (distance, nearest) = scored.min()?;
    (distance <= 1 + nearest.len() / 4).then_some(nearest)
}

/// Describes an unknown name, with the nearest match or else the configured names.
pub fn unknown<'a>(kind: &str, given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = nearest(given, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let hint = near.unwrap_or_else(|| format!("configured: {}", quoted.join(", ")));
    format!("no {kind} `{given}`; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        let known = ["listen", "external_url", "at", "Europe/Berlin"];
        assert_eq!(nearest(word, known.into_iter()), expected);
    }

    #[test]
    fn typing_errors_match_and_other_words_do_not() {
        check("listn", Some("listen"));
        check("externalurl", Some("external_url"));
        check("LISTEN", Some("listen"));
        check("europe/berln", Some("Europe/Berlin"));
        check("a", Some("at"));
        check("period", None);
        check(&"l".repeat(1_000_000), None);
    }
}
