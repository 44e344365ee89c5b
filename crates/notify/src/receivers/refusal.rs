//! Decides what a mail server's refusal is about: first by its enhanced status code (RFC 3463, RFC 5248), then by its text if
//! the code is missing or general.
//!
//! Postfix and others delay refusals of host, HELO name, sender or relaying until RCPT, so the step says little. Everything
//! that is not clearly about this recipient or message is attributed to the notifier, because then the message is kept.

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// This recipient or message; others would be accepted.
    Message,
    /// Sender, host, login, quota or server; every message would be rejected.
    Notifier,
    /// A temporary condition: the enhanced status code is of class 4.
    Temporary,
}

/// Phrases about the sending side, whatever the code.
const SENDING_SIDE: [&str; 11] = [
    "helo",
    "ehlo",
    "fully-qualified hostname",
    "client host",
    "relay",
    "sender",
    "send as",
    "sendas",
    "authenticat",
    "sending",
    "not allowed to send",
];
/// Phrases about the recipient.
const RECIPIENT: [&str; 33] = [
    "recipient address rejected",
    "recipient rejected",
    "recipient not found",
    "recipient unknown",
    "recipnotfound",
    "unknown recipient",
    "invalid recipient",
    "no such recipient",
    "no valid recipient",
    "user unknown",
    "unknown user",
    "no such user",
    "nosuchuser",
    "user not found",
    "user does not exist",
    "user doesn't",
    "invalid user",
    "mailbox unavailable",
    "mailbox not found",
    "mailbox does not exist",
    "mailbox disabled",
    "mailbox is disabled",
    "mailbox full",
    "mailbox is full",
    "no such mailbox",
    "no mailbox",
    "invalid mailbox",
    "account disabled",
    "account is disabled",
    "account does not exist",
    "no such address",
    "address unknown",
    "unrouteable address",
];
/// Phrases about the size of the message.
const SIZE: [&str; 5] = [
    "too big",
    "too large",
    "message size",
    "size limit",
    "exceeds maximum",
];

/// Classifies a reply with a code of 500 to 599 to RCPT, DATA or the content. `text` is its text, all lines.
pub fn classify(code: u16, text: &str) -> RefusalCause {
    // An address may contain any word.
    let words = text.split_whitespace().filter(|word| !word.contains('@'));
    let wording = words.collect::<Vec<_>>().join(" ").to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| wording.contains(part));
    let enhanced = enhanced_code(text);
    if let Some((4, ..)) = enhanced {
        return RefusalCause::Temporary;
    }
    if has(&SENDING_SIDE) {
        return RefusalCause::Notifier;
    }
    let by_code = enhanced.and_then(|(_, subject, detail)| by_enhanced_code(subject, detail));
    if let Some(subject) = by_code {
        return subject;
    }
    let is_known = has(&RECIPIENT) || has(&SIZE);
    // Without an enhanced code: "user not local" and "exceeded storage allocation".
    let is_by_code = enhanced.is_none() && matches!(code, 551 | 552);
    if is_known || is_by_code {
        RefusalCause::Message
    } else {
        RefusalCause::Notifier
    }
}

/// Returns what `5.subject.detail` is about, or `None` if that is unclear.
fn by_enhanced_code(subject: u16, detail: u16) -> Option<RefusalCause> {
    match (subject, detail) {
        // Other address status, and the sender's address.
        (1, 0) => None,
        (1, 7 | 8) => Some(RefusalCause::Notifier),
        (1, _) => Some(RefusalCause::Message),
        // Mailbox disabled, full, limited in size; mailing list.
        (2, 1..=4) => Some(RefusalCause::Message),
        (3, 4) => Some(RefusalCause::Message),
        (4, 5) => Some(RefusalCause::Notifier),
        // Non-ASCII addresses: the sender's may be one.
        (6, 7) => None,
        (6, _) => Some(RefusalCause::Message),
        // Policy, authentication, permission to send as another user.
        (7, _) => Some(RefusalCause::Notifier),
        _ => None,
    }
}

/// Returns the first enhanced status code of class 4 or 5 in the text, as `(class, subject, detail)`. Many servers repeat it
/// in each line, put it into the second one or add punctuation; addresses and longer version numbers do not match.
fn enhanced_code(text: &str) -> Option<(u16, u16, u16)> {
    text.split_whitespace().find_map(|word| {
        let word = word.trim_matches(|c: char| !c.is_ascii_digit());
        let mut parts = word.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |part: &str| {
            let is_number =
                (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| part.parse::<u16>().ok()).flatten()
        };
        let code = (number(class)?, number(subject)?, number(detail)?);
        (parts.next().is_none() && matches!(class, "4" | "5")).then_some(code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_code_is_found_anywhere() {
        for (text, expected) in [
            ("5.1.1 no such user", Some((5, 1, 1))),
            ("mail.example.com says 5.7.1 no", Some((5, 7, 1))),
            ("#5.1.0 Address rejected", Some((5, 1, 0))),
            ("[5.1.10]: null MX", Some((5, 1, 10))),
            ("4.7.1", Some((4, 7, 1))),
            ("", None),
            ("no code", None),
            ("2.0.0 fine", None),
            ("5.1 5.x.1 5.1.1234 5..1 5.1.1.1", None),
            ("client 192.0.2.1", None),
        ] {
            assert_eq!(enhanced_code(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_are_not_searched_for_phrases() {
        let text = "5.1.1 <sender@relay.example.com>: Recipient address rejected";
        assert_eq!(classify(550, text), RefusalCause::Message);
        let text = "5.1.1 <a@b.example.com>: Sender address rejected: User unknown";
        assert_eq!(classify(550, text), RefusalCause::Notifier);
    }
}
