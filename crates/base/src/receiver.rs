//! The settings and capabilities of each type of receiver. The configuration reads them with the sources of their secrets,
//! and notifiers are built from them with the secrets themselves.

use std::time::Duration;

use crate::template::Template;

/// Length of a PagerDuty routing key, in characters.
pub const ROUTING_KEY_LENGTH: usize = 32;

/// The settings of a receiver. `S` is a secret or its source.
#[derive(Debug, Clone)]
pub enum ReceiverSettings<S> {
    Console,
    Slack { url: S },
    SlackApi(SlackApiSettings<S>),
    Webhook(WebhookSettings<S>),
    Command(CommandSettings),
    PagerDuty(PagerDutySettings<S>),
    Teams { url: S },
    Discord { url: S },
    Email(Box<EmailSettings<S>>),
    Alertmanager(AlertmanagerSettings<S>),
}

/// Slack with a bot token.
#[derive(Debug, Clone)]
pub struct SlackApiSettings<S> {
    pub token: S,
    /// Channel id, or name with `#`.
    pub channel: String,
    pub api_url: String,
}

/// JSON in the format of Alertmanager's webhook, version 4.
#[derive(Debug, Clone)]
pub struct WebhookSettings<S> {
    pub url: S,
    /// `whsec_…`; several during rotation, none for unsigned posts.
    pub signing_secrets: Vec<S>,
    /// Added to each request, for example `Authorization`.
    pub headers: Vec<(String, S)>,
    /// Renders the body instead of the standard JSON.
    pub template: Option<Template>,
}

/// A program that receives the webhook's body on standard input.
#[derive(Debug, Clone)]
pub struct CommandSettings {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The program is killed after this time.
    pub timeout: Duration,
    /// All its variables, besides the message id.
    pub environment: Vec<(String, String)>,
}

/// PagerDuty's Events API v2.
#[derive(Debug, Clone)]
pub struct PagerDutySettings<S> {
    pub url: S,
    pub routing_key: S,
}

/// SMTP relay and addresses.
#[derive(Debug, Clone)]
pub struct EmailSettings<S> {
    pub host: String,
    /// 25, 465, 587.
    pub port: u16,
    pub tls: MailTls,
    /// Name in EHLO; by default the host's full name or an address literal.
    pub helo: Option<String>,
    pub username: Option<String>,
    /// Sent only over an encrypted connection.
    pub password: Option<S>,
    /// `spendwatch@example.com`, optionally with a display name.
    pub from: String,
    /// At least one; each has its own delivery.
    pub to: Vec<String>,
}

/// Encryption of a mail connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte: `smtps://`.
    Implicit,
    /// STARTTLS, otherwise nothing is sent.
    StartTlsRequired,
    /// STARTTLS if the server offers it, with a valid certificate.
    StartTlsOpportunistic,
    None,
}

/// Prometheus Alertmanager, to which firing alerts are resent regularly.
#[derive(Debug, Clone)]
pub struct AlertmanagerSettings<S> {
    /// All members of the cluster, at least one.
    pub members: Vec<AlertmanagerMember<S>>,
    /// Added to each request, for example `Authorization`.
    pub headers: Vec<(String, S)>,
    pub resend_interval: Duration,
}

/// One member of an Alertmanager cluster.
#[derive(Debug, Clone)]
pub struct AlertmanagerMember<S> {
    pub url: S,
    /// Allows `http://` to hosts other than loopback.
    pub allow_http: bool,
}

/// What decisions, delivery and the configuration need to know about a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities<'a> {
    /// Receivers of incidents or alerts alone accept no digests.
    pub accepts_digests: bool,
    /// Keeps the state of alerts, so that it must receive every resolution.
    pub holds_state: bool,
    /// People see a message twice when it is sent twice. Other receivers recognize duplicates by id.
    pub shows_repeats: bool,
    /// Recipients that have their own delivery; empty if the receiver has a single one.
    pub recipients: &'a [String],
    /// How often firing alerts are resent; `None` if the receiver is sent messages instead.
    pub resend_interval: Option<Duration>,
}

const CHAT: Capabilities<'static> = Capabilities {
    accepts_digests: true,
    holds_state: false,
    shows_repeats: true,
    recipients: &[],
    resend_interval: None,
};
const PROGRAM: Capabilities<'static> = Capabilities {
    holds_state: true,
    shows_repeats: false,
    ..CHAT
};
const INCIDENTS: Capabilities<'static> = Capabilities {
    accepts_digests: false,
    ..PROGRAM
};

