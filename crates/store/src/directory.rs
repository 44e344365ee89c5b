//! Stores the directory: all workspaces ever listed, names of keys and users, and the organization's own data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::db::query;
use crate::db::values::{StoredTime, UsdText, optional_time_from_row, time_from_row};
use crate::error::{StoreError, StoreErrorCause};
use crate::stored::{AsStored, Stored, from_json, stored_by, to_json};
use spendwatch_domain::org::directory::{
    Directory, OrganizationInfo, PendingRemoval, Presence, UserInfo, Workspace,
};
use spendwatch_domain::units::ids::{ActorId, ApiKeyId, OrganizationName, WorkspaceId};
use spendwatch_domain::units::money::Usd;

impl Store {
    /// Stores the directory, writing only changed workspaces.
    pub async fn save_directory(
        &self,
        organization: &OrganizationName,
        directory: &Directory,
    ) -> Result<(), StoreError> {
        let directory = directory.clone();
        self.write_of(organization, "save_directory", move |tx, organization| {
            let before = load(tx, organization)?;
            let info = directory
                .organization
                .as_ref()
                .map(|info| to_json(&AsStored(info)));
            tx.execute(
                "UPDATE organizations SET listed_at = ?2, info = ?3, default_workspace = ?4 WHERE id = ?1",
                params![
                    organization,
                    directory.listed_at.map(StoredTime),
                    info,
                    directory.default_workspace.as_ref().map(WorkspaceId::as_str)
                ],
            )?;
            for (id, entry) in &directory.workspaces {
                if before.workspaces.get(id) != Some(entry) {
                    save_workspace(tx, organization, &entry.0, entry.1)?;
                }
            }
            for (id, name) in &directory.keys {
                if before.keys.get(id) != Some(name) {
                    let sql = "INSERT OR REPLACE INTO api_keys (organization_id, api_key_id, name) VALUES (?1, ?2, ?3)";
                    query::run(tx, sql, params![organization, id.as_str(), name])?;
                }
            }
            for (id, person) in &directory.users {
                if before.users.get(id) != Some(person) {
                    let sql = "INSERT OR REPLACE INTO users (organization_id, user_id, email, name) VALUES (?1, ?2, ?3, ?4)";
                    query::run(tx, sql, params![organization, id.as_str(), person.email, person.name])?;
                }
            }
            if directory.limits_removed != before.limits_removed {
                save_limits_removed(tx, organization, &directory.limits_removed)?;
            }
            Ok(())
        })
        .await
    }
}

pub(crate) fn load(db: &Connection, organization: i64) -> Result<Directory, StoreErrorCause> {
    let directory = query::first(
        db,
        "SELECT listed_at, info, default_workspace FROM organizations WHERE id = ?1",
        [organization],
        |row| {
            let info = row.get::<_, Option<String>>(1)?.map(|text| {
                from_json::<AsStored<OrganizationInfo>>(&text, "the organization's data")
            });
            Ok(Directory {
                organization: info.transpose()?.map(|info| info.0),
                listed_at: optional_time_from_row(row, 0)?,
                default_workspace: row.get::<_, Option<String>>(2)?.map(WorkspaceId::new),
                ..Directory::default()
            })
        },
    )?;
    Ok(Directory {
        workspaces: query::all(
            db,
            "SELECT workspace_id, name, monthly_limit, requests_per_minute, presence, missing_since, n_answers, created_at, tags
             FROM workspaces WHERE organization_id = ?1",
            [organization],
            |row| {
                let (workspace, presence) = workspace_from_row(row)?;
                Ok((workspace.id.clone(), (workspace, presence)))
            },
        )?,
        keys: query::all(
            db,
            "SELECT api_key_id, name FROM api_keys WHERE organization_id = ?1",
            [organization],
            |row| Ok((ApiKeyId::new(row.get::<_, String>(0)?), row.get(1)?)),
        )?,
        users: query::all(
            db,
            "SELECT user_id, email, name FROM users WHERE organization_id = ?1",
            [organization],
            |row| {
                let user = UserInfo {
                    email: row.get(1)?,
                    name: row.get(2)?,
                };
                Ok((ActorId::new(row.get::<_, String>(0)?), user))
            },
        )?,
        limits_removed: query::all(
            db,
            "SELECT workspace_id, removed_at FROM limits_removed WHERE organization_id = ?1",
            [organization],
            |row| {
                let id = Some(row.get::<_, String>(0)?).filter(|id| !id.is_empty());
                Ok((id.map(WorkspaceId::new), time_from_row(row, 1)?))
            },
        )?,
        ..directory.unwrap_or_default()
    })
}

/// Rewrites all of them, because there are few.
fn save_limits_removed(
    tx: &Transaction<'_>,
    organization: i64,
    removed: &BTreeMap<Option<WorkspaceId>, Timestamp>,
) -> Result<(), StoreErrorCause> {
    query::run(
        tx,
        "DELETE FROM limits_removed WHERE organization_id = ?1",
        [organization],
    )?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO limits_removed (organization_id, workspace_id, removed_at) VALUES (?1, ?2, ?3)",
    )?;
    for (of, at) in removed {
        let id = of.as_ref().map_or("", WorkspaceId::as_str);
        insert.execute(params![organization, id, StoredTime(*at)])?;
    }
    Ok(())
}

