//! Decodes encodings in which a text may contain a secret.

use std::borrow::Cow;

/// Removes invisible characters, which could split a key.
pub fn without_invisible(text: &str) -> Cow<'_, str> {
    let is_invisible = |c: char| {
        matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
        ) || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e01ef}')
    };
    if text.is_ascii() || !text.contains(is_invisible) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.replace(is_invisible, ""))
    }
}

/// Decodes `%2D`, `&#45;`, `&#x2d;`, `\u002d` and `\x2d`.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '&', '\\']) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some((value, length)) = escape(&bytes[at..]) {
            let mut utf8 = [0; 4];
            match bytes[at] {
                b'%' => plain.push(value as u8),
                _ => {
                    let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
                    plain.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
                }
            }
            at += length;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    if plain == bytes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
    }
}

/// Returns the value and length of an escape at the start of some bytes.
fn escape(bytes: &[u8]) -> Option<(u32, usize)> {
    let number = |start: usize, end: usize, radix: u32| {
        let digits = std::str::from_utf8(bytes.get(start..end)?).ok()?;
        let is_digit = |c: char| c.is_digit(radix);
        let value = u32::from_str_radix(digits, radix).ok()?;
        digits.chars().all(is_digit).then_some(value)
    };
    match bytes {
        [b'%', ..] => Some((number(1, 3, 16)?, 3)),
        [b'\\', b'u', ..] => Some((number(2, 6, 16)?, 6)),
        [b'\\', b'x', ..] => Some((number(2, 4, 16)?, 4)),
        [b'&', b'#', rest @ ..] => {
            let length = rest.iter().take(10).position(|byte| *byte == b';')?;
            let value = match rest.first()? {
                b'x' | b'X' => number(3, 2 + length, 16)?,
                _ => number(2, 2 + length, 10)?,
            };
            Some((value, length + 3))
        }
        _ => None,
    }
}

/// Returns the maximal runs of bytes that satisfy `is_part`.
pub fn runs(
    text: &str,
    min_length: usize,
    is_part: impl Fn(u8) -> bool,
) -> impl Iterator<Item = &[u8]> {
    text.as_bytes()
        .split(move |byte| !is_part(*byte))
        .filter(move |run| run.len() >= min_length)
}

/// Decodes characters of `n_bits` bits each into whole bytes.
pub fn decoded(run: &[u8], n_bits: u32, value_of: fn(u8) -> Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(run.len() * 3 / 4);
    let (mut bits, mut n_pending) = (0_u32, 0);
    for value in run.iter().filter_map(|byte| value_of(*byte)) {
        bits = bits << n_bits | u32::from(value);
        n_pending += n_bits;
        if n_pending >= 8 {
            n_pending -= 8;
            bytes.push((bits >> n_pending) as u8);
        }
    }
    bytes
}

pub const fn base64_value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

pub const fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
