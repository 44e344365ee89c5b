//! Redacts keys and configured secrets in text from a server, even if percent-encoded, base64, hex or escaped.
//!
//! Text that looks like an Anthropic key (`sk-ant-…`) is always redacted. The API's hint of a key (`sk-ant-api03-Ab1...9xAA`) is not.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::secret::encodings::{
    base64_value, decoded, hex_value, runs, unescaped, without_invisible,
};
use crate::secret::{REDACTED, Secret};

/// Prefix of all Anthropic keys.
const KEY_PREFIX: &str = "sk-ant-";
/// The prefix with escapes, as it may occur within base64 or hex.
const ESCAPED_PREFIXES: [&str; 5] = [
    "sk%2dant",
    "%6e%74%2d",
    "sk&#45;ant",
    "sk&#x2d;ant",
    "sk\\u002dant",
];
/// Minimum length of a configured secret, or a part of one, that is redacted; shorter ones would match ordinary words.
const MIN_SECRET: usize = 8;
/// Minimum length of the path of a configured URL that is redacted on its own.
const MIN_PATH: usize = 16;
/// Maximum characters of a hint before and after its ellipsis.
const HINT_HEAD: usize = 14;
const HINT_TAIL: usize = 8;
/// Maximum depth of nested encodings.
const MAX_DEPTH: u8 = 3;
/// Minimum length of a run of characters that is decoded as base64 or hex.
const MIN_BASE64_RUN: usize = 10;
const MIN_HEX_RUN: usize = 14;
/// Bytes compared by the quick scan, and a mask that ignores the case of ASCII letters.
const WINDOW: usize = 7;
const WINDOW_MASK: u64 = (1 << (8 * WINDOW)) - 1;
const CASE_MASK: u64 = 0x20_2020_2020_2020;

/// Finds keys and configured secrets, ignoring ASCII case.
#[derive(Clone)]
pub struct Redactor {
    /// Lower case, longest first.
    needles: Vec<Secret>,
    /// Last bytes of all needles, plain and encoded, ignoring case.
    windows: Vec<u64>,
    /// Whether a window ends with this byte.
    ends: [bool; 256],
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Redacts these secrets, and anything that looks like an Anthropic key.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Redactor {
        let mut needles: Vec<String> = secrets.into_iter().flat_map(needles_of).collect();
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        let mut redactor = Redactor {
            needles: Vec::new(),
            windows: Vec::new(),
            ends: [false; 256],
        };
        for prefix in std::iter::once(KEY_PREFIX).chain(ESCAPED_PREFIXES) {
            redactor.add_windows(prefix.as_bytes());
        }
        for needle in needles.iter().map(String::as_str).chain([KEY_PREFIX]) {
            redactor.add_windows(needle.as_bytes());
            let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
            redactor.add_windows(hex.as_bytes());
        }
        redactor.needles = needles.into_iter().map(Secret::new).collect();
        redactor
    }

