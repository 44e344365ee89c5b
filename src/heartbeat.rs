//! The dead-man's switch: whoever expects our calls notices when they stop. One call after a cycle, when the newest cycle of
//! every organization was complete, in a task of its own, so that it delays none.
//!
//! Nothing is kept of a call that fails: the next good cycle makes another one.

use std::time::Duration;

use anyhow::Context;
use reqwest::Client;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::sections;
use crate::config::source::Environment;
use crate::notify::post::{self, Address};
use crate::secret::Secret;
use crate::secrets;

/// From the first look-up to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Before the second call and before the third, where those before failed. Then it is left to the next cycle.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Whom to call.
#[derive(Debug)]
pub struct Heartbeat {
    client: Client,
    address: Address,
}

impl Heartbeat {
    /// As configured. Calls nobody.
    pub async fn configured(
        configured: &sections::Heartbeat,
        environment: &Environment,
    ) -> anyhow::Result<Heartbeat> {
        let place = "the address of `[heartbeat]`";
        let url = secrets::resolve(&configured.url, environment)
            .await
            .context(place)?;
        let client = post::client(&url, configured.allow_http).context(place)?;
        let address = Address::new(url).context(place)?;
        Ok(Heartbeat { client, address })
    }

    /// The address that is called.
    pub fn url(&self) -> &Secret {
        self.address.secret()
    }

    /// Calls after each pulse, one call at a time, until asked to stop.
    pub async fn run(&self, app: &App, stop: &CancellationToken) {
        let mut is_failing = false;
        while stop
            .run_until_cancelled(app.pulse.notified())
            .await
            .is_some()
        {
            let beat = self.beat(app, &mut is_failing);
            if stop.run_until_cancelled(beat).await.is_none() {
                // Whoever comes after this one owes the call.
                app.pulse.notify_one();
            }
        }
    }

    /// One call, and two more where it fails, unless a newer one is due or there is nothing good to tell any more.
    async fn beat(&self, app: &App, is_failing: &mut bool) {
        let mut pauses = PAUSES.into_iter();
        while is_well(app) {
            let outcome = post::call(&self.client, &self.address, TIMEOUT).await;
            note(app, outcome.as_ref().err(), is_failing);
            let (Err(_), Some(pause)) = (outcome, pauses.next()) else {
                return;
            };
            tokio::select! {
                () = app.clock.sleep(pause) => {}
                () = app.pulse.notified() => pauses = PAUSES.into_iter(),
            }
        }
    }
}

/// Whether the newest cycle of every organization was complete, and the store can be used.
fn is_well(app: &App) -> bool {
    app.board.is_complete() && app.store.problems().is_empty()
}

/// Counted each time, and logged when it begins to fail and when it ends.
fn note(app: &App, error: Option<&String>, is_failing: &mut bool) {
    let was_failing = std::mem::replace(is_failing, error.is_some());
    let outcome = if error.is_some() { "failed" } else { "sent" };
    app.counters.count_heartbeat(outcome);
    match error {
        Some(error) if !was_failing => tracing::warn!(
            "the heartbeat failed: {error}; this is not said again until one succeeds"
        ),
        None if was_failing => tracing::info!("the heartbeat succeeds again"),
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::SecretSource;

    #[tokio::test]
    async fn an_address_in_clear_text_is_refused_when_its_secret_is_resolved() {
        for allow_http in [false, true] {
            let url = "http://receiver.example.com/canary";
            let environment = [("URL".to_owned(), url.to_owned())].into();
            let configured = sections::Heartbeat {
                url: SecretSource::Env("URL".to_owned()),
                allow_http,
            };
            let built = Heartbeat::configured(&configured, &environment).await;
            if allow_http {
                built.unwrap();
                continue;
            }
            let error = format!("{:#}", built.unwrap_err());
            assert!(error.contains("`allow_http = true`"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
