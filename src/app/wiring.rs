//! Builds adapters from the checked configuration and resolves their secrets.

use std::sync::Arc;

use anyhow::Context;

use crate::secrets;
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::error::DetectError;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_anthropic::{AdminApi, ApiSettings};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::secret::Secret;
use spendwatch_config::Config;
use spendwatch_config::notifiers::NotifierConfig;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::Environment;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_notify::Notifier;
use spendwatch_notify::envelope::Links;

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

/// Returns the configured dialect, or detects it.
pub async fn dialect(
    organization: &OrganizationConfig,
    api: &AdminApi,
) -> Result<Dialect, DetectError> {
    match organization.dialect {
        Some(dialect) => Ok(dialect),
        None => api.detect_dialect().await,
    }
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

/// Creates a receiver and resolves its secrets, which are also returned, so that others can redact them.
pub async fn notifier(
    configured: &NotifierConfig,
    environment: &Environment,
) -> anyhow::Result<(Notifier, Vec<Secret>)> {
    let context = || format!("notifier `{}`", configured.name);
    let mut resolved = Vec::new();
    for source in configured.kind.secrets() {
        let secret = secrets::resolve(source, environment).await;
        resolved.push(secret.with_context(context)?);
    }
    let mut in_order = resolved.iter().cloned();
    let settings = configured
        .kind
        .map(|_| in_order.next().expect("each source was resolved"));
    let notifier = Notifier::new(settings, configured.allow_http).with_context(context)?;
    Ok((notifier, resolved))
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
            held.push(configured.kind.capabilities().holds_state);
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
