//! Distributes totals by weight: daily bills to hours, and a model's usage to its API keys. Shares always sum to the
//! whole.

use std::collections::BTreeMap;

use crate::units::ids::ModelName;
use crate::units::money::Usd;
use crate::units::span::{Day, Hour};
use crate::usage::bucket::{Amounts, Buckets, UsageByKey, UsageKey, add_to, by_model};

/// Splits a total by non-negative weights, rounding down. The last share gets the rest, or everything if all weights
/// are 0.
pub fn split(total: i128, weights: &[i128]) -> Vec<i128> {
    let sum: i128 = weights.iter().sum();
    let mut shares: Vec<i128> = weights
        .iter()
        .map(|weight| share(total, *weight, sum))
        .collect();
    if shares.pop().is_some() {
        let given: i128 = shares.iter().sum();
        shares.push(total - given);
    }
    shares
}

/// `⌊total × weight ÷ sum⌋`. On overflow, both weights lose low digits that are below the precision of any amount.
fn share(total: i128, mut weight: i128, mut sum: i128) -> i128 {
    while sum > 0 {
        if let Some(product) = total.checked_mul(weight) {
            return product.div_euclid(sum);
        }
        weight >>= 1;
        sum >>= 1;
    }
    0
}

/// Distributes a day's bill to its hours, model by model: by list price, else by tokens, or evenly if there is no
/// usage. The last hour gets the rounding difference. Replaces the estimates of the hours.
pub fn spread(bill: &UsageByKey, hours: &mut Buckets, day: Day) {
    let mut models: BTreeMap<ModelName, Vec<(Hour, UsageKey)>> = BTreeMap::new();
    for (hour, usage) in hours.range_mut(day.first_hour()..=day.last_hour()) {
        for (usage_key, amounts) in usage.iter_mut() {
            amounts.spend = Usd::ZERO;
            amounts.estimated = Usd::ZERO;
            amounts.unpriced = 0;
            let of_model = models.entry(usage_key.model.clone()).or_default();
            of_model.push((*hour, usage_key.clone()));
        }
    }
    for (usage_key, billed) in by_model(bill) {
        let places = models.remove(&usage_key.model).unwrap_or_default();
        let shares = of_hours(billed.spend, &places, hours);
        let given: i128 = shares.iter().sum();
        let mut give = |hour: Hour, usage_key: &UsageKey, pico: i128| {
            let spend = Usd::from_pico(pico);
            add_to(
                hours.entry(hour).or_default(),
                usage_key,
                Amounts {
                    spend,
                    ..Amounts::ZERO
                },
            );
        };
        if shares.is_empty() {
            let evenly = split(billed.spend.pico(), &[1; 24]);
            for (hour, pico) in (0..).map(|of| day.first_hour().plus(of)).zip(evenly) {
                give(hour, &usage_key, pico);
            }
            continue;
        }
        for ((hour, usage_key), pico) in places.iter().zip(shares) {
            give(*hour, usage_key, pico);
        }
        let last = places
            .iter()
            .rfind(|(hour, _)| *hour == day.last_hour())
            .map_or(&usage_key, |(_, usage_key)| usage_key);
        give(day.last_hour(), last, billed.spend.pico() - given);
    }
    for (_, usage) in hours.range_mut(day.first_hour()..=day.last_hour()) {
        usage.retain(|_, amounts| !amounts.is_zero());
    }
    hours.retain(|_, usage| !usage.is_empty());
}

/// The share of each hour and key, rounded down; empty if all weights are 0.
fn of_hours(bill: Usd, places: &[(Hour, UsageKey)], hours: &Buckets) -> Vec<i128> {
    let weights = weights(
        places
            .iter()
            .map(|(hour, usage_key)| &hours[hour][usage_key]),
    );
    let sum: i128 = weights.iter().sum();
    weights
        .iter()
        .map(|weight| share(bill.pico(), *weight, sum))
        .collect()
}

