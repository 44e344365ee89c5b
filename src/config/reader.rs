//! Reads sections key by key. Every key that is asked for is known; what is left over is told as unknown, with the near miss.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;

use crate::config::problem::{Place, Problem, Problems};
use crate::config::source::{Environment, SecretSource};
use crate::config::tree::{Node, Table, Value};
use crate::secret::Secret;

/// One table of the configuration.
pub struct Section<'a> {
    table: &'a Table,
    path: String,
    place: Place,
    problems: &'a Problems,
    environment: &'a Environment,
    asked: RefCell<BTreeSet<&'static str>>,
}

/// A value and where it stands, so that a later check can name it.
#[derive(Debug, Clone)]
pub struct Sited<T> {
    /// What.
    pub value: T,
    /// Where.
    pub place: Place,
    /// Its whole key.
    pub key: String,
}

impl<'a> Section<'a> {
    /// All of the configuration.
    pub fn root(
        table: &'a Table,
        problems: &'a Problems,
        environment: &'a Environment,
    ) -> Section<'a> {
        Section {
            table,
            path: String::new(),
            place: Place::Nowhere,
            problems,
            environment,
            asked: RefCell::default(),
        }
    }

    /// Where the section begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Tells that something is wrong with a key.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get(key).map_or(&self.place, |node| &node.place);
        self.problems
            .add(Problem::new(place.clone(), self.key(key), message.into()));
    }

    /// Tells that something should be looked at.
    pub fn warn(&self, key: &str, message: impl Into<String>) {
        let place = self.table.get(key).map_or(&self.place, |node| &node.place);
        self.problems
            .warn(Problem::new(place.clone(), self.key(key), message.into()));
    }

    /// Tells that something is wrong with a value that was read before.
    pub fn problem_at<T>(&self, sited: &Sited<T>, message: impl Into<String>) {
        self.problems.add(Problem::new(
            sited.place.clone(),
            sited.key.clone(),
            message.into(),
        ));
    }

    /// Whether a key is there.
    pub fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<Sited<String>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Text(text) => Some(self.sited(key, node, text.clone())),
            Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => self.wrong(key, node, "a text in quotes"),
        }
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&self, key: &'static str) -> Option<Sited<String>> {
        if !self.has(key) {
            self.problem(key, "is missing");
            return None;
        }
        let text = self.text(key)?;
        if text.value.trim().is_empty() {
            self.problem(key, "is empty");
            return None;
        }
        Some(text)
    }

    /// A name: not empty, at most 200 characters, none of them a control character.
    pub fn name(&self, key: &'static str) -> Option<Sited<String>> {
        let text = self.required_text(key)?;
        if text.value.chars().count() > 200 || text.value.chars().any(char::is_control) {
            self.problem(
                key,
                "is not a name: at most 200 characters, without control characters",
            );
            return None;
        }
        Some(text)
    }

    /// One of some words, with its meaning.
    pub fn word<T: Clone>(
        &self,
        key: &'static str,
        words: &[(&str, T)],
        later: &[&str],
        default: T,
    ) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text.value) {
            return meaning.clone();
        }
        if later.contains(&text.value.as_str()) {
            self.problem(key, format!("`{}` is not in this version", text.value));
            return default;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = near_miss(&text.value, known.iter().copied()).map_or_else(
            || format!("one of {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.problem(
            key,
            format!("is `{}`, which is unknown; {hint}", text.value),
        );
        default
    }

    /// A truth value.
    pub fn bool(&self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else {
            return default;
        };
        match (&node.value, &node.place) {
            (Value::Bool(truth), _) => *truth,
            (Value::Text(text), Place::Variable(_)) if text == "true" => true,
            (Value::Text(text), Place::Variable(_)) if text == "false" => false,
            _ => self.wrong(key, node, "true or false").unwrap_or(default),
        }
    }

    /// A whole number within bounds, both inclusive.
    pub fn integer(&self, key: &'static str, bounds: (i64, i64)) -> Option<i64> {
        let node = self.node(key)?;
        let digits = number_text(node)?;
        let Some(number) = digits.and_then(|digits| digits.replace('_', "").parse::<i64>().ok())
        else {
            return self.wrong(key, node, "a whole number");
        };
        if !(bounds.0..=bounds.1).contains(&number) {
            self.problem(
                key,
                format!(
                    "is {number}, it must be within {} and {}",
                    bounds.0, bounds.1
                ),
            );
            return None;
        }
        Some(number)
    }

    /// The digits of a number as they were written.
    pub fn digits(&self, key: &'static str) -> Option<Sited<String>> {
        let node = self.node(key)?;
        match number_text(node).flatten() {
            Some(digits) => Some(self.sited(key, node, digits.replace('_', ""))),
            None => self.wrong(key, node, "a number"),
        }
    }

    /// A duration such as `30s`, `1h30m`, `90d`.
    pub fn duration(&self, key: &'static str) -> Option<SignedDuration> {
        let text = self.text(key)?;
        let duration = parse_duration(&text.value);
        if duration.is_none() {
            self.problem(
                key,
                format!(
                    "is `{}`, which is no duration; write it like `30s`, `5m`, `24h` or `90d`",
                    text.value
                ),
            );
        }
        duration
    }

    /// A duration of at least a millisecond, for waiting.
    pub fn wait(&self, key: &'static str, default: Duration) -> Duration {
        let Some(duration) = self.duration(key) else {
            return default;
        };
        match Duration::try_from(duration) {
            Ok(duration) if !duration.is_zero() => duration,
            _ => {
                self.problem(key, "must be longer than nothing");
                default
            }
        }
    }

    /// Whole days, at least one.
    pub fn days(&self, key: &'static str, default: i32) -> i32 {
        let Some(duration) = self.duration(key) else {
            return default;
        };
        let days = duration.as_secs() / 86_400;
        if days < 1 || days * 86_400 != duration.as_secs() || days > 36_500 {
            self.problem(key, "must be whole days, like `90d`");
            return default;
        }
        i32::try_from(days).unwrap_or(default)
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Sited<String>>> {
        let node = self.node(key)?;
        let items = match &node.value {
            Value::List(items) => items,
            Value::Text(text) => return Some(vec![self.sited(key, node, text.clone())]),
            Value::Number(_) | Value::Bool(_) | Value::Date(_) | Value::Table(_) => {
                return self.wrong(key, node, "a list of texts");
            }
        };
        let mut texts = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let item_key = format!("{}[{place}]", self.key(key));
            match &item.value {
                Value::Text(text) => {
                    texts.push(Sited {
                        value: text.clone(),
                        place: item.place.clone(),
                        key: item_key,
                    });
                }
                other => {
                    let message = format!("is {}, it must be a text in quotes", other.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        Some(texts)
    }

    /// Texts by name.
    pub fn text_map(&self, key: &'static str) -> Vec<(String, Sited<String>)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong::<()>(key, node, "a table of texts");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (name, item) in table {
            let item_key = format!("{}.{name}", self.key(key));
            match &item.value {
                Value::Text(text) => {
                    let sited = Sited {
                        value: text.clone(),
                        place: item.place.clone(),
                        key: item_key,
                    };
                    texts.push((name.clone(), sited));
                }
                other => {
                    let message = format!("is {}, it must be a text in quotes", other.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        texts
    }

    /// A table below this one.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Table(table) => Some(self.below(table, self.key(key), node)),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_) => self.wrong(key, node, "a table"),
        }
    }

    /// A list of tables: `[[…]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong::<()>(key, node, &format!("a list of tables, `[[{key}]]`"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let item_key = format!("{}[{place}]", self.key(key));
            match &item.value {
                Value::Table(table) => sections.push(self.below(table, item_key, item)),
                other => {
                    let message = format!("is {}, it must be a table", other.kind());
                    self.problems
                        .add(Problem::new(item.place.clone(), item_key, message));
                }
            }
        }
        sections
    }

    /// Where a secret comes from. An unset variable is told at once.
    pub fn secret(&self, key: &'static str) -> Option<SecretSource> {
        let node = self.node(key)?;
        self.secret_of(key, node)
    }

    /// Several, while one is being replaced by another.
    pub fn secrets(&self, key: &'static str) -> Vec<SecretSource> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        match &node.value {
            Value::List(items) => items
                .iter()
                .filter_map(|item| self.secret_of(key, item))
                .collect(),
            Value::Text(_)
            | Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::Table(_) => self.secret_of(key, node).into_iter().collect(),
        }
    }

    /// Secrets by name.
    pub fn secret_map(&self, key: &'static str) -> Vec<(String, SecretSource)> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::Table(table) = &node.value else {
            self.wrong::<()>(key, node, "a table");
            return Vec::new();
        };
        // Header values are often no secrets: a plain text is taken without a warning.
        let source = |item: &Node| match &item.value {
            Value::Text(text) => Some(SecretSource::Literal(Secret::new(text.clone()))),
            Value::Number(_)
            | Value::Bool(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => self.secret_of(key, item),
        };
        table
            .iter()
            .filter_map(|(name, item)| Some((name.clone(), source(item)?)))
            .collect()
    }

    /// What was never asked for is unknown.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, node) in self
            .table
            .iter()
            .filter(|(key, _)| !asked.contains(key.as_str()))
        {
            let hint = near_miss(key, asked.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let problem = Problem::new(
                node.place.clone(),
                self.key(key),
                format!("is an unknown key{hint}"),
            );
            self.problems.add(problem);
        }
    }

    fn secret_of(&self, key: &'static str, node: &Node) -> Option<SecretSource> {
        let tell = |message: String| {
            self.problems
                .add(Problem::new(node.place.clone(), self.key(key), message));
        };
        match &node.value {
            Value::Text(text) => {
                if matches!(node.place, Place::Line(..)) {
                    let message = "is a secret in plain text; better name where it comes from, \
                                   like `{ env = \"NAME\" }` or `{ file = \"…\" }`";
                    self.problems.warn(Problem::new(
                        node.place.clone(),
                        self.key(key),
                        message.to_owned(),
                    ));
                }
                Some(SecretSource::Literal(Secret::new(text.clone())))
            }
            Value::Table(table) => {
                let section = self.below(table, self.key(key), node);
                let source = section.secret_source();
                section.finish();
                source
            }
            other => {
                tell(format!(
                    "is {}, it must be `{{ env = … }}`, `{{ file = … }}` or `{{ command = … }}`",
                    other.kind()
                ));
                None
            }
        }
    }

    fn secret_source(&self) -> Option<SecretSource> {
        let env = self.text("env");
        let file = self.text("file");
        let command = self.texts("command");
        let aws = self.text("aws_secret");
        let (_, _) = (self.text("field"), self.text("region"));
        if aws.is_some() {
            self.problem("aws_secret", "is not in this version");
            return None;
        }
        match (env, file, command) {
            (Some(name), None, None) => {
                if self
                    .environment
                    .get(&name.value)
                    .is_none_or(|value| value.trim().is_empty())
                {
                    self.problem(
                        "env",
                        format!("names the variable `{}`, which is not set", name.value),
                    );
                }
                Some(SecretSource::Env(name.value))
            }
            (None, Some(path), None) => Some(SecretSource::File(path.value.into())),
            (None, None, Some(words)) if !words.is_empty() => Some(SecretSource::Command(
                words.into_iter().map(|word| word.value).collect(),
            )),
            _ => {
                let message = "must name one source: `env`, `file` or `command`".to_owned();
                self.problems
                    .add(Problem::new(self.place.clone(), self.path.clone(), message));
                None
            }
        }
    }

    fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    fn below(&self, table: &'a Table, path: String, node: &Node) -> Section<'a> {
        Section {
            table,
            path,
            place: node.place.clone(),
            problems: self.problems,
            environment: self.environment,
            asked: RefCell::default(),
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn sited<T>(&self, key: &str, node: &Node, value: T) -> Sited<T> {
        Sited {
            value,
            place: node.place.clone(),
            key: self.key(key),
        }
    }

    fn wrong<T>(&self, key: &str, node: &Node, wanted: &str) -> Option<T> {
        self.problem(
            key,
            format!("is {}, it must be {wanted}", node.value.kind()),
        );
        None
    }
}

/// The digits of a number, also of one from the environment; `Some(None)` for anything else.
fn number_text(node: &Node) -> Option<Option<String>> {
    Some(match (&node.value, &node.place) {
        (Value::Number(digits), _) => Some(digits.clone()),
        (Value::Text(text), Place::Variable(_)) => Some(text.trim().to_owned()),
        _ => None,
    })
}

/// The word that was probably meant.
pub fn near_miss<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let scored = known.map(|known| {
        (
            strsim::damerau_levenshtein(&word.to_lowercase(), known),
            known,
        )
    });
    let (distance, nearest) = scored.min()?;
    (distance <= 1 + nearest.len() / 4).then_some(nearest)
}

/// `30s`, `5m`, `1h30m`, `90d`: whole numbers with s, m, h or d, larger units first.
pub fn parse_duration(text: &str) -> Option<SignedDuration> {
    let mut seconds: i64 = 0;
    let mut rest = text.trim();
    let mut last_unit = i64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = rest[..n_digits].parse().ok()?;
        let unit = match rest[n_digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        if unit >= last_unit {
            return None;
        }
        last_unit = unit;
        seconds = seconds.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[n_digits + 1..];
    }
    (seconds <= 36_500 * 86_400).then(|| SignedDuration::from_secs(seconds))
}
