//! `type = "command"`.

use std::time::Duration;

use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;
use crate::{credentials, durations};
use spendwatch_base::receiver::CommandSettings;
use spendwatch_base::subprocess::INHERITED_VARIABLES;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// Reads the program and its time limit.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    let timeout = durations::read_wait(section, "timeout", TIMEOUT);
    if timeout > MAX_TIMEOUT {
        section.problem("timeout", "must be at most `60s`");
    }
    if !section.has("command") {
        let message = "is missing, for example `[\"/usr/local/bin/notify\", \"argument\"]`";
        section.problem("command", message);
    }
    let argv = section.texts("command")?;
    if argv.first().is_none_or(|program| program.value.is_empty()) {
        section.problem("command", "is empty; start it with the program");
    }
    credentials::check_runner(section, &argv);
    let environment = INHERITED_VARIABLES.into_iter();
    Some(NotifierKind::Command(CommandSettings {
        argv: argv.into_iter().map(|argument| argument.value).collect(),
        timeout,
        environment: environment
            .filter_map(|name| Some((name.to_owned(), section.environment().get(name)?.clone())))
            .collect(),
    }))
}