/// Weights by list price, else by tokens; empty if both are 0.
fn weights<'a>(amounts: impl Iterator<Item = &'a Amounts> + Clone) -> Vec<i128> {
    let priced = amounts.clone().map(|amounts| amounts.priced.pico().max(0));
    let tokens = amounts.map(|amounts| i128::from(amounts.tokens.sum().max(0)));
    let has_any = |weights: &Vec<i128>| weights.iter().any(|weight| *weight > 0);
    let priced: Vec<i128> = priced.collect();
    if has_any(&priced) {
        return priced;
    }
    Some(tokens.collect()).filter(has_any).unwrap_or_default()
}

/// Distributes a day's bill to the day's usage keys, model by model, by list price; for days without hourly data.
pub fn bill(usage: &mut UsageByKey, billed: &UsageByKey) {
    for amounts in usage.values_mut() {
        amounts.spend = Usd::ZERO;
        amounts.estimated = Usd::ZERO;
        amounts.unpriced = 0;
    }
    for (whole, billed) in by_model(billed) {
        let places: Vec<UsageKey> = usage
            .keys()
            .filter(|usage_key| usage_key.model == whole.model)
            .cloned()
            .collect();
        let weights = weights(places.iter().map(|usage_key| &usage[usage_key]));
        let (places, shares) = if weights.is_empty() {
            (vec![whole], vec![billed.spend.pico()])
        } else {
            (places, split(billed.spend.pico(), &weights))
        };
        for (usage_key, pico) in places.iter().zip(shares) {
            let spend = Usd::from_pico(pico);
            let amounts = Amounts {
                spend,
                ..Amounts::ZERO
            };
            add_to(usage, usage_key, amounts);
        }
    }
    usage.retain(|_, amounts| !amounts.is_zero());
}

