//! List prices: the built-in table and an optional file with the same columns.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use csv::{ReaderBuilder, StringRecord};
use jiff::civil::Date;

use crate::near::nearest;
use crate::reader::SectionReader;
use crate::table::{self, CsvLines};
use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::money::{Percent, Usd};
use spendwatch_domain::usage::prices::{LongPromptPrices, Price, PriceTable, TokenPrices};

/// Prices as of November 2026, with the dates from which they apply.
const BUILT_IN: &str = include_str!("prices.csv");

/// Maximum price in USD per million tokens; a higher one is in the wrong unit.
const MAX_PRICE: Usd = Usd::from_dollars(10_000);

/// Maximum size in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// `[prices]`: list prices of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricesConfig {
    pub file: Option<PathBuf>,
    /// The built-in prices, in which the models of the file are replaced.
    pub prices: Arc<PriceTable>,
}

/// Reads `[prices]` and its file. Errors in the file have its own lines.
pub fn read_section(root: &SectionReader<'_>) -> PricesConfig {
    let mut prices = built_in();
    let section = root.section_or_empty("prices");
    let file = section.optional_text("file");
    let file = file.map(|text| PathBuf::from(text.value));
    if let Some(own) = file.as_deref().and_then(|path| read_file(&section, path)) {
        prices.replace_with(own);
    }
    section.finish();
    PricesConfig {
        file,
        prices: Arc::new(prices),
    }
}

fn read_file(section: &SectionReader<'_>, path: &Path) -> Option<PriceTable> {
    let text = table::read(section, "file", path, (MAX_FILE, "table of prices"))?;
    for warning in column_warnings(&text) {
        section.warn_elsewhere(table::problem(path, 1, warning));
    }
    match read(&text) {
        Ok(prices) => Some(prices),
        Err(errors) => {
            for error in errors {
                section.problem_elsewhere(table::problem(path, error.line, error.problem));
            }
            None
        }
    }
}

/// Returns warnings about ignored columns that are probably typing errors.
fn column_warnings(text: &str) -> Vec<String> {
    let mut reader = ReaderBuilder::new().from_reader(text.as_bytes());
    let Ok(headings) = reader.headers() else {
        return Vec::new();
    };
    let headings: Vec<&str> = headings.iter().map(str::trim).collect();
    let known = || REQUIRED.into_iter().chain(OPTIONAL);
    let is_known = |heading: &&&str| known().any(|name| name == **heading);
    let warning = |heading: &&str| {
        let meant = nearest(heading, known().filter(|name| !headings.contains(name)))?;
        Some(format!(
            "ignoring unknown column `{heading}`; did you mean `{meant}`?"
        ))
    };
    let others = headings.iter().filter(|heading| !is_known(heading));
    others.filter_map(warning).collect()
}

/// An error in a line of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PriceError {
    /// Counted from 1, including the headings.
    pub line: u64,
    pub problem: String,
}

/// Returns the built-in prices.
pub fn built_in() -> PriceTable {
    read(BUILT_IN).expect("a test reads them")
}

