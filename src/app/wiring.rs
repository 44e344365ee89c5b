//! Builds adapters from the checked configuration and resolves their secrets.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::secrets;
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_anthropic::{AdminApi, ApiSettings};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::secret::Secret;
use spendwatch_base::subprocess;
use spendwatch_config::Config;
use spendwatch_config::notifiers::{EmailConfig, MailTls, NotifierConfig, NotifierKind};
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::{Environment, SecretSource};
use spendwatch_notify::Notifier;
use spendwatch_notify::envelope::Links;
use spendwatch_notify::post;
use spendwatch_notify::receivers::alertmanager::{self, Alertmanager};
use spendwatch_notify::receivers::command::{self, Command};
use spendwatch_notify::receivers::console::Console;
use spendwatch_notify::receivers::discord::{self, Discord};
use spendwatch_notify::receivers::email::{self, EmailNotifier};
use spendwatch_notify::receivers::pagerduty::{self, PagerDuty};
use spendwatch_notify::receivers::slack::{self, Slack};
use spendwatch_notify::receivers::slack_api::{self, SlackApi};
use spendwatch_notify::receivers::smtp::Tls;
use spendwatch_notify::receivers::teams::{self, Teams};
use spendwatch_notify::receivers::webhook::{self, Webhook};

/// Returns the client settings of an organization.
pub fn api_settings(organization: &OrganizationConfig) -> ApiSettings {
    ApiSettings {
        organization: organization.name.clone(),
        base_url: organization.base_url.clone(),
        timeout: organization.timeout,
        max_concurrency: organization.max_concurrency,
        max_requests_per_minute: organization.max_requests_per_minute,
        share: RateShare::Daemon,
        api_version: organization.api_version.clone(),
        ca_file: organization.ca_file.clone(),
    }
}

/// Creates the daemon's Admin API client of an organization. Sends nothing.
pub async fn api(
    organization: &OrganizationConfig,
    environment: &Environment,
    clock: &Clock,
    random: &Random,
    requests: Arc<RequestCounts>,
) -> anyhow::Result<AdminApi> {
    let settings = api_settings(organization);
    let key = admin_key(organization, environment).await?;
    Ok(AdminApi::new(
        settings,
        key,
        clock.clone(),
        random.clone(),
        requests,
    )?)
}

/// Creates a command's Admin API client. `share` decides whether it uses the daemon's part of the request limit.
pub async fn command_api(
    organization: &OrganizationConfig,
    environment: &Environment,
    clock: &Clock,
    requests: Arc<RequestCounts>,
    share: RateShare,
) -> anyhow::Result<AdminApi> {
    let settings = ApiSettings {
        share,
        ..api_settings(organization)
    };
    let key = admin_key(organization, environment).await?;
    let api = AdminApi::new(settings, key, clock.clone(), Random::System, requests)?;
    if let Some(dialect) = organization.dialect {
        api.set_dialect(dialect);
    }
    Ok(api)
}

/// Resolves the admin key of an organization.
pub async fn admin_key(
    organization: &OrganizationConfig,
    environment: &Environment,
) -> anyhow::Result<Secret> {
    secrets::resolve(&organization.admin_key, environment)
        .await
        .with_context(|| format!("the admin key of organization `{}`", organization.name))
}

/// Creates a receiver and resolves its secrets.
pub async fn notifier(
    configured: &NotifierConfig,
    environment: &Environment,
) -> anyhow::Result<Notifier> {
    notifier_and_secrets(configured, environment, &Mutex::default()).await
}

