//! What onboarding tells: the plan, or what became of it, in rows; why somebody is not onboard; and the exit code of all.

use std::process::ExitCode;

use crate::admin::onboard::{End, Onboarded};
use crate::cli::admin::desk::IN_PART;
use crate::domain::admin::onboard::{Newcomer, Step, Todo};
use crate::handover::Handover;
use crate::sheet::{Cell, Sheet, hidden, shown};

/// One person, planned.
pub struct Planned {
    /// Who.
    pub newcomer: Newcomer,
    /// What is missing, and what stands.
    pub steps: Vec<Step>,
    /// Where a secret goes.
    pub handover: Handover,
}

/// Says why somebody is not onboard, and what stands of it.
pub fn tell(one: &Planned, end: Option<&Onboarded>) {
    let email = &one.newcomer.email;
    let Some(end) = end else {
        eprintln!("error: `{email}`: not begun");
        return;
    };
    if end.is_whole() {
        return;
    }
    let failed = end
        .parts
        .iter()
        .filter(|part| matches!(part.end, End::Failed | End::Unknown | End::Undone))
        .map(|part| format!("{}: {}", part.part.word(), part.told));
    let failed: Vec<String> = failed.collect();
    let stands: Vec<String> = end
        .parts
        .iter()
        .filter(|part| matches!(part.end, End::Made | End::Stands | End::Unknown))
        .map(|part| match &part.id {
            Some(id) => format!("{} `{id}` ({})", part.part.word(), part.end.word()),
            None => format!("{} ({})", part.part.word(), part.end.word()),
        })
        .collect();
    let stands = if stands.is_empty() {
        "nothing stands".to_owned()
    } else {
        format!("what stands: {}", stands.join(", "))
    };
    eprintln!("error: `{email}`: {}; {stands}", failed.join("; "));
}

/// 0: all are onboard. 1: none is, and nothing stands of it. 3: anything between.
pub fn code(ends: &[Option<Onboarded>]) -> ExitCode {
    let is_whole = |end: &Option<Onboarded>| end.as_ref().is_some_and(Onboarded::is_whole);
    let left = |end: &Option<Onboarded>| end.as_ref().is_some_and(Onboarded::has_something);
    if ends.iter().all(is_whole) {
        ExitCode::SUCCESS
    } else if ends.iter().any(|end| is_whole(end) || left(end)) {
        ExitCode::from(IN_PART)
    } else {
        ExitCode::FAILURE
    }
}

/// In columns.
pub fn sheet(rows: Vec<Vec<Cell>>) -> Sheet {
    Sheet {
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

fn row(one: &Planned, part: &str, outcome: &str, id: Option<String>, detail: String) -> Vec<Cell> {
    vec![
        Cell::Text(one.newcomer.email.clone()),
        Cell::Text(part.to_owned()),
        Cell::Text(outcome.to_owned()),
        Cell::text_or_empty(id),
        Cell::Prose(detail),
        Cell::Text(one.newcomer.key_name()),
        Cell::Time(one.newcomer.key_expires_at),
        Cell::Text(one.newcomer.workspace.to_string()),
    ]
}

/// What would be done.
pub fn planned_row(one: &Planned, step: &Step) -> Vec<Cell> {
    let (outcome, id, detail) = match &step.todo {
        Todo::Send(write) => (
            "planned",
            None,
            format!("{} `{}`", write.action(), write.target()),
        ),
        Todo::Stands { id, how } => ("stands", id.clone(), how.clone()),
        Todo::ByHand(how) => ("by hand", None, how.clone()),
    };
    row(one, step.part.word(), outcome, id, detail)
}

/// What became of it.
pub fn ended_rows(one: &Planned, end: Option<&Onboarded>) -> Vec<Vec<Cell>> {
    let Some(end) = end else {
        let not_begun = |step: &Step| row(one, step.part.word(), "not begun", None, String::new());
        return one.steps.iter().map(not_begun).collect();
    };
    let parts = end.parts.iter();
    parts
        .map(|part| {
            row(
                one,
                part.part.word(),
                part.end.word(),
                part.id.clone(),
                part.told.clone(),
            )
        })
        .collect()
}
