//! `keys rename` and `restore`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::admin::caution::DryRun;
use crate::cli::admin::desk::Desk;
use crate::cli::admin::steps::{self, Planned};
use crate::cli::globals::Failure;
use crate::domain::admin::choice::{KnownKey, find_key, known_keys};
use crate::domain::admin::service::Deed;
use crate::domain::admin::write::{Manner, Write};
use crate::domain::census::ToldBy;
use crate::domain::ids::ApiKeyId;

/// A key and its new name.
#[derive(Debug, Args)]
pub struct Rename {
    /// Which
    #[arg(value_name = "KEY")]
    key: String,
    /// Its new name
    name: String,
    #[command(flatten)]
    dry_run: DryRun,
}

/// Which key opens again.
#[derive(Debug, Args)]
pub struct Restore {
    /// Which
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    dry_run: DryRun,
}

impl Rename {
    /// Carries it out.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::RenameKey)?;
        if self.name.trim().is_empty() {
            return Err(Failure::usage("the new name is empty"));
        }
        let keys = known_keys(desk.keys().await?, ToldBy::Nobody, desk.office.clock.now());
        let key = one_key(desk, &self.key, &keys)?;
        let write = Write::RenameKey {
            key: key.listed.id.clone(),
            name: self.name.clone(),
        };
        let step = Planned::new(write, key.listed.name.clone());
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}

fn one_key<'a>(
    desk: &Desk<'_>,
    asked: &str,
    keys: &'a [KnownKey],
) -> Result<&'a KnownKey, Failure> {
    find_key(&ApiKeyId::new(asked), keys).ok_or_else(|| {
        Failure::World(desk.told(&format!(
            "there is no key `{asked}`; `spendwatch keys list` tells ids"
        )))
    })
}

impl Restore {
    /// Carries it out.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<ExitCode, Failure> {
        desk.check(Deed::RestoreKey)?;
        let now = desk.office.clock.now();
        let keys = known_keys(desk.keys().await?, ToldBy::Nobody, now);
        let key = one_key(desk, &self.key, &keys)?;
        let status = key.status(now);
        if status != Manner::Inactive.word() {
            let text = format!(
                "key `{}` is {status}; only one that is inactive can be restored",
                self.key
            );
            return Err(Failure::World(desk.told(&text)));
        }
        let write = Write::RestoreKey {
            key: key.listed.id.clone(),
        };
        let step = Planned::new(write, key.listed.name.clone());
        steps::carry_out(desk, vec![step], self.dry_run.dry_run).await
    }
}
