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

use crate::envelope::Envelope;
use crate::outcome::Delivery;
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

impl Notifier {
    /// Sends one post, which takes at most about a minute. A message of several posts, such as a webhook with more than
    /// `webhook::MAX_ALERTS` alerts, needs several calls: see [`Delivery::PartSent`].
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        match self {
            Notifier::Slack(slack) => slack.send(envelope).await,
            Notifier::SlackApi(slack) => slack.send(envelope).await,
            Notifier::Email(email) => email.send(envelope).await,
            Notifier::Webhook(webhook) => webhook.send(envelope).await,
            Notifier::PagerDuty(pagerduty) => pagerduty.send(envelope).await,
            Notifier::Teams(teams) => teams.send(envelope).await,
            Notifier::Discord(discord) => discord.send(envelope).await,
            Notifier::Command(command) => command.send(envelope).await,
            Notifier::Alertmanager(alertmanager) => alertmanager.send(envelope).await,
            Notifier::Console(console) => console.send(envelope).await,
            Notifier::Memory(memory) => memory.send(envelope),
        }
    }

    /// Sends a digest once.
    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        match self {
            Notifier::Slack(slack) => slack.send_digest(envelope).await,
            Notifier::SlackApi(slack) => slack.send_digest(envelope).await,
            Notifier::Email(email) => email.send_digest(envelope).await,
            Notifier::Webhook(webhook) => webhook.send_digest(envelope).await,
            // The configuration rejects this, but a waiting message may be from another configuration.
            Notifier::PagerDuty(_) => Delivery::drop_message("PagerDuty accepts no digests"),
            Notifier::Alertmanager(_) => Delivery::drop_message("Alertmanager accepts no digests"),
            Notifier::Teams(teams) => teams.send_digest(envelope).await,
            Notifier::Discord(discord) => discord.send_digest(envelope).await,
            Notifier::Command(command) => command.send_digest(envelope).await,
            Notifier::Console(console) => console.send_digest(envelope).await,
            Notifier::Memory(memory) => memory.send_digest(envelope),
        }
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
        match self {
            Notifier::Slack(slack) => slack.settings(),
            Notifier::SlackApi(slack) => slack.settings(),
            Notifier::Email(email) => email.settings(),
            Notifier::Webhook(webhook) => webhook.settings(),
            Notifier::PagerDuty(pagerduty) => pagerduty.settings(),
            Notifier::Teams(teams) => teams.settings(),
            Notifier::Discord(discord) => discord.settings(),
            Notifier::Command(command) => command.settings(),
            Notifier::Alertmanager(alertmanager) => alertmanager.settings(),
            Notifier::Console(_) => vec!["console"],
            Notifier::Memory(_) => vec!["memory"],
        }
    }

    /// Returns whether people see a message twice when it is sent twice. Other receivers recognize duplicates by id.
    pub fn shows_repeats(&self) -> bool {
        match self {
            Notifier::Slack(_)
            | Notifier::SlackApi(_)
            | Notifier::Teams(_)
            | Notifier::Discord(_) => true,
            Notifier::Email(_)
            | Notifier::Webhook(_)
            | Notifier::PagerDuty(_)
            | Notifier::Command(_)
            | Notifier::Alertmanager(_)
            | Notifier::Console(_)
            | Notifier::Memory(_) => false,
        }
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
