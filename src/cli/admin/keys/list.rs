//! `keys list`.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::cli::admin::desk::Desk;
use crate::cli::admin::keys::known::{Chosen, Known};
use crate::cli::admin::spend::Spent;
use crate::cli::admin::users::parse_duration;
use crate::cli::globals::Failure;
use crate::domain::admin::choice::{KeyFilter, KnownKey};
use crate::domain::plural::counted;
use crate::sheet::{Cell, Sheet, hidden, id, shown};

/// Which keys are listed.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    chosen: Chosen,
    /// Only this status: active, inactive, archived, expired
    #[arg(long)]
    status: Option<String>,
    /// Only those that end within so long: `30d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expiring: Option<SignedDuration>,
}

impl List {
    /// Carries it out.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        let known = desk.looked("keys.list", &[], self.chosen.read(desk).await)?;
        let now = desk.office.clock.now();
        let filter = KeyFilter {
            status: self.status.clone(),
            expiring: self.expiring,
            ..known.filter.clone()
        };
        let rows: Vec<&KnownKey> = known
            .keys
            .iter()
            .filter(|key| filter.matches(key, now))
            .collect();
        if rows.len() < known.keys.len() {
            desk.globals.remark(&format!(
                "{} of {}",
                rows.len(),
                counted(known.keys.len(), "key")
            ));
        }
        let spent = known.ledger.month(desk).await?;
        let sheet = sheet(&known, &rows, &spent, now);
        known.ledger.remark_absence(desk);
        Ok(desk.globals.print(&sheet, ExitCode::SUCCESS))
    }
}

fn sheet(known: &Known, keys: &[&KnownKey], spent: &Spent, now: Timestamp) -> Sheet {
    let row = |key: &&KnownKey| {
        let listed = &key.listed;
        let month = spent.by_key(&listed.id);
        vec![
            Cell::Text(listed.name.clone()),
            Cell::Text(key.status(now).to_owned()),
            Cell::text_or_empty(known.workspace(listed.workspace.as_ref())),
            Cell::text_or_empty(listed.workspace.as_ref().map(ToString::to_string)),
            Cell::time_or_empty(listed.last_used_at),
            Cell::time_or_empty(key.idle_since),
            month.map_or(Cell::Empty, Cell::Money),
            Cell::text_or_empty(known.maker(key)),
            Cell::text_or_empty(key.maker().map(ToString::to_string)),
            Cell::time_or_empty(listed.created_at),
            Cell::time_or_empty(listed.expires_at),
            Cell::text_or_empty(listed.hint.clone()),
            Cell::Text(listed.id.to_string()),
        ]
    };
    Sheet {
        columns: vec![
            shown("name", "NAME"),
            shown("status", "STATUS"),
            shown("workspace", "WORKSPACE"),
            hidden("workspace_id"),
            hidden("last_used_at"),
            shown("idle_since", "IDLE SINCE"),
            shown("month_spend_usd", "MONTH $"),
            shown("created_by", "MADE BY"),
            hidden("created_by_id"),
            hidden("created_at"),
            shown("expires_at", "EXPIRES"),
            hidden("hint"),
            id("id", "ID"),
        ],
        rows: keys.iter().map(row).collect(),
    }
}
