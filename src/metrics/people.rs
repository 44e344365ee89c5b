//! The series of people. Everyone who sees the metrics keeps them, so that it is configured by what people are named.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{ActorId, UNATTRIBUTED};
use crate::domain::money::Usd;
use crate::domain::period::Period;
use crate::domain::privacy::People;
use crate::metrics::families::Place;
use crate::metrics::fitting::{Candidate, fit};
use crate::metrics::parts::OTHER;
use crate::metrics::view::{Shape, View};

/// All people stand under this id where they are hidden.
pub const HIDDEN: &str = "hidden";

/// What is written of people, who is shown, and how many are not. `before` are those who were shown last where not all fitted.
pub fn write(
    view: &View<'_>,
    shape: Shape,
    before: &BTreeSet<String>,
) -> (String, BTreeSet<String>, u64) {
    let mut out = String::new();
    let Some(people) = shape.by_user.filter(|_| view.tells_people()) else {
        return (out, BTreeSet::new(), 0);
    };
    let sums = sums(view, people);
    let (shown, n_dropped) = choose(&sums, before, shape.max_series);
    let mut other = Usd::ZERO;
    for (id, spend) in sums {
        if n_dropped == 0 || id == UNATTRIBUTED || shown.contains(id) {
            sample(&mut out, view, id, name(view, people, id), spend);
        } else {
            other += spend;
        }
    }
    if n_dropped > 0 {
        sample(&mut out, view, OTHER, OTHER, other);
    }
    (out, shown, n_dropped)
}

/// This month's spend by who is charged; the sum is the organization's. Who used something last month stays with 0.
fn sums<'a>(view: &View<'a>, people: People) -> BTreeMap<&'a str, Usd> {
    let mut sums = BTreeMap::new();
    let Some((open, closed)) = view.frames(Period::Month) else {
        return sums;
    };
    let figures = view.figures();
    let id = |cell: u32| match (&figures.cell_at(cell).user, people) {
        (None, _) => UNATTRIBUTED,
        (Some(_), People::Hidden) => HIDDEN,
        (Some(user), People::Email | People::Id) => ActorId::as_str(user),
    };
    for part in 0..figures.parts().len() {
        for (cell, amounts) in open.sums_of(part) {
            *sums.entry(id(*cell)).or_default() += amounts.spend;
        }
        for (cell, _) in closed.into_iter().flat_map(|frame| frame.sums_of(part)) {
            sums.entry(id(*cell)).or_default();
        }
    }
    sums
}

/// What has no user is always shown: it is what makes the parts sum to the whole.
fn choose(
    sums: &BTreeMap<&str, Usd>,
    before: &BTreeSet<String>,
    max_series: usize,
) -> (BTreeSet<String>, u64) {
    if sums.len() <= max_series {
        return (BTreeSet::new(), 0);
    }
    let candidates = sums
        .iter()
        .filter(|(id, _)| **id != UNATTRIBUTED)
        .map(|(id, spend)| Candidate {
            id,
            spend: *spend,
            n_series: 1,
        })
        .collect();
    let n_rest = usize::from(sums.contains_key(UNATTRIBUTED));
    fit(candidates, before, max_series.saturating_sub(n_rest))
}

fn name<'a>(view: &View<'a>, people: People, id: &'a str) -> &'a str {
    match (id, people) {
        (UNATTRIBUTED, _) => UNATTRIBUTED,
        (_, People::Id | People::Hidden) => "",
        (_, People::Email) => match view.ground.directory.people.get(id) {
            None => id,
            Some(person) if person.email.is_empty() => &person.name,
            Some(person) => &person.email,
        },
    }
}

fn sample(out: &mut String, view: &View<'_>, id: &str, name: &str, spend: Usd) {
    let labels = [
        ("organization", view.organization()),
        ("user_id", id),
        ("user", name),
    ];
    Place::UserSpend.family().sample(out, &labels, spend);
}