/// Distributes a model's usage to its API keys: each token class by the keys' tokens of that class, everything else by
/// their list price.
pub fn apportion(usage: &mut UsageByKey, model: &ModelName, keys: &UsageByKey) {
    let whole = UsageKey::for_model(model.clone());
    let Some(amounts) = usage.get(&whole).copied() else {
        return;
    };
    let worth = weights(keys.values());
    if worth.is_empty() {
        return;
    }
    usage.remove(&whole);
    let (money, counts) = (amounts.money(), amounts.counts());
    let mut parts = vec![(Amounts::ZERO.money(), Amounts::ZERO.counts()); keys.len()];
    for (place, usd) in money.iter().enumerate() {
        for (part, pico) in parts.iter_mut().zip(split(usd.pico(), &worth)) {
            part.0[place] = Usd::from_pico(pico);
        }
    }
    for (place, count) in counts.iter().enumerate() {
        let own: Vec<i128> = keys
            .values()
            .map(|used| i128::from(used.counts()[place].max(0)))
            .collect();
        let has_own = own.iter().any(|own| *own > 0);
        let weights = if has_own { &own } else { &worth };
        for (part, count) in parts.iter_mut().zip(split(i128::from(*count), weights)) {
            part.1[place] = i64::try_from(count).expect("a share of a count is a count");
        }
    }
    for (key, (money, counts)) in keys.keys().zip(parts) {
        add_to(usage, key, Amounts::from_figures(money, counts));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::usage::bucket::{Tokens, UsageKeyFields, sum};

    const DAY: Day = Day::from_count(20_000);

    /// Creates a key of model `m`; place 0 has no API key.
    fn key(place: i32) -> UsageKey {
        UsageKey::from(UsageKeyFields {
            model: "m".into(),
            api_key: (place > 0).then(|| format!("key_{place}").as_str().into()),
            user: None,
            is_apportioned: false,
        })
    }

    fn used(priced: i64, tokens: i64) -> Amounts {
        let priced = Usd::from_pico(i128::from(priced));
        Amounts {
            spend: priced,
            estimated: priced,
            priced,
            tokens: Tokens {
                input: tokens,
                ..Tokens::default()
            },
            ..Amounts::ZERO
        }
    }

    fn billed(pico: i64) -> UsageByKey {
        let spend = Usd::from_pico(i128::from(pico));
        let amounts = Amounts {
            spend,
            ..Amounts::ZERO
        };
        [("m".into(), amounts)].into()
    }

    fn spends(hours: &Buckets) -> Vec<(i32, i128)> {
        let first = DAY.first_hour().count();
        hours
            .iter()
            .map(|(hour, usage)| (hour.count() - first, sum(usage).spend.pico()))
            .collect()
    }

    #[track_caller]
    fn check(bill: i64, hours: &[(i32, Amounts)], expected: &[(i32, i128)]) {
        let mut buckets: Buckets = hours
            .iter()
            .map(|(hour, amounts)| {
                (
                    DAY.first_hour().plus(*hour),
                    [("m".into(), *amounts)].into(),
                )
            })
            .collect();
        spread(&billed(bill), &mut buckets, DAY);
        assert_eq!(spends(&buckets), expected);
    }

    #[test]
    fn a_bill_is_distributed_by_estimate_with_rounding_in_the_last_hour() {
        check(
            90,
            &[(3, used(10, 1)), (4, used(20, 1))],
            &[(3, 30), (4, 60)],
        );
        check(
            100,
            &[(3, used(1, 1)), (4, used(2, 1))],
            &[(3, 33), (4, 66), (23, 1)],
        );
        check(
            100,
            &[(3, used(1, 1)), (23, used(2, 1))],
            &[(3, 33), (23, 67)],
        );
        // Without a price, by tokens.
        check(90, &[(3, used(0, 1)), (4, used(0, 2))], &[(3, 30), (4, 60)]);
        // A bill of zero replaces the estimate.
        check(0, &[(3, used(7, 1))], &[(3, 0)]);
        let evenly: Vec<(i32, i128)> = (0..23).map(|hour| (hour, 4)).chain([(23, 8)]).collect();
        check(100, &[], &evenly);
    }

    proptest! {
        #[test]
        fn the_shares_sum_to_the_whole(
            bill in 0i64..1_000_000_000_000_000,
            hours in prop::collection::btree_map(0i32..24, (0i64..1_000_000_000_000_000, 0i64..1_000_000), 0..24),
        ) {
            let mut buckets: Buckets = hours
                .iter()
                .map(|(hour, (priced, tokens))| {
                    (DAY.first_hour().plus(*hour), [("m".into(), used(*priced, *tokens))].into())
                })
                .collect();
            let before: i64 = buckets.values().map(|usage| sum(usage).tokens.sum()).sum();
            spread(&billed(bill), &mut buckets, DAY);
            let total = buckets.values().fold(Amounts::ZERO, |total, usage| total + sum(usage));
            prop_assert_eq!(total.spend.pico(), i128::from(bill));
            prop_assert_eq!(total.estimated, Usd::ZERO);
            prop_assert_eq!(total.tokens.sum(), before);
        }

        #[test]
        fn apportioned_keys_sum_to_the_whole(
            whole in (0i64..1_000_000_000_000, 0i64..1_000_000_000),
            keys in prop::collection::vec((0i64..1_000_000, 0i64..1_000_000), 1..9),
        ) {
            let model = ModelName::from("m");
            let mut usage: UsageByKey = [("m".into(), used(whole.0, whole.1))].into();
            let before = sum(&usage);
            let weights = (0..).zip(&keys).map(|(place, (priced, tokens))| {
                (key(place), used(*priced, *tokens))
            });
            apportion(&mut usage, &model, &weights.collect());
            prop_assert_eq!(sum(&usage), before);
        }

        #[test]
        fn a_daily_bill_is_distributed_to_the_usage_keys(
            bill_pico in 0i64..1_000_000_000_000_000,
            keys in prop::collection::vec((0i64..1_000_000, 0i64..1_000_000), 0..9),
        ) {
            let mut usage: UsageByKey = (0..).zip(&keys).map(|(place, (priced, tokens))| {
                (key(place + 1), used(*priced, *tokens))
            }).collect();
            let tokens = sum(&usage).tokens;
            bill(&mut usage, &billed(bill_pico));
            prop_assert_eq!(sum(&usage).spend.pico(), i128::from(bill_pico));
            prop_assert_eq!(sum(&usage).tokens, tokens);
        }
    }

    #[test]
    fn extreme_amounts_are_split() {
        let weights = [i128::MAX / 4, i128::MAX / 4];
        let shares = split(i128::MAX / 2, &weights);
        assert_eq!(shares.iter().sum::<i128>(), i128::MAX / 2);
        assert_eq!(split(7, &[0, 0]), [0, 7]);
        assert_eq!(split(7, &[]), Vec::<i128>::new());
    }
}
