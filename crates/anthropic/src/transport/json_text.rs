//! Repairs the JSON text of a response before it is parsed. Pure.
//!
//! A JSON parser rejects a whole document for one half of a surrogate pair, one unknown escape, one raw control character or one
//! byte that is not UTF-8. Inside a string, only the invalid character is replaced.

use zeroize::Zeroize as _;

/// Replaces invalid characters and escapes in strings; text outside of strings is unchanged.
pub fn repair(body: &mut Vec<u8>) {
    if body.starts_with(b"\xef\xbb\xbf") {
        body[..3].fill(b' ');
    }
    let (mut at, mut is_in_string) = (0, false);
    while let Some(byte) = body.get(at).copied() {
        at += match byte {
            b'"' => {
                is_in_string = !is_in_string;
                1
            }
            b'\\' if is_in_string => repair_escape(&mut body[at..]),
            0..=0x1f if is_in_string => {
                body[at] = b' ';
                1
            }
            _ => 1,
        };
    }
    if std::str::from_utf8(body).is_err() {
        let text = String::from_utf8_lossy(body).into_owned();
        body.zeroize();
        *body = text.into_bytes();
    }
}

/// Replaces an invalid escape at the start of `rest` by a valid one of the same length, and returns that length.
fn repair_escape(rest: &mut [u8]) -> usize {
    match rest.get(1) {
        None => 1,
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
        Some(b'u') => match code_unit(rest) {
            Some(0xd800..=0xdbff) if matches!(code_unit(&rest[6..]), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                rest[..6].copy_from_slice(br"\ufffd");
                6
            }
            Some(_) => 6,
            None => {
                rest[0] = b'?';
                1
            }
        },
        Some(_) => {
            rest[0] = b'?';
            1
        }
    }
}

/// Returns the UTF-16 code unit of the escape `\uXXXX` at the start of the text.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(body: &[u8], expected: &str) {
        let mut repaired = body.to_vec();
        repair(&mut repaired);
        let text: String = serde_json::from_slice(&repaired).unwrap();
        assert_eq!(text, expected);
    }

    #[test]
    fn unpaired_surrogates_are_replaced() {
        check(br#""a\ud83db""#, "a\u{fffd}b");
        check(br#""\udE00 b""#, "\u{fffd} b");
        check(br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}");
        check(br#""\ud83d\n""#, "\u{fffd}\n");
        check(br#""\ud83d\u0041""#, "\u{fffd}A");
        check(br#""\ud83d""#, "\u{fffd}");
    }

    #[test]
    fn valid_text_is_unchanged() {
        check(
            br#""\ud83d\ude00 \\ud83d \"\u00e9""#,
            "\u{1f600} \\ud83d \"é",
        );
        for document in [r#"{"a": "b\\", "c": ["\""]}"#, "[1,\n 2]", ""] {
            let mut body = document.as_bytes().to_vec();
            repair(&mut body);
            assert_eq!(body, document.as_bytes());
        }
    }

    #[test]
    fn other_invalid_characters_are_replaced() {
        check(b"\"a\0b\nc\"", "a b c");
        check(br#""\x \u12g4 \u""#, "?x ?u12g4 ?u");
        check(b"\"a\xff\xfeb\"", "a\u{fffd}\u{fffd}b");
        check(b"\xef\xbb\xbf\"a\"", "a");
    }

    proptest! {
        #[test]
        fn quoted_bytes_become_a_valid_string(bytes in prop::collection::vec(any::<u8>().prop_filter("ends the string", |byte| *byte != b'"' && *byte != b'\\'), 0..40)) {
            let mut body = [b"\"".as_slice(), &bytes, b"\""].concat();
            repair(&mut body);
            prop_assert!(serde_json::from_slice::<String>(&body).is_ok());
        }

        #[test]
        fn repair_never_panics(body in "[\\\\\"ud8cD0-9f{}:, ]{0,30}") {
            let mut body = body.into_bytes();
            let n_bytes = body.len();
            repair(&mut body);
            prop_assert_eq!(body.len(), n_bytes);
        }
    }
}
