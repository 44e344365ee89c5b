//! Signals of the operating system: shutdown and reload.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers of the daemon's signals. While they exist, none of these signals ends the process by itself.
pub struct Signals {
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

/// What a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAction {
    End,
    Reload,
}

impl Signals {
    /// Installs the handlers.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.interrupted.recv() => SignalAction::End,
            _ = self.terminated.recv() => SignalAction::End,
            _ = self.hung_up.recv() => SignalAction::Reload,
        }
    }
}
