//! The columns of amounts: what was used, what it cost, and how far the bill and the price table lie apart.

use crate::cli::output::{Cell, Column, hidden, shown};
use crate::cli::usage::question::{Remark, Told};
use crate::domain::breakdown::Entry;
use crate::domain::counting::sides;
use crate::domain::ids::OrganizationName;
use crate::domain::money::Usd;
use crate::domain::subject::SubjectKind;
use crate::domain::usage::Amounts;

/// The columns; people see what is estimated, and the gap, where the service tells tokens that have a price.
pub fn columns(has_prices: bool) -> Vec<Column> {
    let of_prices = |key, heading| match has_prices {
        true => shown(key, heading),
        false => hidden(key),
    };
    vec![
        shown("spend_usd", "USD"),
        shown("tokens", "TOKENS"),
        hidden("input_tokens"),
        hidden("output_tokens"),
        hidden("cache_read_tokens"),
        hidden("cache_write_5m_tokens"),
        hidden("cache_write_1h_tokens"),
        shown("requests", "REQUESTS"),
        hidden("billed_usd"),
        of_prices("estimated_usd", "ESTIMATED"),
        hidden("list_usd"),
        hidden("priced_usd"),
        of_prices("gap_usd", "GAP"),
        hidden("cache_savings_usd"),
        hidden("unpriced_tokens"),
        hidden("priority_tokens"),
    ]
}

/// What stands in them.
pub fn cells(amounts: &Amounts) -> Vec<Cell> {
    let tokens = &amounts.tokens;
    let count = |count: i64| Cell::Count(i128::from(count));
    let (billed, estimated) = sides(amounts);
    let money = |known: bool, usd: Usd| if known { Cell::Money(usd) } else { Cell::Empty };
    let is_priced = amounts.priced != Usd::ZERO;
    vec![
        Cell::Money(amounts.spend),
        count(tokens.sum()),
        count(tokens.input),
        count(tokens.output),
        count(tokens.cache_read),
        count(tokens.cache_write_5m),
        count(tokens.cache_write_1h),
        count(amounts.requests),
        Cell::Money(billed),
        Cell::Money(amounts.estimated),
        money(amounts.list != Usd::ZERO, amounts.list),
        money(is_priced, amounts.priced),
        money(is_priced, billed - estimated),
        money(is_priced, amounts.saved),
        count(amounts.unpriced),
        count(amounts.by_contract),
    ]
}

/// Whether any line has tokens with a price.
pub fn has_prices(lines: &[(&OrganizationName, Entry)]) -> bool {
    let mut amounts = lines.iter().map(|(_, entry)| &entry.amounts);
    amounts.any(|amounts| amounts.priced != Usd::ZERO || amounts.estimated != Usd::ZERO)
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
        let text = format!(
            "${} of it is an estimate by tokens and list prices, until it is billed",
            all.estimated.grouped()
        );
        remark("estimated", text);
    }
    if all.unpriced > 0 {
        let text = format!(
            "what {} tokens cost is missing: their model has no price; add it to the file of `[prices]`",
            all.unpriced
        );
        remark("unpriced", text);
    }
    if all.by_contract > 0 {
        let text = format!(
            "{} tokens of the Priority Tier are in no bill: their price stands in a contract",
            all.by_contract
        );
        remark("priority", text);
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
        SubjectKind::Organization
        | SubjectKind::Workspace
        | SubjectKind::Model
        | SubjectKind::ApiKey
        | SubjectKind::User
        | SubjectKind::Team => {}
    }
    remarks
}
