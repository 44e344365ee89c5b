//! Prints messages as text, for `demo` and for a daemon without receivers.
//!
//! Names contain no control characters here, so none can send escape sequences to the terminal.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::envelope::Envelope;
use crate::outcome::Delivery;
use crate::wording::digest::{self, DigestEnvelope};
use crate::wording::message::{self, MAX_LINES};

/// Limit for one write, because a reader that stopped reading must not block the worker forever.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Prints messages to a writer.
#[derive(Clone)]
pub struct Console {
    writer: Arc<Mutex<dyn Write + Send>>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}

impl Console {
    /// Creates a console that prints to a writer, such as standard output.
    pub fn new(writer: impl Write + Send + 'static) -> Console {
        Console {
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Returns the settings that identify the receiver.
    pub fn settings(&self) -> Vec<&str> {
        vec!["console"]
    }

    /// Sends one post about alerts and classifies the response.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.write(payload(envelope)).await
    }

    /// Sends one digest and classifies the response.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        self.write(digest_payload(envelope)).await
    }

    async fn write(&self, text: String) -> Delivery {
        let writer = Arc::clone(&self.writer);
        let write = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write_all(text.as_bytes())?;
            writer.flush()
        });
        match tokio::time::timeout(TIME_LIMIT, write).await {
            Ok(Ok(written)) => classify(written),
            Ok(Err(_)) => Delivery::ambiguous("writing to the console was interrupted"),
            Err(_) => Delivery::ambiguous("the reader of the console does not read"),
        }
    }
}

/// A closed pipe stays closed until the next start, so messages wait for that.
fn classify(written: io::Result<()>) -> Delivery {
    match written {
        Ok(()) => Delivery::Delivered,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Delivery::park("the reader of the console closed the pipe")
        }
        Err(error) => Delivery::ambiguous(format!("cannot write to the console: {error}")),
    }
}

/// Returns the text followed by an empty line.
pub fn payload(envelope: &Envelope<'_>) -> String {
    let message = message::render(envelope, MAX_LINES);
    format!("{}\n", message::plain_text(&message))
}

/// Returns the text of a digest followed by an empty line.
pub fn digest_payload(envelope: &DigestEnvelope<'_>) -> String {
    format!("{}\n", message::plain_text(&digest::render(envelope)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Links;
    use crate::samples::{at, fact};
    use spendwatch_domain::alerts::notification::Reason;

    async fn send_to(writer: impl Write + Send + 'static) -> Delivery {
        let console = Console::new(writer);
        let envelope = Envelope {
            id: "id-000001",
            notifier: &"console".into(),
            facts: &[fact(Reason::First)],
            created_at: at("2026-11-24T13:05:00Z"),
            now: at("2026-11-24T13:05:00Z"),
            n_attempts: 0,
            is_replay: false,
            links: &Links::default(),
            recipient: None,
            thread: None,
            n_posted: 0,
        };
        console.send(&envelope).await
    }

    #[tokio::test]
    async fn closed_pipe_parks() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(matches!(send_to(writer).await, Delivery::Park { .. }));
    }

    #[tokio::test]
    async fn whole_text_is_written() {
        let (reader, writer) = io::pipe().unwrap();
        assert_eq!(send_to(writer).await, Delivery::Delivered);
        let text = io::read_to_string(reader).unwrap();
        assert!(text.starts_with(
            "Critical: workspace Search is 13% over its November limit\n$5,630.12 of"
        ));
        assert!(text.ends_with("\n\n"));
    }
}
