//! `keys list`.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::cli::admin::context::CommandContext;
use crate::cli::admin::keys::selection::{KeySelection, KeysWithUsage};
use crate::cli::admin::spend::KnownSpend;
use crate::cli::admin::users::parse_duration;
use crate::cli::globals::CommandError;
use crate::table::{Cell, OutputTable, hidden, id, shown};
use spendwatch_domain::admin::selection::{KeyDetails, KeyFilter};
use spendwatch_domain::units::plural::counted;

/// Arguments of `keys list`.
#[derive(Debug, Args)]
pub struct ListKeys {
    #[command(flatten)]
    selection: KeySelection,
    /// Status: active, inactive, archived or expired
    #[arg(long)]
    status: Option<String>,
    /// Time within which the keys expire, for example `30d`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expiring: Option<SignedDuration>,
}

impl ListKeys {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        let known = context.audit_read("keys.list", &[], self.selection.read(context).await)?;
        let now = context.session.clock.now();
        let filter = KeyFilter {
            status: self.status.clone(),
            expiring: self.expiring,
            ..known.filter.clone()
        };
        let rows: Vec<&KeyDetails> = known
            .keys
            .iter()
            .filter(|key| filter.matches(key, now))
            .collect();
        if rows.len() < known.keys.len() {
            context.globals.remark(&format!(
                "{} of {}",
                rows.len(),
                counted(known.keys.len(), "key")
            ));
        }
        let spend = known.ledger.month(context).await?;
        let table = table(&known, &rows, &spend, now);
        known.ledger.warn_if_missing(context);
        Ok(context.globals.print(&table, ExitCode::SUCCESS))
    }
}

fn table(
    known: &KeysWithUsage,
    keys: &[&KeyDetails],
    spend: &KnownSpend,
    now: Timestamp,
) -> OutputTable {
    let row = |key: &&KeyDetails| {
        let listed = &key.listed;
        let month = spend.by_key(&listed.id);
        vec![
            Cell::Text(listed.name.clone()),
            Cell::Text(key.status(now).to_owned()),
            Cell::text_or_empty(known.workspace(listed.workspace.as_ref())),
            Cell::text_or_empty(listed.workspace.as_ref().map(ToString::to_string)),
            Cell::time_or_empty(listed.last_used_at),
            Cell::time_or_empty(key.idle_since),
            month.map_or(Cell::Empty, Cell::Money),
            Cell::text_or_empty(known.creator(key)),
            Cell::text_or_empty(key.creator().map(ToString::to_string)),
            Cell::time_or_empty(listed.created_at),
            Cell::time_or_empty(listed.expires_at),
            Cell::text_or_empty(listed.hint.clone()),
            Cell::Text(listed.id.to_string()),
        ]
    };
    OutputTable {
        columns: vec![
            shown("name", "NAME"),
            shown("status", "STATUS"),
            shown("workspace", "WORKSPACE"),
            hidden("workspace_id"),
            hidden("last_used_at"),
            shown("idle_since", "LAST USED"),
            shown("month_spend_usd", "MONTH $"),
            shown("created_by", "CREATED BY"),
            hidden("created_by_id"),
            hidden("created_at"),
            shown("expires_at", "EXPIRES"),
            hidden("hint"),
            id("id", "ID"),
        ],
        rows: keys.iter().map(row).collect(),
    }
}