fn save_workspace(
    tx: &Transaction<'_>,
    organization: i64,
    workspace: &Workspace,
    presence: Presence,
) -> Result<(), StoreErrorCause> {
    let (word, doubt) = match presence {
        Presence::Listed => ("listed", None),
        Presence::Missing(doubt) => ("missing", Some(doubt)),
        Presence::Removed => ("gone", None),
    };
    tx.prepare_cached(
        "INSERT OR REPLACE INTO workspaces (organization_id, workspace_id, name, monthly_limit, requests_per_minute, presence,
                                            missing_since, n_answers, created_at, tags)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        organization,
        workspace.id.as_str(),
        workspace.name,
        workspace.monthly_limit.map(UsdText),
        // As text, because SQLite has no unsigned 64-bit integers.
        workspace.requests_per_minute.map(|limit| limit.to_string()),
        word,
        doubt.map(|doubt| StoredTime(doubt.since)),
        doubt.map(|doubt| doubt.n_responses),
        workspace.created_at.map(StoredTime),
        to_json(&workspace.tags),
    ])?;
    Ok(())
}

fn workspace_from_row(row: &Row<'_>) -> Result<(Workspace, Presence), StoreErrorCause> {
    let requests: Option<String> = row.get(3)?;
    let requests = requests.map(|text| {
        text.parse()
            .map_err(|_| StoreErrorCause::Corrupt(format!("a limit of `{text}` requests")))
    });
    let doubt = match (optional_time_from_row(row, 5)?, row.get(6)?) {
        (Some(since), Some(n_answers)) => Some(PendingRemoval {
            since,
            n_responses: n_answers,
        }),
        (_, _) => None,
    };
    let word: String = row.get(4)?;
    let presence = match (word.as_str(), doubt) {
        ("listed", None) => Presence::Listed,
        ("missing", Some(doubt)) => Presence::Missing(doubt),
        ("gone", None) => Presence::Removed,
        (_, _) => {
            return Err(StoreErrorCause::Corrupt(format!(
                "a workspace that is `{word}`"
            )));
        }
    };
    let workspace = Workspace {
        id: WorkspaceId::new(row.get::<_, String>(0)?),
        name: row.get(1)?,
        monthly_limit: row.get::<_, Option<UsdText>>(2)?.map(|usd| usd.0),
        requests_per_minute: requests.transpose()?,
        created_at: optional_time_from_row(row, 7)?,
        tags: from_json(&row.get::<_, String>(8)?, "the tags of a workspace")?,
    };
    Ok((workspace, presence))
}

stored_by! {
    OrganizationInfo: OrganizationInfoShape;
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OrganizationInfo")]
struct OrganizationInfoShape {
    id: String,
    name: String,
    #[serde(with = "Stored", default)]
    usage_limit: Option<Usd>,
    #[serde(with = "Stored", default)]
    current_month_usage: Option<Usd>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{ORGANIZATION, at, store};

    fn workspace(id: &str, name: &str) -> Workspace {
        Workspace {
            id: id.into(),
            name: name.to_owned(),
            monthly_limit: Some(Usd::from_pico(1)),
            requests_per_minute: Some(u64::MAX),
            created_at: Some(at(7)),
            tags: [("team".to_owned(), "a \"b\"".to_owned())].into(),
        }
    }

    #[tokio::test]
    async fn directories_round_trip() {
        let store = store().await;
        let organization = ORGANIZATION.into();
        let odd = workspace("b", "'\"\n\u{1F4B8}<b>\u{7}");
        let mut directory =
            Directory::default().with_list(vec![workspace("a", "A"), odd.clone()], at(0));
        for minute in [0, 10, 60, 70] {
            directory = directory.with_list(vec![odd.clone()], at(minute));
            directory.default_workspace = Some("wrkspc_0".into());
            directory
                .keys
                .insert("apikey_0".into(), format!("k{minute}"));
            let person = UserInfo {
                name: "Ada".to_owned(),
                email: format!("ada+{minute}@example.com"),
            };
            directory.users.insert("user_0".into(), person);
            directory.limits_removed = [(None, at(minute)), (Some("b".into()), at(9))].into();
            if minute == 70 {
                directory.limits_removed.remove(&None);
            }
            directory.organization = Some(OrganizationInfo {
                id: "org".to_owned(),
                name: "Acme".to_owned(),
                usage_limit: Some(Usd::from_pico(i128::MAX)),
                current_month_usage: None,
            });
            store
                .save_directory(&organization, &directory)
                .await
                .unwrap();
            let known = store.stored_directory(&organization).await.unwrap();
            assert_eq!(known.map(|known| known.directory), Some(directory.clone()));
        }
        assert_eq!(directory.workspaces["a"].1, Presence::Removed);
        assert_eq!(store.stored_directory(&"other".into()).await.unwrap(), None);
    }
}
