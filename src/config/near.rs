//! The word that was probably meant.

/// The nearest of some words, where it is near enough to be meant. Case does not count.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Whatever is longer than any word by far is none, and comparing it would take long.
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

/// A name that is not there, the near miss, and what there is.
pub fn unknown<'a>(kind: &str, asked: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = nearest(asked, known.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    let named: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "the configuration has no {kind} `{asked}`{near} (it has {})",
        named.join(", ")
    )
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
    fn a_slip_is_recognized_and_another_word_is_not() {
        check("listn", Some("listen"));
        check("externalurl", Some("external_url"));
        check("LISTEN", Some("listen"));
        check("europe/berln", Some("Europe/Berlin"));
        check("a", Some("at"));
        check("period", None);
        check(&"l".repeat(1_000_000), None);
    }
}
