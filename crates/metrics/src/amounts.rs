//! Amounts of workspaces by model or API key.

use std::collections::BTreeMap;

use crate::text::Family;
use crate::view::{SeriesOptions, View};
use crate::workspace_series::{OTHER, WorkspaceSeries};
use spendwatch_domain::figures::period_sums::PeriodSums;
use spendwatch_domain::units::ids::{ApiKeyId, UNATTRIBUTED};
use spendwatch_domain::units::period::Period;
use spendwatch_domain::usage::bucket::{Amounts, Tokens};

/// Period of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumPeriod {
    Today,
    Month,
    /// Everything recorded.
    Recorded,
}

/// Kind of amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmountKind {
    /// By model.
    Spend,
    /// By model and token type.
    Tokens,
    /// Over all models.
    Requests,
    /// Cache savings, by model.
    Savings,
    /// Spend by API key, over all models.
    SpendOfKeys,
}

impl AmountKind {
    fn is_by_model(self, options: SeriesOptions) -> bool {
        match self {
            AmountKind::Spend | AmountKind::Tokens | AmountKind::Savings => options.by_model,
            AmountKind::Requests | AmountKind::SpendOfKeys => false,
        }
    }
}

/// Amounts by model or API key, or under an empty name.
type AmountsByLabel<'a> = BTreeMap<&'a str, TokenCounts>;

/// Renders the series of a workspace.
pub fn write(
    out: &mut String,
    view: &View<'_>,
    row: &WorkspaceSeries,
    (family, over, what): (&Family, SumPeriod, AmountKind),
    options: SeriesOptions,
) {
    let labels = row.labels(view);
    let [organization, id, name] = labels;
    for (label, amounts) in by_label(view, row, (over, what), options) {
        let model = ("model", label);
        let by_model = [organization, id, name, model];
        let now = amounts.now;
        match what {
            AmountKind::Spend => family.sample(out, &by_model, now.spend),
            // Requests are only known for billed usage.
            AmountKind::Requests if now.requests == 0 && now.tokens.sum() > 0 => {}
            AmountKind::Requests => family.sample(out, &labels, now.requests),
            AmountKind::Savings => family.sample(out, &by_model, now.saved),
            AmountKind::SpendOfKeys => {
                let key = ("api_key", view.snapshot.directory.key_name(label));
                let by_key = [organization, id, ("api_key_id", label), key];
                family.sample(out, &by_key, now.spend);
            }
            AmountKind::Tokens => {
                for (kind, n) in amounts.tokens() {
                    let kind = ("token_type", kind);
                    family.sample(out, &[organization, id, name, model, kind], n);
                }
            }
        }
    }
}

/// Amounts of the period, and of all time, which determine the token types shown.
#[derive(Debug, Clone, Copy, Default)]
struct TokenCounts {
    now: Amounts,
    ever: Amounts,
}

impl TokenCounts {
    /// Returns the token types that ever occurred with their current counts.
    fn tokens(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let now = by_type(&self.now.tokens);
        let ever = by_type(&self.ever.tokens);
        now.into_iter()
            .zip(ever)
            .filter(|(_, (_, ever))| *ever != 0)
            .map(|(now, _)| now)
    }
}

