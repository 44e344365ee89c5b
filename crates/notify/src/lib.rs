//! Notifiers. Each is a pure `payload` and a short `send`; texts are rendered once for all of them.
//!
//! A send is one attempt. Waiting, order, folding and dead letters belong to `delivery`.

pub mod envelope;
pub mod outcome;
pub mod settings_mark;

pub mod wording;

pub mod json;

pub mod post;

pub mod receivers;

use std::io;

use crate::envelope::Envelope;
use crate::outcome::{Delivery, SettingsError};
use crate::receivers::alertmanager::Alertmanager;
use crate::receivers::command::Command;
use crate::receivers::console::Console;
use crate::receivers::discord::Discord;
use crate::receivers::email::EmailNotifier;
use crate::receivers::memory::Memory;
use crate::receivers::pagerduty::PagerDuty;
use crate::receivers::slack::Slack;
use crate::receivers::slack_api::SlackApi;
use crate::receivers::teams::Teams;
use crate::receivers::webhook::Webhook;
use crate::wording::digest::DigestEnvelope;
use spendwatch_base::receiver::{AlertmanagerMember, AlertmanagerSettings, ReceiverSettings};
use spendwatch_base::secret::Secret;

/// A configured receiver.
#[derive(Debug, Clone)]
pub enum Notifier {
    Slack(Slack),
    /// Slack with a bot token, with threads.
    SlackApi(SlackApi),
    Email(EmailNotifier),
    Webhook(Webhook),
    PagerDuty(PagerDuty),
    Teams(Teams),
    Discord(Discord),
    Command(Command),
    /// Alerts reach it through `delivery::resend`, not through the outbox.
    Alertmanager(Alertmanager),
    Console(Console),
    Memory(Memory),
}

/// Evaluates an expression for the receiver of a notifier, whatever its type.
macro_rules! with_receiver {
    ($notifier:expr, $receiver:ident => $value:expr) => {
        match $notifier {
            Notifier::Slack($receiver) => $value,
            Notifier::SlackApi($receiver) => $value,
            Notifier::Email($receiver) => $value,
            Notifier::Webhook($receiver) => $value,
            Notifier::PagerDuty($receiver) => $value,
            Notifier::Teams($receiver) => $value,
            Notifier::Discord($receiver) => $value,
            Notifier::Command($receiver) => $value,
            Notifier::Alertmanager($receiver) => $value,
            Notifier::Console($receiver) => $value,
            Notifier::Memory($receiver) => $value,
        }
    };
}

impl Notifier {
    /// Creates a receiver. `allow_http` allows `http://` to hosts other than loopback.
    pub fn new(
        settings: ReceiverSettings<Secret>,
        allow_http: bool,
    ) -> Result<Notifier, SettingsError> {
        let client = |url: &Secret| post::client(url, allow_http);
        Ok(match settings {
            ReceiverSettings::Console => Notifier::Console(Console::new(io::stdout())),
            ReceiverSettings::Slack { url } => Notifier::Slack(Slack::new(client(&url)?, url)?),
            ReceiverSettings::SlackApi(settings) => {
                let client = client(&Secret::new(settings.api_url.clone()))?;
                Notifier::SlackApi(SlackApi::new(client, settings)?)
            }
            ReceiverSettings::Webhook(settings) => {
                Notifier::Webhook(Webhook::new(client(&settings.url)?, settings)?)
            }
            ReceiverSettings::Command(settings) => Notifier::Command(Command::new(settings)?),
            ReceiverSettings::PagerDuty(settings) => {
                Notifier::PagerDuty(PagerDuty::new(client(&settings.url)?, settings)?)
            }
            ReceiverSettings::Teams { url } => Notifier::Teams(Teams::new(client(&url)?, url)?),
            ReceiverSettings::Discord { url } => {
                Notifier::Discord(Discord::new(client(&url)?, url)?)
            }
            ReceiverSettings::Email(settings) => {
                Notifier::Email(EmailNotifier::new(*settings, None)?)
            }
            ReceiverSettings::Alertmanager(AlertmanagerSettings {
                members, headers, ..
            }) => {
                let with_client = |member: AlertmanagerMember<Secret>| {
                    Ok((post::client(&member.url, member.allow_http)?, member.url))
                };
                let members: Result<_, SettingsError> =
                    members.into_iter().map(with_client).collect();
                Notifier::Alertmanager(Alertmanager::new(members?, headers)?)
            }
        })
    }

    /// Sends one post, which takes at most about a minute. A message of several posts, such as a webhook with more than
    /// [`MAX_ALERTS`](receivers::webhook::MAX_ALERTS) alerts, needs several calls: see [`Delivery::PartSent`].
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        with_receiver!(self, receiver => receiver.send(envelope).await)
    }

    /// Sends a digest once.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        with_receiver!(self, receiver => receiver.send_digest(envelope).await)
    }

    /// Returns a mark of the settings, by which a later start detects changes: see [`settings_mark`].
    pub fn settings_mark(&self, salt: &str) -> String {
        settings_mark::compute(salt, &self.settings())
    }

    /// Returns whether a mark was computed from these settings.
    pub fn has_settings_mark(&self, mark: &str) -> bool {
        settings_mark::matches(mark, &self.settings())
    }

    /// All settings that identify the receiver, secrets included.
    fn settings(&self) -> Vec<&str> {
        with_receiver!(self, receiver => receiver.settings())
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
