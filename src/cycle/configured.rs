//! A watcher's settings as the configuration gives them.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::app::wiring;
use crate::config::Config;
use crate::config::notifiers::Notifier;
use crate::config::organizations::Organization;
use crate::cycle::state::{Postage, Settings};
use crate::domain::coverage::Reading;
use crate::domain::policy::{Manners, Policy};

/// The settings of one organization.
pub fn settings(config: &Config, organization: &Organization) -> Settings {
    // Who is told again and again is told by the state itself: no decision makes a message for it.
    let receivers = || {
        let all = config.notifiers.iter();
        all.filter(|notifier| wiring::resend_interval(notifier).is_none())
    };
    let policy = Policy {
        rules: config.rules.clone(),
        notifiers: receivers()
            .map(|notifier| (notifier.name.clone(), manners(notifier)))
            .collect(),
        fallbacks: receivers()
            .filter_map(|notifier| Some((notifier.name.clone(), notifier.fallback.clone()?)))
            .collect(),
    };
    Settings {
        organization: organization.name.clone(),
        dialect: organization.dialect,
        max_concurrency: organization.max_concurrency,
        prices: Arc::clone(&config.prices.prices),
        privacy: config.privacy,
        reading: Reading {
            settle: config.poll.settle,
            history_days: config.poll.history_days,
            hourly_history_days: config.poll.hourly_history_days,
            correction_days: config.poll.correction_days,
            correction_interval: config.poll.correction_interval,
        },
        hourly_retention_days: config.store.hourly_retention_days,
        daily_retention_days: config.store.daily_retention_days,
        teams: config.teams.clone(),
        needs: policy.needs(),
        policy,
        digests: config.digests.clone(),
        postage: receivers()
            .map(|notifier| (notifier.name.clone(), postage(notifier)))
            .collect(),
    }
}

fn manners(notifier: &Notifier) -> Manners {
    Manners {
        send_resolved: notifier.send_resolved,
        tells_period_end: notifier.tell_period_end,
        min_severity: notifier.min_severity,
        holds_state: wiring::holds_state(notifier),
    }
}

fn postage(notifier: &Notifier) -> Postage {
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    Postage {
        recipients: wiring::recipients(notifier),
        group_wait: signed(notifier.group_wait),
        max_age: signed(notifier.max_age),
        takes_digests: notifier.kind.takes_digests(),
    }
}
