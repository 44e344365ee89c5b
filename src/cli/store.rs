//! `store check` and `store backup`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::globals::{Assent, Failure, Globals};
use crate::cli::output::print;
use crate::config::source::Environment;
use crate::domain::plural::counted;
use crate::notify::formatting;
use crate::sheet::{Cell, Sheet, hidden, shown};
use crate::store::Store;

/// Looks after the store, also while a daemon works on it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read everything and say what does not fit, without changing anything: exit 0 when all is well, else 1
    #[command(after_help = "Example: spendwatch store check")]
    Check,
    /// Copy the store into a new file of mode 0600, also while a daemon writes
    #[command(after_help = "Example: spendwatch store backup spendwatch-2026-11-24.db")]
    Backup {
        /// A file that does not exist yet
        file: PathBuf,
        /// Nothing is asked.
        #[command(flatten)]
        assent: Assent,
    },
}

impl Command {
    /// Runs it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        match self {
            Command::Check => {
                let config = globals.load(environment)?;
                let report = Store::check_file(&config.store.path).await?;
                if report.is_old() {
                    globals.remark(&format!(
                        "the store has version {}, this program uses version {}: only the integrity of the file was checked; the \
                         next start of `spendwatch run` migrates it",
                        report.version, report.supported
                    ));
                }
                for problem in &report.problems {
                    eprintln!("error: {}", formatting::line(problem));
                }
                let count = |n: u64| Cell::Count(i128::from(n));
                let sheet = Sheet {
                    columns: vec![
                        shown("store", "STORE"),
                        shown("version", "VERSION"),
                        shown("bytes", "BYTES"),
                        shown("usage_rows", "USAGE"),
                        shown("alerts", "ALERTS"),
                        shown("messages", "MESSAGES"),
                        shown("n_problems", "PROBLEMS"),
                        hidden("problems"),
                    ],
                    rows: vec![vec![
                        Cell::Text(config.store.path.display().to_string()),
                        Cell::Count(i128::from(report.version)),
                        count(report.n_bytes),
                        count(report.n_usage),
                        count(report.n_alerts),
                        count(report.n_messages),
                        Cell::Count(report.problems.len() as i128),
                        Cell::List(report.problems.clone()),
                    ]],
                };
                let exit = if report.problems.is_empty() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                };
                Ok(globals.print(&sheet, exit))
            }
            Command::Backup { file, assent: _ } => {
                let (_, store) = globals.open_store(environment)?;
                let n_bytes = store.backup(file).await?;
                let told = format!(
                    "Copied `{}` to `{}`, {}, and checked the copy\n",
                    store.path(),
                    file.display(),
                    counted(n_bytes, "byte")
                );
                Ok(print(&told, ExitCode::SUCCESS))
            }
        }
    }
}
