//! `init`: a file to start from.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
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
        // Others may read it, as a daemon of another user does, but never write it, whatever the umask.
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
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
