//! Steps as table rows: planned or finished.

use std::process::ExitCode;

use crate::admin::batch::{StartedStep, StopFlag, batch_outcome, execute_all};
use crate::admin::execute::{StepOutcome, StepResult};
use crate::cli::admin::confirmation::{Answer, Confirmation};
use crate::cli::admin::context::{CommandContext, exit_code};
use crate::cli::admin::impact::{self, AffectedKeys, KeyImpact};
use crate::cli::globals::{CommandError, Globals};
use crate::cli::progress::CommandProgress;
use crate::table::{Cell, Column, OutputTable, hidden, id, shown};
use spendwatch_anthropic::admin::result::WriteResult;
use spendwatch_base::secret::redaction::Redactor;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::units::span::Day;

/// One change and how to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    pub change: AdminChange,
    /// Display name of the target.
    pub name: String,
    /// Shown beside the plan.
    pub note: String,
    /// Effect on keys, for a step that revokes keys.
    pub impact: Option<KeyImpact>,
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

/// Leading columns that name the action and its target.
const N_NAMING: usize = 3;

/// Columns of a plan that a narrow table drops.
const DROPPABLE: [&str; 2] = ["outcome", "detail"];

const NO_IMPACT: [Cell; 5] = [const { Cell::Empty }; 5];

impl PlannedStep {
    /// Returns a step without a note.
    pub fn new(change: AdminChange, name: impl Into<String>) -> PlannedStep {
        PlannedStep {
            change,
            name: name.into(),
            note: String::new(),
            impact: None,
        }
    }

    fn row(
        &self,
        outcome: &str,
        detail: &str,
        id: Option<String>,
        request: Option<&str>,
    ) -> Vec<Cell> {
        // Redacts a secret that was passed as a name by mistake.
        let redactor = Redactor::new([]);
        let text = |text: &str| Cell::Text(redactor.text(text).into_owned());
        vec![
            text(self.change.action()),
            text(self.change.target()),
            text(&self.name),
            text(outcome),
            Cell::Prose(redactor.text(detail).into_owned()),
            Cell::from(id),
            Cell::from(request),
        ]
    }

    fn planned_row(&self) -> Vec<Cell> {
        let arguments = self.change.arguments();
        let mut details: Vec<String> = arguments
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !self.note.is_empty() {
            details.push(self.note.clone());
        }
        self.row("planned", &details.join("; "), None, None)
    }

    fn finished(&self, result: &StartedStep) -> Vec<Cell> {
        let Some(StepResult {
            outcome,
            request_id,
            ..
        }) = result
        else {
            return self.row("not begun", "stopped before this step", None, None);
        };
        let (state, detail, id) = describe(outcome);
        self.row(state, &detail, id, request_id.as_deref())
    }
}

fn describe(outcome: &StepOutcome) -> (&'static str, String, Option<String>) {
    match outcome {
        StepOutcome::Done(result) => {
            let (id, detail) = created(result);
            ("done", detail, id)
        }
        StepOutcome::AlreadyDone(how) => ("stands", how.clone(), None),
        StepOutcome::NotDone(why) => ("failed", why.clone(), None),
        StepOutcome::Unknown(why) => ("unknown", why.clone(), None),
    }
}

fn created(result: &WriteResult) -> (Option<String>, String) {
    match result {
        WriteResult::Done => (None, String::new()),
        WriteResult::Invite(invite) => {
            let until = invite
                .expires_at
                .map(|at| format!("until {}", Day::containing(at).date()));
            (Some(invite.id.to_string()), until.unwrap_or_default())
        }
        WriteResult::Key(key) => (Some(key.id.to_string()), String::new()),
        WriteResult::Workspace(workspace) => {
            let id = workspace.id.to_string();
            (Some(id.clone()), id)
        }
        WriteResult::Organization(organization) => (Some(organization.id.clone()), String::new()),
    }
}

/// Returns whether any step may revoke keys, directly or with a user or workspace.
fn may_revoke_keys(steps: &[PlannedStep]) -> bool {
    steps.iter().any(|step| {
        matches!(
            step.change,
            AdminChange::RevokeKey { .. }
                | AdminChange::RemoveUser { .. }
                | AdminChange::ArchiveWorkspace { .. }
        )
    })
}

/// Builds the table, with the effect of each step on keys if any step revokes some.
fn table_with_impact(steps: &[PlannedStep], rows: Vec<Vec<Cell>>, is_shown: bool) -> OutputTable {
    let mut table = OutputTable {
        columns: COLUMNS.to_vec(),
        rows,
    };
    if may_revoke_keys(steps) {
        let impact_columns = impact::COLUMNS.map(|column| Column {
            heading: column.heading.filter(|_| is_shown),
            ..column
        });
        let position = if is_shown { N_NAMING } else { COLUMNS.len() };
        table.columns.splice(position..position, impact_columns);
        for (row, step) in table.rows.iter_mut().zip(steps) {
            let impact = step.impact.as_ref().map(KeyImpact::cells);
            row.splice(position..position, impact.unwrap_or(NO_IMPACT));
        }
    }
    table
}

