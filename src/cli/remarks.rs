//! Remarks about amounts, shared by `usage` and `check --limit`.

use std::collections::BTreeMap;

use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::money::{Usd, group_thousands};
use spendwatch_domain::units::plural::agreeing;
use spendwatch_domain::usage::bucket::Amounts;
use spendwatch_notify::wording::formatting;

/// Maximum number of models to name.
const MAX_NAMED: usize = 5;

/// Describes the estimated part of the spend.
pub fn estimated(usd: Usd) -> String {
    format!(
        "${} of it is estimated from tokens and list prices, not yet billed",
        usd.grouped()
    )
}

/// Describes the part of an estimate whose price is uncertain.
pub fn uncertain(usd: Usd) -> String {
    format!(
        "${} of the list price is uncertain: it depends on something that is not reported or has no public price, such as the \
         length of prompts, fast mode or the service tier",
        usd.grouped()
    )
}

/// Describes tokens that are in no bill.
pub fn by_contract(n_tokens: i64) -> String {
    format!(
        "{} {} of the Priority Tier {} billed by contract and not included",
        grouped(n_tokens),
        agreeing(&n_tokens, "token", "tokens"),
        agreeing(&n_tokens, "is", "are"),
    )
}

/// Describes tokens that have neither a price nor a bill, and names their models, those with the most tokens first.
pub fn unpriced<'a>(
    amounts: impl IntoIterator<Item = (&'a ModelName, &'a Amounts)>,
) -> Option<String> {
    let mut by_model: BTreeMap<&ModelName, i64> = BTreeMap::new();
    for (model, amounts) in amounts {
        if amounts.unpriced != 0 {
            *by_model.entry(model).or_default() += amounts.unpriced;
        }
    }
    let n_tokens: i64 = by_model.values().sum();
    if n_tokens <= 0 {
        return None;
    }
    let mut models: Vec<(&ModelName, i64)> = by_model.into_iter().collect();
    models.sort_by_key(|(_, n_tokens)| std::cmp::Reverse(*n_tokens));
    let n_more = models.len().saturating_sub(MAX_NAMED);
    let named = models.iter().take(MAX_NAMED);
    let mut named: Vec<String> = named
        .map(|(model, _)| format!("`{}`", formatting::single_line(model.as_str())))
        .collect();
    if n_more > 0 {
        named.push(format!("{n_more} more"));
    }
    Some(format!(
        "{} {} no known price and {} not included: {}; add the prices to the file of `[prices]`",
        grouped(n_tokens),
        agreeing(&n_tokens, "token has", "tokens have"),
        agreeing(&n_tokens, "is", "are"),
        named.join(", ")
    ))
}

fn grouped(n_tokens: i64) -> String {
    group_thousands(&n_tokens.unsigned_abs().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_a_limited_number_of_models_without_price() {
        let of = |unpriced| Amounts {
            unpriced,
            ..Amounts::ZERO
        };
        let (new, old): (ModelName, ModelName) = ("claude-new".into(), "claude-old".into());
        assert_eq!(unpriced([(&new, &of(0))]), None);
        let one = unpriced([(&new, &of(1))]).unwrap();
        assert!(
            one.starts_with("1 token has no known price and is not included"),
            "{one}"
        );
        assert_eq!(
            by_contract(1),
            "1 token of the Priority Tier is billed by contract and not included"
        );
        assert_eq!(
            unpriced([(&old, &of(5)), (&new, &of(1200)), (&old, &of(6))]).unwrap(),
            "1,211 tokens have no known price and are not included: `claude-new`, `claude-old`; \
             add the prices to the file of `[prices]`"
        );
        let many: Vec<(ModelName, Amounts)> = (0..8)
            .map(|n| (format!("m{n}").as_str().into(), of(1)))
            .collect();
        let text = unpriced(many.iter().map(|(model, amounts)| (model, amounts))).unwrap();
        assert!(text.contains("`m4`, 3 more;"), "{text}");
    }
}
