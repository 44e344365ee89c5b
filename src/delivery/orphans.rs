//! Messages whose notifier is not configured any more.

use jiff::Timestamp;

use crate::domain::ids::NotifierName;
use crate::domain::plural::{agreeing, counted};
use crate::metrics::counters::Counters;
use crate::store::Store;
use crate::store::error::StoreError;

/// What waits for others than these becomes dead letters, each notifier's with one line in the log.
pub async fn give_up(
    known: &[NotifierName],
    store: &Store,
    counters: &Counters,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (notifier, n) in store.orphan(known, now).await? {
        counters.count_notification(&notifier, "dropped", n);
        tracing::error!(
            notifier.name = %notifier,
            "{} waited for notifier `{notifier}`, which is not configured any more: {} \
             (`spendwatch notifications list --state dead`)",
            counted(n, "message"),
            agreeing(&n, "it is a dead letter", "they are dead letters")
        );
    }
    Ok(())
}
