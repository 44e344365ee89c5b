//! Messages whose notifier is not configured any more.

use jiff::Timestamp;

use crate::domain::ids::NotifierName;
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
            "{n} messages waited for notifier `{notifier}`, which is not configured any more: they are dead letters \
             (`spendwatch notifications list --state dead`)"
        );
    }
    Ok(())
}
