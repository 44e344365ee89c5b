//! Shortens messages for receivers with size limits, and cuts texts to a length.

use crate::envelope::Envelope;
use crate::wording::message::{self, Message};

/// How much of a message is rendered.
struct SizeLimits {
    n_lines: usize,
    n_top: usize,
    n_characters: usize,
}

/// Tried in this order: contributors and lines are left out before texts are cut.
const SIZE_STEPS: [SizeLimits; 5] = [
    size_limits(message::MAX_LINES, 5, 1000),
    size_limits(10, 3, 1000),
    size_limits(5, 1, 500),
    size_limits(2, 0, 300),
    size_limits(0, 0, 150),
];
/// Fits every receiver, whatever characters the names contain.
const SMALLEST: SizeLimits = size_limits(0, 0, 80);

const fn size_limits(n_lines: usize, n_top: usize, n_characters: usize) -> SizeLimits {
    SizeLimits {
        n_lines,
        n_top,
        n_characters,
    }
}

/// Renders the longest version of a message that fits.
pub fn fit<T>(
    envelope: &Envelope<'_>,
    form: impl Fn(&Message) -> T,
    fits: impl Fn(&T) -> bool,
) -> T {
    let render_at = |limits: &SizeLimits| {
        let message = message::render(envelope, limits.n_lines);
        form(&shorten(message, limits))
    };
    SIZE_STEPS
        .iter()
        .map(render_at)
        .find(fits)
        .unwrap_or_else(|| render_at(&SMALLEST))
}

fn shorten(mut message: Message, limits: &SizeLimits) -> Message {
    message.top.truncate(limits.n_top);
    for text in texts(&mut message) {
        *text = cut(text, limits.n_characters, str::to_owned);
    }
    message
}

fn texts(message: &mut Message) -> Vec<&mut String> {
    let mut texts = vec![&mut message.title, &mut message.summary];
    texts.extend(&mut message.notes);
    texts.extend(message.fields.iter_mut().map(|field| &mut field.value));
    texts.extend(&mut message.top);
    for group in &mut message.groups {
        texts.push(&mut group.title);
        texts.extend(&mut group.lines);
        texts.extend(&mut group.more);
    }
    texts.extend(&mut message.more);
    texts.extend(message.advice.iter_mut().map(|advice| &mut advice.text));
    texts
}

/// Returns the length in UTF-16 units, the strictest way to count a limit of characters.
pub fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Renders a text in a receiver's format, at most `limit` UTF-16 units long. No escape sequence is split.
pub fn cut(text: &str, limit: usize, form: fn(&str) -> String) -> String {
    let whole = form(text);
    if utf16_len(&whole) <= limit {
        return whole;
    }
    let mut cut = String::new();
    let mut n_units = 1;
    for c in text.chars() {
        let piece = form(c.encode_utf8(&mut [0; 4]));
        n_units += utf16_len(&piece);
        if n_units > limit {
            break;
        }
        cut.push_str(&piece);
    }
    cut.push('…');
    cut
}

/// Returns the text with a backslash before each of some characters.
pub fn escape_with_backslash(text: &str, signs: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if signs.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