/// Creates a receiver, resolves its secrets and adds them to `resolved`, so that others can redact them.
pub async fn notifier_and_secrets(
    configured: &NotifierConfig,
    environment: &Environment,
    resolved: &Mutex<Vec<Secret>>,
) -> anyhow::Result<Notifier> {
    let context = || format!("notifier `{}`", configured.name);
    let allow_http = configured.allow_http;
    let resolve = async |source: &SecretSource| {
        let secret = secrets::resolve(source, environment)
            .await
            .with_context(context)?;
        let mut resolved = resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.push(secret.clone());
        anyhow::Ok(secret)
    };
    Ok(match &configured.kind {
        NotifierKind::Console => Notifier::Console(Console::new(io::stdout())),
        NotifierKind::Slack { url } => {
            let settings = slack::Settings {
                url: resolve(url).await?,
            };
            let client = post::client(&settings.url, allow_http).with_context(context)?;
            Notifier::Slack(Slack::new(client, settings).with_context(context)?)
        }
        NotifierKind::SlackApi {
            token,
            channel,
            api_url,
        } => {
            let settings = slack_api::Settings {
                token: resolve(token).await?,
                channel: channel.clone(),
                api_url: api_url.clone(),
            };
            let client =
                post::client(&Secret::new(api_url.clone()), allow_http).with_context(context)?;
            Notifier::SlackApi(SlackApi::new(client, settings).with_context(context)?)
        }
        NotifierKind::Webhook {
            url,
            signing_secrets,
            headers,
            template,
        } => {
            let mut settings = webhook::Settings {
                url: resolve(url).await?,
                signing_secrets: Vec::new(),
                headers: Vec::new(),
                template: template.clone(),
            };
            for source in signing_secrets {
                settings.signing_secrets.push(resolve(source).await?);
            }
            for (name, source) in headers {
                settings
                    .headers
                    .push((name.clone(), resolve(source).await?));
            }
            let client = post::client(&settings.url, allow_http).with_context(context)?;
            Notifier::Webhook(Webhook::new(client, settings).with_context(context)?)
        }
        NotifierKind::PagerDuty { url, routing_key } => {
            let settings = pagerduty::Settings {
                url: resolve(url).await?,
                routing_key: resolve(routing_key).await?,
            };
            let client = post::client(&settings.url, allow_http).with_context(context)?;
            Notifier::PagerDuty(PagerDuty::new(client, settings).with_context(context)?)
        }
        NotifierKind::Teams { url } => {
            let settings = teams::Settings {
                url: resolve(url).await?,
            };
            let client = post::client(&settings.url, allow_http).with_context(context)?;
            Notifier::Teams(Teams::new(client, settings).with_context(context)?)
        }
        NotifierKind::Discord { url } => {
            let settings = discord::Settings {
                url: resolve(url).await?,
            };
            let client = post::client(&settings.url, allow_http).with_context(context)?;
            Notifier::Discord(Discord::new(client, settings).with_context(context)?)
        }
        NotifierKind::Command { argv, timeout } => {
            let settings = command::Settings {
                argv: argv.clone(),
                timeout: *timeout,
                environment: subprocess::INHERITED_VARIABLES
                    .into_iter()
                    .filter_map(|name| Some((name.to_owned(), environment.get(name)?.clone())))
                    .collect(),
            };
            Notifier::Command(Command::new(settings).with_context(context)?)
        }
        NotifierKind::Email(email) => {
            let password = match &email.password {
                Some(source) => Some(resolve(source).await?),
                None => None,
            };
            Notifier::Email(
                EmailNotifier::new(mail_settings(email, password)).with_context(context)?,
            )
        }
        NotifierKind::Alertmanager { urls, headers, .. } => {
            let mut settings = alertmanager::Settings {
                members: Vec::new(),
                headers: Vec::new(),
            };
            for source in urls {
                let url = resolve(source).await?;
                let has_secrets =
                    !headers.is_empty() || !matches!(source, SecretSource::Literal(_));
                let client =
                    post::client(&url, allow_http || !has_secrets).with_context(context)?;
                settings.members.push((client, url));
            }
            for (name, source) in headers {
                settings
                    .headers
                    .push((name.clone(), resolve(source).await?));
            }
            Notifier::Alertmanager(Alertmanager::new(settings).with_context(context)?)
        }
    })
}

fn mail_settings(email: &EmailConfig, password: Option<Secret>) -> email::Settings {
    email::Settings {
        host: email.host.clone(),
        port: email.port,
        tls: match email.tls {
            MailTls::Implicit => Tls::Implicit,
            MailTls::StartTlsRequired => Tls::StartTlsRequired,
            MailTls::StartTlsOpportunistic => Tls::StartTlsOpportunistic,
            MailTls::None => Tls::None,
        },
        username: email.username.clone(),
        password,
        from: email.from.clone(),
        ca_file: None,
        helo: email.helo.clone(),
    }
}

/// Returns the recipients that have their own delivery; empty if the receiver has a single one.
pub fn recipients(configured: &NotifierConfig) -> Vec<String> {
    match &configured.kind {
        NotifierKind::Email(email) => email.to.clone(),
        NotifierKind::Console
        | NotifierKind::Slack { .. }
        | NotifierKind::SlackApi { .. }
        | NotifierKind::Webhook { .. }
        | NotifierKind::Command { .. }
        | NotifierKind::PagerDuty { .. }
        | NotifierKind::Teams { .. }
        | NotifierKind::Discord { .. }
        | NotifierKind::Alertmanager { .. } => Vec::new(),
    }
}

