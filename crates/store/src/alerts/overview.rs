//! Alerts for display: with current names and acknowledgements, the worst first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Deserialize;

use crate::Store;
use crate::alerts::suppressions::{acknowledgement, silences};
use crate::alerts::{
    AlertChange, AlertFilter, AlertPhase, AlertRow, alert_from_row, find_alert, history,
};
use crate::db::query;
use crate::directory;
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids;
use crate::prefix_match::PrefixMatch;
use crate::stored::{Stored, from_json};
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Alert};
use spendwatch_domain::alerts::silence::{Acknowledgement, Silence};
use spendwatch_domain::figures::snapshot;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::{OrganizationName, RuleName};
use spendwatch_domain::units::privacy::Privacy;

/// Content of the overview page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    pub firing: WorstAlerts,
    pub pending: WorstAlerts,
    /// Newest first.
    pub ended: Vec<DisplayedAlert>,
    /// Active and future ones, the last to end first.
    pub silences: Vec<Silence>,
}

/// The worst of many alerts, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorstAlerts {
    /// Worst first.
    pub first: Vec<DisplayedAlert>,
    /// Including those that are not in `first`.
    pub n_by_severity: BTreeMap<Severity, usize>,
}

/// An alert with its subject's name and acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayedAlert {
    pub row: AlertRow,
    /// As last listed.
    pub subject_name: String,
    /// The last acknowledgement, even if from an earlier firing.
    pub acknowledged: Option<Acknowledgement>,
}

/// Maximum number of displayed alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverviewLimits {
    pub n_firing: usize,
    pub n_pending: usize,
    pub n_ended: u32,
}

impl Store {
    /// Returns alerts, and silences that have not ended at a time.
    pub async fn overview(
        &self,
        counts: OverviewLimits,
        privacy: Privacy,
        at: Timestamp,
    ) -> Result<Overview, StoreError> {
        let compiled = self.compiled_matchers();
        self.read(move |db| {
            let mut names = NameCache::new(db, privacy);
            let all = AlertFilter::default();
            Ok(Overview {
                firing: worst(&mut names, AlertPhase::Firing, &all, counts.n_firing)?,
                pending: worst(&mut names, AlertPhase::Pending, &all, counts.n_pending)?,
                ended: ended(&mut names, &all, counts.n_ended)?,
                silences: silences(db, &compiled, at, false)?,
            })
        })
        .await
    }

    /// Returns filtered alerts, the worst first: firing, then pending, then ended ones, newest first.
    pub async fn worst_first(
        &self,
        filter: &AlertFilter,
        privacy: Privacy,
    ) -> Result<Vec<DisplayedAlert>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| {
            let mut names = NameCache::new(db, privacy);
            let n = usize::try_from(filter.limit).unwrap_or(usize::MAX);
            let wants =
                |phase: AlertPhase| filter.phases.is_empty() || filter.phases.contains(&phase);
            let mut shown = Vec::new();
            for phase in [AlertPhase::Firing, AlertPhase::Pending]
                .into_iter()
                .filter(|one| wants(*one))
            {
                shown.extend(worst(&mut names, phase, &filter, n - shown.len())?.first);
            }
            if wants(AlertPhase::Resolved) {
                let n = filter.limit - u32::try_from(shown.len()).unwrap_or(filter.limit);
                shown.extend(ended(&mut names, &filter, n)?);
            }
            Ok(shown)
        })
        .await
    }

    /// Returns an alert by its full fingerprint, with its history, oldest change first.
    pub async fn displayed_alert(
        &self,
        fingerprint: &str,
        privacy: Privacy,
    ) -> Result<Option<(DisplayedAlert, Vec<AlertChange>)>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| match find_alert(db, &fingerprint)? {
            PrefixMatch::One(row) if row.fingerprint == fingerprint => {
                let changes = history(db, &fingerprint)?;
                Ok(Some((NameCache::new(db, privacy).shown(row)?, changes)))
            }
            PrefixMatch::One(_) | PrefixMatch::NoMatch | PrefixMatch::Ambiguous(_) => Ok(None),
        })
        .await
    }
}

/// The fields by which alerts are ranked, because thousands are read to display a few hundred.
#[derive(Debug, Deserialize)]
struct RankShape {
    state: RankState,
    #[serde(with = "Stored")]
    value: Quantity,
    #[serde(with = "Stored", default)]
    limit: Option<Quantity>,
}

