//! One attempt to send one message: the frozen facts and their context.

use jiff::{SignedDuration, Timestamp};

use spendwatch_domain::alerts::alert::Identity;
use spendwatch_domain::alerts::notification::{Fact, Thread};
use spendwatch_domain::units::ids::NotifierName;

/// An older message states its delay.
pub const MAX_FRESH_AGE: SignedDuration = SignedDuration::from_mins(15);

/// One attempt to send one message.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The same for all attempts and replays; contains no dot. Becomes `webhook-id` and Message-ID.
    pub id: &'a str,
    pub notifier: &'a NotifierName,
    /// At least one, each of a different alert, worst first; frozen at the first attempt.
    pub facts: &'a [Fact],
    /// When the message was decided.
    pub created_at: Timestamp,
    pub now: Timestamp,
    pub n_attempts: u32,
    /// A person asked for it to be sent again.
    pub is_replay: bool,
    pub links: &'a Links,
    /// Address for this copy; mail only.
    pub recipient: Option<&'a str>,
    /// Thread of the alert; chat only, never for several alerts.
    pub thread: Option<&'a Thread>,
    /// Number of posts already sent; the next one is sent.
    pub n_posted: u32,
}

/// Base URLs for links, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The daemon's pages, if they are reachable from outside.
    pub external_url: Option<String>,
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
    /// Returns the URL of an alert's page.
    pub fn alert_page(&self, alert: &Identity) -> Option<String> {
        let base = self.external_url.as_ref()?;
        Some(format!("{base}/alerts/{}", alert.fingerprint()))
    }

    /// Returns the URL of the overview.
    pub fn overview_page(&self) -> Option<String> {
        let base = self.external_url.as_ref()?;
        Some(format!("{base}/"))
    }
}

impl Envelope<'_> {
    /// Returns the time since the message was decided.
    pub fn age(&self) -> SignedDuration {
        self.now.duration_since(self.created_at)
    }

    /// Returns whether the message must state its delay.
    pub fn is_old(&self) -> bool {
        self.age() > MAX_FRESH_AGE
    }
}
