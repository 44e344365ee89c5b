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
use crate::post::ReceiverEndpoint;
use crate::receivers::alertmanager::Alertmanager;
use crate::receivers::chat::ChatWebhook;
use crate::receivers::command::Command;
use crate::receivers::console::Console;
use crate::receivers::email::EmailNotifier;
use crate::receivers::memory::Memory;
use crate::receivers::pagerduty::PagerDuty;
use crate::receivers::slack_api::SlackApi;
use crate::receivers::webhook::Webhook;
use crate::receivers::{discord, slack, teams};
use crate::wording::digest::DigestEnvelope;
use spendwatch_base::receiver::ReceiverSettings;
use spendwatch_base::secret::Secret;

/// A configured receiver.
#[derive(Debug, Clone)]
pub enum Notifier {
    /// A webhook of Slack, Teams or Discord.
    Chat(ChatWebhook),
    /// Slack with a bot token, with threads.
    SlackApi(SlackApi),
    Email(EmailNotifier),
    Webhook(Webhook),
    PagerDuty(PagerDuty),
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
            Notifier::Chat($receiver) => $value,
            Notifier::SlackApi($receiver) => $value,
            Notifier::Email($receiver) => $value,
            Notifier::Webhook($receiver) => $value,
            Notifier::PagerDuty($receiver) => $value,
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
        let endpoint = |url| ReceiverEndpoint::new(url, allow_http);
        let chat = |url, format| -> Result<_, SettingsError> {
            let endpoint = endpoint(url)?;
            Ok(Notifier::Chat(ChatWebhook { endpoint, format }))
        };
        Ok(match settings {
            ReceiverSettings::Console => Notifier::Console(Console::new(io::stdout())),
            ReceiverSettings::Slack { url } => chat(url, slack::FORMAT)?,
            ReceiverSettings::Teams { url } => chat(url, teams::FORMAT)?,
            ReceiverSettings::Discord { url } => Notifier::Chat(discord::webhook(endpoint(url)?)),
            ReceiverSettings::SlackApi(settings) => {
                Notifier::SlackApi(SlackApi::new(settings, allow_http)?)
            }
            ReceiverSettings::Webhook(settings) => {
                Notifier::Webhook(Webhook::new(settings, allow_http)?)
            }
            ReceiverSettings::Command(settings) => Notifier::Command(Command::new(settings)?),
            ReceiverSettings::PagerDuty(settings) => {
                Notifier::PagerDuty(PagerDuty::new(settings, allow_http)?)
            }
            ReceiverSettings::Email(settings) => {
                Notifier::Email(EmailNotifier::new(*settings, None)?)
            }
            ReceiverSettings::Alertmanager(settings) => {
                let members = settings.members.into_iter();
                let members = members
                    .map(|member| ReceiverEndpoint::new(member.url, member.allow_http))
                    .collect::<Result<_, _>>()?;
                Notifier::Alertmanager(Alertmanager::new(members, settings.headers)?)
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