fn by_type(tokens: &Tokens) -> [(&'static str, i64); 5] {
    [
        ("input", tokens.input),
        ("output", tokens.output),
        ("cache_read", tokens.cache_read),
        ("cache_write_5m", tokens.cache_write_5m),
        ("cache_write_1h", tokens.cache_write_1h),
    ]
}

/// Sums the amounts of a workspace. Models and keys of this and the previous month stay at 0, so that series do not disappear
/// at midnight.
fn by_label<'a>(
    view: &View<'a>,
    row: &WorkspaceSeries,
    (over, what): (SumPeriod, AmountKind),
    options: SeriesOptions,
) -> AmountsByLabel<'a> {
    let figures = view.figures();
    let is_by_model = what.is_by_model(options);
    let is_by_key = what == AmountKind::SpendOfKeys;
    let is_other = row.id == OTHER;
    let name = |usage_key: u32| {
        if is_by_model {
            figures.usage_key_at(usage_key).model.as_str()
        } else if is_by_key && is_other {
            // All keys beyond `max_series` are one series.
            OTHER
        } else if is_by_key {
            let key = figures.usage_key_at(usage_key).api_key.as_ref();
            key.map_or(UNATTRIBUTED, ApiKeyId::as_str)
        } else {
            ""
        }
    };
    let (day, month) = (view.frames(Period::Day), view.frames(Period::Month));
    let open_day = day.map(|(open, _)| open);
    let open_month = month.map(|(open, _)| open);
    let closed_month = month.and_then(|(_, closed)| closed);
    let mut sums = AmountsByLabel::new();
    for member in &row.members {
        let of =
            |frame: Option<&'a PeriodSums>| frame.map_or(&[][..], |frame| frame.sums_of(*member));
        let recorded = figures.recorded(*member);
        let (now, also): (_, [&[(u32, Amounts)]; 2]) = match over {
            SumPeriod::Today => (of(open_day), [of(open_month), of(closed_month)]),
            SumPeriod::Month => (of(open_month), [of(closed_month), &[]]),
            SumPeriod::Recorded => (recorded, [&[], &[]]),
        };
        for (usage_key, amounts) in now {
            sums.entry(name(*usage_key)).or_default().now += *amounts;
        }
        for (usage_key, _) in also.into_iter().flatten() {
            sums.entry(name(*usage_key)).or_default();
        }
    }
    if what == AmountKind::Tokens {
        let members = row.members.iter();
        for (usage_key, amounts) in members.flat_map(|member| figures.recorded(*member)) {
            if let Some(sum) = sums.get_mut(name(*usage_key)) {
                sum.ever += *amounts;
            }
        }
    }
    if what == AmountKind::Requests {
        sums.entry("").or_default();
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::Metric;
    use crate::fixture::{ALL, Fixture, samples_of, spend, used};
    use crate::gauges::Renderer;
    use spendwatch_domain::org::directory::Presence;
    use spendwatch_domain::units::dialect::Dialect;
    use spendwatch_domain::units::money::Usd;

    const KEYS: &str = "anthropic_api_key_spend_month_usd";
    const SAVINGS: &str = "anthropic_cache_savings_month_usd";
    const MONTH: &str = "anthropic_spend_month_usd";

    fn fixture() -> Fixture {
        Fixture::new(&[
            used("w1", "opus", ("key_1", ""), spend(5)),
            used("w1", "haiku", ("key_1", ""), spend(2)),
            used("w1", "opus", ("key_2", ""), spend(11)),
            used("w1", "opus", ("", "user_1"), spend(3)),
            used("w2", "opus", ("key_3", ""), spend(4)),
            used("gone", "opus", ("key_4", ""), spend(1)),
            used("", "opus", ("", ""), spend(6)),
        ])
        .with_workspace("w1", Presence::Listed)
        .with_workspace("w2", Presence::Listed)
        .with_workspace("gone", Presence::Removed)
        .with_key("key_1", "CI \"x\"")
    }

    #[test]
    fn keys_of_a_workspace_sum_to_its_month() {
        let expected = [
            r#"workspace_id="w1",api_key_id="key_1",api_key="CI \"x\"" 7"#,
            r#"workspace_id="w1",api_key_id="key_2",api_key="key_2" 11"#,
            r#"workspace_id="w1",api_key_id="unattributed",api_key="unattributed" 3"#,
            r#"workspace_id="w2",api_key_id="key_3",api_key="key_3" 4"#,
            r#"workspace_id="unattributed",api_key_id="key_4",api_key="key_4" 1"#,
            r#"workspace_id="unattributed",api_key_id="unattributed",api_key="unattributed" 6"#,
        ];
        assert_eq!(fixture().samples(KEYS, ALL), expected);
        assert_eq!(by_workspace(KEYS), by_workspace(MONTH));
    }

    /// Sums samples by their first label.
    fn by_workspace(metric: &str) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for sample in fixture().samples(metric, ALL) {
            let (workspace, _) = sample.split_once(',').unwrap();
            let (_, value) = sample.rsplit_once(' ').unwrap();
            *sums.entry(workspace.to_owned()).or_default() += value.parse::<i64>().unwrap();
        }
        sums
    }

    #[test]
    fn keys_are_shown_only_if_configured_and_reported() {
        let without = SeriesOptions {
            by_api_key: false,
            ..ALL
        };
        assert_eq!(fixture().samples(KEYS, without), Vec::<String>::new());
        let guide = Fixture {
            dialect: Some(Dialect::Guide),
            ..fixture()
        };
        assert_eq!(guide.samples(KEYS, ALL), Vec::<String>::new());
        assert_eq!(guide.samples(SAVINGS, ALL), Vec::<String>::new());
        let reports = Fixture {
            dialect: Some(Dialect::Reports),
            ..fixture()
        };
        assert_eq!(reports.samples(KEYS, ALL), fixture().samples(KEYS, ALL));
    }

    #[test]
    fn keys_beyond_max_series_are_one_series() {
        let narrow = SeriesOptions {
            max_series: 5,
            ..ALL
        };
        let (text, rendered) = fixture().render(&mut Renderer::default(), narrow);
        let ends: Vec<String> = samples_of(&text, KEYS)
            .into_iter()
            .filter(|sample| !sample.contains("w1") && !sample.contains("unattributed"))
            .collect();
        let other = r#"workspace_id="other",api_key_id="other",api_key="other" 4"#;
        assert_eq!(ends, [other]);
        assert_eq!(rendered.n_dropped[&Metric::ApiKeySpend], 1);
    }

    #[test]
    fn a_renamed_key_has_its_new_name() {
        let mut fixture = fixture();
        let mut renderer = Renderer::default();
        fixture.render(&mut renderer, ALL);
        fixture = fixture.with_key("key_2", "nightly");
        let (text, _) = fixture.render(&mut renderer, ALL);
        let renamed = r#"workspace_id="w1",api_key_id="key_2",api_key="nightly" 11"#;
        assert!(samples_of(&text, KEYS).contains(&renamed.to_owned()));
    }

    #[test]
    fn savings_are_by_model_and_can_be_negative() {
        let saved = |dollars| Amounts {
            saved: Usd::from_dollars(dollars),
            ..spend(1)
        };
        let fixture = Fixture::new(&[
            used("w1", "haiku", ("key_1", ""), saved(-3)),
            used("w1", "haiku", ("key_2", ""), saved(1)),
            used("w1", "opus", ("key_1", ""), saved(9)),
        ]);
        let expected = [
            r#"workspace_id="w1",workspace="w1",model="haiku" -2"#,
            r#"workspace_id="w1",workspace="w1",model="opus" 9"#,
        ];
        assert_eq!(fixture.samples(SAVINGS, ALL), expected);
        let without = SeriesOptions {
            by_model: false,
            ..ALL
        };
        let expected = [r#"workspace_id="w1",workspace="w1",model="" 7"#];
        assert_eq!(fixture.samples(SAVINGS, without), expected);
    }
}