impl<S> ReceiverSettings<S> {
    /// Returns what the receiver can do.
    pub fn capabilities(&self) -> Capabilities<'_> {
        match self {
            ReceiverSettings::Console => Capabilities {
                shows_repeats: false,
                ..CHAT
            },
            ReceiverSettings::Slack { .. }
            | ReceiverSettings::SlackApi(_)
            | ReceiverSettings::Teams { .. }
            | ReceiverSettings::Discord { .. } => CHAT,
            ReceiverSettings::Webhook(_) | ReceiverSettings::Command(_) => PROGRAM,
            ReceiverSettings::PagerDuty(_) => INCIDENTS,
            ReceiverSettings::Email(email) => Capabilities {
                shows_repeats: false,
                recipients: &email.to,
                ..CHAT
            },
            ReceiverSettings::Alertmanager(alertmanager) => Capabilities {
                resend_interval: Some(alertmanager.resend_interval),
                ..INCIDENTS
            },
        }
    }

    /// Returns all its secrets.
    pub fn secrets(&self) -> Vec<&S> {
        let mut secrets = Vec::new();
        self.map(|secret| secrets.push(secret));
        secrets
    }

    /// Returns the same settings with other secrets, called for in the order of [`Self::secrets`].
    pub fn map<'a, T>(&'a self, mut secret: impl FnMut(&'a S) -> T) -> ReceiverSettings<T> {
        match self {
            ReceiverSettings::Console => ReceiverSettings::Console,
            ReceiverSettings::Slack { url } => ReceiverSettings::Slack { url: secret(url) },
            ReceiverSettings::SlackApi(slack) => ReceiverSettings::SlackApi(SlackApiSettings {
                token: secret(&slack.token),
                channel: slack.channel.clone(),
                api_url: slack.api_url.clone(),
            }),
            ReceiverSettings::Webhook(webhook) => ReceiverSettings::Webhook(WebhookSettings {
                url: secret(&webhook.url),
                signing_secrets: webhook.signing_secrets.iter().map(&mut secret).collect(),
                headers: map_values(&webhook.headers, secret),
                template: webhook.template.clone(),
            }),
            ReceiverSettings::Command(command) => ReceiverSettings::Command(command.clone()),
            ReceiverSettings::PagerDuty(pagerduty) => {
                ReceiverSettings::PagerDuty(PagerDutySettings {
                    url: secret(&pagerduty.url),
                    routing_key: secret(&pagerduty.routing_key),
                })
            }
            ReceiverSettings::Teams { url } => ReceiverSettings::Teams { url: secret(url) },
            ReceiverSettings::Discord { url } => ReceiverSettings::Discord { url: secret(url) },
            ReceiverSettings::Email(email) => ReceiverSettings::Email(Box::new(EmailSettings {
                host: email.host.clone(),
                port: email.port,
                tls: email.tls,
                helo: email.helo.clone(),
                username: email.username.clone(),
                password: email.password.as_ref().map(secret),
                from: email.from.clone(),
                to: email.to.clone(),
            })),
            ReceiverSettings::Alertmanager(alertmanager) => {
                let member = |member: &'a AlertmanagerMember<S>| AlertmanagerMember {
                    url: secret(&member.url),
                    allow_http: member.allow_http,
                };
                ReceiverSettings::Alertmanager(AlertmanagerSettings {
                    members: alertmanager.members.iter().map(member).collect(),
                    headers: map_values(&alertmanager.headers, secret),
                    resend_interval: alertmanager.resend_interval,
                })
            }
        }
    }
}

fn map_values<'a, S, T>(
    headers: &'a [(String, S)],
    mut secret: impl FnMut(&'a S) -> T,
) -> Vec<(String, T)> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.clone(), secret(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_show_repeats_and_programs_hold_state() {
        let of = |settings: ReceiverSettings<&str>| {
            let it = settings.capabilities();
            (it.accepts_digests, it.holds_state, it.shows_repeats)
        };
        let bot = SlackApiSettings {
            token: "canary",
            channel: "#finops".to_owned(),
            api_url: "https://slack.com/api".to_owned(),
        };
        for chat in [
            ReceiverSettings::Slack { url: "" },
            ReceiverSettings::SlackApi(bot),
            ReceiverSettings::Teams { url: "" },
            ReceiverSettings::Discord { url: "" },
        ] {
            assert_eq!(of(chat), (true, false, true));
        }
        assert_eq!(of(ReceiverSettings::Console), (true, false, false));
        let incidents = PagerDutySettings {
            url: "",
            routing_key: "",
        };
        let incidents = ReceiverSettings::PagerDuty(incidents);
        assert_eq!(of(incidents), (false, true, false));
    }

    #[test]
    fn secrets_are_replaced_in_their_order() {
        let webhook = ReceiverSettings::Webhook(WebhookSettings {
            url: "a",
            signing_secrets: vec!["b", "c"],
            headers: vec![("X".to_owned(), "d")],
            template: None,
        });
        let mut n = 0;
        let numbered = webhook.map(|secret| {
            n += 1;
            format!("{secret}{n}")
        });
        assert_eq!(webhook.secrets(), [&"a", &"b", &"c", &"d"]);
        assert_eq!(numbered.secrets(), ["a1", "b2", "c3", "d4"]);
    }
}
