//! Configuration by environment variables alone: they are turned into the text of an equivalent file.

use std::path::Path;

use crate::problem::{ConfigProblem, Location, Problems};
use crate::source::Environment;
use crate::tree::NO_FILE;
use spendwatch_domain::units::money::Usd;

/// Text of a configuration file equivalent to the environment. Secrets are referenced by their variables, not copied.
#[derive(Debug, Default)]
pub struct EnvironmentFile {
    pub text: String,
    /// The variable behind each line of `text`.
    variables: Vec<&'static str>,
}

impl EnvironmentFile {
    /// Turns a problem in the text into one of the variable behind it.
    pub fn attribute_to_variable(&self, problem: ConfigProblem) -> ConfigProblem {
        let variable = match &problem.location {
            Location::Line(path, line) if path == Path::new(NO_FILE) => {
                self.variables.get(line - 1)
            }
            Location::Line(..) | Location::File(_) | Location::Variable(_) | Location::Nowhere => {
                None
            }
        };
        match variable {
            Some(variable) if !problem.is_clause => {
                ConfigProblem::new(Location::Nowhere, *variable, problem.message)
            }
            Some(variable) => {
                let location = Location::Variable((*variable).to_owned());
                ConfigProblem::clause(location, "", problem.message)
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

/// Converts the environment to a configuration file.
pub fn to_file(environment: &Environment) -> Result<EnvironmentFile, Problems> {
    let set = |name: &str| {
        environment
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    };
    let problems = Problems::default();
    if set(KEY).is_none() {
        let message = "no configuration; set `ANTHROPIC_ADMIN_KEY`, or pass a file with `--config` \
                       (`spendwatch init` writes `./spendwatch.toml`, which is read by default)";
        problems.add(ConfigProblem::new(
            Location::Nowhere,
            "",
            message.to_owned(),
        ));
    }
    let mut file = EnvironmentFile::default();
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
                let message = format!("is `{limit}`, {error}; for example `5000`");
                problems.add(ConfigProblem::new(Location::Nowhere, LIMIT, message));
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
    use crate as config;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: &str) {
        let environment: Environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let file = to_file(&environment).and_then(|file| {
            config::read(&file.text, None, &environment)
                .map_err(|problems| problems.map(|problem| file.attribute_to_variable(problem)))
        });
        let text = file.map_or_else(
            |problems| problems.to_string(),
            |config| config.organizations[0].base_url.clone(),
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn problems_name_the_variable() {
        let key = (KEY, "sk-ant-admin-canary");
        check(&[key], "https://api.anthropic.com");
        check(
            &[key, (BASE_URL, " http://[::1]:80/v1 ")],
            "http://[::1]:80/v1",
        );
        check(
            &[key, (BASE_URL, "http://gateway.example.com"), (LIMIT, "-5")],
            "`SPENDWATCH_BASE_URL` sends the key in clear text; use `https://`, or allow it with `allow_http = true`\n\
             `SPENDWATCH_MONTHLY_LIMIT_USD` is -5, expected an amount from 0 to 10^12 USD",
        );
        check(
            &[key, (LIMIT, "5k")],
            "`SPENDWATCH_MONTHLY_LIMIT_USD` is `5k`, not a decimal number; for example `5000`",
        );
        check(
            &[key, (SLACK, "hooks.slack.com/services/canary")],
            "`SPENDWATCH_SLACK_WEBHOOK_URL` is not a URL that begins with `https://` (value not shown, it may contain a secret)",
        );
    }
}
