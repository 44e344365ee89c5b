//! Columns of amounts: usage, spend, and the gap between bill and price table.

use crate::cli::remarks as texts;
use crate::cli::usage::query::{OrganizationUsage, Remark};
use crate::table::{Cell, Column, hidden, shown, shown_if};
use spendwatch_domain::figures::counting::billed_and_estimated;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::Amounts;

/// Columns that a narrow table drops, in this order.
pub const DROPPABLE: [&str; 6] = [
    "uncertain_usd",
    "list_usd",
    "priced_usd",
    "billed_usd",
    "requests",
    "tokens",
];

/// Returns the columns. Tables show bill, estimate, prices and gap only if any row has them.
pub fn columns(rows: &[&Amounts]) -> Vec<Column> {
    let any = |usd: &dyn Fn(&Amounts) -> Usd| rows.iter().any(|amounts| usd(amounts) != Usd::ZERO);
    let has_prices = has_prices(rows);
    let is_estimated = any(&|amounts| amounts.estimated);
    vec![
        shown("spend_usd", "USD"),
        shown("tokens", "TOKENS"),
        hidden("input_tokens"),
        hidden("output_tokens"),
        hidden("cache_read_tokens"),
        hidden("cache_write_5m_tokens"),
        hidden("cache_write_1h_tokens"),
        shown_if(has_requests(rows), "requests", "REQUESTS"),
        // Without an estimate, all spend is billed.
        shown_if(
            is_estimated && any(&|amounts| billed_and_estimated(amounts).0),
            "billed_usd",
            "BILLED",
        ),
        shown_if(is_estimated, "estimated_usd", "ESTIMATED"),
        shown_if(any(&|amounts| amounts.list), "list_usd", "LIST"),
        shown_if(has_prices, "priced_usd", "PRICED"),
        shown_if(
            any(&|amounts| gap(amounts).unwrap_or_default()),
            "gap_usd",
            "BILL−LIST",
        ),
        hidden("cache_savings_usd"),
        hidden("unpriced_tokens"),
        hidden("priority_tokens"),
        shown_if(
            any(&|amounts| amounts.uncertain),
            "uncertain_usd",
            "UNCERTAIN",
        ),
    ]
}

/// Returns whether requests are known for any row.
fn has_requests(rows: &[&Amounts]) -> bool {
    rows.is_empty() || rows.iter().any(|amounts| requests(amounts).is_some())
}

/// Returns the requests, or `None` if there is usage without any, which means that they are not reported.
fn requests(amounts: &Amounts) -> Option<i64> {
    let is_unused = amounts.tokens.sum() == 0 && amounts.spend == Usd::ZERO;
    (amounts.requests != 0 || is_unused).then_some(amounts.requests)
}

/// Amounts that the server reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedAmounts {
    /// Tokens, and amounts derived from them.
    pub tokens: bool,
    pub requests: bool,
}

impl ReportedAmounts {
    /// Returns what is reported for sums of all rows.
    pub fn for_totals(usages: &[OrganizationUsage]) -> ReportedAmounts {
        let mut rows = usages.iter().flat_map(|usage| &usage.rows);
        let is_unused = usages.iter().all(|usage| usage.rows.is_empty());
        ReportedAmounts {
            tokens: true,
            requests: is_unused || rows.any(|row| row.amounts.requests != 0),
        }
    }

    /// Returns what is reported for rows by subject. The `analytics` dialect has spend by user, but no tokens by user.
    pub fn for_subjects(self, by: SubjectKind, usages: &[OrganizationUsage]) -> ReportedAmounts {
        let mut rows = usages.iter().flat_map(|usage| &usage.rows);
        let user_rows = || rows.clone().filter(|row| row.usage_key.user.is_some());
        let has_money = user_rows().any(|row| row.amounts.spend != Usd::ZERO);
        let has_tokens = user_rows().any(|row| row.amounts.tokens.sum() != 0);
        let is_by_user = by == SubjectKind::User && rows.any(|row| row.usage_key.user.is_some());
        ReportedAmounts {
            tokens: !is_by_user || !has_money || has_tokens,
            ..self
        }
    }
}

/// Returns a row of unknown amounts.
pub fn unknown() -> Vec<Cell> {
    vec![Cell::Empty; columns(&[]).len()]
}

