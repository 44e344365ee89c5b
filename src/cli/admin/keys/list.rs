//! `keys list`.

use std::process::ExitCode;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::cli::admin::context::CommandContext;
use crate::cli::admin::keys::selection::{KeySelection, KeysWithUsage};
use crate::cli::admin::spend::KnownSpend;
use crate::cli::admin::users::parse_duration;
use crate::cli::globals::CommandError;
use crate::table::{OutputTable, TableBuilder};
use spendwatch_domain::admin::selection::{KeyDetails, KeyFilter};
use spendwatch_domain::units::ids::{ActorId, WorkspaceId};
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
    TableBuilder::new(keys)
        .shown("name", "NAME", |key| &key.listed.name)
        .shown("status", "STATUS", |key| key.status(now))
        .shown("workspace", "WORKSPACE", |key| {
            known.workspace(key.listed.workspace.as_ref())
        })
        .hidden("workspace_id", |key| {
            key.listed.workspace.as_ref().map(WorkspaceId::as_str)
        })
        .hidden("last_used_at", |key| key.listed.last_used_at)
        .shown("idle_since", "LAST USED", |key| key.idle_since)
        .shown("month_spend_usd", "MONTH $", |key| {
            spend.by_key(&key.listed.id)
        })
        .shown("created_by", "CREATED BY", |key| known.creator(key))
        .hidden("created_by_id", |key| key.creator().map(ActorId::as_str))
        .hidden("created_at", |key| key.listed.created_at)
        .shown("expires_at", "EXPIRES", |key| key.listed.expires_at)
        .hidden("hint", |key| key.listed.hint.as_deref())
        .id("id", "ID", |key| key.listed.id.as_str())
        .build()
}
