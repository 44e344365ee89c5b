//! `limits_usd` and `limits_file` of a rule: limits by subject.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use jiff::civil::Date;

use crate::amounts::usd_of;
use crate::problem::ConfigProblem;
use crate::reader::SectionReader;
use crate::table::{self, CsvLines};
use spendwatch_domain::rules::budget::{Budget, BudgetEntry};
use spendwatch_domain::units::matcher::Glob;

/// Maximum size in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Maximum number of subjects with wildcards, because each is matched against each subject.
const MAX_GLOBS: usize = 5000;
const COLUMNS: [&str; 4] = ["subject", "limit", "from", "until"];

/// Reads `limits_file` or `limits_usd`; `None` if neither is set or there is an error.
pub fn read(section: &SectionReader<'_>) -> Option<Budget> {
    if section.has("limits_file") {
        if section.has("limits_usd") {
            section.problem("limits_file", "and `limits_usd` are both set; keep one");
        }
        let path = section.required_text("limits_file")?;
        return read_file(section, Path::new(&path.value));
    }
    read_table(section)
}

fn read_table(section: &SectionReader<'_>) -> Option<Budget> {
    let mut budget = Budget::default();
    let mut is_valid = true;
    let entries = section.digits_map("limits_usd");
    for (subject, digits) in &entries {
        match share(subject, &digits.value, (None, None)) {
            Ok((glob, share)) => is_valid &= budget.add(&glob, share),
            Err(problem) => {
                let (location, key) = (digits.location.clone(), digits.key.clone());
                section.problem_elsewhere(ConfigProblem::clause(location, key, problem));
                is_valid = false;
            }
        }
    }
    if entries.is_empty() {
        section.problem(
            "limits_usd",
            "is empty, for example `{ \"Search\" = 5000, \"*\" = 500 }`",
        );
    }
    (is_valid && !entries.is_empty()).then_some(budget)
}

fn read_file(section: &SectionReader<'_>, path: &Path) -> Option<Budget> {
    let text = table::read(section, "limits_file", path, (MAX_FILE, "budget"))?;
    match parse(&text) {
        Ok(mut budget) => {
            budget.origin = Some(path.display().to_string());
            Some(budget)
        }
        Err(errors) => {
            for (line, problem) in errors {
                section.problem_elsewhere(table::problem(path, line, problem));
            }
            None
        }
    }
}

/// Parses CSV with the columns subject, limit and, optionally, from and until. Returns all errors, with their lines.
fn parse(text: &str) -> Result<Budget, Vec<(u64, String)>> {
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let headings = match reader.headers() {
        Ok(headings) => headings.clone(),
        Err(error) => return Err(vec![(1, table::csv_problem(&error))]),
    };
    let position = |column: &str| headings.iter().position(|heading| heading == column);
    let mut lines = CsvLines::new(text);
    let first_line = lines.at(headings.position());
    let unknown = headings.iter().find(|heading| !COLUMNS.contains(heading));
    if let Some(heading) = unknown {
        let message = format!("unknown column `{heading}`; use {}", COLUMNS.join(", "));
        return Err(vec![(first_line, message)]);
    }
    let (Some(subject), Some(limit)) = (position("subject"), position("limit")) else {
        return Err(vec![(
            first_line,
            "missing column; `subject` and `limit` are required".to_owned(),
        )]);
    };
    let (mut budget, mut errors) = (Budget::default(), Vec::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                errors.push((lines.at(error.position()), table::csv_problem(&error)));
                continue;
            }
        };
        let line = lines.at(record.position());
        let entry = days(&record, (position("from"), position("until")))
            .and_then(|days| share(&record[subject], &record[limit], days));
        match entry {
            Ok((glob, share)) if !budget.add(&glob, share) => {
                let subject = &record[subject];
                errors.push((
                    line,
                    format!("the days overlap those of an earlier row of `{subject}`"),
                ));
            }
            Ok(_) if budget.n_globs() > MAX_GLOBS => {
                errors.push((
                    line,
                    format!("more than {MAX_GLOBS} subjects with wildcards"),
                ));
                return Err(errors);
            }
            Ok(_) => {}
            Err(problem) => errors.push((line, problem)),
        }
    }
    if errors.is_empty() {
        Ok(budget)
    } else {
        Err(errors)
    }
}

