//! One attempt to send one message: the frozen facts, and what is around them.

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::Identity;
use crate::domain::ids::NotifierName;
use crate::domain::notification::{Fact, Thread};

/// A message that is older says when it was true.
pub const FRESH: SignedDuration = SignedDuration::from_mins(15);

/// One attempt to send one message.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Stable over all attempts and replays; without a dot. Becomes webhook-id and Message-ID.
    pub id: &'a str,
    pub notifier: &'a NotifierName,
    /// At least one, each of another alert, worst first; frozen at the first attempt.
    pub facts: &'a [Fact],
    /// When the message was decided.
    pub created_at: Timestamp,
    /// The time of this attempt.
    pub now: Timestamp,
    pub n_attempts: u32,
    /// Somebody asked for it to be sent again.
    pub is_replay: bool,
    pub links: &'a Links,
    /// For mail: whom this copy is for; one transaction for each.
    pub recipient: Option<&'a str>,
    /// For chat: where an earlier message about the same alert stands. Never for a message about several.
    pub thread: Option<&'a Thread>,
    /// Posts of this message that the receiver answered before: the next one is sent, and no other.
    pub n_posted: u32,
}

/// Where links in messages lead to. No base ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The daemon's own pages, where they can be reached from outside.
    pub external_url: Option<String>,
    /// Where limits, workspaces and keys are managed.
    pub console: String,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            external_url: None,
            console: "https://console.anthropic.com".to_owned(),
        }
    }
}

impl Links {
    /// Where one alert is shown with its history, and taken up.
    pub fn page_of(&self, alert: &Identity) -> Option<String> {
        let base = self.external_url.as_ref()?;
        Some(format!("{base}/alerts/{}", alert.fingerprint()))
    }

    /// Where all alerts are shown.
    pub fn page_of_all(&self) -> Option<String> {
        let base = self.external_url.as_ref()?;
        Some(format!("{base}/"))
    }
}

impl Envelope<'_> {
    /// How old the news is.
    pub fn age(&self) -> SignedDuration {
        self.now.duration_since(self.created_at)
    }

    /// Whether the message must say when it was true.
    pub fn is_old(&self) -> bool {
        self.age() > FRESH
    }
}
