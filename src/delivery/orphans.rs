//! Messages whose notifier was removed from the configuration.

use jiff::Timestamp;

use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::plural::{agreeing, counted};
use spendwatch_metrics::counters::Counters;
use spendwatch_store::Store;
use spendwatch_store::error::StoreError;

/// Turns waiting messages of all other notifiers into dead letters, with one log line per notifier.
pub async fn give_up(
    known: &[NotifierName],
    store: &Store,
    counters: &Counters,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (notifier, n) in store.dead_letter_orphans(known, now).await? {
        counters.count_notification(&notifier, "dropped", n);
        tracing::error!(
            notifier.name = %notifier,
            "{} for notifier `{notifier}`, which is no longer configured, {} \
             (`spendwatch notifications list --state dead`)",
            counted(n, "message"),
            agreeing(&n, "became a dead letter", "became dead letters")
        );
    }
    Ok(())
}
