//! Signals of the operating system: shutdown and reload.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Handlers of the daemon's signals. While they exist, none of these signals ends the process by itself.
pub struct Signals {
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAction {
    End,
    Reload,
}

impl Signals {
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    pub async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.interrupted.recv() => SignalAction::End,
            _ = self.terminated.recv() => SignalAction::End,
            _ = self.hung_up.recv() => SignalAction::Reload,
        }
    }
}
