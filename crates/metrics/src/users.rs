//! Series of users. How users are named is configurable, because metrics are widely readable and stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::families::Metric;
use crate::series_limit::{Candidate, fit};
use crate::view::{SeriesOptions, View};
use crate::workspace_series::OTHER;
use spendwatch_domain::units::ids::{ActorId, UNATTRIBUTED};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::privacy::UserNaming;

/// Id of all users together if they are hidden.
pub const HIDDEN: &str = "hidden";

/// Renders the samples of users; returns them with the users shown and the number of users not shown. `before` are the users
/// shown last time if not all fitted.
pub fn write(
    view: &View<'_>,
    options: SeriesOptions,
    before: &BTreeSet<String>,
) -> (String, BTreeSet<String>, u64) {
    let mut out = String::new();
    let Some(people) = options.by_user.filter(|_| view.reports_users()) else {
        return (out, BTreeSet::new(), 0);
    };
    let sums = sums(view, people);
    let (shown, n_dropped) = select_users(&sums, before, options.max_series);
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

/// Returns this month's spend by charged user; the sum is the organization's. Users of last month stay at 0.
fn sums<'a>(view: &View<'a>, people: UserNaming) -> BTreeMap<&'a str, Usd> {
    let mut sums = BTreeMap::new();
    let Some((open, closed)) = view.frames(Period::Month) else {
        return sums;
    };
    let figures = view.figures();
    let id = |usage_key: u32| match (&figures.usage_key_at(usage_key).user, people) {
        (None, _) => UNATTRIBUTED,
        (Some(_), UserNaming::Hidden) => HIDDEN,
        (Some(user), UserNaming::Email | UserNaming::Id) => ActorId::as_str(user),
    };
    for part in 0..figures.parts().len() {
        for (usage_key, amounts) in open.sums_of(part) {
            *sums.entry(id(*usage_key)).or_default() += amounts.spend;
        }
        for (usage_key, _) in closed.into_iter().flat_map(|frame| frame.sums_of(part)) {
            sums.entry(id(*usage_key)).or_default();
        }
    }
    sums
}

/// Spend without a user is always shown, so that the users sum to the organization.
fn select_users(
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

fn name<'a>(view: &View<'a>, people: UserNaming, id: &'a str) -> &'a str {
    match (id, people) {
        (UNATTRIBUTED, _) => UNATTRIBUTED,
        (_, UserNaming::Id | UserNaming::Hidden) => "",
        (_, UserNaming::Email) => match view.snapshot.directory.users.get(id) {
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
    Metric::UserSpend.family().sample(out, &labels, spend);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ALL, Fixture, samples_of, spend, used};
    use crate::gauges::Renderer;
    use spendwatch_domain::units::dialect::Dialect;

    const METRIC: &str = "anthropic_user_spend_month_usd";

    fn fixture() -> Fixture {
        Fixture::new(&[
            used("w1", "opus", ("", "user_1"), spend(7)),
            used("w1", "haiku", ("key_1", ""), spend(3)),
            used("w2", "opus", ("", "user_1"), spend(1)),
            used("w2", "opus", ("", "user_2"), spend(2)),
            used("", "opus", ("", "user_3"), spend(4)),
        ])
        .with_person("user_1", "Ada", "ada@example.com")
        .with_person("user_2", "Bob", "")
    }

    fn options(people: UserNaming) -> SeriesOptions {
        SeriesOptions {
            by_user: Some(people),
            ..ALL
        }
    }

    #[track_caller]
    fn check(people: UserNaming, expected: &[&str]) {
        assert_eq!(fixture().samples(METRIC, options(people)), expected);
    }

    #[test]
    fn users_are_named_as_privacy_configures() {
        let unattributed = r#"user_id="unattributed",user="unattributed" 3"#;
        check(
            UserNaming::Id,
            &[
                unattributed,
                r#"user_id="user_1",user="" 8"#,
                r#"user_id="user_2",user="" 2"#,
                r#"user_id="user_3",user="" 4"#,
            ],
        );
        check(
            UserNaming::Email,
            &[
                unattributed,
                r#"user_id="user_1",user="ada@example.com" 8"#,
                r#"user_id="user_2",user="Bob" 2"#,
                r#"user_id="user_3",user="user_3" 4"#,
            ],
        );
        check(
            UserNaming::Hidden,
            &[r#"user_id="hidden",user="" 14"#, unattributed],
        );
    }

    #[test]
    fn users_are_shown_only_if_configured_and_reported() {
        assert_eq!(fixture().samples(METRIC, ALL), Vec::<String>::new());
        for dialect in [Some(Dialect::Guide), Some(Dialect::Reports), None] {
            let fixture = Fixture {
                dialect,
                ..fixture()
            };
            assert_eq!(
                fixture.samples(METRIC, options(UserNaming::Id)),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn the_smallest_beyond_max_series_are_one_series() {
        let narrow = SeriesOptions {
            max_series: 2,
            ..options(UserNaming::Id)
        };
        let mut renderer = Renderer::default();
        let (text, rendered) = fixture().render(&mut renderer, narrow);
        let expected = [
            r#"user_id="unattributed",user="unattributed" 3"#,
            r#"user_id="user_1",user="" 8"#,
            r#"user_id="other",user="other" 6"#,
        ];
        assert_eq!(samples_of(&text, METRIC), expected);
        assert_eq!(rendered.n_dropped[&Metric::UserSpend], 2);
    }
}
