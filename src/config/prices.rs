//! List prices from a table: the one that is built in, and one of the user's own with the same columns.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use csv::{ReaderBuilder, StringRecord};
use jiff::civil::Date;

use crate::config::near::nearest;
use crate::config::reader::Section;
use crate::config::table::{self, CsvLines};
use crate::domain::ids::ModelName;
use crate::domain::money::{Percent, Usd};
use crate::domain::prices::{Long, Price, Prices, Rates};

/// The prices of November 2026, with the dates from which they held.
const BUILT_IN: &str = include_str!("prices.csv");

/// No price is above this: what is, was written in other units. USD per million tokens.
const MOST: Usd = Usd::from_dollars(10_000);

/// No table of prices is as long as this, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// `[prices]`: what tokens cost, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    /// The user's own, with as many models as they like.
    pub file: Option<PathBuf>,
    /// Those that are built in, each model of the file in its place.
    pub prices: Arc<Prices>,
}

/// Reads `[prices]` and the file that it names. What is wrong in that file is told with its own lines.
pub fn read_section(root: &Section<'_>) -> PriceTable {
    let (mut file, mut prices) = (None, built_in());
    if let Some(section) = root.section("prices") {
        if section.has("file") {
            file = section
                .required_text("file")
                .map(|text| PathBuf::from(text.value));
        }
        if let Some(own) = file.as_deref().and_then(|path| read_file(&section, path)) {
            prices.replace_with(own);
        }
        section.finish();
    }
    PriceTable {
        file,
        prices: Arc::new(prices),
    }
}

fn read_file(section: &Section<'_>, path: &Path) -> Option<Prices> {
    let text = table::read(section, "file", path, (MAX_FILE, "table of prices"))?;
    for slip in slips(&text) {
        section.warn_elsewhere(table::problem(path, 1, slip));
    }
    match read(&text) {
        Ok(prices) => Some(prices),
        Err(wrong) => {
            for error in wrong {
                section.problem_elsewhere(table::problem(path, error.line, error.problem));
            }
            None
        }
    }
}

/// Columns that are passed over though one that is known was probably meant.
fn slips(text: &str) -> Vec<String> {
    let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
    let Ok(headings) = reader.headers() else {
        return Vec::new();
    };
    let headings: Vec<&str> = headings.iter().map(str::trim).collect();
    let known = || REQUIRED.into_iter().chain(OPTIONAL);
    let is_known = |heading: &&&str| known().any(|name| name == **heading);
    let slip = |heading: &&str| {
        let meant = nearest(heading, known().filter(|name| !headings.contains(name)))?;
        Some(format!(
            "`{heading}` is no column and is passed over; did you mean `{meant}`?"
        ))
    };
    let others = headings.iter().filter(|heading| !is_known(heading));
    others.filter_map(slip).collect()
}

/// What is wrong with a line of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PriceError {
    /// Counted from 1, the headings included.
    pub line: u64,
    /// With the column, and a hint.
    pub problem: String,
}

/// The prices that are built in.
pub fn built_in() -> Prices {
    read(BUILT_IN).expect("a test reads them")
}

/// Reads a table: CSV with headings. Columns that are not known are passed over. All that is wrong is told at once.
pub fn read(text: &str) -> Result<Prices, Vec<PriceError>> {
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.as_bytes());
    let headings = match reader.headers() {
        Ok(headings) => headings.clone(),
        Err(error) => return Err(vec![at(1, table::csv_problem(&error))]),
    };
    let mut lines = CsvLines::new(text);
    let first_line = lines.at(headings.position());
    let missing: Vec<PriceError> = REQUIRED
        .iter()
        .filter(|name| !headings.iter().any(|heading| heading.trim() == **name))
        .map(|name| at(first_line, format!("there is no column `{name}`")))
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let (mut prices, mut wrong) = (Prices::default(), Vec::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.at(error.position());
                wrong.push(at(line, table::csv_problem(&error)));
                continue;
            }
        };
        let row = Row {
            headings: &headings,
            line: lines.at(record.position()),
            record,
        };
        match row.price() {
            Ok((model, price)) => {
                if !prices.add(model.clone(), price) {
                    let problem = format!("`{model}` has a price on some of these days already");
                    wrong.push(at(row.line, problem));
                }
            }
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        Ok(prices)
    } else {
        Err(wrong)
    }
}

