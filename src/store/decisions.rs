//! A decision's commit: new states of alerts, the messages they make, and what the daemon remembers, all or nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::alert::Alert;
use crate::domain::ids::{NotifierName, OrganizationName};
use crate::domain::notification::Reason;
use crate::store::Store;
use crate::store::engine::{self, Engine};
use crate::store::error::StoreError;
use crate::store::outbox::{self, NewMessage};
use crate::store::{alerts, names};

/// What a decision changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Alerts that changed.
    pub alerts: Vec<Alert>,
    /// Messages to be sent.
    pub messages: Vec<NewMessage>,
    /// What the daemon remembers afterwards.
    pub engine: Engine,
    /// When it was decided.
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
}

/// Whom each alert is told to and why; a notifier with several recipients counts once.
fn told_by_alert(messages: &[NewMessage]) -> BTreeMap<String, Vec<(NotifierName, Reason)>> {
    let mut told: BTreeMap<String, Vec<(NotifierName, Reason)>> = BTreeMap::new();
    for message in messages {
        for fact in &message.facts {
            let entry = (message.notifier.clone(), fact.reason);
            let of_alert = told.entry(fact.identity.fingerprint()).or_default();
            if !of_alert.contains(&entry) {
                of_alert.push(entry);
            }
        }
    }
    told
}
