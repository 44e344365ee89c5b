//! The columns of amounts: what was used, what it cost, and how far the bill and the price table lie apart.

use crate::cli::remarks as words;
use crate::cli::usage::question::{Remark, Told};
use crate::domain::counting::sides;
use crate::domain::money::Usd;
use crate::domain::subject::SubjectKind;
use crate::domain::usage::Amounts;
use crate::sheet::{Cell, Column, hidden, shown};

/// What a narrow table goes without first, where bill and price table are in it and names are wrapped already.
pub const LEAST: [&str; 6] = [
    "uncertain_usd",
    "list_usd",
    "priced_usd",
    "billed_usd",
    "requests",
    "tokens",
];

/// The columns. People see bill, estimate, price table and gap only where there is something in them.
pub fn columns(told: &[&Amounts]) -> Vec<Column> {
    let any = |usd: &dyn Fn(&Amounts) -> Usd| told.iter().any(|told| usd(told) != Usd::ZERO);
    let where_any = |is_any, key, heading| match is_any {
        true => shown(key, heading),
        false => hidden(key),
    };
    let has_prices = has_prices(told);
    let is_estimated = any(&|told| told.estimated);
    vec![
        shown("spend_usd", "USD"),
        shown("tokens", "TOKENS"),
        hidden("input_tokens"),
        hidden("output_tokens"),
        hidden("cache_read_tokens"),
        hidden("cache_write_5m_tokens"),
        hidden("cache_write_1h_tokens"),
        where_any(tells_requests(told), "requests", "REQUESTS"),
        // Where nothing is estimated, all is billed.
        where_any(
            is_estimated && any(&|told| sides(told).0),
            "billed_usd",
            "BILLED",
        ),
        where_any(is_estimated, "estimated_usd", "ESTIMATED"),
        where_any(any(&|told| told.list), "list_usd", "LIST"),
        where_any(has_prices, "priced_usd", "PRICED"),
        where_any(any(&|told| gap(told).unwrap_or_default()), "gap_usd", "GAP"),
        hidden("cache_savings_usd"),
        hidden("unpriced_tokens"),
        hidden("priority_tokens"),
        where_any(any(&|told| told.uncertain), "uncertain_usd", "UNCERTAIN"),
    ]
}

/// Whether any requests are told. Where there are tokens and no requests, these are unknown and not zero.
fn tells_requests(told: &[&Amounts]) -> bool {
    told.is_empty() || told.iter().any(|told| requests(told).is_some())
}

/// Requests; `None` where they are unknown: something was used, and no request is told.
fn requests(amounts: &Amounts) -> Option<i64> {
    let is_unused = amounts.tokens.sum() == 0 && amounts.spend == Usd::ZERO;
    (amounts.requests != 0 || is_unused).then_some(amounts.requests)
}

/// Which amounts the service reports for the subjects of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Tokens, and what follows from them.
    pub tokens: bool,
    /// Requests.
    pub requests: bool,
}

impl Reported {
    /// For sums of all rows.
    pub fn of(told: &[Told]) -> Reported {
        let mut rows = told.iter().flat_map(|told| &told.rows);
        let is_unused = told.iter().all(|told| told.rows.is_empty());
        Reported {
            tokens: true,
            requests: is_unused || rows.any(|row| row.amounts.requests != 0),
        }
    }

    /// For rows by subject. The `analytics` dialect has money by user, and tokens only of all users together.
    pub fn by(self, by: SubjectKind, told: &[Told]) -> Reported {
        let mut rows = told.iter().flat_map(|told| &told.rows);
        let of_users = || rows.clone().filter(|row| row.cell.user.is_some());
        let has_money = of_users().any(|row| row.amounts.spend != Usd::ZERO);
        let has_tokens = of_users().any(|row| row.amounts.tokens.sum() != 0);
        let is_by_user = by == SubjectKind::User && rows.any(|row| row.cell.user.is_some());
        Reported {
            tokens: !is_by_user || !has_money || has_tokens,
            ..self
        }
    }
}

/// A row of which nothing is known.
pub fn unknown() -> Vec<Cell> {
    vec![Cell::Empty; columns(&[]).len()]
}

