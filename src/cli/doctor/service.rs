//! Checks of the key, the server and its clock.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::app::wiring;
use crate::cli::doctor::diagnosis::{Diagnosis, check};
use spendwatch_anthropic::AdminApi;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_base::clock::Clock;
use spendwatch_base::outbound::error_chain;
use spendwatch_base::secret::Secret;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_config::source::{Environment, SecretSource};
use spendwatch_domain::admin::server::ServerKind;

/// Maximum clock skew; beyond it, days and months are cut at other times than by the server.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Checks the key, the server, what the key can read, and the clock.
pub async fn check_service(
    organization: &OrganizationConfig,
    environment: &Environment,
    clock: &Clock,
) -> Vec<Diagnosis> {
    let name = organization.name.as_str();
    let key = match wiring::admin_key(organization, environment).await {
        Ok(key) => key,
        Err(error) => {
            let fix = "provide the key as named in `admin_key`, or change `admin_key`";
            return vec![check("key", name).bad(format!("{error:#}"), fix)];
        }
    };
    let mut found = vec![check_key(organization, &key)];
    let service = check("service", name);
    let counts = Arc::default();
    let share = RateShare::Command;
    let api = match wiring::command_api(organization, environment, clock, counts, share).await {
        Ok(api) => api,
        Err(error) => {
            let fix = "correct this `[[organizations]]` entry";
            found.push(service.bad(format!("{error:#}"), fix));
            return found;
        }
    };
    match api.detect_server().await {
        Ok(server) => {
            found.push(service.good(match server {
                ServerKind::Guide => "responds in the `guide` dialect",
                ServerKind::Real => "responds as Anthropic's Admin API",
            }));
            found.extend(check_scopes(organization, &api, server).await);
        }
        Err(error) => {
            let fix =
                "check `base_url`, the key and the connection (proxy, firewall, certificates)";
            found.push(service.bad(error_chain(&error), fix));
        }
    }
    found.push(check_clock(name, &api));
    found
}

/// Reports the kind of the key by its prefix, which is only a hint, and where it is stored.
fn check_key(organization: &OrganizationConfig, key: &Secret) -> Diagnosis {
    let kind = match key.expose() {
        text if text.starts_with("sk-ant-admin") => "an admin key",
        text if text.starts_with("sk-ant-api") => {
            "an API key: limited to its scopes, without access if it belongs to one workspace"
        }
        text if text.starts_with("sk-ant-oat") => "an OAuth token, which expires soon",
        _ => "an unknown kind of key, as gateways use",
    };
    let result = format!("{kind}; see the Console for its expiry");
    let check = check("key", organization.name.as_str());
    match &organization.admin_key {
        SecretSource::Literal(_) => check.warning(
            format!("{result}; written in the configuration"),
            "use a secret source instead: `{ file = … }`, `{ command = […] }`, `{ aws_secret = … }`",
        ),
        SecretSource::Env(_)
        | SecretSource::File(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => check.good(result),
    }
}

async fn check_scopes(
    organization: &OrganizationConfig,
    api: &AdminApi,
    service: ServerKind,
) -> Vec<Diagnosis> {
    let check = check("reach", organization.name.as_str());
    let access = api.check_access(service).await.into_iter();
    let mut found: Vec<Diagnosis> = access
        .map(|(what, result)| match result {
            Ok(()) => check.good(format!("can read {what}")),
            Err(error) => {
                let fix = "give the key this scope, or avoid the commands and rules that need it";
                check.warning(error_chain(&error), fix)
            }
        })
        .collect();
    let dialect = match organization.dialect {
        Some(dialect) => match api.check_dialect(dialect).await {
            Ok(()) => Ok(dialect),
            Err(error) => Err(error.into()),
        },
        None => api.detect_dialect().await,
    };
    found.push(match dialect {
        Ok(dialect) => check.good(format!(
            "can read usage and cost in the `{dialect}` dialect"
        )),
        Err(error) => {
            let fix = "give the key the scope to read usage; nothing can be watched without it";
            check.bad(error_chain(&error), fix)
        }
    });
    found
}

fn check_clock(name: &str, api: &AdminApi) -> Diagnosis {
    let check = check("clock", name);
    let Some(skew) = api.skew() else {
        return check.warning("the server sent no date", "retry once the server responds");
    };
    let seconds = skew.as_secs().abs();
    let result = if skew.is_negative() {
        format!("this clock is {seconds} s ahead of the server's")
    } else {
        format!("the server's clock is {seconds} s ahead of this one")
    };
    if skew.abs() > MAX_SKEW {
        check.bad(result, "synchronize this machine's clock with NTP")
    } else {
        check.good(result)
    }
}
