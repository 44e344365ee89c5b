//! Rung 4: notifiers. Each is a pure `payload` and a short `send`; what to say is put into words once, for all.
//!
//! A send is one attempt. Waiting, order, folding and dead letters are the delivery's.

// What goes in, and what comes out.
pub mod envelope;
pub mod outcome;

// Whether the settings are the same.
pub mod settings_mark;

// Words: names and figures, one alert, what to do about it, a whole message.
pub mod formatting;

pub mod grouping;

pub mod wording;

pub mod advice;

pub mod message;

pub mod fit;

// A whole digest.
pub mod digest;

// Receivers, below what they send by.
pub mod post;
pub mod signature;

// What a mail server refuses.
pub mod refusal;

pub mod smtp;

pub mod console;

pub mod discord;
pub mod email;
pub mod memory;
pub mod slack;
pub mod slack_api;
pub mod teams;
pub mod webhook;

pub mod alertmanager;
pub mod pagerduty;

// Takes the webhook's body.
pub mod command;

use crate::notify::alertmanager::Alertmanager;
use crate::notify::command::Command;
use crate::notify::console::Console;
use crate::notify::digest::Letter;
use crate::notify::discord::Discord;
use crate::notify::email::Email;
use crate::notify::envelope::Envelope;
use crate::notify::memory::Memory;
use crate::notify::outcome::Delivery;
use crate::notify::pagerduty::PagerDuty;
use crate::notify::slack::Slack;
use crate::notify::slack_api::SlackApi;
use crate::notify::teams::Teams;
use crate::notify::webhook::Webhook;

/// A configured receiver.
#[derive(Debug, Clone)]
pub enum Notifier {
    Slack(Slack),
    /// Slack by a bot's token, with threads.
    SlackApi(SlackApi),
    /// Mail, one transaction for each recipient.
    Email(Email),
    Webhook(Webhook),
    /// An event for each alert.
    PagerDuty(PagerDuty),
    /// A card, by a workflow.
    Teams(Teams),
    Discord(Discord),
    /// A program that gets the webhook's body.
    Command(Command),
    /// Prometheus Alertmanager. Nothing is sent to it through the outbox.
    Alertmanager(Alertmanager),
    Console(Console),
    /// Keeps what it is sent.
    Memory(Memory),
}

impl Notifier {
    /// One post, of at most about a minute. A message of several posts, as of a webhook for each [`webhook::MAX_ALERTS`]
    /// alerts and of PagerDuty for each alert, is sent by several calls: see [`Delivery::Partly`].
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

    /// One attempt to send a digest.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        match self {
            Notifier::Slack(slack) => slack.send_digest(letter).await,
            Notifier::SlackApi(slack) => slack.send_digest(letter).await,
            Notifier::Email(email) => email.send_digest(letter).await,
            Notifier::Webhook(webhook) => webhook.send_digest(letter).await,
            // Configuration refuses it; what waited may be of another one.
            Notifier::PagerDuty(_) => {
                Delivery::drop_message("PagerDuty takes alerts, and no digests")
            }
            Notifier::Alertmanager(_) => {
                Delivery::drop_message("Alertmanager takes alerts, and no digests")
            }
            Notifier::Teams(teams) => teams.send_digest(letter).await,
            Notifier::Discord(discord) => discord.send_digest(letter).await,
            Notifier::Command(command) => command.send_digest(letter).await,
            Notifier::Console(console) => console.send_digest(letter).await,
            Notifier::Memory(memory) => memory.send_digest(letter),
        }
    }

    /// A mark of the settings, by which a later start sees whether they are still the same: see [`mark`].
    pub fn mark(&self, salt: &str) -> String {
        settings_mark::mark(salt, &self.settings())
    }

    /// Whether a mark was made with these settings.
    pub fn is_marked(&self, mark_before: &str) -> bool {
        settings_mark::is_of(mark_before, &self.settings())
    }

    /// Everything that decides whether the receiver takes a message, secrets included.
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

    /// Whether people see a message twice when it is sent twice. The others drop what bears a known id, or show that it
    /// is the same.
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
