//! Where the secret of a new key goes, as the caller names it.

use std::path::PathBuf;

use clap::Args;

use crate::cli::globals::{Failure, Globals};
use crate::cli::output::Format;
use crate::handover::{Handover, HandoverError};
use crate::subprocess::ChildEnvironment;
use std::io::{self, IsTerminal};

/// Options of a command that makes a key.
#[derive(Debug, Clone, Args)]
pub struct SecretPlace {
    /// Write the secret into this new file, mode 0600; refused where it exists
    #[arg(long, value_name = "FILE", conflicts_with = "secret_to_command")]
    pub secret_out: Option<PathBuf>,
    /// Give the secret to this command of the shell, on its standard input
    #[arg(long, value_name = "CMD")]
    pub secret_to_command: Option<String>,
}

impl SecretPlace {
    /// Whether a place is named.
    pub fn is_named(&self) -> bool {
        self.secret_out.is_some() || self.secret_to_command.is_some()
    }

    /// The one place; the terminal where none is named and standard output is one. A command receives `environment`.
    pub fn handover(
        &self,
        globals: &Globals,
        environment: &ChildEnvironment,
    ) -> Result<Handover, Failure> {
        if let Some(path) = &self.secret_out {
            if path.symlink_metadata().is_ok() {
                let error = HandoverError::Exists(path.clone());
                return Err(Failure::World(error.to_string()));
            }
            return Ok(Handover::File(path.clone()));
        }
        if let Some(line) = &self.secret_to_command {
            return Ok(Handover::Command {
                line: line.clone(),
                environment: environment.clone(),
            });
        }
        match globals.output {
            Format::Table if io::stdout().is_terminal() => Ok(Handover::Terminal),
            Format::Table | Format::Json | Format::Csv => {
                Err(Failure::usage(HandoverError::NoTerminal.to_string()))
            }
        }
    }
}
