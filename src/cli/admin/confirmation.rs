//! Confirmation of changes: `--dry-run` only shows the plan; a terminal asks; elsewhere `--yes` is required.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{ArgAction, Args};

use crate::cli::globals::{CommandError, YesFlag};
use spendwatch_notify::wording::formatting;

/// Options of every command that asks before it changes something.
#[derive(Debug, Clone, Args)]
pub struct Confirmation {
    /// Show what would be done without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Skip the confirmation; pass it twice where two are required
    #[arg(long, action = ArgAction::Count)]
    pub yes: u8,
}

/// Options of every command that changes something without asking.
#[derive(Debug, Clone, Args)]
pub struct DryRun {
    /// Show what would be done without changing anything
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub yes: YesFlag,
}

/// Answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
}

impl Confirmation {
    /// Asks one question, for example "Revoke key `ci` (apikey_01Ab) of organization `acme`?".
    pub fn ask(&self, question: &str) -> Result<Answer, CommandError> {
        self.ask_all(&[question])
    }

    /// Returns whether `--yes` was given often enough to answer this many questions.
    pub fn answers(&self, n_questions: usize) -> bool {
        usize::from(self.yes) >= n_questions
    }

    /// Asks each question in turn, except for one per `--yes`.
    pub fn ask_all(&self, questions: &[impl AsRef<str>]) -> Result<Answer, CommandError> {
        if self.answers(questions.len()) {
            return Ok(Answer::Yes);
        }
        let questions: Vec<&str> = questions.iter().map(AsRef::as_ref).collect();
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            let wanted = vec!["--yes"; questions.len()].join(" ");
            let questions = questions.join(" ");
            return Err(CommandError::usage(format!(
                "confirmation needs a terminal; pass `{wanted}` to proceed or `--dry-run` to preview: {questions}"
            )));
        }
        for question in questions.into_iter().skip(usize::from(self.yes)) {
            if !is_confirmed(question)? {
                eprintln!("no change");
                return Ok(Answer::No);
            }
        }
        Ok(Answer::Yes)
    }
}

fn is_confirmed(question: &str) -> Result<bool, CommandError> {
    let failed = |error| CommandError::Failed(format!("cannot ask on the terminal: {error}"));
    eprint!("{} [y/N] ", formatting::single_line(question));
    io::stderr().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    if !line.ends_with('\n') {
        eprintln!();
    }
    let answer = line.trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}
