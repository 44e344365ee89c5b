//! Steps as rows: what would be done, or what became of it.

use std::process::ExitCode;

use crate::admin::batch::{Halt, StepEnd, carry_out_all, sum};
use crate::admin::carry::{Carried, Outcome};
use crate::anthropic::written::Told;
use crate::cli::admin::at_stake::{self, KeysAtStake, Stake};
use crate::cli::admin::caution::{Answer, Caution};
use crate::cli::admin::desk::{Desk, exit};
use crate::cli::globals::{Failure, Globals};
use crate::cli::progress::Progress;
use crate::domain::admin::write::Write;
use crate::domain::span::Day;
use crate::secret::redaction::Redactor;
use crate::sheet::{Cell, Column, Sheet, hidden, id, shown};

/// One step of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// What is sent.
    pub write: Write,
    /// How people know the thing.
    pub name: String,
    /// What one should know before.
    pub note: String,
    /// What it would break, for a step that takes keys away.
    pub stake: Option<Stake>,
}

const COLUMNS: [Column; 7] = [
    shown("action", "ACTION"),
    id("target", "TARGET"),
    shown("name", "NAME"),
    shown("outcome", "OUTCOME"),
    shown("detail", "DETAIL"),
    hidden("id"),
    hidden("request_id"),
];

/// The first columns say what is done to what.
const N_NAMING: usize = 3;

/// The columns of a plan that a narrow table can do without.
const LEAST: [&str; 2] = ["outcome", "detail"];

const NO_STAKE: [Cell; 5] = [const { Cell::Empty }; 5];

impl Planned {
    /// Without a word beside it.
    pub fn new(write: Write, name: impl Into<String>) -> Planned {
        Planned {
            write,
            name: name.into(),
            note: String::new(),
            stake: None,
        }
    }

    fn row(
        &self,
        outcome: &str,
        detail: &str,
        id: Option<String>,
        request: Option<&str>,
    ) -> Vec<Cell> {
        // A key that was given as a name by mistake is not printed either.
        let redactor = Redactor::new([]);
        let text = |text: &str| Cell::Text(redactor.text(text).into_owned());
        vec![
            text(self.write.action()),
            text(self.write.target()),
            text(&self.name),
            text(outcome),
            Cell::Prose(redactor.text(detail).into_owned()),
            Cell::text_or_empty(id),
            Cell::text_or_empty(request),
        ]
    }

    fn planned(&self) -> Vec<Cell> {
        let arguments = self.write.arguments();
        let mut told: Vec<String> = arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !self.note.is_empty() {
            told.push(self.note.clone());
        }
        self.row("planned", &told.join("; "), None, None)
    }

    fn ended(&self, end: &StepEnd) -> Vec<Cell> {
        let Some(Carried {
            outcome,
            request_id,
            ..
        }) = end
        else {
            return self.row("not begun", "stopped before", None, None);
        };
        let (word, detail, id) = told(outcome);
        self.row(word, &detail, id, request_id.as_deref())
    }
}

fn told(outcome: &Outcome) -> (&'static str, String, Option<String>) {
    match outcome {
        Outcome::Done(told) => {
            let (id, detail) = made(told);
            ("done", detail, id)
        }
        Outcome::Stands(how) => ("stands", how.clone(), None),
        Outcome::NotDone(why) => ("failed", why.clone(), None),
        Outcome::Unknown(why) => ("unknown", why.clone(), None),
    }
}

fn made(told: &Told) -> (Option<String>, String) {
    match told {
        Told::Done => (None, String::new()),
        Told::Invite(invite) => {
            let until = invite
                .expires_at
                .map(|at| format!("until {}", Day::of(at).date()));
            (Some(invite.id.to_string()), until.unwrap_or_default())
        }
        Told::Key(key) => (Some(key.id.to_string()), String::new()),
        Told::Workspace(workspace) => {
            let id = workspace.id.to_string();
            (Some(id.clone()), id)
        }
        Told::Organization(organization) => (Some(organization.id.clone()), String::new()),
    }
}

/// Whether steps of a command may revoke keys, by themselves or with a user or a workspace.
fn may_revoke_keys(steps: &[Planned]) -> bool {
    steps.iter().any(|step| {
        matches!(
            step.write,
            Write::RevokeKey { .. } | Write::RemoveUser { .. } | Write::ArchiveWorkspace { .. }
        )
    })
}

/// Rows of steps, with what each would break where keys are at stake.
fn with_stakes(steps: &[Planned], rows: Vec<Vec<Cell>>, is_shown: bool) -> Sheet {
    let mut sheet = Sheet {
        columns: COLUMNS.to_vec(),
        rows,
    };
    if may_revoke_keys(steps) {
        let stakes = at_stake::COLUMNS.map(|column| Column {
            heading: column.heading.filter(|_| is_shown),
            ..column
        });
        let place = if is_shown { N_NAMING } else { COLUMNS.len() };
        sheet.columns.splice(place..place, stakes);
        for (row, step) in sheet.rows.iter_mut().zip(steps) {
            let stake = step.stake.as_ref().map(Stake::cells);
            row.splice(place..place, stake.unwrap_or(NO_STAKE));
        }
    }
    sheet
}

