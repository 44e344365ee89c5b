//! `keys revoke`: those that are named, that stand in a file, or that nobody has used for long.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use crate::cli::admin::at_stake::{KeysAtStake, Stake};
use crate::cli::admin::caution::Caution;
use crate::cli::admin::desk::Desk;
use crate::cli::admin::keys::known::{Chosen, Known};
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::Failure;
use crate::cli::output::short_time;
use crate::domain::admin::choice::{KnownKey, find_key};
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::write::Manner;
use crate::domain::ids::ApiKeyId;

/// Which keys end.
#[derive(Debug, Args)]
pub struct Revoke {
    /// These
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Those of this file: one id in each line, `#` begins a comment
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// For good, where the service knows a reversible way, too
    #[arg(long)]
    archive: bool,
    #[command(flatten)]
    caution: Caution,
}

impl Revoke {
    /// Carries it out.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        if self.archive {
            desk.check(Deed::ArchiveKey)?;
        }
        let named = self.named()?;
        if named.is_empty() && self.chosen.is_empty() {
            return Err(Failure::usage(
                "no key is named; name keys by their ids, or choose them by `--idle`, `--workspace`, `--user` or `--from`",
            ));
        }
        let manner = manner(desk.service(), self.archive);
        let known = self.chosen.read(desk).await?;
        let now = desk.office.clock.now();
        let keys = if named.is_empty() {
            let is_meant =
                |key: &&KnownKey| known.filter.matches(key, now) && !key.is_revoked(manner);
            known.keys.iter().filter(is_meant).collect()
        } else {
            self.of_named(desk, &named, &known, now)?
        };
        let open: Vec<&KnownKey> = keys
            .into_iter()
            .filter(|key| !key.is_revoked(manner))
            .collect();
        if open.is_empty() {
            desk.globals
                .remark("no key is left to revoke; nothing was changed");
            return steps::carry_out(desk, Vec::new(), true).await;
        }
        let recent = known.ledger.recent(desk).await?;
        let keys = KeysAtStake::new(open.iter().copied(), &recent, known.workspaces(), now);
        let steps: Vec<Planned> = open.iter().map(|key| step(key, manner, &keys)).collect();
        let question = question(desk, &open, manner);
        steps::ask_about_keys_and_carry_out(desk, &self.caution, steps, &keys, question).await
    }

    /// Ids of the arguments and of the file, each once, in their order.
    fn named(&self) -> Result<Vec<ApiKeyId>, Failure> {
        let mut ids = self.keys.clone();
        if let Some(path) = &self.from {
            ids.extend(ids_of(path)?);
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids.into_iter().map(ApiKeyId::new).collect())
    }

    fn of_named<'a>(
        &self,
        desk: &Desk<'_>,
        named: &[ApiKeyId],
        known: &'a Known,
        now: Timestamp,
    ) -> Result<Vec<&'a KnownKey>, Failure> {
        let unknown: Vec<&str> = named
            .iter()
            .filter(|id| find_key(id, &known.keys).is_none())
            .map(ApiKeyId::as_str)
            .collect();
        if !unknown.is_empty() && desk.service() == Service::Real {
            let text = format!(
                "there is no key {}; nothing was changed",
                unknown.join(", ")
            );
            return Err(Failure::World(desk.told(&text)));
        }
        // A service that deletes what is revoked does not list it any more: a repeated command finds what is left.
        if unknown.len() == named.len() {
            let text = format!(
                "there is no key {}; what was revoked before is not listed",
                unknown.join(", ")
            );
            return Err(Failure::World(desk.told(&text)));
        }
        for id in unknown {
            desk.globals
                .remark(&format!("key `{id}` is not there, or was revoked before"));
        }
        let found = named.iter().filter_map(|id| find_key(id, &known.keys));
        Ok(found.filter(|key| known.filter.matches(key, now)).collect())
    }
}

/// How a key is revoked.
pub const fn manner(service: Service, is_archived: bool) -> Manner {
    match (service, is_archived) {
        (Service::Guide, _) => Manner::Deleted,
        (Service::Real, true) => Manner::Archived,
        (Service::Real, false) => Manner::Inactive,
    }
}

/// That a key is revoked, with what that would break.
pub fn step(key: &KnownKey, manner: Manner, keys: &KeysAtStake) -> Planned {
    let stake = keys.of(&key.listed.id);
    let used = match (key.listed.last_used_at, key.idle_since) {
        (Some(at), _) => Some(format!("used last at {}", short_time(at))),
        (None, Some(since)) => Some(format!("not used since {}", short_time(since))),
        (None, None) => None,
    };
    let spend = stake.as_ref().and_then(Stake::spend);
    let spend = spend.map(|usd| format!("${} in the last 7 days", usd.grouped()));
    let note: Vec<String> = used.into_iter().chain(spend).collect();
    Planned {
        note: note.join("; "),
        stake,
        ..Planned::new(key.revoked(manner), key.listed.name.clone())
    }
}

fn question(desk: &Desk<'_>, keys: &[&KnownKey], manner: Manner) -> String {
    let organization = &desk.office.organization;
    let then = if manner.is_final() {
        "this is final"
    } else {
        "`spendwatch keys restore` brings one back"
    };
    match keys {
        [key] => format!(
            "Revoke key `{}` ({}) of organization `{organization}`? Note: {then}.",
            key.listed.name, key.listed.id
        ),
        keys => format!(
            "Revoke these {} keys of organization `{organization}`? Note: {then}.",
            keys.len()
        ),
    }
}

/// One id in each line.
fn ids_of(path: &Path) -> Result<Vec<String>, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("`{shown}`: {error}")))?;
    let mut ids = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let id = line.split('#').next().unwrap_or_default().trim();
        if id.split_whitespace().count() > 1 || id.contains(',') {
            let told = format!(
                "`{shown}`, line {}: `{id}` is no id; one id stands in each line",
                place + 1
            );
            return Err(Failure::usage(told));
        }
        if !id.is_empty() {
            ids.push(id.to_owned());
        }
    }
    if ids.is_empty() {
        return Err(Failure::usage(format!("`{shown}` names no key")));
    }
    Ok(ids)
}
