//! Alerts as a page shows them: under the names of today, by whom they are taken up, and of many the worst.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Deserialize;

use crate::domain::alert::Alert;
use crate::domain::directory::Directory;
use crate::domain::ground;
use crate::domain::ids::{OrganizationName, RuleName};
use crate::domain::privacy::Privacy;
use crate::domain::rule::{Quantity, Severity};
use crate::domain::silence::{Acknowledgement, Silence};
use crate::store::alerts::{
    AlertChange, AlertFilter, AlertRow, Found, Phase, alert_at, find_alert, history,
};
use crate::store::error::{Cause, StoreError};
use crate::store::json::{AsText, from_json};
use crate::store::quiet::{acknowledgement, silences};
use crate::store::shapes::LineShape;
use crate::store::{Store, directory, names};

/// What is shown of all alerts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    pub firing: Worst,
    /// That are crossed, and not yet for long enough.
    pub pending: Worst,
    /// That ended, the newest first.
    pub ended: Vec<Shown>,
    /// In force or to come, the last to end first.
    pub silences: Vec<Silence>,
}

/// Of many alerts the worst.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Worst {
    /// The worst first.
    pub first: Vec<Shown>,
    /// How many there are in all.
    pub n_by_severity: BTreeMap<Severity, usize>,
}

/// An alert with what its own row does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub row: AlertRow,
    /// The subject's name as it was last listed.
    pub subject_name: String,
    /// By whom it was taken up last, since it fires or before.
    pub acknowledged: Option<Acknowledgement>,
}

/// How many of what are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub n_firing: usize,
    pub n_pending: usize,
    pub n_ended: u32,
}

impl Store {
    /// All alerts and what keeps quiet at a moment or will.
    pub async fn overview(
        &self,
        counts: Counts,
        privacy: Privacy,
        at: Timestamp,
    ) -> Result<Overview, StoreError> {
        let compiled = self.compiled();
        self.read(move |db| {
            let mut names = Names::new(db, privacy);
            Ok(Overview {
                firing: worst(&mut names, Phase::Firing, Scope::default(), counts.n_firing)?,
                pending: worst(
                    &mut names,
                    Phase::Pending,
                    Scope::default(),
                    counts.n_pending,
                )?,
                ended: ended(&mut names, Scope::default(), counts.n_ended)?,
                silences: silences(db, &compiled, at, false)?,
            })
        })
        .await
    }

    /// Alerts that a filter asks for, the worst first: those that fire, then those that are pending, then those that ended, of
    /// which the newest come first.
    pub async fn worst_first(
        &self,
        filter: &AlertFilter,
        privacy: Privacy,
    ) -> Result<Vec<Shown>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| {
            let mut names = Names::new(db, privacy);
            let n = usize::try_from(filter.limit).unwrap_or(usize::MAX);
            let wants = |phase: Phase| filter.phases.is_empty() || filter.phases.contains(&phase);
            let scope = Scope {
                organization: filter.organization.as_ref(),
                rule: filter.rule.as_ref(),
            };
            let mut shown = Vec::new();
            for phase in [Phase::Firing, Phase::Pending]
                .into_iter()
                .filter(|one| wants(*one))
            {
                shown.extend(worst(&mut names, phase, scope, n - shown.len())?.first);
            }
            if wants(Phase::Resolved) {
                let n = filter.limit - u32::try_from(shown.len()).unwrap_or(filter.limit);
                shown.extend(ended(&mut names, scope, n)?);
            }
            Ok(shown)
        })
        .await
    }

    /// One alert by its whole fingerprint, with its history, oldest first.
    pub async fn shown(
        &self,
        fingerprint: &str,
        privacy: Privacy,
    ) -> Result<Option<(Shown, Vec<AlertChange>)>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.read(move |db| match find_alert(db, &fingerprint)? {
            Found::One(row) if row.fingerprint == fingerprint => {
                let changes = history(db, &fingerprint)?;
                Ok(Some((Names::new(db, privacy).shown(row)?, changes)))
            }
            Found::One(_) | Found::Nothing | Found::Many(_) => Ok(None),
        })
        .await
    }
}

/// Of an alert, only what it is ranked by: ten thousand of them are read for two hundred that are shown.
#[derive(Debug, Deserialize)]
struct RankShape {
    state: RankState,
    value: AsText<Quantity>,
    limit: Option<AsText<Quantity>>,
}

#[derive(Debug, Deserialize)]
struct RankState {
    line: LineShape,
}

/// Of which alerts: all where nothing is named.
#[derive(Debug, Clone, Copy, Default)]
struct Scope<'a> {
    organization: Option<&'a OrganizationName>,
    rule: Option<&'a RuleName>,
}