/// Returns whether a receiver keeps the state of alerts, so that it must receive every resolution.
pub fn holds_state(configured: &NotifierConfig) -> bool {
    match &configured.kind {
        NotifierKind::Webhook { .. }
        | NotifierKind::Command { .. }
        | NotifierKind::PagerDuty { .. }
        | NotifierKind::Alertmanager { .. } => true,
        NotifierKind::Console
        | NotifierKind::Slack { .. }
        | NotifierKind::SlackApi { .. }
        | NotifierKind::Teams { .. }
        | NotifierKind::Discord { .. }
        | NotifierKind::Email(_) => false,
    }
}

/// Returns how often firing alerts are resent; `None` if the receiver is sent messages instead.
pub fn resend_interval(configured: &NotifierConfig) -> Option<Duration> {
    match &configured.kind {
        NotifierKind::Alertmanager {
            resend_interval, ..
        } => Some(*resend_interval),
        NotifierKind::Console
        | NotifierKind::Slack { .. }
        | NotifierKind::SlackApi { .. }
        | NotifierKind::Webhook { .. }
        | NotifierKind::Command { .. }
        | NotifierKind::PagerDuty { .. }
        | NotifierKind::Teams { .. }
        | NotifierKind::Discord { .. }
        | NotifierKind::Email(_) => None,
    }
}

/// Returns the targets of links in messages.
pub fn links(config: &Config) -> Links {
    Links {
        external_url: config.http.external_url.clone(),
        ..Links::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spendwatch_config as config;

    #[tokio::test]
    async fn receivers_are_built_and_some_hold_state() {
        let environment: Environment = [
            ("KEY", "R0UTINGKEYcanary0123456789abcdef"),
            ("URL", "https://example.com/canary"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let text = r#"
            organizations = [{ admin_key = { env = "KEY" } }]
            notifiers = [
                { name = "a", type = "pagerduty", routing_key = { env = "KEY" } },
                { name = "b", type = "teams", url = { env = "URL" } },
                { name = "c", type = "discord", url = { env = "URL" } },
                { name = "d", type = "alertmanager", urls = ["https://am-0:9093", { env = "URL" }], headers = { X = { env = "KEY" } } },
            ]
        "#;
        let config = config::read(text, None, &environment).unwrap();
        let mut held = Vec::new();
        for configured in &config.notifiers {
            let built = notifier(configured, &environment).await.unwrap();
            assert!(!format!("{built:?}").contains("canary"));
            held.push(holds_state(configured));
        }
        assert_eq!(held, [true, false, false, true]);
        let short = [("KEY".to_owned(), "canary".to_owned())].into();
        let error = notifier(&config.notifiers[0], &short).await.unwrap_err();
        let expected = "notifier `a`: the routing key must have 32 characters";
        assert_eq!(format!("{error:#}"), expected);
    }

    #[tokio::test]
    async fn clear_text_urls_from_commands_are_rejected() {
        let source = "{ command = [\"echo\", \"http://receiver.example.com/canary\"] }";
        for (kind, key, url) in [
            ("slack", "url", source),
            ("webhook", "url", source),
            ("pagerduty", "routing_key = { env = \"KEY\" }, url", source),
            ("teams", "url", source),
            ("discord", "url", source),
            ("alertmanager", "urls", &format!("[{source}]")),
        ] {
            for allow_http in [false, true] {
                let text = format!(
                    "organizations = [{{ admin_key = {{ env = \"KEY\" }} }}]\n\
                     notifiers = [{{ name = \"a\", type = \"{kind}\", {key} = {url}, allow_http = {allow_http} }}]"
                );
                let environment: Environment = [(
                    "KEY".to_owned(),
                    "R0UTINGKEYcanary0123456789abcdef".to_owned(),
                )]
                .into();
                let config = config::read(&text, None, &environment).unwrap();
                let built = notifier(&config.notifiers[0], &environment).await;
                if allow_http {
                    built.unwrap();
                    continue;
                }
                let error = format!("{:#}", built.unwrap_err());
                assert!(error.contains("`allow_http = true`"), "{kind}: {error}");
                assert!(!error.contains("canary"), "{error}");
            }
        }
    }
}
