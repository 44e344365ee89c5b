//! A message in less and less room, for receivers that take only so much, and texts cut to a limit.

use crate::notify::envelope::Envelope;
use crate::notify::message::{self, Body, Detail, Message, Roundup};

/// How much of a message is told.
struct Room {
    /// Alerts of several with a line of their own.
    n_lines: usize,
    n_top: usize,
    n_characters: usize,
}

/// From all to little: contributors and lines go before any text is cut short.
const ROOMS: [Room; 5] = [
    room(message::MAX_LINES, 5, 1000),
    room(10, 3, 1000),
    room(5, 1, 500),
    room(2, 0, 300),
    room(0, 0, 150),
];
/// What fits everywhere, whatever the names are made of.
const LEAST: Room = room(0, 0, 80);

const fn room(n_lines: usize, n_top: usize, n_characters: usize) -> Room {
    Room {
        n_lines,
        n_top,
        n_characters,
    }
}

/// The longest form of a message that fits.
pub fn fit<T>(
    envelope: &Envelope<'_>,
    form: impl Fn(&Message) -> T,
    fits: impl Fn(&T) -> bool,
) -> T {
    let form_in = |room: &Room| {
        let message = message::render(envelope, room.n_lines);
        form(&shorten(message, room))
    };
    ROOMS
        .iter()
        .map(form_in)
        .find(fits)
        .unwrap_or_else(|| form_in(&LEAST))
}

fn shorten(mut message: Message, room: &Room) -> Message {
    if let Body::One(detail) = &mut message.body {
        detail.top.truncate(room.n_top);
    }
    for text in texts(&mut message) {
        *text = cut(text, room.n_characters, str::to_owned);
    }
    message
}

fn texts(message: &mut Message) -> Vec<&mut String> {
    let mut texts = vec![&mut message.title, &mut message.summary];
    texts.extend(&mut message.notes);
    match &mut message.body {
        Body::One(Detail {
            figures,
            top,
            advice,
        }) => {
            texts.extend(figures.iter_mut().map(|figure| &mut figure.value));
            texts.extend(top);
            texts.extend(advice.iter_mut().map(|advice| &mut advice.text));
        }
        Body::Many(Roundup {
            groups,
            more,
            advice,
        }) => {
            for group in groups {
                texts.push(&mut group.title);
                texts.extend(&mut group.lines);
                texts.extend(&mut group.more);
            }
            texts.extend(more);
            texts.extend(advice.iter_mut().map(|advice| &mut advice.text));
        }
    }
    texts
}

/// In UTF-16 units, the strictest way in which a limit of characters may be counted.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// A text in a receiver's form, within a limit in [`units`], and cut so that no escape is cut.
pub fn cut(text: &str, limit: usize, form: fn(&str) -> String) -> String {
    let whole = form(text);
    if units(&whole) <= limit {
        return whole;
    }
    let mut cut = String::new();
    let mut n_units = 1;
    for c in text.chars() {
        let piece = form(c.encode_utf8(&mut [0; 4]));
        n_units += units(&piece);
        if n_units > limit {
            break;
        }
        cut.push_str(&piece);
    }
    cut.push('…');
    cut
}

/// A backslash before each of some signs.
pub fn backslashed(text: &str, signs: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if signs.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