const REQUIRED: [&str; 6] = [
    "model",
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "cache_write_5m_usd_per_mtok",
    "cache_write_1h_usd_per_mtok",
    "cache_read_usd_per_mtok",
];

const OPTIONAL: [&str; 6] = [
    "valid_from",
    "valid_until",
    "long_over_tokens",
    "long_context_input",
    "long_context_output",
    "discount_percent",
];

fn at(line: u64, problem: impl fmt::Display) -> PriceError {
    PriceError {
        line,
        problem: problem.to_string(),
    }
}

struct Row<'a> {
    headings: &'a StringRecord,
    record: StringRecord,
    line: u64,
}

impl Row<'_> {
    fn price(&self) -> Result<(ModelName, Price), PriceError> {
        let model = self
            .cell("model")
            .ok_or_else(|| self.wrong("model", "a model is needed"))?;
        let (from, until) = (self.date("valid_from")?, self.date("valid_until")?);
        if from.zip(until).is_some_and(|(from, until)| until < from) {
            return Err(self.wrong("valid_until", "it is before `valid_from`"));
        }
        let price = Price {
            from,
            until,
            rates: Rates {
                input: self.rate("input_usd_per_mtok")?,
                output: self.rate("output_usd_per_mtok")?,
                cache_write_5m: self.rate("cache_write_5m_usd_per_mtok")?,
                cache_write_1h: self.rate("cache_write_1h_usd_per_mtok")?,
                cache_read: self.rate("cache_read_usd_per_mtok")?,
            },
            long: self.long()?,
            discount: self.discount()?,
        };
        if price.long.is_some() && price.rates.input == Usd::ZERO {
            return Err(self.wrong("long_over_tokens", "a model that is free has no long price"));
        }
        Ok((ModelName::from(model), price))
    }

    fn long(&self) -> Result<Option<Long>, PriceError> {
        let columns = [
            "long_over_tokens",
            "long_context_input",
            "long_context_output",
        ];
        if columns.iter().all(|name| self.cell(name).is_none()) {
            return Ok(None);
        }
        Ok(Some(Long {
            over_tokens: self
                .parsed(columns[0], "a number of tokens, such as 200000")?
                .ok_or_else(|| self.wrong(columns[0], "it goes with the two long prices"))?,
            input: self.rate(columns[1])?,
            output: self.rate(columns[2])?,
        }))
    }

    fn discount(&self) -> Result<Option<Percent>, PriceError> {
        let name = "discount_percent";
        let Some(text) = self.cell(name) else {
            return Ok(None);
        };
        if Usd::parse(text) == Ok(Usd::ZERO) {
            return Ok(None);
        }
        Percent::parse(&format!("{text}%"))
            .filter(|percent| *percent <= Percent::HUNDRED)
            .map(Some)
            .ok_or_else(|| self.wrong(name, "a percentage from 0 to 100, such as 12.5"))
    }

    fn rate(&self, name: &'static str) -> Result<Usd, PriceError> {
        let text = self
            .cell(name)
            .ok_or_else(|| self.wrong(name, "a price is needed, in USD per million tokens"))?;
        Usd::parse(text)
            .ok()
            .filter(|usd| (Usd::ZERO..=MOST).contains(usd))
            .ok_or_else(|| self.wrong(name, "USD per million tokens, such as 0.25"))
    }

    fn date(&self, name: &'static str) -> Result<Option<Date>, PriceError> {
        self.parsed(name, "a day such as 2026-10-07, or nothing")
    }

    fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, PriceError> {
        let parsed = |text: &str| text.parse().map_err(|_| self.wrong(name, expected));
        self.cell(name).map(parsed).transpose()
    }

    /// What stands in a column; an empty cell is nothing.
    fn cell(&self, name: &str) -> Option<&str> {
        let place = self
            .headings
            .iter()
            .position(|heading| heading.trim() == name)?;
        self.record
            .get(place)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    fn wrong(&self, column: &str, hint: &str) -> PriceError {
        let problem = match self.cell(column) {
            Some(text) => format!("`{column}`: `{text}` is not right: {hint}"),
            None => format!("`{column}`: {hint}"),
        };
        at(self.line, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prices::{Manner, Window, estimate};
    use crate::domain::usage::Tokens;

    const PLAIN: Manner = Manner {
        is_batch: false,
        is_us_only: false,
        is_fast: false,
        window: Window::Usual,
    };

    fn tokens(input: i64, output: i64, cache_write_1h: i64, cache_read: i64) -> Tokens {
        Tokens {
            input,
            output,
            cache_write_1h,
            cache_read,
            ..Tokens::default()
        }
    }

    #[track_caller]
    fn check(model: &str, day: &str, tokens: Tokens, manner: Manner, expected: &str) {
        let (prices, model) = (built_in(), ModelName::from(model));
        let price = prices.on(&model, day.parse().unwrap()).unwrap();
        let found = estimate(&model, price, &tokens, manner).unwrap();
        assert_eq!(found.spend.to_string(), expected);
    }

    #[test]
    fn tokens_cost_what_the_rules_say() {
        let million = 1_000_000;
        let day = "2026-11-02";
        check(
            "claude-opus-5-5",
            day,
            tokens(million, million, 0, million),
            PLAIN,
            "24.2",
        );
        // input × 2 × 0.5 × 1.1
        let manner = Manner {
            is_batch: true,
            is_us_only: true,
            ..PLAIN
        };
        check(
            "claude-opus-5",
            day,
            tokens(0, 0, million, 0),
            manner,
            "5.5",
        );
        // Regional inference costs more from 4.6 on.
        let us = Manner {
            is_us_only: true,
            ..PLAIN
        };
        check("claude-opus-4-5", day, tokens(million, 0, 0, 0), us, "5");
        check("claude-opus-4-6", day, tokens(million, 0, 0, 0), us, "5.5");
        let fast = Manner {
            is_fast: true,
            ..PLAIN
        };
        check("claude-opus-4-6", day, tokens(million, 0, 0, 0), fast, "30");
        check("claude-opus-4-8", day, tokens(million, 0, 0, 0), fast, "10");
        // A batch is never fast.
        let both = Manner {
            is_batch: true,
            is_fast: true,
            ..PLAIN
        };
        check(
            "claude-opus-4-8",
            day,
            tokens(million, 0, 0, 0),
            both,
            "2.5",
        );
        // One token, to the last digit.
        check(
            "claude-haiku-5-5",
            day,
            tokens(1, 0, 0, 1),
            PLAIN,
            "0.00000011",
        );
    }

    #[test]
    fn prices_have_dates() {
        let million = 1_000_000;
        let read = tokens(0, 0, 0, million);
        check("claude-sonnet-5-5", "2026-10-06", read, PLAIN, "0.2");
        check("claude-sonnet-5-5", "2026-10-07", read, PLAIN, "0.1");
        let large = Manner {
            window: Window::Large,
            ..PLAIN
        };
        let used = tokens(million, million, 0, million);
        check("claude-sonnet-4-5", "2026-04-30", used, large, "29.1");
        check("claude-sonnet-4-5", "2026-05-01", used, large, "18.3");
        check("claude-haiku-5-5", "2026-11-02", used, large, "3.05");
    }

    #[test]
    fn a_prompt_that_may_be_long_makes_the_estimate_uncertain() {
        let prices = built_in();
        let is_certain = |model: &str, window| {
            let model = ModelName::from(model);
            let price = prices.on(&model, "2026-11-02".parse().unwrap()).unwrap();
            let manner = Manner { window, ..PLAIN };
            estimate(&model, price, &tokens(1, 1, 1, 1), manner)
                .unwrap()
                .is_certain
        };
        assert!(is_certain("claude-opus-5-5", Window::Usual));
        assert!(!is_certain("claude-haiku-5-5", Window::Usual));
        assert!(is_certain("claude-haiku-5-5", Window::Large));
    }

    #[test]
    fn the_exact_id_comes_first_then_the_one_without_its_date_and_nothing_is_guessed() {
        let prices = built_in();
        let day = "2026-11-02".parse().unwrap();
        let has = |model: &str| prices.on(&model.into(), day).is_some();
        assert!(has("claude-opus-5-5") && has("claude-opus-5-5-20261001"));
        assert!(!has("claude-opus-5-6") && !has("claude-opus") && !has("gpt-4"));
    }

    #[test]
    fn a_table_of_ones_own_replaces_models_whole_and_may_have_discounts() {
        let head = "model,input_usd_per_mtok,output_usd_per_mtok,cache_write_5m_usd_per_mtok,\
                    cache_write_1h_usd_per_mtok,cache_read_usd_per_mtok,discount_percent\n";
        let own = read(&format!("{head}claude-sonnet-5-5,2,10,2.5,4,0.1,12.5\n")).unwrap();
        let mut prices = built_in();
        prices.replace_with(own);
        let model = ModelName::from("claude-sonnet-5-5");
        let price = prices.on(&model, "2026-10-01".parse().unwrap()).unwrap();
        let found = estimate(&model, price, &tokens(1_000_000, 0, 0, 0), PLAIN).unwrap();
        assert_eq!(found.spend.to_string(), "1.75");
        assert!(
            prices
                .on(&"claude-opus-5".into(), "2026-10-01".parse().unwrap())
                .is_some()
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_line() {
        let head = "model,valid_from,valid_until,input_usd_per_mtok,output_usd_per_mtok,cache_write_5m_usd_per_mtok,\
                    cache_write_1h_usd_per_mtok,cache_read_usd_per_mtok,long_over_tokens,discount_percent\n";
        let table = format!(
            "{head}a,2026-10-07,2026-10-06,1,1,1,1,1,,\nb,,,-1,1,1,1,1,,\nc,,,1,1,1,1,1,,101\nd,,,1,1,1,1,1,5,\n\
             e,,2026-05-01,1,1,1,1,1,,\ne,2026-05-01,,1,1,1,1,1,,\n,,,1,1,1,1,1,,\n"
        );
        let wrong = read(&table).unwrap_err();
        let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        line 2: `valid_until`: `2026-10-06` is not right: it is before `valid_from`
        line 3: `input_usd_per_mtok`: `-1` is not right: USD per million tokens, such as 0.25
        line 4: `discount_percent`: `101` is not right: a percentage from 0 to 100, such as 12.5
        line 5: `long_context_input`: a price is needed, in USD per million tokens
        line 7: `e` has a price on some of these days already
        line 8: `model`: a model is needed
        ");
        let windows = format!(
            "{}\r\na,,,-1,1,1,1,1,,\r\nb,,,-1,1,1,1,1,,\r\n",
            head.trim_end()
        );
        let wrong = read(&windows).unwrap_err();
        let lines: Vec<u64> = wrong.iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3]);
        let wrong = read(&windows.replace("\r\n", "\n\n")).unwrap_err();
        let lines: Vec<u64> = wrong.iter().map(|error| error.line).collect();
        assert_eq!(lines, [3, 5]);
        let wrong = read("model,input_usd_per_mtok\n").unwrap_err();
        assert_eq!(wrong.len(), 4);
    }
}
