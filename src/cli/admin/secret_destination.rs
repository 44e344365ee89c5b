//! Options for the destination of a new key's secret.

use std::path::PathBuf;

use clap::Args;

use crate::cli::globals::{CommandError, Globals};
use crate::cli::output::OutputFormat;
use crate::secret_sink::{SecretSink, SecretSinkError};
use spendwatch_base::subprocess::ChildEnvironment;
use std::io::{self, IsTerminal};

/// Options of a command that creates a key.
#[derive(Debug, Clone, Args)]
pub struct SecretDestination {
    /// New file for the secret, created with mode 0600
    #[arg(long, value_name = "FILE", conflicts_with = "secret_to_command")]
    pub secret_out: Option<PathBuf>,
    /// Shell command that receives the secret on standard input
    #[arg(long, value_name = "CMD")]
    pub secret_to_command: Option<String>,
}

impl SecretDestination {
    /// Returns whether a destination is given.
    pub fn is_given(&self) -> bool {
        self.secret_out.is_some() || self.secret_to_command.is_some()
    }

    /// Returns the destination, by default standard output if it is a terminal. A command receives `environment`.
    pub fn secret_sink(
        &self,
        globals: &Globals,
        environment: &ChildEnvironment,
    ) -> Result<SecretSink, CommandError> {
        if let Some(path) = &self.secret_out {
            if path.symlink_metadata().is_ok() {
                let error = SecretSinkError::Exists(path.clone());
                return Err(CommandError::Failed(error.to_string()));
            }
            return Ok(SecretSink::File(path.clone()));
        }
        if let Some(line) = &self.secret_to_command {
            return Ok(SecretSink::Command {
                line: line.clone(),
                environment: environment.clone(),
            });
        }
        match globals.output {
            OutputFormat::Table if io::stdout().is_terminal() => Ok(SecretSink::Terminal),
            OutputFormat::Table | OutputFormat::Json | OutputFormat::Csv => {
                Err(CommandError::usage(SecretSinkError::NoTerminal.to_string()))
            }
        }
    }
}
