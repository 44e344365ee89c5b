//! Holds stalled responses until tests release them.

use tokio::sync::watch;

/// Holds stalled responses until all of them are released.
#[derive(Debug, Default)]
pub struct Gate {
    n_releases: watch::Sender<u64>,
    n_waiting: watch::Sender<usize>,
}

impl Gate {
    /// Releases all responses that wait now.
    pub fn release(&self) {
        self.n_releases.send_modify(|n| *n += 1);
    }

    /// Waits until at least this many responses wait.
    pub async fn wait_for_waiting(&self, n_responses: usize) {
        let mut waiting = self.n_waiting.subscribe();
        // The sender is a field of `self`, so the channel stays open.
        let _ = waiting.wait_for(|n| *n >= n_responses).await;
    }

    /// Waits for the next release.
    pub async fn wait(&self) {
        let mut releases = self.n_releases.subscribe();
        self.n_waiting.send_modify(|n| *n += 1);
        let _guard = WaitingGuard(self);
        // The sender is a field of `self`.
        let _ = releases.changed().await;
    }
}

/// Decrements the number of waiting responses, even if the client has disconnected.
struct WaitingGuard<'a>(&'a Gate);

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.n_waiting.send_modify(|n| *n -= 1);
    }
}
