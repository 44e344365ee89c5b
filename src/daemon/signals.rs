//! What the operating system asks for: the end, or another look at the configuration.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the daemon listens to; from its making on, none of them ends the process by itself.
pub struct Signals {
    interrupted: Signal,
    terminated: Signal,
    hung_up: Signal,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    End,
    Reload,
}

impl Signals {
    /// Starts to listen.
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupted.recv() => Asked::End,
            _ = self.terminated.recv() => Asked::End,
            _ = self.hung_up.recv() => Asked::Reload,
        }
    }
}
