//! Shares of a whole: what a bill says of a day given to its hours, and what a model used given to its keys. The shares always
//! sum to the whole.

use std::collections::BTreeMap;

use crate::domain::ids::ModelName;
use crate::domain::money::Usd;
use crate::domain::span::{Day, Hour};
use crate::domain::usage::{Amounts, Buckets, Cell, Cells, add_to, by_model};

/// What is given to each of some weights, rounded down; what is left over goes to the last one. Weights are not negative;
/// where all of them are 0, all goes to the last one.
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

/// `⌊total × weight ÷ sum⌋`. Where the product outgrows its type, both weights lose digits that no amount has.
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

/// Gives a day's bill to the day's hours, model by model, as their prices say. Of a model without a price, as their tokens say;
/// of what has no usage at all, evenly. The last hour takes the rounding. What the hours had as an estimate is replaced.
pub fn spread(bill: &Cells, hours: &mut Buckets, day: Day) {
    let mut models: BTreeMap<ModelName, Vec<(Hour, Cell)>> = BTreeMap::new();
    for (hour, cells) in hours.range_mut(day.first_hour()..=day.last_hour()) {
        for (cell, amounts) in cells.iter_mut() {
            amounts.spend = Usd::ZERO;
            amounts.estimated = Usd::ZERO;
            amounts.unpriced = 0;
            let of_model = models.entry(cell.model.clone()).or_default();
            of_model.push((*hour, cell.clone()));
        }
    }
    for (cell, billed) in by_model(bill) {
        let places = models.remove(&cell.model).unwrap_or_default();
        let shares = of_hours(billed.spend, &places, hours);
        let given: i128 = shares.iter().sum();
        let mut give = |hour: Hour, cell: &Cell, pico: i128| {
            let spend = Usd::from_pico(pico);
            add_to(
                hours.entry(hour).or_default(),
                cell,
                Amounts {
                    spend,
                    ..Amounts::ZERO
                },
            );
        };
        if shares.is_empty() {
            let evenly = split(billed.spend.pico(), &[1; 24]);
            for (hour, pico) in (0..).map(|of| day.first_hour().plus(of)).zip(evenly) {
                give(hour, &cell, pico);
            }
            continue;
        }
        for ((hour, cell), pico) in places.iter().zip(shares) {
            give(*hour, cell, pico);
        }
        let last = places
            .iter()
            .rfind(|(hour, _)| *hour == day.last_hour())
            .map_or(&cell, |(_, cell)| cell);
        give(day.last_hour(), last, billed.spend.pico() - given);
    }
    for (_, cells) in hours.range_mut(day.first_hour()..=day.last_hour()) {
        cells.retain(|_, amounts| !amounts.is_zero());
    }
    hours.retain(|_, cells| !cells.is_empty());
}

/// What each place gets, rounded down; empty where none of them has a weight.
fn of_hours(bill: Usd, places: &[(Hour, Cell)], hours: &Buckets) -> Vec<i128> {
    let weights = weights(places.iter().map(|(hour, cell)| &hours[hour][cell]));
    let sum: i128 = weights.iter().sum();
    weights
        .iter()
        .map(|weight| share(bill.pico(), *weight, sum))
        .collect()
}

/// By price; where nothing has one by tokens; where there are none either, no weights at all.
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

/// Gives a day's bill to the cells of that day, model by model, as their prices say: for days of which no hours are kept.
pub fn bill(cells: &mut Cells, billed: &Cells) {
    for amounts in cells.values_mut() {
        amounts.spend = Usd::ZERO;
        amounts.estimated = Usd::ZERO;
        amounts.unpriced = 0;
    }
    for (whole, billed) in by_model(billed) {
        let places: Vec<Cell> = cells
            .keys()
            .filter(|cell| cell.model == whole.model)
            .cloned()
            .collect();
        let weights = weights(places.iter().map(|cell| &cells[cell]));
        let (places, shares) = if weights.is_empty() {
            (vec![whole], vec![billed.spend.pico()])
        } else {
            (places, split(billed.spend.pico(), &weights))
        };
        for (cell, pico) in places.iter().zip(shares) {
            let spend = Usd::from_pico(pico);
            let amounts = Amounts {
                spend,
                ..Amounts::ZERO
            };
            add_to(cells, cell, amounts);
        }
    }
    cells.retain(|_, amounts| !amounts.is_zero());
}