/// Returns whether any tokens have a price.
pub fn has_prices(rows: &[&Amounts]) -> bool {
    rows.iter()
        .any(|amounts| amounts.priced != Usd::ZERO || amounts.estimated != Usd::ZERO)
}

/// Returns the bill minus the price-table value of billed usage, or `None` if no tokens have a price.
fn gap(amounts: &Amounts) -> Option<Usd> {
    let (billed, priced) = billed_and_estimated(amounts);
    (amounts.priced != Usd::ZERO).then_some(billed - priced)
}

/// Returns one row of [`columns`].
pub fn cells(amounts: &Amounts, reported: ReportedAmounts) -> Vec<Cell> {
    let tokens = &amounts.tokens;
    let requests = requests(amounts).filter(|_| reported.requests);
    let requests = requests.map(|count| Cell::Count(count.into()));
    let count = |count: i64| Cell::from(reported.tokens.then_some(Cell::Count(count.into())));
    let (billed, _) = billed_and_estimated(amounts);
    let money = |is_known: bool, usd: Usd| Cell::from(is_known.then_some(usd));
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
        requests.into(),
        Cell::Money(billed),
        Cell::Money(amounts.estimated),
        money(amounts.list != Usd::ZERO, amounts.list),
        money(is_priced, amounts.priced),
        gap.into(),
        money(is_priced, amounts.saved),
        count(amounts.unpriced),
        count(amounts.by_contract),
        money(is_priced, amounts.uncertain),
    ]
}

