//! `init`: a file to start from.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::cli::globals::Assent;
use crate::config::TEMPLATE;
use crate::config::file::LOCAL_FILE;

/// Where to write it.
#[derive(Debug, Args)]
pub struct Init {
    /// A file that does not exist yet; the default is read when no other file is named
    #[arg(default_value = "spendwatch.toml")]
    file: PathBuf,
    /// Nothing is asked.
    #[command(flatten)]
    pub assent: Assent,
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
                let is_default = Path::new(LOCAL_FILE).file_name() == Some(self.file.as_os_str());
                let option = if is_default {
                    String::new()
                } else {
                    format!(" --config {}", self.file.display())
                };
                eprintln!(
                    "Wrote `{}`. Edit it, then run `spendwatch check-config{option}`",
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
