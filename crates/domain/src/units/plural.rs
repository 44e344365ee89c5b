//! English singular and plural forms.

use std::fmt::Display;

/// Returns `1 key` or `2 keys`; the plural of `noun` must end in `s`.
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let plural = agreeing(&n, "", "s");
    format!("{n} {noun}{plural}")
}

/// Returns the form that agrees with `n`, such as `is` or `are`.
pub fn agreeing<'a, N: PartialEq + From<u8>>(n: &N, one: &'a str, many: &'a str) -> &'a str {
    if *n == N::from(1) { one } else { many }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!(
            [0_usize, 1, 2].map(|n| counted(n, "key")),
            ["0 keys", "1 key", "2 keys"]
        );
        assert_eq!(
            [0_i64, 1, -1].map(|n| agreeing(&n, "is", "are")),
            ["are", "is", "are"]
        );
    }
}