type Days = (Option<Date>, Option<Date>);

fn days(record: &StringRecord, positions: (Option<usize>, Option<usize>)) -> Result<Days, String> {
    let day = |position: Option<usize>, column: &str| {
        let text = position.map_or("", |position| &record[position]);
        if text.is_empty() {
            return Ok(None);
        }
        let day = text.parse::<Date>().map(Some);
        day.map_err(|_| {
            format!("`{column}` is `{text}`, expected a date, for example `2026-11-30`")
        })
    };
    let (from, until) = (day(positions.0, "from")?, day(positions.1, "until")?);
    match (from, until) {
        (Some(from), Some(until)) if until < from => {
            Err(format!("`until` ({until}) is before `from` ({from})"))
        }
        _ => Ok((from, until)),
    }
}

fn share(subject: &str, digits: &str, (from, until): Days) -> Result<(Glob, BudgetEntry), String> {
    if subject.is_empty() {
        return Err("`subject` is empty; use `*` for all subjects without a row".to_owned());
    }
    let glob = Glob::new(subject).map_err(|reason| {
        format!("`subject` is `{subject}`, which is not a valid glob: {reason}")
    })?;
    let limit = usd_of(digits)
        .ok_or_else(|| format!("`limit` is `{digits}`, expected an amount from 0 to 10^12 USD"))?;
    Ok((glob, BudgetEntry { from, until, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_limits_by_subject_and_date() {
        let budget = parse(
            "subject,limit,from,until\nSearch, 5000 ,2026-11-01,2026-11-30\nSearch,6000.50,2026-12-01,\n\"a, b\",0,,\n*,500,,\n",
        )
        .unwrap();
        let shares: Vec<String> = budget
            .entries()
            .into_iter()
            .map(|(subject, share)| {
                format!(
                    "{subject} {:?} {:?} {}",
                    share.from, share.until, share.limit
                )
            })
            .collect();
        assert_eq!(
            shares,
            [
                "* None None 500",
                "Search Some(2026-11-01) Some(2026-11-30) 5000",
                "Search Some(2026-12-01) None 6000.5",
                "a, b None None 0",
            ]
        );
    }

    #[test]
    fn all_errors_of_a_file_are_reported_with_their_lines() {
        let errors = parse(
            "subject,limit,from,until\n,5,,\na,-1,,\nb,1,yesterday,\nc,1,2026-02-01,2026-01-01\nd,1,,\nd,2,2026-01-01,\n[,1,,\n",
        )
        .unwrap_err();
        let lines: Vec<u64> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 7, 8], "{errors:?}");
        let errors =
            parse("subject,limit\r\n\r\na,-1\r\n\"b\r\nc\",-1\r\n\r\nd\r\ne,-1\r\n").unwrap_err();
        let lines: Vec<u64> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 7, 8], "{errors:?}");
        let many: String = (0..=MAX_GLOBS)
            .map(|count| format!("a{count}*,1\n"))
            .collect();
        let errors = parse(&format!("subject,limit\n{many}")).unwrap_err();
        assert_eq!(
            errors,
            [(5002, "more than 5000 subjects with wildcards".to_owned())]
        );
        for (text, expected) in [
            ("subject,amount\n", "unknown column `amount`"),
            ("limit\n5\n", "missing column"),
            ("subject,limit\na\n", "expected 2 columns"),
        ] {
            let errors = parse(text).unwrap_err();
            assert!(errors[0].1.contains(expected), "{errors:?}");
        }
    }
}
