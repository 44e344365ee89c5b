//! `keys revoke`: revokes keys by id, from a file, or by selection.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use crate::cli::admin::confirmation::Confirmation;
use crate::cli::admin::context::CommandContext;
use crate::cli::admin::impact::{AffectedKeys, KeyImpact};
use crate::cli::admin::keys::selection::{KeySelection, KeysWithUsage};
use crate::cli::admin::steps::{self, PlannedStep};
use crate::cli::globals::CommandError;
use crate::cli::output::cell::short_time;
use spendwatch_domain::admin::change::Revocation;
use spendwatch_domain::admin::selection::{KeyDetails, find_key};
use spendwatch_domain::admin::server::{Capability, ServerKind};
use spendwatch_domain::units::ids::ApiKeyId;

/// Arguments of `keys revoke`.
#[derive(Debug, Args)]
pub struct RevokeKeys {
    /// Ids of the keys
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    selection: KeySelection,
    /// File with one id per line; `#` starts a comment
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Revoke permanently, even if the server supports deactivating keys
    #[arg(long)]
    archive: bool,
    #[command(flatten)]
    confirmation: Confirmation,
}

impl RevokeKeys {
    /// Runs the command.
    pub async fn run(&self, context: &CommandContext<'_>) -> Result<ExitCode, CommandError> {
        if self.archive {
            context.require(Capability::ArchiveKey)?;
        }
        let named = self.named()?;
        if named.is_empty() && self.selection.is_empty() {
            return Err(CommandError::usage(
                "no keys given; pass ids, `--from`, `--idle`, `--workspace` or `--user`",
            ));
        }
        let revocation = revocation_for(context.service(), self.archive);
        let known = self.selection.read(context).await?;
        let now = context.session.clock.now();
        let keys = if named.is_empty() {
            let is_selected =
                |key: &&KeyDetails| known.filter.matches(key, now) && !key.is_revoked(revocation);
            known.keys.iter().filter(is_selected).collect()
        } else {
            self.find_named(context, &named, &known, now)?
        };
        let active: Vec<&KeyDetails> = keys
            .into_iter()
            .filter(|key| !key.is_revoked(revocation))
            .collect();
        if active.is_empty() {
            context.globals.remark("no change: no active keys match");
            return steps::execute(context, Vec::new(), true).await;
        }
        let recent = known.ledger.recent(context).await?;
        let keys = AffectedKeys::new(active.iter().copied(), &recent, known.workspaces(), now);
        let steps: Vec<PlannedStep> = active
            .iter()
            .map(|key| revoke_step(key, revocation, &keys))
            .collect();
        let question = question(context, &active, revocation);
        steps::confirm_keys_and_execute(context, &self.confirmation, steps, &keys, question).await
    }

    /// Returns the distinct ids of the arguments and of the file, in their order.
    fn named(&self) -> Result<Vec<ApiKeyId>, CommandError> {
        let mut ids = self.keys.clone();
        if let Some(path) = &self.from {
            ids.extend(ids_of(path)?);
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids.into_iter().map(ApiKeyId::new).collect())
    }

    fn find_named<'a>(
        &self,
        context: &CommandContext<'_>,
        named: &[ApiKeyId],
        known: &'a KeysWithUsage,
        now: Timestamp,
    ) -> Result<Vec<&'a KeyDetails>, CommandError> {
        let unknown: Vec<&str> = named
            .iter()
            .filter(|id| find_key(id, &known.keys).is_none())
            .map(ApiKeyId::as_str)
            .collect();
        if !unknown.is_empty() && context.service() == ServerKind::Real {
            let text = format!("no API key `{}`", unknown.join("`, `"));
            return Err(context.failed(&text));
        }
        // Deleted keys are no longer listed, so a rerun only finds the rest.
        if unknown.len() == named.len() {
            let text = format!(
                "no API key `{}`; revoked keys are not listed",
                unknown.join("`, `")
            );
            return Err(context.failed(&text));
        }
        for id in unknown {
            context
                .globals
                .remark(&format!("key `{id}` does not exist or was already revoked"));
        }
        let found = named.iter().filter_map(|id| find_key(id, &known.keys));
        Ok(found.filter(|key| known.filter.matches(key, now)).collect())
    }
}

/// Returns how to revoke a key.
pub const fn revocation_for(service: ServerKind, is_archived: bool) -> Revocation {
    match (service, is_archived) {
        (ServerKind::Guide, _) => Revocation::Deleted,
        (ServerKind::Real, true) => Revocation::Archived,
        (ServerKind::Real, false) => Revocation::Inactive,
    }
}

/// Returns the step that revokes a key, with its impact.
pub fn revoke_step(key: &KeyDetails, revocation: Revocation, keys: &AffectedKeys) -> PlannedStep {
    let impact = keys.impact_of(&key.listed.id);
    let used = match (key.listed.last_used_at, key.idle_since) {
        (Some(at), _) => Some(format!("last used {}", short_time(at))),
        (None, Some(since)) => Some(format!("not used since {}", short_time(since))),
        (None, None) => None,
    };
    let spend = impact.as_ref().and_then(KeyImpact::spend);
    let spend = spend.map(|usd| format!("${} in the last 7 days", usd.grouped()));
    let note: Vec<String> = used.into_iter().chain(spend).collect();
    PlannedStep {
        note: note.join("; "),
        impact,
        ..PlannedStep::new(key.revocation(revocation), key.listed.name.clone())
    }
}

fn question(context: &CommandContext<'_>, keys: &[&KeyDetails], revocation: Revocation) -> String {
    let organization = &context.session.organization;
    let then = if revocation.is_final() {
        "this is permanent"
    } else {
        "`spendwatch keys restore` activates a key again"
    };
    match keys {
        [key] => format!(
            "Revoke key `{}` ({}) of organization `{organization}`? Note: {then}.",
            key.listed.name, key.listed.id
        ),
        keys => format!(
            "Revoke {} keys of organization `{organization}`? Note: {then}.",
            keys.len()
        ),
    }
}

fn ids_of(path: &Path) -> Result<Vec<String>, CommandError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::usage(format!("`{shown}`: {error}")))?;
    let mut ids = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let id = line.split('#').next().unwrap_or_default().trim();
        if id.split_whitespace().count() > 1 || id.contains(',') {
            let error = format!(
                "`{shown}`, line {}: `{id}` is not an id; write one id per line",
                index + 1
            );
            return Err(CommandError::usage(error));
        }
        if !id.is_empty() {
            ids.push(id.to_owned());
        }
    }
    if ids.is_empty() {
        return Err(CommandError::usage(format!("`{shown}` lists no keys")));
    }
    Ok(ids)
}
