//! The console: the message as text, for `demo` and for a daemon without any receiver.
//!
//! Names are cleaned of control characters before they come here, so that none of them can speak to the terminal.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::notify::digest::{self, Letter};
use crate::notify::envelope::Envelope;
use crate::notify::message::{self, MAX_LINES};
use crate::notify::outcome::Delivery;

/// A reader that has stopped reading must not hold up the worker for ever.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Where the text goes.
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
    /// Writes to standard output, or to whatever else is given.
    pub fn new(writer: impl Write + Send + 'static) -> Console {
        Console {
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    /// Writes once.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        self.write(payload(envelope)).await
    }

    /// Writes a digest once.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        self.write(digest_payload(letter)).await
    }

    async fn write(&self, text: String) -> Delivery {
        let writer = Arc::clone(&self.writer);
        let write = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write_all(text.as_bytes())?;
            writer.flush()
        });
        match tokio::time::timeout(TIME_LIMIT, write).await {
            Ok(Ok(written)) => judge(written),
            Ok(Err(_)) => Delivery::ambiguous("writing to the console was cut off"),
            Err(_) => Delivery::ambiguous("the console's reader does not read"),
        }
    }
}

/// A pipe whose reader is gone stays closed until the next start: what waits is kept for that.
fn judge(written: io::Result<()>) -> Delivery {
    match written {
        Ok(()) => Delivery::Delivered,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            Delivery::park("the console's reader is gone")
        }
        Err(error) => Delivery::ambiguous(format!("the console cannot be written to: {error}")),
    }
}

/// The text, with an empty line after it.
pub fn payload(envelope: &Envelope<'_>) -> String {
    let message = message::render(envelope, MAX_LINES);
    format!("{}\n", message::plain_text(&message))
}

/// The text of a digest, with an empty line after it.
pub fn digest_payload(letter: &Letter<'_>) -> String {
    format!("{}\n", digest::plain_text(&digest::render(letter)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notification::Reason;
    use crate::notify::envelope::Links;
    use crate::notify::samples::{at, fact};

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
    async fn a_pipe_whose_reader_is_gone_parks() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(matches!(send_to(writer).await, Delivery::Park { .. }));
    }

    #[tokio::test]
    async fn the_text_arrives_whole() {
        let (reader, writer) = io::pipe().unwrap();
        assert_eq!(send_to(writer).await, Delivery::Delivered);
        let text = io::read_to_string(reader).unwrap();
        assert!(text.starts_with("Critical: workspace Search\n$5,630.12 spent"));
        assert!(text.ends_with("\n\n"));
    }
}