/// Parses CSV with headings. Ignores unknown columns and returns all errors.
pub fn read(text: &str) -> Result<PriceTable, Vec<PriceError>> {
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
        .map(|name| at(first_line, format!("missing column `{name}`")))
        .collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let (mut prices, mut errors) = (PriceTable::default(), Vec::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = lines.at(error.position());
                errors.push(at(line, table::csv_problem(&error)));
                continue;
            }
        };
        let row = PriceRow {
            headings: &headings,
            line: lines.at(record.position()),
            record,
        };
        match row.price() {
            Ok((model, price)) => {
                if !prices.add(model.clone(), price) {
                    let problem = format!("the days overlap those of an earlier row of `{model}`");
                    errors.push(at(row.line, problem));
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(prices)
    } else {
        Err(errors)
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

struct PriceRow<'a> {
    headings: &'a StringRecord,
    record: StringRecord,
    line: u64,
}

impl PriceRow<'_> {
    fn price(&self) -> Result<(ModelName, Price), PriceError> {
        let model = self
            .cell("model")
            .ok_or_else(|| self.invalid("model", "a model id, for example `claude-opus-5`"))?;
        let (from, until) = (self.date("valid_from")?, self.date("valid_until")?);
        if from.zip(until).is_some_and(|(from, until)| until < from) {
            return Err(self.invalid("valid_until", "a day that is not before `valid_from`"));
        }
        let price = Price {
            from,
            until,
            standard: TokenPrices {
                input: self.rate("input_usd_per_mtok")?,
                output: self.rate("output_usd_per_mtok")?,
                cache_write_5m: self.rate("cache_write_5m_usd_per_mtok")?,
                cache_write_1h: self.rate("cache_write_1h_usd_per_mtok")?,
                cache_read: self.rate("cache_read_usd_per_mtok")?,
            },
            long_prompt: self.long()?,
            discount: self.discount()?,
        };
        if price.long_prompt.is_some() && price.standard.input == Usd::ZERO {
            return Err(self.invalid("long_over_tokens", "nothing, because the model is free"));
        }
        Ok((ModelName::from(model), price))
    }

    fn long(&self) -> Result<Option<LongPromptPrices>, PriceError> {
        let columns = [
            "long_over_tokens",
            "long_context_input",
            "long_context_output",
        ];
        if columns.iter().all(|name| self.cell(name).is_none()) {
            return Ok(None);
        }
        Ok(Some(LongPromptPrices {
            over_tokens: self
                .parsed(columns[0], "a number of tokens, for example `200000`")?
                .ok_or_else(|| {
                    self.invalid(
                        columns[0],
                        "a number of tokens, because long-context prices are set",
                    )
                })?,
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
            .ok_or_else(|| self.invalid(name, "a percentage from 0 to 100, for example `12.5`"))
    }

    fn rate(&self, name: &'static str) -> Result<Usd, PriceError> {
        let text = self
            .cell(name)
            .ok_or_else(|| self.invalid(name, "USD per million tokens, for example `0.25`"))?;
        Usd::parse(text)
            .ok()
            .filter(|usd| (Usd::ZERO..=MAX_PRICE).contains(usd))
            .ok_or_else(|| self.invalid(name, "USD per million tokens, for example `0.25`"))
    }

    fn date(&self, name: &'static str) -> Result<Option<Date>, PriceError> {
        self.parsed(name, "a day, for example `2026-10-07`, or nothing")
    }

    fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, PriceError> {
        let parsed = |text: &str| text.parse().map_err(|_| self.invalid(name, expected));
        self.cell(name).map(parsed).transpose()
    }

    /// Returns the value in a column; `None` for an empty cell.
    fn cell(&self, name: &str) -> Option<&str> {
        let index = self
            .headings
            .iter()
            .position(|heading| heading.trim() == name)?;
        self.record
            .get(index)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    fn invalid(&self, column: &str, hint: &str) -> PriceError {
        let problem = match self.cell(column) {
            Some(text) => format!("`{column}` is `{text}`, expected {hint}"),
            None => format!("`{column}` is empty, expected {hint}"),
        };
        at(self.line, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spendwatch_domain::usage::bucket::Tokens;
    use spendwatch_domain::usage::prices::{ContextWindow, PricingTraits, estimate};

    const PLAIN: PricingTraits = PricingTraits {
        is_batch: false,
        is_us_only: false,
        is_fast: false,
        context_window: ContextWindow::Standard,
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
    fn check(model: &str, day: &str, tokens: Tokens, traits: PricingTraits, expected: &str) {
        let (prices, model) = (built_in(), ModelName::from(model));
        let price = prices.price_on(&model, day.parse().unwrap()).unwrap();
        let found = estimate(&model, price, &tokens, traits).unwrap();
        assert_eq!(found.spend.to_string(), expected);
    }

    #[test]
    fn estimates_follow_the_pricing_rules() {
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
        let traits = PricingTraits {
            is_batch: true,
            is_us_only: true,
            ..PLAIN
        };
        check(
            "claude-opus-5",
            day,
            tokens(0, 0, million, 0),
            traits,
            "5.5",
        );
        // Regional inference costs more since version 4.6.
        let us = PricingTraits {
            is_us_only: true,
            ..PLAIN
        };
        check("claude-opus-4-5", day, tokens(million, 0, 0, 0), us, "5");
        check("claude-opus-4-6", day, tokens(million, 0, 0, 0), us, "5.5");
        let fast = PricingTraits {
            is_fast: true,
            ..PLAIN
        };
        check("claude-opus-4-6", day, tokens(million, 0, 0, 0), fast, "30");
        check("claude-opus-4-8", day, tokens(million, 0, 0, 0), fast, "10");
        // A batch is never fast.
        let both = PricingTraits {
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
        let large = PricingTraits {
            context_window: ContextWindow::Large,
            ..PLAIN
        };
        let used = tokens(million, million, 0, million);
        check("claude-sonnet-4-5", "2026-04-30", used, large, "29.1");
        check("claude-sonnet-4-5", "2026-05-01", used, large, "18.3");
        check("claude-haiku-5-5", "2026-11-02", used, large, "3.05");
    }

    #[test]
    fn estimates_are_uncertain_if_prompts_may_be_long() {
        let prices = built_in();
        let is_certain = |model: &str, window| {
            let model = ModelName::from(model);
            let price = prices
                .price_on(&model, "2026-11-02".parse().unwrap())
                .unwrap();
            let traits = PricingTraits {
                context_window: window,
                ..PLAIN
            };
            estimate(&model, price, &tokens(1, 1, 1, 1), traits)
                .unwrap()
                .is_certain
        };
        assert!(is_certain("claude-opus-5-5", ContextWindow::Standard));
        assert!(!is_certain("claude-haiku-5-5", ContextWindow::Standard));
        assert!(is_certain("claude-haiku-5-5", ContextWindow::Large));
    }

    #[test]
    fn models_match_by_exact_id_or_without_their_date() {
        let prices = built_in();
        let day = "2026-11-02".parse().unwrap();
        let has = |model: &str| prices.price_on(&model.into(), day).is_some();
        assert!(has("claude-opus-5-5") && has("claude-opus-5-5-20261001"));
        assert!(!has("claude-opus-5-6") && !has("claude-opus") && !has("gpt-4"));
    }

    #[test]
    fn own_tables_replace_models_and_may_have_discounts() {
        let head = "model,input_usd_per_mtok,output_usd_per_mtok,cache_write_5m_usd_per_mtok,\
                    cache_write_1h_usd_per_mtok,cache_read_usd_per_mtok,discount_percent\n";
        let own = read(&format!("{head}claude-sonnet-5-5,2,10,2.5,4,0.1,12.5\n")).unwrap();
        let mut prices = built_in();
        prices.replace_with(own);
        let model = ModelName::from("claude-sonnet-5-5");
        let price = prices
            .price_on(&model, "2026-10-01".parse().unwrap())
            .unwrap();
        let found = estimate(&model, price, &tokens(1_000_000, 0, 0, 0), PLAIN).unwrap();
        assert_eq!(found.spend.to_string(), "1.75");
        assert!(
            prices
                .price_on(&"claude-opus-5".into(), "2026-10-01".parse().unwrap())
                .is_some()
        );
    }

    #[test]
    fn all_errors_are_reported_with_their_lines() {
        let head = "model,valid_from,valid_until,input_usd_per_mtok,output_usd_per_mtok,cache_write_5m_usd_per_mtok,\
                    cache_write_1h_usd_per_mtok,cache_read_usd_per_mtok,long_over_tokens,discount_percent\n";
        let table = format!(
            "{head}a,2026-10-07,2026-10-06,1,1,1,1,1,,\nb,,,-1,1,1,1,1,,\nc,,,1,1,1,1,1,,101\nd,,,1,1,1,1,1,5,\n\
             e,,2026-05-01,1,1,1,1,1,,\ne,2026-05-01,,1,1,1,1,1,,\n,,,1,1,1,1,1,,\n"
        );
        let errors = read(&table).unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(messages.join("\n"), @"
        line 2: `valid_until` is `2026-10-06`, expected a day that is not before `valid_from`
        line 3: `input_usd_per_mtok` is `-1`, expected USD per million tokens, for example `0.25`
        line 4: `discount_percent` is `101`, expected a percentage from 0 to 100, for example `12.5`
        line 5: `long_context_input` is empty, expected USD per million tokens, for example `0.25`
        line 7: the days overlap those of an earlier row of `e`
        line 8: `model` is empty, expected a model id, for example `claude-opus-5`
        ");
        let windows = format!(
            "{}\r\na,,,-1,1,1,1,1,,\r\nb,,,-1,1,1,1,1,,\r\n",
            head.trim_end()
        );
        let errors = read(&windows).unwrap_err();
        let lines: Vec<u64> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3]);
        let errors = read(&windows.replace("\r\n", "\n\n")).unwrap_err();
        let lines: Vec<u64> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [3, 5]);
        let errors = read("model,input_usd_per_mtok\n").unwrap_err();
        assert_eq!(errors.len(), 4);
    }
}