/// Whether any tokens have a price: else bill and price table are not told apart.
pub fn has_prices(told: &[&Amounts]) -> bool {
    told.iter()
        .any(|told| told.priced != Usd::ZERO || told.estimated != Usd::ZERO)
}

/// How much more is billed than the price table says, of what is billed; `None` where no tokens have a price.
fn gap(amounts: &Amounts) -> Option<Usd> {
    let (billed, priced) = sides(amounts);
    (amounts.priced != Usd::ZERO).then_some(billed - priced)
}

/// What stands in them.
pub fn cells(amounts: &Amounts, reported: Reported) -> Vec<Cell> {
    let tokens = &amounts.tokens;
    let requests = requests(amounts).filter(|_| reported.requests);
    let requests = requests.map_or(Cell::Empty, |count| Cell::Count(i128::from(count)));
    let count = |count: i64| match reported.tokens {
        true => Cell::Count(i128::from(count)),
        false => Cell::Empty,
    };
    let (billed, _) = sides(amounts);
    let money = |known: bool, usd: Usd| if known { Cell::Money(usd) } else { Cell::Empty };
    let is_priced = reported.tokens && amounts.priced != Usd::ZERO;
    let gap = gap(amounts).filter(|_| reported.tokens);
    vec![
        Cell::Money(amounts.spend),
        count(tokens.sum()),
        count(tokens.input),
        count(tokens.output),
        count(tokens.cache_read),
        count(tokens.cache_write_5m),
        count(tokens.cache_write_1h),
        requests,
        Cell::Money(billed),
        Cell::Money(amounts.estimated),
        money(amounts.list != Usd::ZERO, amounts.list),
        money(is_priced, amounts.priced),
        gap.map_or(Cell::Empty, Cell::Money),
        money(is_priced, amounts.saved),
        count(amounts.unpriced),
        count(amounts.by_contract),
        money(is_priced, amounts.uncertain),
    ]
}

