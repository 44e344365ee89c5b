//! `limits_usd` and `limits_file` of a rule: a budget by subject.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use jiff::civil::Date;

use crate::config::amounts::usd_of;
use crate::config::reader::Section;
use crate::config::table::{self, CsvLines};
use crate::domain::budget::{Budget, Share};
use crate::domain::matcher::Glob;

/// No budget is as long as this, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Maximum number of subjects with wildcards; each is compared with each subject.
const MAX_GLOBS: usize = 5000;
const COLUMNS: [&str; 4] = ["subject", "limit", "from", "until"];

/// Reads whichever of the two is there; `None` where neither is, or where something is wrong.
pub fn read(section: &Section<'_>) -> Option<Budget> {
    if section.has("limits_file") {
        if section.has("limits_usd") {
            section.problem("limits_file", "and `limits_usd` are two budgets; keep one");
        }
        let path = section.required_text("limits_file")?;
        return read_file(section, Path::new(&path.value));
    }
    read_table(section)
}

/// `{ "Search" = 5000, "*" = 500 }`.
fn read_table(section: &Section<'_>) -> Option<Budget> {
    let mut budget = Budget::default();
    let mut is_good = true;
    let given = section.digits_map("limits_usd");
    for (subject, digits) in &given {
        match share(subject, &digits.value, (None, None)) {
            Ok((glob, share)) => is_good &= budget.add(&glob, share),
            Err(problem) => {
                section.problem_at(digits, problem);
                is_good = false;
            }
        }
    }
    if given.is_empty() {
        section.problem(
            "limits_usd",
            "is empty; write it like `{ \"Search\" = 5000, \"*\" = 500 }`",
        );
    }
    (is_good && !given.is_empty()).then_some(budget)
}

fn read_file(section: &Section<'_>, path: &Path) -> Option<Budget> {
    let text = table::read(section, "limits_file", path, (MAX_FILE, "budget"))?;
    match parse(&text) {
        Ok(mut budget) => {
            budget.origin = Some(path.display().to_string());
            Some(budget)
        }
        Err(wrong) => {
            for (line, problem) in wrong {
                section.problem_elsewhere(table::problem(path, line, problem));
            }
            None
        }
    }
}

/// CSV with the headings subject, limit, and perhaps from and until. All that is wrong is told at once, by line.
fn parse(text: &str) -> Result<Budget, Vec<(u64, String)>> {
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let headings = match reader.headers() {
        Ok(headings) => headings.clone(),
        Err(error) => return Err(vec![(1, table::csv_problem(&error))]),
    };
    let place = |column: &str| headings.iter().position(|heading| heading == column);
    let mut lines = CsvLines::new(text);
    let first_line = lines.at(headings.position());
    let unknown = headings.iter().find(|heading| !COLUMNS.contains(heading));
    if let Some(heading) = unknown {
        let message = format!("`{heading}` is no column; they are {}", COLUMNS.join(", "));
        return Err(vec![(first_line, message)]);
    }
    let (Some(subject), Some(limit)) = (place("subject"), place("limit")) else {
        return Err(vec![(
            first_line,
            "it needs the columns `subject` and `limit`".to_owned(),
        )]);
    };
    let (mut budget, mut wrong) = (Budget::default(), Vec::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                wrong.push((lines.at(error.position()), table::csv_problem(&error)));
                continue;
            }
        };
        let line = lines.at(record.position());
        let entry = days(&record, (place("from"), place("until")))
            .and_then(|days| share(&record[subject], &record[limit], days));
        match entry {
            Ok((glob, share)) if !budget.add(&glob, share) => {
                let subject = &record[subject];
                wrong.push((
                    line,
                    format!("`{subject}` has a limit on some of these days already"),
                ));
            }
            Ok(_) if budget.n_globs() > MAX_GLOBS => {
                wrong.push((line, format!("there are more than {MAX_GLOBS} globs")));
                return Err(wrong);
            }
            Ok(_) => {}
            Err(problem) => wrong.push((line, problem)),
        }
    }
    if wrong.is_empty() {
        Ok(budget)
    } else {
        Err(wrong)
    }
}

type Days = (Option<Date>, Option<Date>);

fn days(record: &StringRecord, places: (Option<usize>, Option<usize>)) -> Result<Days, String> {
    let day = |place: Option<usize>, column: &str| {
        let text = place.map_or("", |place| &record[place]);
        if text.is_empty() {
            return Ok(None);
        }
        let day = text.parse::<Date>().map(Some);
        day.map_err(|_| format!("`{column}` is `{text}`, it must be a date like 2026-11-30"))
    };
    let (from, until) = (day(places.0, "from")?, day(places.1, "until")?);
    match (from, until) {
        (Some(from), Some(until)) if until < from => {
            Err(format!("`until` is {until}, before `from`, {from}"))
        }
        _ => Ok((from, until)),
    }
}

fn share(subject: &str, digits: &str, (from, until): Days) -> Result<(Glob, Share), String> {
    if subject.is_empty() {
        return Err("there is no subject; `*` is all that have no other".to_owned());
    }
    let glob = Glob::new(subject).map_err(|reason| format!("`{subject}` is no glob: {reason}"))?;
    let limit = usd_of(digits).ok_or_else(|| {
        format!("the limit is `{digits}`, it must be an amount from 0 to 10^12 USD")
    })?;
    Ok((glob, Share { from, until, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_limit_for_each_subject_and_time() {
        let budget = parse(
            "subject,limit,from,until\nSearch, 5000 ,2026-11-01,2026-11-30\nSearch,6000.50,2026-12-01,\n\"a, b\",0,,\n*,500,,\n",
        )
        .unwrap();
        let told: Vec<String> = budget
            .shares()
            .into_iter()
            .map(|(subject, share)| {
                format!(
                    "{subject} {:?} {:?} {}",
                    share.from, share.until, share.limit
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "* None None 500",
                "Search Some(2026-11-01) Some(2026-11-30) 5000",
                "Search Some(2026-12-01) None 6000.5",
                "a, b None None 0",
            ]
        );
    }

    #[test]
    fn all_that_is_wrong_in_a_file_is_told_with_its_line() {
        let wrong = parse(
            "subject,limit,from,until\n,5,,\na,-1,,\nb,1,yesterday,\nc,1,2026-02-01,2026-01-01\nd,1,,\nd,2,2026-01-01,\n[,1,,\n",
        )
        .unwrap_err();
        let lines: Vec<u64> = wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 7, 8], "{wrong:?}");
        let wrong =
            parse("subject,limit\r\n\r\na,-1\r\n\"b\r\nc\",-1\r\n\r\nd\r\ne,-1\r\n").unwrap_err();
        let lines: Vec<u64> = wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 7, 8], "{wrong:?}");
        let many: String = (0..=MAX_GLOBS)
            .map(|count| format!("a{count}*,1\n"))
            .collect();
        let wrong = parse(&format!("subject,limit\n{many}")).unwrap_err();
        assert_eq!(wrong, [(5002, "there are more than 5000 globs".to_owned())]);
        for (text, expected) in [
            ("subject,amount\n", "`amount` is no column"),
            ("limit\n5\n", "needs the columns"),
            ("subject,limit\na\n", "the number of columns is 1"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong[0].1.contains(expected), "{wrong:?}");
        }
    }
}
