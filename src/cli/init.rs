//! `init`: a file to start from.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::TEMPLATE;

/// Where to write it.
#[derive(Debug, Args)]
pub struct Init {
    /// A file that does not exist yet
    #[arg(default_value = "spendwatch.toml")]
    file: PathBuf,
}

impl Init {
    /// Never overwrites anything.
    pub fn run(&self) -> ExitCode {
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.file);
        match made.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
            Ok(()) => {
                eprintln!(
                    "Wrote `{0}`. Edit it, then run `spendwatch check-config --config {0}`",
                    self.file.display()
                );
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: cannot write `{}`: {error}", self.file.display());
                ExitCode::FAILURE
            }
        }
    }
}