    /// Replaces every secret in a text by `[redacted]`.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.may_contain(text.as_bytes()) {
            return Cow::Borrowed(text);
        }
        let visible = without_invisible(text);
        let mut redacted = self.without_plain(&visible);
        if self.contains(&redacted, MAX_DEPTH) {
            // The secret is encoded, so the word that contains it is replaced.
            let word = |word: &str| {
                let (text, space) = word.split_at(word.trim_end().len());
                if self.contains(text, MAX_DEPTH) {
                    format!("{REDACTED}{space}")
                } else {
                    word.to_owned()
                }
            };
            let words = redacted.split_inclusive(char::is_whitespace).map(word);
            redacted = words.collect();
            if self.contains(&redacted, MAX_DEPTH) {
                REDACTED.clone_into(&mut redacted);
            }
        }
        if redacted == visible {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(redacted)
        }
    }

    /// Like [`Redactor::text`], for an id: different ids stay different, equal ids stay equal, and valid ids stay valid.
    pub fn id<'a>(&self, id: &'a str) -> Cow<'a, str> {
        match self.text(id) {
            Cow::Borrowed(_) => Cow::Borrowed(id),
            Cow::Owned(redacted) => {
                let digest = Sha256::digest(id.as_bytes());
                let short: String = digest[..4]
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                Cow::Owned(redacted.replace(REDACTED, &format!("redacted-{short}")))
            }
        }
    }

    /// Returns whether a text might contain a secret, in a single pass. Never misses one.
    pub fn may_contain(&self, text: &[u8]) -> bool {
        let (mut plain, mut base64, mut hex) = (0_u64, 0_u64, 0_u64);
        for &byte in text {
            // Escapes and invisible characters need a closer look.
            if matches!(byte, b'%' | b'&' | b'\\' | 0x80..) {
                return true;
            }
            plain = plain << 8 | u64::from(byte);
            base64 = match base64_value(byte) {
                Some(value) => base64 << 6 | u64::from(value),
                None => 0,
            };
            hex = match hex_value(byte) {
                Some(value) => hex << 4 | u64::from(value),
                None => 0,
            };
            // A byte may end at any even bit of a base64 character, and at any hex digit.
            let candidates = [plain, base64, base64 >> 2, base64 >> 4, hex];
            if candidates.into_iter().any(|window| self.is_window(window)) {
                return true;
            }
        }
        false
    }

    fn is_window(&self, bits: u64) -> bool {
        let window = bits & WINDOW_MASK | CASE_MASK;
        self.ends[usize::from(window as u8)] && self.windows.contains(&window)
    }

    fn add_windows(&mut self, needle: &[u8]) {
        self.add_window(needle);
        for skip in 0..3 {
            let padded = [&[0; 2][..skip], needle].concat();
            for encoded in [
                STANDARD_NO_PAD.encode(&padded),
                URL_SAFE_NO_PAD.encode(&padded),
            ] {
                // The first characters also encode what precedes, the last one what follows.
                let start = (skip * 8).div_ceil(6);
                let end = padded.len() * 8 / 6;
                self.add_window(&encoded.as_bytes()[start.min(end)..end]);
            }
        }
    }

    fn add_window(&mut self, bytes: &[u8]) {
        let Some(start) = bytes.len().checked_sub(WINDOW) else {
            return;
        };
        let bits = bytes[start..]
            .iter()
            .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        let window = bits | CASE_MASK;
        self.ends[usize::from(window as u8)] = true;
        if !self.windows.contains(&window) {
            self.windows.push(window);
        }
    }

    fn contains(&self, text: &str, depth: u8) -> bool {
        if self.contains_plain(text) {
            return true;
        }
        if depth == 0 {
            return false;
        }
        if let Cow::Owned(unescaped) = unescaped(text)
            && self.contains(&without_invisible(&unescaped), depth - 1)
        {
            return true;
        }
        let is_base64 = |byte: u8| base64_value(byte).is_some();
        let is_hex = |byte: u8| hex_value(byte).is_some();
        let base64 = runs(text, MIN_BASE64_RUN, is_base64)
            .flat_map(|run| (0..4).map(move |skip| decoded(&run[skip..], 6, base64_value)));
        let hex = runs(text, MIN_HEX_RUN, is_hex)
            .flat_map(|run| (0..2).map(move |skip| decoded(&run[skip..], 4, hex_value)));
        base64
            .chain(hex)
            .any(|bytes| self.contains_decoded(&bytes, depth - 1))
    }

    fn contains_decoded(&self, bytes: &[u8], depth: u8) -> bool {
        let text = String::from_utf8_lossy(bytes);
        let n_printable = bytes
            .iter()
            .filter(|byte| matches!(byte, b' '..=b'~'))
            .count();
        // Two fifths of random bytes are printable; such bytes contain no further encoding.
        let depth = if n_printable * 5 > bytes.len() * 3 {
            depth
        } else {
            0
        };
        self.contains(&text, depth)
    }

    fn contains_plain(&self, text: &str) -> bool {
        let lower = text.to_ascii_lowercase();
        self.next_plain(text, &lower, 0).is_some()
    }

    fn without_plain(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let mut redacted = String::with_capacity(text.len());
        let mut at = 0;
        while let Some((start, end)) = self.next_plain(text, &lower, at) {
            redacted.push_str(&text[at..start]);
            redacted.push_str(REDACTED);
            at = end;
        }
        redacted.push_str(&text[at..]);
        redacted
    }

    /// Returns where the next secret starts and ends.
    fn next_plain(&self, text: &str, lower: &str, from: usize) -> Option<(usize, usize)> {
        let needles = self.needles.iter().filter_map(|needle| {
            let start = from + lower[from..].find(needle.expose())?;
            Some((start, start + needle.expose().len()))
        });
        let first = needles.min_by_key(|(start, end)| (*start, std::cmp::Reverse(*end)));
        let key = next_key(text, lower, from);
        match (first, key) {
            (Some(first), Some(key)) if first.0 < key.0 => Some(first),
            (Some(first), Some(key)) => Some((key.0, key.1.max(first.1))),
            (first, key) => first.or(key),
        }
    }
}

