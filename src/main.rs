//! Command line in, exit code out.

use std::process::ExitCode;

use clap::Parser;
use spendwatch::cli::{self, Arguments};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A variable that is not Unicode can be none of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    cli::run(arguments, &environment).await
}
