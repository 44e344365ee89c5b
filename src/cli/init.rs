//! `init`: writes a starter configuration.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::cli::globals::YesFlag;
use spendwatch_config::TEMPLATE;
use spendwatch_config::file::LOCAL_FILE;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// New configuration file
    #[arg(default_value = "spendwatch.toml")]
    file: PathBuf,
    #[command(flatten)]
    pub yes: YesFlag,
}

impl Init {
    /// Writes the file; never overwrites an existing one.
    pub fn run(&self) -> ExitCode {
        // Readable by a daemon of another user, but never writable by others, whatever the umask.
        let created = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&self.file);
        match created.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
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