/// Returns the needles of a configured secret in lower case: itself, the words of a header, the path of a URL.
fn needles_of(secret: &Secret) -> Vec<String> {
    let whole = secret.expose().trim();
    let words = whole
        .split_whitespace()
        .map(|word| word.strip_prefix("whsec_").unwrap_or(word));
    let path = whole
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(_, path)| path.trim_end_matches('/'))
        .filter(|path| path.len() >= MIN_PATH);
    std::iter::once(whole)
        .chain(words)
        .chain(path)
        .filter(|needle| needle.len() >= MIN_SECRET)
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Returns the next key from `from` on, skipping hints.
fn next_key(text: &str, lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let start = at + lower[at..].find(KEY_PREFIX)?;
        let rest = &text[start + KEY_PREFIX.len()..];
        match hint_length(rest) {
            Some(length) => at = start + KEY_PREFIX.len() + length,
            None => {
                let in_key = |c: char| c.is_alphanumeric() || "_-%+/=.~".contains(c);
                let length = rest.find(|c| !in_key(c)).unwrap_or(rest.len());
                // The end of a sentence is not part of a key.
                let key = rest[..length].trim_end_matches('.');
                return Some((start, start + KEY_PREFIX.len() + key.len()));
            }
        }
    }
}

/// Returns the length of the rest of a hint, such as `api03-Ab1...9xAA`.
fn hint_length(rest: &str) -> Option<usize> {
    let in_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let head = rest.find(|c| !in_key(c))?;
    let after = &rest[head..];
    let gap = after.len() - after.trim_start_matches(['.', '*', '•', '…']).len();
    let is_gap = gap >= 2 && head <= HINT_HEAD;
    let tail = &after[gap..];
    let tail = tail.find(|c| !in_key(c)).unwrap_or(tail.len());
    let ends = rest[head + gap + tail..]
        .chars()
        .next()
        .is_none_or(|c| !c.is_alphanumeric() && !"%+/=~".contains(c));
    (is_gap && tail <= HINT_TAIL && ends).then_some(head + gap + tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "sk-ant-admin01-Canary_0123-canaryAA";

    fn redactor() -> Redactor {
        let secret = |text: &str| Secret::new(text.to_owned());
        let secrets = [
            secret("https://hooks.example.com/services/T000/B000/Canary0"),
            secret("Bearer hunter2hunter2"),
            secret("short"),
        ];
        Redactor::new(&secrets)
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redactor().text(text), expected);
    }

    #[test]
    fn keys_are_redacted_anywhere_and_in_any_case() {
        check(KEY, REDACTED);
        check(&format!("ci ({KEY}), old"), "ci ([redacted]), old");
        check(&format!("Use {KEY}. Then"), "Use [redacted]. Then");
        check(&format!("x-api-key={KEY}"), "x-api-key=[redacted]");
        check(&KEY.to_uppercase(), REDACTED);
        check("sK-aNt-x", REDACTED);
        check("sk-ant-", REDACTED);
        check("sk-ant-admin01%2DCanary, b", "[redacted], b");
        check("Söhne sk\u{200b}-ant\u{ad}-Canary", "Söhne [redacted]");
    }

    #[test]
    fn configured_secrets_and_their_parts_are_redacted() {
        check(
            "see HTTPS://hooks.example.com/services/T000/B000/Canary0!",
            "see [redacted]!",
        );
        check("/services/T000/B000/Canary0", "/[redacted]");
        check("Hunter2hunter2", REDACTED);
        check(
            "a short name, 100%, \\ & Söhne GmbH",
            "a short name, 100%, \\ & Söhne GmbH",
        );
    }

    #[test]
    fn hints_names_and_ids_are_unchanged() {
        for text in [
            "sk-ant-api03-Ab1...9xAA",
            "ci sk-ant-api03-...9xAA, old",
            "sk-ant-admin01-Ab1…9xAA",
            "sk-ant-****9xAA",
            "task-antenna",
            "claude-opus-5-5",
            "apikey_01AbCdEfGhIjKlMnOpQrSt",
            "7d0c1f2e-0000-4000-8000-000000000000",
            "c2stYW4",
            "",
        ] {
            check(text, text);
            assert_eq!(redactor().id(text), text);
        }
        check("sk-ant-api03-Ab1Ab1Ab1Ab1...9xAA", REDACTED);
        check("sk-ant-api03-Ab1...9xAA9xAA9xAA", REDACTED);
        check("sk-ant-Canary0123456789...", "[redacted]...");
    }

    #[test]
    fn redacted_ids_stay_distinct() {
        let redactor = redactor();
        let (first, second) = (redactor.id(KEY), redactor.id("wrkspc_sk-ant-x"));
        assert!(first.starts_with("redacted-") && second.starts_with("wrkspc_redacted-"));
        assert_ne!(redactor.id(KEY), redactor.id(&KEY.to_uppercase()));
        assert_eq!(redactor.id(KEY), first);
    }

    /// Encodes a text as a server might.
    fn encoded(text: &str, encoding: u8) -> String {
        let escape = |each: fn(u8) -> String| text.bytes().map(each).collect::<String>();
        match encoding {
            0 => text.to_owned(),
            1 => text.replace('-', "%2D").replace('_', "%5f"),
            2 => escape(|byte| format!("%{byte:02X}")),
            3 => STANDARD_NO_PAD.encode(text),
            4 => base64::engine::general_purpose::STANDARD.encode(text),
            5 => URL_SAFE_NO_PAD.encode(text),
            6 => escape(|byte| format!("{byte:02x}")),
            7 => text.replace('-', "&#45;"),
            8 => text.replace('-', "&#x2d;"),
            _ => text.replace('-', "\\u002d"),
        }
    }

    proptest! {
        #[test]
        fn encoded_secrets_are_found(
            secret in "sk-ant-[A-Za-z0-9_-]{8,40}",
            is_key in any::<bool>(),
            (before, after) in ("[ a-z]{0,5}", "[ a-z]{0,5}"),
            inner in 0_u8..10,
            outer in 0_u8..10,
            glued in any::<bool>(),
        ) {
            let (secret, inner) = if is_key {
                (secret, inner)
            } else {
                // Escapes within base64 are decoded for keys only.
                let url = "https://hooks.example.com/services/T000/B000/Canary0".to_owned();
                (url, if matches!(inner, 0 | 3..=6) { inner } else { 0 })
            };
            // Preceding text within the encoding shifts base64.
            let inner = encoded(&format!("{before}{secret}{after}"), inner);
            let encoded = encoded(&inner, outer);
            let text = if glued { format!("name_{encoded}") } else { format!("a name {encoded} more") };
            let redacted = redactor().text(&text).into_owned();
            prop_assert!(!redactor().contains(&redacted, MAX_DEPTH), "{text} -> {redacted}");
            prop_assert!(redacted.contains(REDACTED), "{text} -> {redacted}");
        }

        #[test]
        fn texts_without_secrets_are_unchanged(text in "[A-Za-z0-9 _:/%&.é-]{0,60}") {
            prop_assume!(!text.to_lowercase().contains("sk-ant-"));
            prop_assert_eq!(redactor().text(&text), text.as_str());
        }
    }
}
