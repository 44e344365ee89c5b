//! Before something is changed: the plan alone with `--dry-run`, a question on a terminal, `--yes` elsewhere.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{ArgAction, Args};

use crate::cli::globals::{Assent, Failure};
use crate::notify::formatting;

/// Options of every command that changes something.
#[derive(Debug, Clone, Args)]
pub struct Caution {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Ask nothing: for where nobody can be asked; twice where it is asked twice
    #[arg(long, action = ArgAction::Count)]
    pub yes: u8,
}

/// Options of a command that changes something and asks nothing.
#[derive(Debug, Clone, Args)]
pub struct DryRun {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Nothing is asked.
    #[command(flatten)]
    pub assent: Assent,
}

/// What somebody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Nothing is changed.
    No,
}

impl Caution {
    /// Asks once. `question` names the thing: "Revoke key `ci` (apikey_01Ab) of organization `acme`?"
    pub fn ask(&self, question: &str) -> Result<Answer, Failure> {
        self.ask_all(&[question])
    }

    /// Whether so many questions are answered by `--yes`.
    pub fn answers(&self, n_questions: usize) -> bool {
        usize::from(self.yes) >= n_questions
    }

    /// Asks each question in turn, except those that a `--yes` each has answered.
    pub fn ask_all(&self, questions: &[impl AsRef<str>]) -> Result<Answer, Failure> {
        if self.answers(questions.len()) {
            return Ok(Answer::Yes);
        }
        let questions: Vec<&str> = questions.iter().map(AsRef::as_ref).collect();
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            let wanted = vec!["--yes"; questions.len()].join(" ");
            let asked = questions.join(" ");
            return Err(Failure::usage(format!(
                "nobody can be asked here, as this is no terminal: add `{wanted}` to go on, or `--dry-run` to look first. The question is: {asked}"
            )));
        }
        for question in questions.into_iter().skip(usize::from(self.yes)) {
            if !is_confirmed(question)? {
                eprintln!("nothing was changed");
                return Ok(Answer::No);
            }
        }
        Ok(Answer::Yes)
    }
}

fn is_confirmed(question: &str) -> Result<bool, Failure> {
    let unheard = |error| Failure::World(format!("cannot ask on the terminal: {error}"));
    eprint!("{} [y/N] ", formatting::line(question));
    io::stderr().flush().map_err(unheard)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(unheard)?;
    if !line.ends_with('\n') {
        eprintln!();
    }
    let answer = line.trim().to_lowercase();
    Ok(answer == "y" || answer == "yes")
}
