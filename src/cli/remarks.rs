//! What a reader of amounts has to know, in words that `usage` and `check --limit` share.

use std::collections::BTreeMap;

use crate::domain::ids::ModelName;
use crate::domain::money::{Usd, group_thousands};
use crate::domain::plural::agreeing;
use crate::domain::usage::Amounts;
use crate::notify::formatting;

/// So many models are named.
const MOST_NAMED: usize = 5;

/// Part of it is an estimate.
pub fn estimated(usd: Usd) -> String {
    format!(
        "${} of it is an estimate by tokens and list prices, until it is billed",
        usd.grouped()
    )
}

/// The part of an estimate that is not certain.
pub fn uncertain(usd: Usd) -> String {
    format!(
        "${} of what tokens cost by list price is uncertain: the price depends on something that is not reported or has no \
         public price, such as the length of prompts, fast mode or the service tier",
        usd.grouped()
    )
}

/// Tokens that are in no bill.
pub fn by_contract(n_tokens: i64) -> String {
    format!(
        "{} {} of the Priority Tier {} in no bill: {} price stands in a contract",
        grouped(n_tokens),
        agreeing(&n_tokens, "token", "tokens"),
        agreeing(&n_tokens, "is", "are"),
        agreeing(&n_tokens, "its", "their")
    )
}

/// Tokens that have neither a price nor a bill, with their models; those with the most tokens first.
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
    let n_more = models.len().saturating_sub(MOST_NAMED);
    let named = models.iter().take(MOST_NAMED);
    let mut named: Vec<String> = named
        .map(|(model, _)| format!("`{}`", formatting::line(model.as_str())))
        .collect();
    if n_more > 0 {
        named.push(format!("{n_more} more"));
    }
    Some(format!(
        "what {} {} is missing: no price is known of {}; add it to the file of `[prices]`",
        grouped(n_tokens),
        agreeing(&n_tokens, "token costs", "tokens cost"),
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
    fn models_without_a_price_are_named_and_not_all_of_many() {
        let of = |unpriced| Amounts {
            unpriced,
            ..Amounts::ZERO
        };
        let (new, old): (ModelName, ModelName) = ("claude-new".into(), "claude-old".into());
        assert_eq!(unpriced([(&new, &of(0))]), None);
        let one = unpriced([(&new, &of(1))]).unwrap();
        assert!(one.starts_with("what 1 token costs is missing"), "{one}");
        assert_eq!(
            by_contract(1),
            "1 token of the Priority Tier is in no bill: its price stands in a contract"
        );
        assert_eq!(
            unpriced([(&old, &of(5)), (&new, &of(1200)), (&old, &of(6))]).unwrap(),
            "what 1,211 tokens cost is missing: no price is known of `claude-new`, `claude-old`; \
             add it to the file of `[prices]`"
        );
        let many: Vec<(ModelName, Amounts)> = (0..8)
            .map(|n| (format!("m{n}").as_str().into(), of(1)))
            .collect();
        let told = unpriced(many.iter().map(|(model, amounts)| (model, amounts))).unwrap();
        assert!(told.contains("`m4`, 3 more;"), "{told}");
    }
}
