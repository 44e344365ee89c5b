//! Decides what a mail server's refusal is about: its enhanced status code (RFC 3463, RFC 5248) first, its wording where
//! the code is absent or general.
//!
//! Postfix and others delay refusals of the host, the HELO name, the sender or relaying until RCPT, so the step says
//! little. Whatever is not clearly about this recipient or this message is the notifier's: nothing is lost by keeping it.

/// What a permanent refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// This recipient or this message: no other one would be refused for it.
    Message,
    /// The sender, the host, the login, a quota or the server: every message would be refused.
    Notifier,
    /// Nothing permanent: the enhanced status code is of class 4.
    Later,
}

/// Parts of a refusal that are about the sending side, whatever its code is.
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
/// Parts of a refusal that are about the recipient.
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
/// Parts of a refusal that are about the message's size.
const SIZE: [&str; 5] = [
    "too big",
    "too large",
    "message size",
    "size limit",
    "exceeds maximum",
];

/// Classifies a reply with a code of 500 to 599 to RCPT, DATA or the content. `text` is its text, all lines.
pub fn subject_of(code: u16, text: &str) -> Subject {
    // An address may contain any word.
    let words = text.split_whitespace().filter(|word| !word.contains('@'));
    let wording = words.collect::<Vec<_>>().join(" ").to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| wording.contains(part));
    let enhanced = enhanced_code(text);
    if let Some((4, ..)) = enhanced {
        return Subject::Later;
    }
    if has(&SENDING_SIDE) {
        return Subject::Notifier;
    }
    let by_code = enhanced.and_then(|(_, subject, detail)| by_enhanced_code(subject, detail));
    if let Some(subject) = by_code {
        return subject;
    }
    let is_known = has(&RECIPIENT) || has(&SIZE);
    // Without an enhanced code: "user not local" and "exceeded storage allocation".
    let is_by_code = enhanced.is_none() && matches!(code, 551 | 552);
    if is_known || is_by_code {
        Subject::Message
    } else {
        Subject::Notifier
    }
}

/// Returns what `5.subject.detail` is about, or `None` where it may be about anything.
fn by_enhanced_code(subject: u16, detail: u16) -> Option<Subject> {
    match (subject, detail) {
        // Other address status, and the sender's address.
        (1, 0) => None,
        (1, 7 | 8) => Some(Subject::Notifier),
        (1, _) => Some(Subject::Message),
        // Mailbox disabled, full, limited in size; mailing list.
        (2, 1..=4) => Some(Subject::Message),
        (3, 4) => Some(Subject::Message),
        (4, 5) => Some(Subject::Notifier),
        // Addresses beyond ASCII: the sender's is one, too.
        (6, 7) => None,
        (6, _) => Some(Subject::Message),
        // Policy, authentication, permission to send as somebody.
        (7, _) => Some(Subject::Notifier),
        _ => None,
    }
}

/// Returns the first enhanced status code of class 4 or 5 in the text, as `(class, subject, detail)`. Many servers repeat it
/// in each line, put it into the second one or add signs around it; an address or a version with more parts is none.
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
    fn an_enhanced_code_is_found_wherever_a_server_puts_it() {
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
    fn an_address_is_no_wording() {
        let text = "5.1.1 <sender@relay.example.com>: Recipient address rejected";
        assert_eq!(subject_of(550, text), Subject::Message);
        let text = "5.1.1 <a@b.example.com>: Sender address rejected: User unknown";
        assert_eq!(subject_of(550, text), Subject::Notifier);
    }
}
