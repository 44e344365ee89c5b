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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dialect::Dialect;
    use crate::metrics::gauges::Renderer;
    use crate::metrics::samples::{ALL, Made, of, spend, used};

    const METRIC: &str = "anthropic_user_spend_month_usd";

    fn made() -> Made {
        Made::of(&[
            used("w1", "opus", ("", "user_1"), spend(7)),
            used("w1", "haiku", ("key_1", ""), spend(3)),
            used("w2", "opus", ("", "user_1"), spend(1)),
            used("w2", "opus", ("", "user_2"), spend(2)),
            used("", "opus", ("", "user_3"), spend(4)),
        ])
        .with_person("user_1", "Ada", "ada@example.com")
        .with_person("user_2", "Bob", "")
    }

    fn shape(people: People) -> Shape {
        Shape {
            by_user: Some(people),
            ..ALL
        }
    }

    #[track_caller]
    fn check(people: People, expected: &[&str]) {
        assert_eq!(made().shown(METRIC, shape(people)), expected);
    }

    #[test]
    fn people_are_named_as_privacy_says() {
        let nobody = r#"user_id="unattributed",user="unattributed" 3"#;
        check(
            People::Id,
            &[
                nobody,
                r#"user_id="user_1",user="" 8"#,
                r#"user_id="user_2",user="" 2"#,
                r#"user_id="user_3",user="" 4"#,
            ],
        );
        check(
            People::Email,
            &[
                nobody,
                r#"user_id="user_1",user="ada@example.com" 8"#,
                r#"user_id="user_2",user="Bob" 2"#,
                r#"user_id="user_3",user="user_3" 4"#,
            ],
        );
        check(People::Hidden, &[r#"user_id="hidden",user="" 14"#, nobody]);
    }

    #[test]
    fn nobody_is_shown_unless_asked_for_or_where_the_dialect_tells_nobody() {
        assert_eq!(made().shown(METRIC, ALL), Vec::<String>::new());
        for dialect in [Some(Dialect::Guide), Some(Dialect::Reports), None] {
            let made = Made { dialect, ..made() };
            assert_eq!(made.shown(METRIC, shape(People::Id)), Vec::<String>::new());
        }
    }

    #[test]
    fn beyond_max_series_the_smallest_are_one() {
        let narrow = Shape {
            max_series: 2,
            ..shape(People::Id)
        };
        let mut renderer = Renderer::default();
        let (text, rendered) = made().render(&mut renderer, narrow);
        let expected = [
            r#"user_id="unattributed",user="unattributed" 3"#,
            r#"user_id="user_1",user="" 8"#,
            r#"user_id="other",user="other" 6"#,
        ];
        assert_eq!(of(&text, METRIC), expected);
        assert_eq!(rendered.n_dropped[&Place::UserSpend], 2);
    }
}
