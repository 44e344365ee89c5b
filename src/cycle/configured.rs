//! Derives a watcher's settings from the configuration.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::cycle::settings::{DeliverySettings, WatcherSettings};
use spendwatch_config::Config;
use spendwatch_config::notifiers::NotifierConfig;
use spendwatch_config::organizations::OrganizationConfig;
use spendwatch_domain::alerts::policy::{NotifierPolicy, Policy};

/// Returns the settings of one organization.
pub fn settings(config: &Config, organization: &OrganizationConfig) -> WatcherSettings {
    // An Alertmanager is sent the current alerts, so decisions create no messages for it.
    let receivers = || {
        let all = config.notifiers.iter();
        all.filter(|notifier| notifier.kind.capabilities().resend_interval.is_none())
    };
    let policy = Policy {
        rules: config.rules.clone(),
        notifiers: receivers()
            .map(|notifier| (notifier.name.clone(), notifier_policy(notifier)))
            .collect(),
        fallbacks: receivers()
            .filter_map(|notifier| Some((notifier.name.clone(), notifier.fallback.clone()?)))
            .collect(),
    };
    WatcherSettings {
        organization: organization.name.clone(),
        dialect: organization.dialect,
        max_concurrency: organization.max_concurrency,
        prices: Arc::clone(&config.prices.prices),
        privacy: config.privacy,
        poll: config.poll,
        hourly_retention_days: config.store.hourly_retention_days,
        daily_retention_days: config.store.daily_retention_days,
        teams: config.teams.clone(),
        needs: policy.required_lists(),
        policy,
        digests: config.digests.clone(),
        delivery: receivers()
            .map(|notifier| (notifier.name.clone(), delivery_settings(notifier)))
            .collect(),
    }
}

fn notifier_policy(notifier: &NotifierConfig) -> NotifierPolicy {
    NotifierPolicy {
        send_resolved: notifier.send_resolved,
        send_period_end: notifier.tell_period_end,
        min_severity: notifier.min_severity,
        holds_state: notifier.kind.capabilities().holds_state,
    }
}

fn delivery_settings(notifier: &NotifierConfig) -> DeliverySettings {
    let capabilities = notifier.kind.capabilities();
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    DeliverySettings {
        recipients: capabilities.recipients.to_vec(),
        group_wait: signed(notifier.group_wait),
        max_age: signed(notifier.max_age),
        accepts_digests: capabilities.accepts_digests,
    }
}
