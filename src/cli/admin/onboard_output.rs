//! Output of `onboard`: the plan or its results as rows, the errors, and the exit code.

use std::process::ExitCode;

use crate::admin::onboard::{ItemOutcome, OnboardResult};
use crate::cli::globals::EXIT_PARTIAL;
use crate::secret_sink::SecretSink;
use crate::table::{Cell, OutputTable, hidden, shown};
use spendwatch_domain::admin::onboard::{NewUser, OnboardStep, PlannedAction};

/// Plan for one user.
pub struct PlannedOnboarding {
    pub new_user: NewUser,
    pub steps: Vec<OnboardStep>,
    pub sink: SecretSink,
}

/// Prints why a user was not onboarded and what exists nevertheless.
pub fn print_errors(one: &PlannedOnboarding, result: Option<&OnboardResult>) {
    let email = &one.new_user.email;
    let Some(result) = result else {
        eprintln!("error: `{email}`: not started");
        return;
    };
    if result.is_complete() {
        return;
    }
    let failed = result
        .items
        .iter()
        .filter(|item| {
            matches!(
                item.outcome,
                ItemOutcome::Failed | ItemOutcome::Unknown | ItemOutcome::Reverted
            )
        })
        .map(|item| format!("{}: {}", item.item.as_str(), item.detail));
    let failed: Vec<String> = failed.collect();
    let existing: Vec<String> = result
        .items
        .iter()
        .filter(|item| {
            matches!(
                item.outcome,
                ItemOutcome::Done | ItemOutcome::AlreadyDone | ItemOutcome::Unknown
            )
        })
        .map(|item| match &item.id {
            Some(id) => format!("{} `{id}` ({})", item.item.as_str(), item.outcome.as_str()),
            None => format!("{} ({})", item.item.as_str(), item.outcome.as_str()),
        })
        .collect();
    let existing = if existing.is_empty() {
        "nothing was created".to_owned()
    } else {
        format!("existing: {}", existing.join(", "))
    };
    eprintln!("error: `{email}`: {}; {existing}", failed.join("; "));
}

/// Returns 0 if all users were onboarded, 1 if nothing was created, else 3.
pub fn exit_code(results: &[Option<OnboardResult>]) -> ExitCode {
    let is_complete =
        |result: &Option<OnboardResult>| result.as_ref().is_some_and(OnboardResult::is_complete);
    let has_effects = |result: &Option<OnboardResult>| {
        result.as_ref().is_some_and(OnboardResult::may_have_effects)
    };
    if results.iter().all(is_complete) {
        ExitCode::SUCCESS
    } else if results
        .iter()
        .any(|result| is_complete(result) || has_effects(result))
    {
        ExitCode::from(EXIT_PARTIAL)
    } else {
        ExitCode::FAILURE
    }
}

/// Builds the table.
pub fn table(rows: Vec<Vec<Cell>>) -> OutputTable {
    OutputTable {
        columns: vec![
            shown("email", "EMAIL"),
            shown("part", "PART"),
            shown("outcome", "OUTCOME"),
            shown("id", "ID"),
            shown("detail", "DETAIL"),
            hidden("key_name"),
            hidden("key_expires_at"),
            hidden("workspace_id"),
        ],
        rows,
    }
}

fn row(
    one: &PlannedOnboarding,
    part: &str,
    outcome: &str,
    id: Option<String>,
    detail: String,
) -> Vec<Cell> {
    vec![
        Cell::Text(one.new_user.email.clone()),
        Cell::Text(part.to_owned()),
        Cell::Text(outcome.to_owned()),
        Cell::from(id),
        Cell::Prose(detail),
        Cell::Text(one.new_user.key_name()),
        Cell::Time(one.new_user.key_expires_at),
        Cell::Text(one.new_user.workspace.to_string()),
    ]
}

/// Returns the row of a planned step.
pub fn planned_row(one: &PlannedOnboarding, step: &OnboardStep) -> Vec<Cell> {
    let (outcome, id, detail) = match &step.action {
        PlannedAction::Send(write) => (
            "planned",
            None,
            format!("{} `{}`", write.action(), write.target()),
        ),
        PlannedAction::Exists { id, detail: how } => ("stands", id.clone(), how.clone()),
        PlannedAction::Manual(how) => ("by hand", None, how.clone()),
    };
    row(one, step.item.as_str(), outcome, id, detail)
}

/// Returns the rows of the results.
pub fn result_rows(one: &PlannedOnboarding, result: Option<&OnboardResult>) -> Vec<Vec<Cell>> {
    let Some(result) = result else {
        let not_started =
            |step: &OnboardStep| row(one, step.item.as_str(), "not begun", None, String::new());
        return one.steps.iter().map(not_started).collect();
    };
    let items = result.items.iter();
    items
        .map(|item| {
            row(
                one,
                item.item.as_str(),
                item.outcome.as_str(),
                item.id.clone(),
                item.detail.clone(),
            )
        })
        .collect()
}
