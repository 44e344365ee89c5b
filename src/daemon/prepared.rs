//! What a configuration needs from outside before anything of it begins: secrets and clients. Where one of them is not to
//! be had, nothing was changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::anthropic::AdminApi;
use crate::app::{App, wiring};
use crate::config::Config;
use crate::cycle::configured;
use crate::daemon::watching::Setup;
use crate::delivery::configured::{Senders, senders};
use crate::domain::ids::OrganizationName;
use crate::heartbeat::Heartbeat;
use crate::http::access::Access;
use crate::metrics::requests::RequestCounts;
use crate::metrics::view::Shape;
use crate::secret::Secret;

/// All of a configuration, ready to begin.
pub struct Prepared {
    pub setups: Vec<Setup>,
    pub senders: Senders,
    pub access: Access,
    pub heartbeat: Option<Heartbeat>,
    /// What clients that are kept are to use from now on.
    pub keys: Vec<(AdminApi, Secret)>,
    /// Everything secret in the configuration but the keys: every client redacts it.
    pub secrets: Vec<Secret>,
}

/// Secrets and clients of a whole configuration; `kept` are clients that go on.
pub async fn prepare(
    app: &App,
    config: &Config,
    address: SocketAddr,
    kept: &BTreeMap<OrganizationName, AdminApi>,
) -> anyhow::Result<Prepared> {
    let environment = &app.environment;
    let (mut setups, mut keys) = (Vec::new(), Vec::new());
    for organization in &config.organizations {
        let api = if let Some(api) = kept.get(&organization.name) {
            keys.push((
                api.clone(),
                wiring::admin_key(organization, environment).await?,
            ));
            api.clone()
        } else {
            let counts = Arc::new(RequestCounts::default());
            wiring::api(organization, environment, &app.clock, &app.chance, counts).await?
        };
        setups.push(Setup {
            api,
            organization: organization.clone(),
            settings: configured::settings(config, organization),
            schedule: config.poll.schedule.clone(),
            shape: shape(config),
        });
    }
    let senders = senders(config, environment, &app.store, &app.clock, &app.chance).await?;
    let access = Access::configured(&config.http, address, environment).await?;
    let heartbeat = match &config.heartbeat {
        Some(heartbeat) => Some(Heartbeat::configured(heartbeat, environment).await?),
        None => None,
    };
    let mut secrets = senders.secrets.clone();
    secrets.extend(access.token().cloned());
    secrets.extend(heartbeat.iter().map(|heartbeat| heartbeat.url().clone()));
    Ok(Prepared {
        setups,
        senders,
        access,
        heartbeat,
        keys,
        secrets,
    })
}

/// Which series there are.
fn shape(config: &Config) -> Shape {
    let metrics = config.metrics;
    Shape {
        by_model: metrics.by_model,
        by_api_key: metrics.by_api_key,
        by_user: metrics.by_user.then(|| config.privacy.in_metrics()),
        max_series: metrics.max_series,
    }
}