/// Gives what a model used to the keys that used it: each class of tokens as the keys' tokens of that class, all else as what
/// the keys' tokens are worth.
pub fn apportion(cells: &mut Cells, model: &ModelName, keys: &Cells) {
    let whole = Cell::of_model(model.clone());
    let Some(amounts) = cells.get(&whole).copied() else {
        return;
    };
    let worth = weights(keys.values());
    if worth.is_empty() {
        return;
    }
    cells.remove(&whole);
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
        add_to(cells, key, Amounts::from_figures(money, counts));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::usage::{CellKey, Tokens, sum};

    const DAY: Day = Day::from_count(20_000);

    /// Of model `m`; the first is what has no key.
    fn key(place: i32) -> Cell {
        Cell::from(CellKey {
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

    fn billed(pico: i64) -> Cells {
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
            .map(|(hour, cells)| (hour.count() - first, sum(cells).spend.pico()))
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
    fn a_bill_goes_to_the_hours_by_their_estimates_and_the_last_takes_the_rounding() {
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
        // No price: by tokens.
        check(90, &[(3, used(0, 1)), (4, used(0, 2))], &[(3, 30), (4, 60)]);
        // A bill of nothing: what was estimated is not billed.
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
            let before: i64 = buckets.values().map(|cells| sum(cells).tokens.sum()).sum();
            spread(&billed(bill), &mut buckets, DAY);
            let total = buckets.values().fold(Amounts::ZERO, |total, cells| total + sum(cells));
            prop_assert_eq!(total.spend.pico(), i128::from(bill));
            prop_assert_eq!(total.estimated, Usd::ZERO);
            prop_assert_eq!(total.tokens.sum(), before);
        }

        #[test]
        fn keys_get_all_of_it(
            whole in (0i64..1_000_000_000_000, 0i64..1_000_000_000),
            keys in prop::collection::vec((0i64..1_000_000, 0i64..1_000_000), 1..9),
        ) {
            let model = ModelName::from("m");
            let mut cells: Cells = [("m".into(), used(whole.0, whole.1))].into();
            let before = sum(&cells);
            let weights = (0..).zip(&keys).map(|(place, (priced, tokens))| {
                (key(place), used(*priced, *tokens))
            });
            apportion(&mut cells, &model, &weights.collect());
            prop_assert_eq!(sum(&cells), before);
        }

        #[test]
        fn what_is_billed_for_a_day_is_given_to_its_cells(
            bill_pico in 0i64..1_000_000_000_000_000,
            keys in prop::collection::vec((0i64..1_000_000, 0i64..1_000_000), 0..9),
        ) {
            let mut cells: Cells = (0..).zip(&keys).map(|(place, (priced, tokens))| {
                (key(place + 1), used(*priced, *tokens))
            }).collect();
            let tokens = sum(&cells).tokens;
            bill(&mut cells, &billed(bill_pico));
            prop_assert_eq!(sum(&cells).spend.pico(), i128::from(bill_pico));
            prop_assert_eq!(sum(&cells).tokens, tokens);
        }
    }

    #[test]
    fn amounts_beyond_all_sense_are_split_nevertheless() {
        let weights = [i128::MAX / 4, i128::MAX / 4];
        let shares = split(i128::MAX / 2, &weights);
        assert_eq!(shares.iter().sum::<i128>(), i128::MAX / 2);
        assert_eq!(split(7, &[0, 0]), [0, 7]);
        assert_eq!(split(7, &[]), Vec::<i128>::new());
    }
}
