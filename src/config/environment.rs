//! A start without any file: what the environment alone says, written as the file it stands for.

use std::fmt::Write;

use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::Environment;
use crate::domain::money::Usd;

/// The file that the environment stands for. Values are named by their variables, never written down.
pub fn as_file(environment: &Environment) -> Result<String, Problems> {
    let set = |name: &str| {
        environment
            .get(name)
            .filter(|value| !value.trim().is_empty())
    };
    if set("ANTHROPIC_ADMIN_KEY").is_none() {
        let message = "there is no configuration: set ANTHROPIC_ADMIN_KEY, or name a file with --config \
                       (`spendwatch init` writes one to start from)";
        return Err(Problems::one(Problem::new(
            Place::Nowhere,
            "",
            message.to_owned(),
        )));
    }
    let mut file = "[[organizations]]\nadmin_key = { env = \"ANTHROPIC_ADMIN_KEY\" }\n".to_owned();
    if let Some(url) = set("SPENDWATCH_BASE_URL") {
        writeln!(file, "base_url = {}", toml::Value::from(url.as_str()))
            .expect("writing to memory");
    }
    if let Some(limit) = set("SPENDWATCH_MONTHLY_LIMIT_USD") {
        let usd = Usd::parse(limit.trim()).map_err(|error| {
            let place = Place::Variable("SPENDWATCH_MONTHLY_LIMIT_USD".to_owned());
            Problems::one(Problem::new(
                place,
                "",
                format!("is `{limit}`, which is {error}"),
            ))
        })?;
        let thresholds = "[{ at = \"50%\", severity = \"info\" }, { at = \"80%\", severity = \"warning\" }, \
                          { at = \"100%\", severity = \"critical\" }]";
        let rule = format!(
            "[[rules]]\nname = \"organization-month\"\nlimit_usd = {usd}\nthresholds = {thresholds}\n"
        );
        file.push_str(&rule);
    }
    if set("SPENDWATCH_SLACK_WEBHOOK_URL").is_some() {
        let slack = "[[notifiers]]\nname = \"slack\"\ntype = \"slack\"\nurl = { env = \"SPENDWATCH_SLACK_WEBHOOK_URL\" }\n";
        file.push_str(slack);
    }
    Ok(file)
}