fn worst(names: &mut Names<'_>, phase: Phase, scope: Scope<'_>, n: usize) -> Result<Worst, Cause> {
    let db = names.db;
    // By organization, so that the index is used.
    let mut statement = db.prepare_cached(
        "SELECT fingerprint, alert FROM alerts
         WHERE organization_id IN (SELECT id FROM organizations WHERE ?2 IS NULL OR name = ?2)
           AND phase = ?1 AND (?3 IS NULL OR rule = ?3)",
    )?;
    let mut rows = statement.query(params![
        phase.as_str(),
        scope.organization.map(OrganizationName::as_str),
        scope.rule.map(RuleName::as_str)
    ])?;
    let mut ranked = Vec::new();
    let mut n_by_severity = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let shape: RankShape = from_json(&row.get::<_, String>(1)?, "an alert")?;
        let (value, limit) = (shape.value.0, shape.limit.map(|limit| limit.0));
        let severity = shape.state.line.severity();
        *n_by_severity.entry(severity).or_default() += 1;
        let fingerprint: String = row.get(0)?;
        ranked.push((Reverse((severity, used(value, limit), value)), fingerprint));
    }
    ranked.sort();
    ranked.truncate(n);
    let mut one = db.prepare_cached(
        "SELECT fingerprint, alert, changed_at FROM alerts WHERE fingerprint = ?1",
    )?;
    let first = ranked.into_iter().map(|(_, fingerprint)| {
        let row = one.query_row([fingerprint], |row| Ok(alert_at(row)))??;
        names.shown(row)
    });
    Ok(Worst {
        first: first.collect::<Result<_, _>>()?,
        n_by_severity,
    })
}

/// In thousandths of the limit: figures of different units are compared. Where nothing is allowed, anything is most.
fn used(value: Quantity, limit: Option<Quantity>) -> i128 {
    match limit {
        Some(limit) if limit > 0 => value.saturating_mul(1000) / limit,
        Some(_) => i128::MAX,
        None => 0,
    }
}

fn ended(names: &mut Names<'_>, scope: Scope<'_>, n: u32) -> Result<Vec<Shown>, Cause> {
    let mut statement = names.db.prepare_cached(
        "SELECT fingerprint, alert, changed_at FROM alerts WHERE fingerprint IN (
             SELECT fingerprint FROM alerts
             WHERE phase = 'resolved' AND (?3 IS NULL OR rule = ?3)
               AND (?2 IS NULL OR organization_id IN (SELECT id FROM organizations WHERE name = ?2))
             ORDER BY ended_at DESC, fingerprint LIMIT ?1)
         ORDER BY ended_at DESC, fingerprint",
    )?;
    let mut rows = statement.query(params![
        n,
        scope.organization.map(OrganizationName::as_str),
        scope.rule.map(RuleName::as_str)
    ])?;
    let mut ended = Vec::new();
    while let Some(row) = rows.next()? {
        ended.push(names.shown(alert_at(row)?)?);
    }
    Ok(ended)
}

/// The names of subjects; an organization's are read once, and only where one is asked for.
struct Names<'a> {
    db: &'a Connection,
    privacy: Privacy,
    directories: BTreeMap<OrganizationName, Directory>,
}

impl<'a> Names<'a> {
    fn new(db: &'a Connection, privacy: Privacy) -> Names<'a> {
        Names {
            db,
            privacy,
            directories: BTreeMap::new(),
        }
    }

    fn shown(&mut self, row: AlertRow) -> Result<Shown, Cause> {
        Ok(Shown {
            subject_name: self.name_of(&row.alert)?,
            acknowledged: acknowledgement(self.db, &row.fingerprint)?,
            row,
        })
    }

    fn name_of(&mut self, alert: &Alert) -> Result<String, Cause> {
        let (organization, subject) = (&alert.identity.organization, &alert.identity.slot.subject);
        if !self.directories.contains_key(organization) {
            let directory = match names::find_organization(self.db, organization)? {
                Some(id) => directory::load(self.db, id)?,
                None => Directory::default(),
            };
            self.directories.insert(organization.clone(), directory);
        }
        let directory = &self.directories[organization];
        Ok(ground::name_of(subject, directory, self.privacy).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Observed, State};
    use crate::store::quiet::Signature;
    use crate::store::samples::{alert, at, commit, ended, line, store};

    const COUNTS: Counts = Counts {
        n_firing: 3,
        n_pending: 3,
        n_ended: 2,
    };

    fn firing(workspace: &str, severity: Severity, value: Quantity, limit: Option<i128>) -> Alert {
        let mut alert = alert(workspace, 1);
        let mut line = line();
        line.severity = severity;
        alert.state = State::Firing {
            line,
            clearing_since: None,
        };
        (alert.value, alert.limit) = (value, limit);
        alert
    }

    fn ids(shown: &[Shown]) -> Vec<&str> {
        let subjects = shown.iter().map(|one| &one.row.alert.identity.slot.subject);
        subjects.map(|subject| &*subject.id).collect()
    }

    #[tokio::test]
    async fn of_many_the_worst_are_shown_and_all_are_counted() {
        let store = store().await;
        let mut pending = alert("waits", 1);
        pending.state = State::Pending {
            line: line(),
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
        let by = Signature {
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
        let of = |phases: &[Phase], limit: u32| AlertFilter {
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
            listed(of(&[Phase::Pending, Phase::Resolved], 2)).await,
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
            .shown(&taken_up, Privacy::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((one.subject_name.as_str(), changes.len()), ("much", 1));
        assert_eq!(
            store
                .shown(&taken_up[..5], Privacy::default())
                .await
                .unwrap(),
            None
        );
    }
}