#[derive(Debug, Deserialize)]
struct RankState {
    #[serde(with = "Stored")]
    line: AbsoluteThreshold,
}

fn worst(
    names: &mut NameCache<'_>,
    phase: AlertPhase,
    filter: &AlertFilter,
    n: usize,
) -> Result<WorstAlerts, StoreErrorCause> {
    let db = names.db;
    // By organization, to use the index.
    let mut statement = db.prepare_cached(
        "SELECT fingerprint, alert FROM alerts
         WHERE organization_id IN (SELECT id FROM organizations WHERE ?2 IS NULL OR name = ?2)
           AND phase = ?1 AND (?3 IS NULL OR rule = ?3)",
    )?;
    let mut rows = statement.query(params![
        phase.as_str(),
        filter.organization.as_ref().map(OrganizationName::as_str),
        filter.rule.as_ref().map(RuleName::as_str)
    ])?;
    let mut ranked = Vec::new();
    let mut n_by_severity = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let shape: RankShape = from_json(&row.get::<_, String>(1)?, "an alert")?;
        let (severity, value) = (shape.state.line.severity, shape.value);
        *n_by_severity.entry(severity).or_default() += 1;
        let fingerprint: String = row.get(0)?;
        ranked.push((
            Reverse((severity, used(value, shape.limit), value)),
            fingerprint,
        ));
    }
    ranked.sort();
    ranked.truncate(n);
    let mut one = db.prepare_cached(
        "SELECT fingerprint, alert, changed_at FROM alerts WHERE fingerprint = ?1",
    )?;
    let first = ranked.into_iter().map(|(_, fingerprint)| {
        let row = one.query_row([fingerprint], |row| Ok(alert_from_row(row)))??;
        names.shown(row)
    });
    Ok(WorstAlerts {
        first: first.collect::<Result<_, _>>()?,
        n_by_severity,
    })
}

/// Returns the value in thousandths of the limit, to compare different units. With a limit of 0, any value is the maximum.
fn used(value: Quantity, limit: Option<Quantity>) -> i128 {
    match limit {
        Some(limit) if limit > 0 => value.saturating_mul(1000) / limit,
        Some(_) => i128::MAX,
        None => 0,
    }
}

fn ended(
    names: &mut NameCache<'_>,
    filter: &AlertFilter,
    n: u32,
) -> Result<Vec<DisplayedAlert>, StoreErrorCause> {
    let db = names.db;
    query::all(
        db,
        "SELECT fingerprint, alert, changed_at FROM alerts WHERE fingerprint IN (
             SELECT fingerprint FROM alerts
             WHERE phase = 'resolved' AND (?3 IS NULL OR rule = ?3)
               AND (?2 IS NULL OR organization_id IN (SELECT id FROM organizations WHERE name = ?2))
             ORDER BY ended_at DESC, fingerprint LIMIT ?1)
         ORDER BY ended_at DESC, fingerprint",
        params![
            n,
            filter.organization.as_ref().map(OrganizationName::as_str),
            filter.rule.as_ref().map(RuleName::as_str)
        ],
        |row| names.shown(alert_from_row(row)?),
    )
}

/// Names of subjects, loaded once per organization when first needed.
struct NameCache<'a> {
    db: &'a Connection,
    privacy: Privacy,
    directories: BTreeMap<OrganizationName, Directory>,
}

