//! Nouns that agree with their number.

/// `1 key`, `2 keys`: for nouns whose plural ends in `s`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The form that agrees with the number: `is` or `are`, `it` or `them`.
pub const fn agreeing<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(
            [0, 1, 2].map(|n| counted(n, "key")),
            ["0 keys", "1 key", "2 keys"]
        );
        assert_eq!(
            [0, 1, 2].map(|n| agreeing(n, "is", "are")),
            ["are", "is", "are"]
        );
    }
}
