//! Commits a decision in one transaction: changed alerts, their messages and the resume state.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::Store;
use crate::alerts;
use crate::digests::{self, DigestProgress};
use crate::error::StoreError;
use crate::outbox::{self, NewDigest, NewMessage};
use crate::resume_state::{self, ResumeState};
use spendwatch_domain::alerts::alert::Alert;
use spendwatch_domain::alerts::notification::Reason;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};

/// Changes of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub alerts: Vec<Alert>,
    pub messages: Vec<NewMessage>,
    pub resume_state: ResumeState,
    pub at: Timestamp,
}

impl Store {
    /// Commits a decision in one transaction.
    pub async fn commit_decision(
        &self,
        organization: &OrganizationName,
        commit: Commit,
    ) -> Result<(), StoreError> {
        self.write_of(organization, "commit_decision", move |tx, organization| {
            let notifications = notifications_by_alert(&commit.messages);
            alerts::save(tx, organization, &commit.alerts, &notifications, commit.at)?;
            for message in &commit.messages {
                outbox::insert(tx, organization, message, commit.at)?;
            }
            resume_state::save(tx, organization, &commit.resume_state)
        })
        .await
    }

    /// Commits a digest's messages and progress in one transaction. Without messages, only the progress is stored.
    pub async fn commit_digest(
        &self,
        organization: &OrganizationName,
        mark: DigestProgress,
        messages: Vec<NewDigest>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_of(organization, "commit_digest", move |tx, organization| {
            for message in &messages {
                outbox::insert_digest(tx, organization, message, at)?;
            }
            digests::save_progress(tx, organization, &mark)
        })
        .await
    }
}

/// Returns the notifiers and reasons of each alert; a notifier with several recipients counts once.
fn notifications_by_alert(
    messages: &[NewMessage],
) -> BTreeMap<String, Vec<(NotifierName, Reason)>> {
    let mut notifications: BTreeMap<String, Vec<(NotifierName, Reason)>> = BTreeMap::new();
    for message in messages {
        for fact in &message.facts {
            let entry = (message.notifier.clone(), fact.public_reason());
            let of_alert = notifications
                .entry(fact.identity.fingerprint())
                .or_default();
            if !of_alert.contains(&entry) {
                of_alert.push(entry);
            }
        }
    }
    notifications
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{ORGANIZATION, alert, at, fact, resume_state, store};
    use crate::{CommitPoint, Faults};
    use spendwatch_domain::alerts::notification::Reason;

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
            resume_state: resume_state(1),
            at: at(1),
        }
    }

    #[tokio::test]
    async fn alerts_and_messages_are_committed_atomically() {
        let store = store().await;
        let stopping = store
            .clone()
            .with_faults(Faults::new(|_, moment| moment == CommitPoint::BeforeCommit));
        let organization = ORGANIZATION.into();
        stopping
            .commit_decision(&organization, commit())
            .await
            .unwrap_err();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert!(state.alerts.is_empty() && state.resume_state.last_at.is_none());
        assert_eq!(store.next_due(&"slack".into(), at(0)).await.unwrap(), None);

        store
            .commit_decision(&organization, commit())
            .await
            .unwrap();
        // A duplicate id fails the whole commit, including its alerts.
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
    async fn removed_rules_are_deleted() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        store
            .save_resume_state(&organization, &resume_state(1))
            .await
            .unwrap();
        let mut next = resume_state(2);
        next.rules_began = BTreeMap::from([("another".into(), at(2))]);
        store.save_resume_state(&organization, &next).await.unwrap();
        let state = store
            .load_organization(&organization, at(0), at(0))
            .await
            .unwrap();
        assert_eq!(state.resume_state, next);
    }
}
