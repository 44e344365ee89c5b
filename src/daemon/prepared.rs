//! Resolves the secrets and creates the clients of a configuration before it is applied, so that an error changes nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::app::{App, wiring};
use crate::cycle::configured;
use crate::daemon::organization_task::WatchSetup;
use crate::delivery::configured::{Senders, senders};
use crate::heartbeat::Heartbeat;
use crate::http::access::AccessPolicy;
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_base::secret::Secret;
use spendwatch_config::Config;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_metrics::view::SeriesOptions;

/// A configuration with its secrets and clients, ready to be applied.
pub struct Prepared {
    pub setups: Vec<WatchSetup>,
    pub senders: Senders,
    pub access: AccessPolicy,
    pub heartbeat: Option<Heartbeat>,
    /// New keys of reused clients.
    pub keys: Vec<(AdminApi, Secret)>,
}

/// Prepares a configuration. `kept` are the clients to reuse.
pub async fn prepare(
    app: &App,
    config: &Config,
    address: SocketAddr,
    reused: &BTreeMap<OrganizationName, AdminApi>,
) -> anyhow::Result<Prepared> {
    let environment = &app.environment;
    let metrics = config.metrics;
    let shape = SeriesOptions {
        by_model: metrics.by_model,
        by_api_key: metrics.by_api_key,
        by_user: metrics.by_user.then(|| config.privacy.in_metrics()),
        max_series: metrics.max_series,
    };
    let (mut setups, mut keys) = (Vec::new(), Vec::new());
    for organization in &config.organizations {
        let api = if let Some(api) = reused.get(&organization.name) {
            keys.push((
                api.clone(),
                wiring::admin_key(organization, environment).await?,
            ));
            api.clone()
        } else {
            let counts = Arc::new(RequestCounts::default());
            wiring::api(organization, environment, &app.clock, &app.random, counts).await?
        };
        setups.push(WatchSetup {
            api,
            organization: organization.clone(),
            settings: configured::settings(config, organization),
            schedule: config.poll_schedule.clone(),
            shape,
        });
    }
    let senders = senders(config, environment, &app.store, &app.clock, &app.random).await?;
    let access = AccessPolicy::from_config(&config.http, address, environment).await?;
    let heartbeat = match &config.heartbeat {
        Some(heartbeat) => Some(Heartbeat::from_config(heartbeat, environment).await?),
        None => None,
    };
    let mut secrets = senders.secrets.clone();
    secrets.extend(access.token().cloned());
    secrets.extend(heartbeat.iter().map(|heartbeat| heartbeat.url().clone()));
    // Nothing fails from here on. Clients remove all configured secrets from responses that they log or store.
    for setup in &setups {
        setup.api.redact(secrets.clone());
    }
    Ok(Prepared {
        setups,
        senders,
        access,
        heartbeat,
        keys,
    })
}
