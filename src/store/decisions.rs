//! A decision's commit: new states of alerts, the messages they make, and what the daemon remembers, all or nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::alert::Alert;
use crate::domain::ids::{NotifierName, OrganizationName};
use crate::domain::notification::Reason;
use crate::store::Store;
use crate::store::digests::{self, Mark};
use crate::store::engine::{self, Engine};
use crate::store::error::StoreError;
use crate::store::outbox::{self, NewDigest, NewMessage};
use crate::store::{alerts, names};

/// What a decision changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub alerts: Vec<Alert>,
    pub messages: Vec<NewMessage>,
    /// What the daemon remembers afterwards.
    pub engine: Engine,
    pub at: Timestamp,
}

impl Store {
    /// Commits a decision in one transaction.
    pub async fn commit_decision(
        &self,
        organization: &OrganizationName,
        commit: Commit,
    ) -> Result<(), StoreError> {
        let name = organization.clone();
        self.write("commit_decision", move |tx| {
            let organization = names::organization(tx, &name)?;
            let told = told_by_alert(&commit.messages);
            alerts::save(tx, organization, &commit.alerts, &told, commit.at)?;
            for message in &commit.messages {
                outbox::insert(tx, organization, message, commit.at)?;
            }
            engine::save(tx, organization, &commit.engine)
        })
        .await
    }

    /// Commits a digest and the mark that it was made, in one transaction. Without a message it only sets the mark.
    pub async fn commit_digest(
        &self,
        organization: &OrganizationName,
        mark: Mark,
        messages: Vec<NewDigest>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let name = organization.clone();
        self.write("commit_digest", move |tx| {
            let organization = names::organization(tx, &name)?;
            for message in &messages {
                outbox::insert_digest(tx, organization, message, at)?;
            }
            digests::save_mark(tx, organization, &mark)
        })
        .await
    }
}

/// Whom each alert is told to and why; a notifier with several recipients counts once.
fn told_by_alert(messages: &[NewMessage]) -> BTreeMap<String, Vec<(NotifierName, Reason)>> {
    let mut told: BTreeMap<String, Vec<(NotifierName, Reason)>> = BTreeMap::new();
    for message in messages {
        for fact in &message.facts {
            let entry = (message.notifier.clone(), fact.public_reason());
            let of_alert = told.entry(fact.identity.fingerprint()).or_default();
            if !of_alert.contains(&entry) {
                of_alert.push(entry);
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notification::Reason;
    use crate::store::samples::{ORGANIZATION, alert, at, engine, fact, store};
    use crate::store::{Faults, Moment};

    fn commit() -> Commit {
        let message = NewMessage {
            id: "m".to_owned(),
            notifier: "slack".into(),
            recipient: None,
            facts: vec![fact("a", 1, Reason::First)],
            not_before: at(1),
            expires: at(9),
        };
        Commit {
            alerts: vec![alert("a", 1)],
            messages: vec![message],
            engine: engine(1),
            at: at(1),
        }
    }

    #[tokio::test]
    async fn states_and_messages_commit_together_or_not_at_all() {
        let store = store().await;
        let stopping = store
            .clone()
            .with_faults(Faults::new(|_, moment| moment == Moment::BeforeCommit));
        let organization = ORGANIZATION.into();
        stopping
            .commit_decision(&organization, commit())
            .await
            .unwrap_err();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert!(state.alerts.is_empty() && state.engine.last_at.is_none());
        assert_eq!(store.next_due(&"slack".into(), at(0)).await.unwrap(), None);

        store
            .commit_decision(&organization, commit())
            .await
            .unwrap();
        // The same id again is refused, and takes the states that came with it along.
        let mut again = commit();
        again.alerts[0].sequence = 2;
        store
            .commit_decision(&organization, again)
            .await
            .unwrap_err();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert_eq!(state.alerts, [alert("a", 1)]);
        assert_eq!(
            store.next_due(&"slack".into(), at(0)).await.unwrap(),
            Some(at(1))
        );
    }

    #[tokio::test]
    async fn a_rule_that_is_gone_is_forgotten() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        store.save_engine(&organization, &engine(1)).await.unwrap();
        let mut next = engine(2);
        next.rules_began = BTreeMap::from([("another".into(), at(2))]);
        store.save_engine(&organization, &next).await.unwrap();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert_eq!(state.engine, next);
    }
}
