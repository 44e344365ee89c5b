//! What caused the spend of one alert.

use crate::wording::{formatting, periods, watches};
use spendwatch_domain::alerts::notification::{Contributor, Fact};
use spendwatch_domain::rules::watch::{Quantity, Watch};
use spendwatch_domain::units::money::overage_percent;
use spendwatch_domain::units::subject::SubjectKind;

/// Returns the top contributors, one line each, and a line about everything else.
pub fn lines(fact: &Fact) -> Vec<String> {
    let lines = fact.top.iter().map(|contributor| line(fact, contributor));
    lines.chain(everything_else(fact)).collect()
}

fn line(fact: &Fact, contributor: &Contributor) -> String {
    let name = name(fact, contributor);
    let value = formatting::quantity(fact.watch.unit(), contributor.value);
    let share = share_of_all(fact, contributor.value);
    format!("{name}: {value}{share}, {}", growth(fact, contributor))
}

/// Makes the lines sum to the value. A burn rate is not the sum of what its contributors spent.
fn everything_else(fact: &Fact) -> Option<String> {
    let named: Quantity = fact.top.iter().map(|contributor| contributor.value).sum();
    let rest = fact.value - named;
    let is_sum = watches::wording(fact.watch).is_usage;
    let has_rest = is_sum && !fact.top.is_empty() && rest != 0;
    has_rest.then(|| {
        let value = formatting::quantity(fact.watch.unit(), rest);
        format!(
            "everything else: {}{value}{}",
            formatting::at_least(fact),
            share_of_all(fact, rest)
        )
    })
}

fn share_of_all(fact: &Fact, value: Quantity) -> String {
    // A burn rate extrapolates to a whole period; its contributors are sums over the hours that it is measured in.
    let whole = if fact.watch == Watch::BurnRate {
        0
    } else {
        fact.value
    };
    formatting::share(whole, value).map_or(String::new(), |share| format!(" ({share})"))
}

/// Returns the names that identify a contributor, without the alert's own subject.
pub fn name(fact: &Fact, contributor: &Contributor) -> String {
    let kind = fact.identity.slot.subject.kind;
    let clean = |name: &String| formatting::clean(name);
    let model = contributor.model.as_ref();
    let model = model.filter(|_| kind != SubjectKind::Model);
    // A workspace that is the subject is only named if there is no model to name.
    let mut names = Vec::new();
    if kind != SubjectKind::Workspace || model.is_none() {
        names.push(clean(&contributor.workspace));
    }
    names.extend(model.map(|model| formatting::clean(model.as_str())));
    if kind != SubjectKind::ApiKey {
        let key = contributor.api_key.as_ref();
        names.extend(key.map(|key| format!("API key \"{}\"", clean(&key.name))));
    }
    if kind != SubjectKind::User {
        names.extend(contributor.person.as_ref().map(clean));
    }
    names.join(", ")
}

fn growth(fact: &Fact, contributor: &Contributor) -> String {
    let Some(before) = contributor.before else {
        return "no data for the previous period".to_owned();
    };
    let point = periods::comparison_point(fact);
    if before == 0 && contributor.value > 0 {
        return format!("new, nothing {point}");
    }
    let then = formatting::quantity(fact.watch.unit(), before);
    let percent = (before > 0).then(|| overage_percent(before, contributor.value));
    match percent.flatten() {
        Some(percent) => match percent.strip_prefix('-') {
            Some(percent) => format!("down {percent}% from {then} {point}"),
            None => format!("up {percent}% from {then} {point}"),
        },
        None => format!("{then} {point}"),
    }
}