impl<'a> NameCache<'a> {
    fn new(db: &'a Connection, privacy: Privacy) -> NameCache<'a> {
        NameCache {
            db,
            privacy,
            directories: BTreeMap::new(),
        }
    }

    fn shown(&mut self, row: AlertRow) -> Result<DisplayedAlert, StoreErrorCause> {
        Ok(DisplayedAlert {
            subject_name: self.name_of(&row.alert)?,
            acknowledged: acknowledgement(self.db, &row.fingerprint)?,
            row,
        })
    }

    fn name_of(&mut self, alert: &Alert) -> Result<String, StoreErrorCause> {
        let (organization, subject) = (&alert.identity.organization, &alert.identity.slot.subject);
        if !self.directories.contains_key(organization) {
            let directory = match row_ids::find_organization_id(self.db, organization)? {
                Some(id) => directory::load(self.db, id)?,
                None => Directory::default(),
            };
            self.directories.insert(organization.clone(), directory);
        }
        let directory = &self.directories[organization];
        Ok(snapshot::name_of(subject, directory, self.privacy).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::suppressions::Attribution;
    use crate::samples::{alert, at, commit, ended, line, store};
    use spendwatch_domain::alerts::alert::{Observed, State};

    const COUNTS: OverviewLimits = OverviewLimits {
        n_firing: 3,
        n_pending: 3,
        n_ended: 2,
    };

    fn firing(workspace: &str, severity: Severity, value: Quantity, limit: Option<i128>) -> Alert {
        let mut alert = alert(workspace, 1);
        let mut line = line();
        line.severity = severity;
        alert.state = State::Firing {
            threshold: line,
            clearing_since: None,
        };
        (alert.value, alert.limit) = (value, limit);
        alert
    }

    fn ids(shown: &[DisplayedAlert]) -> Vec<&str> {
        let subjects = shown.iter().map(|one| &one.row.alert.identity.slot.subject);
        subjects.map(|subject| &*subject.id).collect()
    }

    #[tokio::test]
    async fn the_worst_alerts_are_returned_and_all_are_counted() {
        let store = store().await;
        let mut pending = alert("waits", 1);
        pending.state = State::Pending {
            threshold: line(),
            since: Observed(0),
        };
        let mut alerts = vec![
            firing("little", Severity::Critical, 90, Some(100)),
            firing("much", Severity::Critical, 120, Some(40)),
            firing("forbidden", Severity::Critical, 1, Some(0)),
            firing("vast", Severity::Warning, i128::MAX, Some(1)),
            firing("endless", Severity::Info, 5, None),
            pending,
        ];
        for (place, name) in ["first", "second", "third"].into_iter().enumerate() {
            let mut over = ended(alert(name, 1), 2);
            if let State::Ended { at: ended_at, .. } = &mut over.state {
                *ended_at = at(10 + i64::try_from(place).unwrap());
            }
            alerts.push(over);
        }
        let taken_up = alerts[1].identity.fingerprint();
        commit(&store, 1, alerts, Vec::new()).await;
        let by = Attribution {
            author: "ada".to_owned(),
            comment: String::new(),
        };
        store.acknowledge(&taken_up, by, at(3)).await.unwrap();
        let shown = store
            .overview(COUNTS, Privacy::default(), at(4))
            .await
            .unwrap();
        assert_eq!(ids(&shown.firing.first), ["forbidden", "much", "little"]);
        let counts: Vec<_> = shown.firing.n_by_severity.into_iter().collect();
        let expected = [
            (Severity::Info, 1),
            (Severity::Warning, 1),
            (Severity::Critical, 3),
        ];
        assert_eq!(counts, expected);
        assert_eq!(ids(&shown.pending.first), ["waits"]);
        assert_eq!(ids(&shown.ended), ["third", "second"]);
        let of = |phases: &[AlertPhase], limit: u32| AlertFilter {
            organization: None,
            rule: None,
            phases: phases.to_vec(),
            limit,
        };
        let listed = async |filter: AlertFilter| {
            let shown = store.worst_first(&filter, Privacy::default()).await;
            ids(&shown.unwrap())
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let all = [
            "forbidden",
            "much",
            "little",
            "vast",
            "endless",
            "waits",
            "third",
            "second",
            "first",
        ];
        assert_eq!(listed(of(&[], 100)).await, all);
        assert_eq!(listed(of(&[], 7)).await, all[..7]);
        assert_eq!(
            listed(of(&[AlertPhase::Pending, AlertPhase::Resolved], 2)).await,
            all[5..7]
        );
        assert_eq!(listed(of(&[], 0)).await, all[..0]);
        let other = AlertFilter {
            rule: Some("other".into()),
            ..of(&[], 9)
        };
        assert_eq!(listed(other).await, all[..0]);
        let authors = shown.firing.first.iter().map(|shown| {
            let by = shown.acknowledged.as_ref()?;
            Some(by.author.as_str())
        });
        assert_eq!(authors.collect::<Vec<_>>(), [None, Some("ada"), None]);
        let (one, changes) = store
            .displayed_alert(&taken_up, Privacy::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((one.subject_name.as_str(), changes.len()), ("much", 1));
        assert_eq!(
            store
                .displayed_alert(&taken_up[..5], Privacy::default())
                .await
                .unwrap(),
            None
        );
    }
}
