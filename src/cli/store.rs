//! `store check` and `store backup`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::globals::{CommandError, Globals, YesFlag};
use crate::cli::output::print;
use crate::table::{Cell, TableBuilder};
use spendwatch_config::source::Environment;
use spendwatch_domain::units::plural::counted;
use spendwatch_notify::wording::formatting;
use spendwatch_store::Store;

/// Subcommands of `store`. They can run beside a daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the store for inconsistencies without changing it: exit 0 or 1
    #[command(after_help = "Example: spendwatch store check")]
    Check,
    /// Copy the store to a new file with mode 0600, also while a daemon writes
    #[command(after_help = "Example: spendwatch store backup spendwatch-2026-11-24.db")]
    Backup {
        /// New file
        file: PathBuf,
        #[command(flatten)]
        yes: YesFlag,
    },
}

impl Command {
    /// Runs the command.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        match self {
            Command::Check => {
                let config = globals.load(environment)?;
                let report = Store::check_file(&config.store.path).await?;
                if report.needs_migration() {
                    globals.remark(&format!(
                        "the store has version {}, this program uses version {}: checked only the file's integrity; the next start of \
                         `spendwatch run` migrates it",
                        report.version, report.supported
                    ));
                }
                for problem in &report.problems {
                    eprintln!("error: {}", formatting::single_line(problem));
                }
                let table = TableBuilder::new(std::slice::from_ref(&report))
                    .shown("store", "STORE", |_| {
                        config.store.path.display().to_string()
                    })
                    .shown("version", "VERSION", |report| {
                        Cell::Count(report.version.into())
                    })
                    .shown("bytes", "BYTES", |report| report.n_bytes)
                    .shown("usage_rows", "USAGE", |report| report.n_usage)
                    .shown("alerts", "ALERTS", |report| report.n_alerts)
                    .shown("messages", "MESSAGES", |report| report.n_messages)
                    .shown("n_problems", "PROBLEMS", |report| report.problems.len())
                    .hidden("problems", |report| report.problems.clone())
                    .build();
                let exit = if report.problems.is_empty() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                };
                Ok(globals.print(&table, exit))
            }
            Command::Backup { file, yes: _ } => {
                let (_, store) = globals.open_store(environment)?;
                let n_bytes = store.backup(file).await?;
                let text = format!(
                    "Copied `{}` to `{}`, {}, and verified the copy\n",
                    store.path(),
                    file.display(),
                    counted(n_bytes, "byte")
                );
                Ok(print(&text, ExitCode::SUCCESS))
            }
        }
    }
}
