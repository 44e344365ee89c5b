//! Last use of API keys and users according to the ledger.

use rusqlite::Connection;

use crate::Store;
use crate::error::{StoreError, StoreErrorCause};
use crate::ledger::row_ids::UsageKeysById;
use spendwatch_domain::org::last_uses::LastUses;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::span::Hour;

impl Store {
    /// Returns the end of the newest hour or day with usage of each key and user, in any workspace. Scans all rows, which takes a
    /// second per one or two million; call it once and update the result.
    pub async fn last_uses(&self, organization: &OrganizationName) -> Result<LastUses, StoreError> {
        self.read_of(organization, last_uses).await
    }
}

/// Uses day rows only where hours are not known, because they do not tell the time within the day.
fn last_uses(db: &Connection, organization: i64) -> Result<LastUses, StoreErrorCause> {
    let cells = UsageKeysById::load(db)?;
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
        let usage_key = cells.get(row.get(0)?)?;
        let first = Hour::from_count(row.get(1)?).start();
        let last = Hour::from_count(row.get(2)?).start();
        uses.record(usage_key, first, last);
    }
    Ok(uses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FIRST, ORGANIZATION, amounts, coverage, store};
    use spendwatch_domain::ledger::change::{PartChanges, RowChange, RowKind};
    use spendwatch_domain::usage::bucket::{Part, UsageKey, UsageKeyFields};

    fn usage_key(key: Option<&str>, user: Option<&str>) -> UsageKey {
        let key = UsageKeyFields {
            model: "m".into(),
            api_key: key.map(Into::into),
            user: user.map(Into::into),
            is_apportioned: false,
        };
        key.into()
    }

    #[tokio::test]
    async fn the_newest_row_counts_and_a_day_by_its_end() {
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
        let record =
            async |noted: &mut LastUses, workspace: &str, rows: &[(RowKind, i32, UsageKey)]| {
                let recorded = PartChanges {
                    rows: rows
                        .iter()
                        .map(|(kind, hour, usage_key)| RowChange {
                            kind: *kind,
                            hour: FIRST.plus(*hour),
                            usage_key: usage_key.clone(),
                            amounts: amounts(1),
                        })
                        .collect(),
                    deltas: Vec::new(),
                    pending_removals: Vec::new(),
                    coverage: coverage(),
                    is_coverage_changed: true,
                    decreased: Default::default(),
                    touched: Default::default(),
                    is_complete: true,
                };
                recorded.record_last_uses(noted);
                let part = Part::Workspace(workspace.into());
                let recorded = vec![(part, recorded)];
                store
                    .record(&organization, recorded, Vec::new())
                    .await
                    .unwrap();
            };
        let of = |key, user| usage_key(Some(key), Some(user));
        let mut noted = LastUses::default();
        record(
            &mut noted,
            "a",
            &[
                (RowKind::Hour, 3, of("k1", "ada")),
                (RowKind::Hour, 9, usage_key(None, None)),
                // A day row of a day whose hours are known.
                (RowKind::Day, 0, of("k1", "ada")),
                (RowKind::Day, -48, of("k2", "ada")),
                (RowKind::Booked, 23, usage_key(Some("k3"), None)),
                (RowKind::Day, -240, usage_key(None, None)),
            ],
        )
        .await;
        record(&mut noted, "b", &[(RowKind::Hour, 5, of("k1", "bo"))]).await;
        let uses = store.last_uses(&organization).await.unwrap();
        let end = |hours| FIRST.plus(hours).start();
        let expected = LastUses {
            keys: [
                ("k1".into(), end(6)),
                ("k2".into(), end(-24)),
                ("k3".into(), end(24)),
            ]
            .into(),
            users: [("ada".into(), end(4)), ("bo".into(), end(6))].into(),
            by_key_since: Some(end(-48)),
            ..LastUses::default()
        };
        assert_eq!(uses, expected);
        assert_eq!(noted, expected, "as it was noted while it was recorded");
    }
}
