//! When keys and people were used last, by the ledger's rows.

use rusqlite::Connection;

use crate::domain::ids::OrganizationName;
use crate::domain::span::Hour;
use crate::domain::uses::LastUses;
use crate::store::Store;
use crate::store::error::{Cause, StoreError};
use crate::store::names::{self, CellNames};

impl Store {
    /// The end of the newest hour or day in which each key and person used anything, whatever workspace it was in. A pass over all
    /// rows, a second for one or two million: to be made once, since [`LastUses::take_in`] goes on from it.
    pub async fn last_uses(&self, organization: &OrganizationName) -> Result<LastUses, StoreError> {
        let name = organization.clone();
        self.read(move |db| match names::find_organization(db, &name)? {
            Some(organization) => last_uses(db, organization),
            None => Ok(LastUses::default()),
        })
        .await
    }
}

/// Days count by their own row only where their hours are not known, as everywhere: it says nothing of when within the day.
fn last_uses(db: &Connection, organization: i64) -> Result<LastUses, Cause> {
    let cells = CellNames::load(db)?;
    let mut statement = db.prepare_cached(
        "SELECT cell_id, min(hour), max(hour + iif(usage.kind = 2, 24, 1))
         FROM usage JOIN parts ON parts.id = part_id
         WHERE organization_id = ?1
           AND iif(usage.kind = 2, hours_from IS NULL OR hour < hours_from * 24, hour >= hours_from * 24)
         GROUP BY cell_id",
    )?;
    let mut rows = statement.query([organization])?;
    let mut uses = LastUses::default();
    while let Some(row) = rows.next()? {
        let cell = cells.get(row.get(0)?)?;
        let first = Hour::from_count(row.get(1)?).start();
        let last = Hour::from_count(row.get(2)?).start();
        uses.note(cell, first, last);
    }
    Ok(uses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::{Kind, Recorded, RowChange};
    use crate::domain::usage::{Cell, CellKey, Part};
    use crate::store::samples::{FIRST, ORGANIZATION, amounts, coverage, store};

    fn cell(key: Option<&str>, user: Option<&str>) -> Cell {
        let key = CellKey {
            model: "m".into(),
            api_key: key.map(Into::into),
            user: user.map(Into::into),
            is_apportioned: false,
        };
        key.into()
    }

    #[tokio::test]
    async fn the_newest_row_of_each_counts_and_a_day_by_its_end() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        assert_eq!(
            store.last_uses(&"other".into()).await.unwrap(),
            LastUses::default()
        );
        assert_eq!(
            store.last_uses(&organization).await.unwrap(),
            LastUses::default()
        );
        let record = async |noted: &mut LastUses, workspace: &str, rows: &[(Kind, i32, Cell)]| {
            let recorded = Recorded {
                rows: rows
                    .iter()
                    .map(|(kind, hour, cell)| RowChange {
                        kind: *kind,
                        hour: FIRST.plus(*hour),
                        cell: cell.clone(),
                        amounts: amounts(1),
                    })
                    .collect(),
                deltas: Vec::new(),
                doubts: Vec::new(),
                coverage: coverage(),
                is_coverage_changed: true,
                fell: Default::default(),
                touched: Default::default(),
                is_complete: true,
            };
            noted.take_in(&recorded);
            let part = Part::Workspace(workspace.into());
            let recorded = vec![(part, recorded)];
            store
                .record(&organization, recorded, Vec::new())
                .await
                .unwrap();
        };
        let of = |key, user| cell(Some(key), Some(user));
        let mut noted = LastUses::default();
        record(
            &mut noted,
            "a",
            &[
                (Kind::Hour, 3, of("k1", "ada")),
                (Kind::Hour, 9, cell(None, None)),
                // The same day as one, whose hours are known.
                (Kind::Day, 0, of("k1", "ada")),
                (Kind::Day, -48, of("k2", "ada")),
                (Kind::Booked, 23, cell(Some("k3"), None)),
                (Kind::Day, -240, cell(None, None)),
            ],
        )
        .await;
        record(&mut noted, "b", &[(Kind::Hour, 5, of("k1", "bo"))]).await;
        let uses = store.last_uses(&organization).await.unwrap();
        let end = |hours| FIRST.plus(hours).start();
        let expected = LastUses {
            keys: [
                ("k1".into(), end(6)),
                ("k2".into(), end(-24)),
                ("k3".into(), end(24)),
            ]
            .into(),
            people: [("ada".into(), end(4)), ("bo".into(), end(6))].into(),
            by_key_since: Some(end(-48)),
            ..LastUses::default()
        };
        assert_eq!(uses, expected);
        assert_eq!(noted, expected, "as it was noted while it was recorded");
    }
}
