//! A start without any file: what the environment alone says, written as the file it stands for.

use std::path::Path;

use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::Environment;
use crate::config::tree::NO_FILE;
use crate::domain::money::Usd;

/// The file that the environment stands for. Values are named by their variables, never written down.
#[derive(Debug, Default)]
pub struct StandIn {
    pub text: String,
    /// For each line of it, which variable it is there for.
    variables: Vec<&'static str>,
}

impl StandIn {
    /// Tells a problem of the text as one of the variable behind it.
    pub fn blame(&self, problem: Problem) -> Problem {
        let variable = match &problem.place {
            Place::Line(path, line) if path == Path::new(NO_FILE) => self.variables.get(line - 1),
            Place::Line(..) | Place::File(_) | Place::Variable(_) | Place::Nowhere => None,
        };
        match variable {
            Some(variable) => {
                Problem::new(Place::Variable((*variable).to_owned()), "", problem.message)
            }
            None => problem,
        }
    }

    fn add(&mut self, variable: &'static str, lines: &str) {
        for line in lines.lines() {
            self.text.push_str(line);
            self.text.push('\n');
            self.variables.push(variable);
        }
    }
}

const KEY: &str = "ANTHROPIC_ADMIN_KEY";
const BASE_URL: &str = "SPENDWATCH_BASE_URL";
const LIMIT: &str = "SPENDWATCH_MONTHLY_LIMIT_USD";
const SLACK: &str = "SPENDWATCH_SLACK_WEBHOOK_URL";

/// Reads the variables that make a file unnecessary.
pub fn as_file(environment: &Environment) -> Result<StandIn, Problems> {
    let set = |name: &str| {
        environment
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    };
    let problems = Problems::default();
    if set(KEY).is_none() {
        let message = "there is no configuration: set ANTHROPIC_ADMIN_KEY, or name a file with --config \
                       (`spendwatch init` writes `./spendwatch.toml`, which is read when no other file is named)";
        problems.add(Problem::new(Place::Nowhere, "", message.to_owned()));
    }
    let mut file = StandIn::default();
    file.add(
        KEY,
        "[[organizations]]\nadmin_key = { env = \"ANTHROPIC_ADMIN_KEY\" }",
    );
    if let Some(url) = set(BASE_URL) {
        file.add(BASE_URL, &format!("base_url = {}", toml::Value::from(url)));
    }
    if let Some(limit) = set(LIMIT) {
        match Usd::parse(limit) {
            Ok(usd) => file.add(LIMIT, &rule(usd)),
            Err(error) => {
                let message = format!("is `{limit}`, which is {error}; write it like `5000`");
                problems.add(Problem::new(Place::Variable(LIMIT.to_owned()), "", message));
            }
        }
    }
    if set(SLACK).is_some() {
        let url = "url = { env = \"SPENDWATCH_SLACK_WEBHOOK_URL\" }";
        let slack = format!("[[notifiers]]\nname = \"slack\"\ntype = \"slack\"\n{url}");
        file.add(SLACK, &slack);
    }
    problems.into_warnings().map(|_| file)
}

fn rule(limit: Usd) -> String {
    let thresholds = "[{ at = \"50%\", severity = \"info\" }, { at = \"80%\", severity = \"warning\" }, \
                      { at = \"100%\", severity = \"critical\" }]";
    format!(
        "[[rules]]\nname = \"organization-month\"\nlimit_usd = {limit}\nthresholds = {thresholds}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: &str) {
        let environment: Environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let stand_in = as_file(&environment).and_then(|stand_in| {
            config::read(&stand_in.text, None, &environment)
                .map_err(|problems| problems.map(|problem| stand_in.blame(problem)))
        });
        let told = stand_in.map_or_else(
            |problems| problems.to_string(),
            |config| config.organizations[0].base_url.clone(),
        );
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_wrong_names_its_variable() {
        let key = (KEY, "sk-ant-admin-canary");
        check(&[key], "https://api.anthropic.com");
        check(
            &[key, (BASE_URL, " http://[::1]:80/v1 ")],
            "http://[::1]:80/v1",
        );
        check(
            &[key, (BASE_URL, "http://gateway.example.com"), (LIMIT, "-5")],
            "environment variable `SPENDWATCH_BASE_URL`: sends the key in clear text; use https://, or `allow_http = true` if you must\n\
             environment variable `SPENDWATCH_MONTHLY_LIMIT_USD`: is -5, it must be an amount from 0 to 10^12 USD",
        );
        check(
            &[key, (LIMIT, "5k")],
            "environment variable `SPENDWATCH_MONTHLY_LIMIT_USD`: is `5k`, which is not a decimal number; write it like `5000`",
        );
        check(
            &[key, (SLACK, "hooks.slack.com/services/canary")],
            "environment variable `SPENDWATCH_SLACK_WEBHOOK_URL`: is no address; it must begin with `https://` (it is not shown, as it may hold a secret)",
        );
    }
}