/// Returns remarks about the amounts.
pub fn remarks(by: SubjectKind, usage: &OrganizationUsage) -> Vec<Remark> {
    let all = usage
        .rows
        .iter()
        .fold(Amounts::ZERO, |all, row| all + row.amounts);
    let name = &usage.organization;
    let mut remarks = Vec::new();
    let mut remark = |kind, text: String| remarks.push(Remark::new(name, kind, None, &text));
    if all.estimated != Usd::ZERO {
        remark("estimated", texts::estimated(all.estimated));
    }
    if all.estimated != Usd::ZERO && all.requests > 0 {
        let text = "requests are reported with the bill; those of estimated usage are missing";
        remark("requests", text.to_owned());
    }
    if all.uncertain != Usd::ZERO {
        remark("uncertain", texts::uncertain(all.uncertain));
    }
    let models = usage
        .rows
        .iter()
        .map(|row| (&row.usage_key.model, &row.amounts));
    if let Some(text) = texts::unpriced(models) {
        remark("unpriced", text);
    }
    if all.by_contract > 0 {
        remark("priority", texts::by_contract(all.by_contract));
    }
    let has_rows = !usage.rows.is_empty();
    match by {
        SubjectKind::ApiKey if usage.rows.iter().any(|row| row.usage_key.is_apportioned) => {
            let text =
                "spend is reported by workspace and model; it is apportioned to keys by tokens";
            remark("apportioned", text.to_owned());
        }
        SubjectKind::ApiKey
            if has_rows && usage.rows.iter().all(|row| row.usage_key.api_key.is_none()) =>
        {
            let text = "usage is not reported by API key: the `guide` dialect has none";
            remark("no_keys", text.to_owned());
        }
        SubjectKind::User
            if has_rows && usage.rows.iter().all(|row| row.usage_key.user.is_none()) =>
        {
            let text = "usage is not reported by user: only the `analytics` dialect has it";
            remark("no_people", text.to_owned());
        }
        SubjectKind::User
            if !ReportedAmounts::for_totals(&[])
                .for_subjects(by, std::slice::from_ref(usage))
                .tokens =>
        {
            let text = "tokens are not reported by user, only spend";
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
    use crate::cli::output::screen::Screen;
    use crate::table::OutputTable;
    use spendwatch_domain::org::directory::Directory;
    use spendwatch_domain::units::span::Hour;
    use spendwatch_domain::usage::bucket::{Part, Tokens, UsageKey, UsageKeyFields, UsageRow};

    const ALL: ReportedAmounts = ReportedAmounts {
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
    fn check_headings(rows: &[Amounts], expected: &[&str]) {
        let rows: Vec<&Amounts> = rows.iter().collect();
        let columns = columns(&rows);
        let headings: Vec<&str> = columns.iter().filter_map(|column| column.heading).collect();
        assert_eq!(headings, expected);
    }

    #[test]
    fn unreported_requests_are_unknown() {
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
        let requests = |amounts: Amounts| cells(&amounts, ALL)[7].clone();
        assert_eq!(requests(used(5, 0)), Cell::Empty);
        assert_eq!(requests(used(5, 2)), Cell::Count(2));
        assert_eq!(requests(used(0, 0)), Cell::Count(0));
        // Spend without tokens, as for code execution or by user, leaves requests unknown.
        assert_eq!(requests(amounts("1", "0", "0", "0")), Cell::Empty);
    }

    #[test]
    fn amounts_not_reported_by_user_are_unknown() {
        let row = |user: Option<&str>, spend: &str, tokens| UsageRow {
            part: Part::Unattributed,
            usage_key: UsageKey::from(UsageKeyFields {
                model: "m".into(),
                api_key: None,
                user: user.map(spendwatch_domain::units::ids::ActorId::new),
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
        let usage = |rows| {
            vec![OrganizationUsage {
                organization: "acme".into(),
                directory: Directory::default(),
                rows,
                remarks: Vec::new(),
                is_incomplete: false,
            }]
        };
        let reported = |by, usages: &[OrganizationUsage]| {
            ReportedAmounts::for_totals(usages).for_subjects(by, usages)
        };
        let by_user = usage(vec![row(Some("ada"), "5", 0), row(None, "1", 70)]);
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
        assert!(reported(SubjectKind::User, &usage(vec![row(None, "1", 70)])).tokens);
        assert!(reported(SubjectKind::User, &usage(Vec::new())).requests);
    }

    #[test]
    fn empty_columns_are_hidden_in_tables() {
        check_headings(&[], &["USD", "TOKENS", "REQUESTS"]);
        // The `guide` dialect has only spend.
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
                "BILL−LIST",
            ],
        );
        // Nothing is billed yet.
        check_headings(
            &[amounts("2", "2", "0", "2")],
            &["USD", "TOKENS", "ESTIMATED", "PRICED"],
        );
    }

    #[test]
    fn gap_compares_only_billed_usage() {
        let money = |text: &str| Cell::Money(usd(text));
        let cell = |amounts: &Amounts, key: &str| {
            let columns = columns(&[amounts]);
            let position = columns.iter().position(|column| column.key == key);
            cells(amounts, ALL)[position.unwrap()].clone()
        };
        let partly = amounts("7", "2", "0", "6");
        assert_eq!(cell(&partly, "billed_usd"), money("5"));
        assert_eq!(cell(&partly, "estimated_usd"), money("2"));
        assert_eq!(cell(&partly, "list_usd"), Cell::Empty);
        assert_eq!(cell(&partly, "priced_usd"), money("6"));
        assert_eq!(cell(&partly, "gap_usd"), money("1"));
        assert_eq!(cell(&amounts("5", "0", "0", "0"), "gap_usd"), Cell::Empty);
        assert_eq!(columns(&[]).len(), cells(&partly, ALL).len());
    }

    #[test]
    fn narrow_table_keeps_important_columns() {
        let row = amounts("1234567.89", "234567.89", "1300000", "1200000");
        let mut table = OutputTable {
            columns: columns(&[&row]),
            rows: vec![cells(&row, ALL)],
        };
        table.columns.insert(0, shown("api_key", "API KEY"));
        table.rows[0].insert(0, Cell::Text("a key with a long name".to_owned()));
        let screen = Screen {
            width: Some(80),
            ..Screen::default()
        };
        let text = table.with_droppable(&DROPPABLE).as_table(screen);
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for heading in ["API KEY", "USD", "ESTIMATED", "BILL−LIST"] {
            assert!(text.contains(heading), "{text}");
        }
        assert!(
            !text.split_whitespace().any(|word| word == "LIST"),
            "{text}"
        );
    }

    #[test]
    fn each_remark_is_made_once() {
        let row = |model: &str, is_apportioned, amounts| UsageRow {
            part: Part::Unattributed,
            usage_key: UsageKey::from(UsageKeyFields {
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
        let usage = OrganizationUsage {
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
            let remarks = remarks(by, &usage);
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
        let remarks = remarks(SubjectKind::Model, &usage);
        assert!(remarks[0].text.contains("$3.00 of it is estimated"));
        assert!(remarks[1].text.contains("$2.00 of the list price"));
        assert!(remarks[2].text.contains("`claude-new`"));
    }
}
