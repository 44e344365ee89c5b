//! The dead-man's switch: one GET after each cycle, if the newest cycle of every organization was complete. An external
//! monitor notices when the requests stop. It runs in its own task, so that it delays no cycle.
//!
//! A failed request is not stored: the next complete cycle sends another one.

use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::secrets;
use spendwatch_base::secret::Secret;
use spendwatch_config::sections;
use spendwatch_config::source::Environment;
use spendwatch_notify::post::{self, ReceiverEndpoint};

/// Limit for one request, name resolution included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before the second and third request of a cycle, if the previous one failed.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Client and URL of the heartbeat.
#[derive(Debug)]
pub struct Heartbeat {
    endpoint: ReceiverEndpoint,
}

impl Heartbeat {
    /// Builds the heartbeat of a configuration without sending a request.
    pub async fn from_config(
        configured: &sections::HeartbeatConfig,
        environment: &Environment,
    ) -> anyhow::Result<Heartbeat> {
        let place = "`url` of `[heartbeat]`";
        let url = secrets::resolve(&configured.url, environment)
            .await
            .context(place)?;
        let endpoint = ReceiverEndpoint::new(url, configured.allow_http).context(place)?;
        Ok(Heartbeat { endpoint })
    }

    /// Returns the address, which may contain a token.
    pub fn url(&self) -> &Secret {
        self.endpoint.secret()
    }

    /// Sends one request after each completed cycle until asked to stop.
    pub async fn run(&self, app: &App, stop: &CancellationToken) {
        let mut is_failing = false;
        while stop
            .run_until_cancelled(app.cycle_completed.notified())
            .await
            .is_some()
        {
            let send = self.send_with_retries(app, &mut is_failing);
            if stop.run_until_cancelled(send).await.is_none() {
                // The successor of this task sends the request instead.
                app.cycle_completed.notify_one();
            }
        }
    }

    /// Sends the request with two retries, as long as all cycles are complete.
    async fn send_with_retries(&self, app: &App, is_failing: &mut bool) {
        let mut pauses = PAUSES.into_iter();
        while is_healthy(app) {
            let outcome = post::ping(&self.endpoint, TIMEOUT).await;
            record(app, outcome.as_ref().err(), is_failing);
            let (Err(_), Some(pause)) = (outcome, pauses.next()) else {
                return;
            };
            tokio::select! {
                () = app.clock.sleep(pause) => {}
                () = app.cycle_completed.notified() => pauses = PAUSES.into_iter(),
            }
        }
    }
}

/// Returns whether the newest cycle of every organization was complete and the store works.
fn is_healthy(app: &App) -> bool {
    app.published.are_all_complete() && app.store.problems().is_empty()
}

/// Counts the outcome, and logs the first failure and the recovery.
fn record(app: &App, error: Option<&String>, is_failing: &mut bool) {
    let was_failing = std::mem::replace(is_failing, error.is_some());
    let outcome = if error.is_some() { "failed" } else { "sent" };
    app.counters.count_heartbeat(outcome);
    match error {
        Some(error) if !was_failing => {
            tracing::warn!("heartbeat failed: {error}; logging this once until it succeeds");
        }
        None if was_failing => tracing::info!("heartbeat works again"),
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spendwatch_config::source::SecretSource;

    #[tokio::test]
    async fn http_url_is_rejected_when_its_secret_is_resolved() {
        for allow_http in [false, true] {
            let url = "http://receiver.example.com/canary";
            let environment = [("URL".to_owned(), url.to_owned())].into();
            let configured = sections::HeartbeatConfig {
                url: SecretSource::Env("URL".to_owned()),
                allow_http,
            };
            let built = Heartbeat::from_config(&configured, &environment).await;
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