/// What would be done.
pub fn planned(steps: &[Planned]) -> Sheet {
    let rows = steps.iter().map(Planned::planned).collect();
    with_stakes(steps, rows, true)
}

/// The plan as people see it before they are asked.
pub fn show_plan(globals: &Globals, steps: &[Planned]) {
    globals.remark_table(&planned(steps).giving_way(&LEAST));
}

/// What became of it.
pub fn ended(steps: &[Planned], ends: &[StepEnd]) -> Sheet {
    let ended = steps.iter().zip(ends);
    let rows = ended.map(|(step, end)| step.ended(end)).collect();
    with_stakes(steps, rows, false)
}

/// One step, and what became of it in words.
pub fn one(step: &Planned, outcome: &str, detail: &str, id: Option<String>) -> Sheet {
    Sheet {
        columns: COLUMNS.to_vec(),
        rows: vec![step.row(outcome, detail, id, None)],
    }
}

/// Says why steps failed, in their order.
pub fn tell_failures(ends: &[StepEnd]) {
    for end in ends.iter().flatten() {
        if let Outcome::NotDone(why) | Outcome::Unknown(why) = &end.outcome {
            eprintln!("error: {why}");
        }
    }
}

/// Shows the plan alone, or asks and carries it out.
pub async fn ask_and_carry_out(
    desk: &Desk<'_>,
    caution: &Caution,
    steps: Vec<Planned>,
    question: &str,
) -> Result<ExitCode, Failure> {
    if caution.dry_run {
        return carry_out(desk, steps, true).await;
    }
    match caution.ask(question)? {
        Answer::Yes => carry_out(desk, steps, false).await,
        Answer::No => Ok(ExitCode::FAILURE),
    }
}

/// Shows what would break; then shows the plan alone, or asks, once more if keys are in use, and carries it out.
pub async fn ask_about_keys_and_carry_out(
    desk: &Desk<'_>,
    caution: &Caution,
    steps: Vec<Planned>,
    keys: &KeysAtStake,
    question: String,
) -> Result<ExitCode, Failure> {
    let answer = ask_about_keys(desk.globals, caution, &steps, keys, question)?;
    match answer {
        Some(Answer::Yes) => carry_out(desk, steps, false).await,
        Some(Answer::No) => Ok(ExitCode::FAILURE),
        None => carry_out(desk, steps, true).await,
    }
}

/// Shows what would break, and asks; `None` for a dry run.
pub fn ask_about_keys(
    globals: &Globals,
    caution: &Caution,
    steps: &[Planned],
    keys: &KeysAtStake,
    question: String,
) -> Result<Option<Answer>, Failure> {
    let questions = keys.questions(question);
    if caution.dry_run || !caution.answers(questions.len()) {
        if !caution.dry_run {
            show_plan(globals, steps);
        }
        let has_own_rows = steps
            .iter()
            .any(|step| matches!(step.write, Write::RevokeKey { .. }));
        if !has_own_rows && !keys.is_empty() {
            globals.remark_table(&keys.sheet());
        }
        if let Some(summary) = keys.summary() {
            globals.remark(&summary);
        }
    }
    if caution.dry_run {
        return Ok(None);
    }
    caution.ask_all(&questions).map(Some)
}

/// Shows the plan alone, or carries it out; then the rows of what became of it, and the exit code of that.
pub async fn carry_out(
    desk: &Desk<'_>,
    steps: Vec<Planned>,
    is_dry_run: bool,
) -> Result<ExitCode, Failure> {
    let globals = desk.globals;
    if is_dry_run {
        let plan = planned(&steps).giving_way(&LEAST);
        return Ok(globals.print(&plan, ExitCode::SUCCESS));
    }
    let writes: Vec<Write> = steps.iter().map(|step| step.write.clone()).collect();
    let progress = (writes.len() > 1).then(|| Progress::count(globals, "steps", writes.len()));
    let on_step = |n_done| {
        if let Some(progress) = &progress {
            progress.at(n_done);
        }
    };
    let ends = carry_out_all(&desk.office, &writes, &Halt::on_signal(), on_step).await;
    if let Some(progress) = progress {
        progress.end();
    }
    desk.remark_unrecorded();
    let code = exit(sum(ends
        .iter()
        .map(|end| end.as_ref().map(|end| &end.outcome))));
    tell_failures(&ends);
    Ok(globals.print(&ended(&steps, &ends), code))
}