/// Returns the plan.
pub fn plan_table(steps: &[PlannedStep]) -> OutputTable {
    let rows = steps.iter().map(PlannedStep::planned_row).collect();
    table_with_impact(steps, rows, true)
}

/// Prints the plan on standard error, before a question.
pub fn show_plan(globals: &Globals, steps: &[PlannedStep]) {
    globals.print_table_to_stderr(&plan_table(steps).with_droppable(&DROPPABLE));
}

/// Returns the results of steps.
pub fn result_table(steps: &[PlannedStep], results: &[StartedStep]) -> OutputTable {
    let finished = steps.iter().zip(results);
    let rows = finished
        .map(|(step, result)| step.finished(result))
        .collect();
    table_with_impact(steps, rows, false)
}

/// Returns a table with one step and its outcome.
pub fn single_row(
    step: &PlannedStep,
    outcome: &str,
    detail: &str,
    id: Option<String>,
) -> OutputTable {
    OutputTable {
        columns: COLUMNS.to_vec(),
        rows: vec![step.row(outcome, detail, id, None)],
    }
}

/// Prints the errors of failed steps.
pub fn print_errors(results: &[StartedStep]) {
    for result in results.iter().flatten() {
        if let StepOutcome::NotDone(why) | StepOutcome::Unknown(why) = &result.outcome {
            eprintln!("error: {why}");
        }
    }
}

/// Shows the plan of a dry run, or asks and executes it.
pub async fn confirm_and_execute(
    context: &CommandContext<'_>,
    confirmation: &Confirmation,
    steps: Vec<PlannedStep>,
    question: &str,
) -> Result<ExitCode, CommandError> {
    if confirmation.dry_run {
        return execute(context, steps, true).await;
    }
    match confirmation.ask(question)? {
        Answer::Yes => execute(context, steps, false).await,
        Answer::No => Ok(ExitCode::FAILURE),
    }
}

/// Shows the affected keys, then asks, twice if keys are in use, and executes the plan unless this is a dry run.
pub async fn confirm_keys_and_execute(
    context: &CommandContext<'_>,
    confirmation: &Confirmation,
    steps: Vec<PlannedStep>,
    keys: &AffectedKeys,
    question: String,
) -> Result<ExitCode, CommandError> {
    let answer = confirm_keys(context.globals, confirmation, &steps, keys, question)?;
    match answer {
        Some(Answer::Yes) => execute(context, steps, false).await,
        Some(Answer::No) => Ok(ExitCode::FAILURE),
        None => execute(context, steps, true).await,
    }
}

/// Shows the affected keys and asks. Returns `None` for a dry run.
pub fn confirm_keys(
    globals: &Globals,
    confirmation: &Confirmation,
    steps: &[PlannedStep],
    keys: &AffectedKeys,
    question: String,
) -> Result<Option<Answer>, CommandError> {
    let questions = keys.questions(question);
    if confirmation.dry_run || !confirmation.answers(questions.len()) {
        if !confirmation.dry_run {
            show_plan(globals, steps);
        }
        let has_own_rows = steps
            .iter()
            .any(|step| matches!(step.change, AdminChange::RevokeKey { .. }));
        if !has_own_rows && !keys.is_empty() {
            globals.print_table_to_stderr(&keys.table());
        }
        if let Some(summary) = keys.summary() {
            globals.remark(&summary);
        }
    }
    if confirmation.dry_run {
        return Ok(None);
    }
    confirmation.ask_all(&questions).map(Some)
}

/// Prints the plan of a dry run, or executes it, prints the results and returns the exit code.
pub async fn execute(
    context: &CommandContext<'_>,
    steps: Vec<PlannedStep>,
    is_dry_run: bool,
) -> Result<ExitCode, CommandError> {
    let globals = context.globals;
    if is_dry_run {
        let plan = plan_table(&steps).with_droppable(&DROPPABLE);
        return Ok(globals.print(&plan, ExitCode::SUCCESS));
    }
    let changes: Vec<AdminChange> = steps.iter().map(|step| step.change.clone()).collect();
    let progress = CommandProgress::with_total(globals, "steps", changes.len());
    let on_step = |n_done| progress.set_position(n_done);
    let results = execute_all(&context.session, &changes, &StopFlag::on_signal(), on_step).await;
    progress.finish();
    context.warn_unrecorded();
    let code = exit_code(batch_outcome(
        results
            .iter()
            .map(|end| end.as_ref().map(|end| &end.outcome)),
    ));
    print_errors(&results);
    Ok(globals.print(&result_table(&steps, &results), code))
}