/// What a reader of the amounts has to know.
pub fn remarks(by: SubjectKind, told: &Told) -> Vec<Remark> {
    let all = told
        .rows
        .iter()
        .fold(Amounts::ZERO, |all, row| all + row.amounts);
    let name = &told.organization;
    let mut remarks = Vec::new();
    let mut remark = |kind, text: String| {
        let text = format!("organization `{name}`: {text}");
        remarks.push(Remark {
            kind,
            at: None,
            text,
        });
    };
    if all.estimated != Usd::ZERO {
        remark("estimated", words::estimated(all.estimated));
    }
    if all.estimated != Usd::ZERO && all.requests > 0 {
        let text = "requests are told with the bill: those of what is estimated are missing";
        remark("requests", text.to_owned());
    }
    if all.uncertain != Usd::ZERO {
        remark("uncertain", words::uncertain(all.uncertain));
    }
    let models = told.rows.iter().map(|row| (&row.cell.model, &row.amounts));
    if let Some(text) = words::unpriced(models) {
        remark("unpriced", text);
    }
    if all.by_contract > 0 {
        remark("priority", words::by_contract(all.by_contract));
    }
    let has_rows = !told.rows.is_empty();
    match by {
        SubjectKind::ApiKey if told.rows.iter().any(|row| row.cell.is_apportioned) => {
            let text = "money is told by workspace and model; keys have their share by tokens";
            remark("apportioned", text.to_owned());
        }
        SubjectKind::ApiKey
            if has_rows && told.rows.iter().all(|row| row.cell.api_key.is_none()) =>
        {
            let text = "no usage is told by API key: the `guide` dialect has none";
            remark("no_keys", text.to_owned());
        }
        SubjectKind::User if has_rows && told.rows.iter().all(|row| row.cell.user.is_none()) => {
            let text = "no usage is told by person: only the `analytics` dialect has it";
            remark("no_people", text.to_owned());
        }
        SubjectKind::User if !Reported::of(&[]).by(by, std::slice::from_ref(told)).tokens => {
            let text = "tokens are not reported by user: only their spend is known";
            remark("no_tokens_by_user", text.to_owned());
        }
        SubjectKind::Organization
        | SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => {}
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Screen;
    use crate::domain::directory::Directory;
    use crate::domain::span::Hour;
    use crate::domain::usage::{Cell as UsageCell, CellKey, Part, Tokens, UsageRow};
    use crate::sheet::Sheet;

    const ALL: Reported = Reported {
        tokens: true,
        requests: true,
    };

    fn usd(text: &str) -> Usd {
        Usd::parse(text).unwrap()
    }

    fn amounts(spend: &str, estimated: &str, list: &str, priced: &str) -> Amounts {
        Amounts {
            spend: usd(spend),
            estimated: usd(estimated),
            list: usd(list),
            priced: usd(priced),
            ..Amounts::ZERO
        }
    }

    #[track_caller]
    fn check_headings(told: &[Amounts], expected: &[&str]) {
        let told: Vec<&Amounts> = told.iter().collect();
        let columns = columns(&told);
        let headings: Vec<&str> = columns.iter().filter_map(|column| column.heading).collect();
        assert_eq!(headings, expected);
    }

    #[test]
    fn requests_that_are_not_told_are_unknown() {
        let used = |tokens, requests| Amounts {
            tokens: Tokens {
                input: tokens,
                ..Tokens::default()
            },
            requests,
            ..Amounts::ZERO
        };
        check_headings(&[used(5, 0)], &["USD", "TOKENS"]);
        check_headings(&[used(5, 0), used(5, 1)], &["USD", "TOKENS", "REQUESTS"]);
        let of = |told: Amounts| cells(&told, ALL)[7].clone();
        assert_eq!(of(used(5, 0)), Cell::Empty);
        assert_eq!(of(used(5, 2)), Cell::Count(2));
        assert_eq!(of(used(0, 0)), Cell::Count(0));
        // Money without tokens, as of code execution or by user, says nothing of requests.
        assert_eq!(of(amounts("1", "0", "0", "0")), Cell::Empty);
    }

    #[test]
    fn what_is_reported_of_no_user_is_unknown_for_each() {
        let row = |user: Option<&str>, spend: &str, tokens| UsageRow {
            part: Part::Unattributed,
            cell: UsageCell::from(CellKey {
                model: "m".into(),
                api_key: None,
                user: user.map(crate::domain::ids::ActorId::new),
                is_apportioned: false,
            }),
            hour: Hour::from_count(1),
            amounts: Amounts {
                tokens: Tokens {
                    input: tokens,
                    ..Tokens::default()
                },
                ..amounts(spend, "0", "0", spend)
            },
        };
        let told = |rows| {
            vec![Told {
                organization: "acme".into(),
                directory: Directory::default(),
                rows,
                remarks: Vec::new(),
                is_incomplete: false,
            }]
        };
        let reported = |by, told: &[Told]| Reported::of(told).by(by, told);
        let by_user = told(vec![row(Some("ada"), "5", 0), row(None, "1", 70)]);
        let none = reported(SubjectKind::User, &by_user);
        assert_eq!((none.tokens, none.requests), (false, false));
        let of_ada = cells(&by_user[0].rows[0].amounts, none);
        assert_eq!(of_ada[0], Cell::Money(usd("5")));
        assert_eq!(of_ada[1..8], vec![Cell::Empty; 7]);
        assert_eq!(of_ada[11..], vec![Cell::Empty; of_ada.len() - 11]);
        assert!(reported(SubjectKind::Workspace, &by_user).tokens);
        let kinds: Vec<&str> = remarks(SubjectKind::User, &by_user[0])
            .iter()
            .map(|remark| remark.kind)
            .collect();
        assert_eq!(kinds, ["no_tokens_by_user"]);
        assert!(reported(SubjectKind::User, &told(vec![row(None, "1", 70)])).tokens);
        assert!(reported(SubjectKind::User, &told(Vec::new())).requests);
    }

    #[test]
    fn people_see_bill_and_price_table_only_where_there_is_something() {
        check_headings(&[], &["USD", "TOKENS", "REQUESTS"]);
        // The guide's dialect has spend alone.
        check_headings(&[amounts("5", "0", "0", "0")], &["USD", "TOKENS"]);
        check_headings(&[amounts("5", "0", "0", "5")], &["USD", "TOKENS", "PRICED"]);
        check_headings(
            &[amounts("5", "0", "6", "5"), amounts("7", "2", "0", "6")],
            &[
                "USD",
                "TOKENS",
                "BILLED",
                "ESTIMATED",
                "LIST",
                "PRICED",
                "GAP",
            ],
        );
        // Nothing is billed yet.
        check_headings(
            &[amounts("2", "2", "0", "2")],
            &["USD", "TOKENS", "ESTIMATED", "PRICED"],
        );
    }

    #[test]
    fn the_gap_is_the_bill_without_what_it_was_estimated_at() {
        let money = |text: &str| Cell::Money(usd(text));
        let of = |told: &Amounts, key: &str| {
            let columns = columns(&[told]);
            let place = columns.iter().position(|column| column.key == key);
            cells(told, ALL)[place.unwrap()].clone()
        };
        let partly = amounts("7", "2", "0", "6");
        assert_eq!(of(&partly, "billed_usd"), money("5"));
        assert_eq!(of(&partly, "estimated_usd"), money("2"));
        assert_eq!(of(&partly, "list_usd"), Cell::Empty);
        assert_eq!(of(&partly, "priced_usd"), money("6"));
        assert_eq!(of(&partly, "gap_usd"), money("1"));
        assert_eq!(of(&amounts("5", "0", "0", "0"), "gap_usd"), Cell::Empty);
        assert_eq!(columns(&[]).len(), cells(&partly, ALL).len());
    }

    #[test]
    fn eighty_columns_keep_what_matters_most() {
        let told = amounts("1234567.89", "234567.89", "1300000", "1200000");
        let mut sheet = Sheet {
            columns: columns(&[&told]),
            rows: vec![cells(&told, ALL)],
        };
        sheet.columns.insert(0, shown("api_key", "API KEY"));
        sheet.rows[0].insert(0, Cell::Text("a key with a long name".to_owned()));
        let screen = Screen {
            width: Some(80),
            ..Screen::default()
        };
        let table = sheet.giving_way(&LEAST).as_table(screen);
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
        for heading in ["API KEY", "USD", "ESTIMATED", "GAP"] {
            assert!(table.contains(heading), "{table}");
        }
        assert!(!table.contains("LIST"), "{table}");
    }

    #[test]
    fn a_reader_is_told_of_estimates_prices_contracts_and_shares_once() {
        let row = |model: &str, is_apportioned, amounts| UsageRow {
            part: Part::Unattributed,
            cell: UsageCell::from(CellKey {
                model: model.into(),
                api_key: Some("apikey_a".into()),
                user: None,
                is_apportioned,
            }),
            hour: Hour::from_count(1),
            amounts,
        };
        let unpriced = Amounts {
            unpriced: 7,
            by_contract: 9,
            uncertain: usd("2"),
            ..Amounts::ZERO
        };
        let told = Told {
            organization: "acme".into(),
            directory: Directory::default(),
            rows: vec![
                row("claude-a", true, amounts("7", "2", "0", "6")),
                row("claude-a", true, amounts("1", "1", "0", "1")),
                row("claude-new", false, unpriced),
            ],
            remarks: Vec::new(),
            is_incomplete: false,
        };
        let kinds = |by| -> Vec<&str> {
            let remarks = remarks(by, &told);
            remarks.iter().map(|remark| remark.kind).collect()
        };
        assert_eq!(
            kinds(SubjectKind::ApiKey),
            [
                "estimated",
                "uncertain",
                "unpriced",
                "priority",
                "apportioned"
            ]
        );
        assert_eq!(
            kinds(SubjectKind::User),
            [
                "estimated",
                "uncertain",
                "unpriced",
                "priority",
                "no_people"
            ]
        );
        assert_eq!(
            kinds(SubjectKind::Model),
            ["estimated", "uncertain", "unpriced", "priority"]
        );
        let remarks = remarks(SubjectKind::Model, &told);
        assert!(remarks[0].text.contains("$3.00 of it is an estimate"));
        assert!(remarks[1].text.contains("$2.00 of what tokens cost"));
        assert!(remarks[2].text.contains("`claude-new`"));
    }
}
