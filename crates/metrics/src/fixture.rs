//! Test organization with the real API's data.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::gauges::{Rendered, Renderer};
use crate::view::{SeriesOptions, View};
use spendwatch_domain::figures::period_sums::PeriodKey;
use spendwatch_domain::figures::snapshot::OrganizationSnapshot;
use spendwatch_domain::figures::totals::{Figures, LoadedSum};
use spendwatch_domain::org::directory::{Directory, Presence, UserInfo, Workspace};
use spendwatch_domain::org::inventory::Inventory;
use spendwatch_domain::org::listing::Listings;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::{ModelName, OrganizationName};
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::Period;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_domain::usage::bucket::{Amounts, Part, UsageKeyFields};

pub(super) const ALL: SeriesOptions = SeriesOptions {
    by_model: true,
    by_api_key: true,
    by_user: None,
    max_series: 1000,
};

/// Data of a view.
pub(super) struct Fixture {
    pub organization: OrganizationName,
    pub directory: Directory,
    pub figures: Figures,
    pub listings: Listings,
    pub dialect: Option<Dialect>,
    pub billed_until: Option<Timestamp>,
    pub unpriced: BTreeMap<ModelName, i64>,
}

impl Fixture {
    /// Creates a fixture with this month's usage.
    pub(super) fn new(sums: &[LoadedSum]) -> Fixture {
        let now = "2026-11-24T10:00:00Z".parse().unwrap();
        let settle = SignedDuration::from_mins(10);
        let mut figures = Figures::new(
            &[PeriodKey::utc(Period::Day), PeriodKey::utc(Period::Month)],
            settle,
            now,
        );
        let loads = figures.all_loads();
        // The frames come in the order of their keys, each first open and then closed.
        figures.load(&loads[2], sums);
        figures.load_recorded(sums);
        Fixture {
            organization: "acme".into(),
            directory: Directory::default(),
            figures,
            listings: Listings::default(),
            dialect: Some(Dialect::Analytics),
            billed_until: None,
            unpriced: BTreeMap::new(),
        }
    }

    pub(super) fn with_workspace(mut self, id: &str, presence: Presence) -> Fixture {
        let workspace = Workspace {
            id: id.into(),
            name: id.to_uppercase(),
            monthly_limit: None,
            requests_per_minute: None,
            created_at: None,
            tags: BTreeMap::new(),
        };
        self.directory
            .workspaces
            .insert(id.into(), (workspace, presence));
        self
    }

    pub(super) fn with_key(mut self, id: &str, name: &str) -> Fixture {
        self.directory.keys.insert(id.into(), name.to_owned());
        self
    }

    pub(super) fn with_person(mut self, id: &str, name: &str, email: &str) -> Fixture {
        let person = UserInfo {
            name: name.to_owned(),
            email: email.to_owned(),
        };
        self.directory.users.insert(id.into(), person);
        self
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            snapshot: OrganizationSnapshot {
                organization: &self.organization,
                directory: &self.directory,
                inventory: &Inventory::UNKNOWN,
                teams: &[],
                figures: &self.figures,
                privacy: Privacy::default(),
            },
            rules: &[],
            measurements: &[],
            alerts: Vec::new(),
            is_up: true,
            skew: None,
            dialect: self.dialect,
            listings: &self.listings,
            billed_until: self.billed_until,
            unpriced: self.unpriced.clone(),
        }
    }

    /// Renders all gauges; returns their text too.
    pub(super) fn render(
        &self,
        renderer: &mut Renderer,
        options: SeriesOptions,
    ) -> (String, Rendered) {
        let rendered = renderer.render(&self.view(), options, true);
        let chunks = rendered.chunks.iter().flatten();
        let text = chunks
            .map(|chunk| String::from_utf8(chunk.text().to_vec()).unwrap())
            .collect();
        (text, rendered)
    }

    /// Returns the samples of a metric, without its name and the organization.
    pub(super) fn samples(&self, metric: &str, options: SeriesOptions) -> Vec<String> {
        let (text, _) = self.render(&mut Renderer::default(), options);
        samples_of(&text, metric)
    }
}

/// Returns the samples of a metric in a text, without its name and the organization.
pub(super) fn samples_of(text: &str, metric: &str) -> Vec<String> {
    let start = format!("{metric}{{organization=\"acme\"");
    let samples = text.lines().filter_map(|line| line.strip_prefix(&start));
    samples
        .map(|rest| rest.trim_start_matches(',').replacen('}', "", 1))
        .collect()
}

/// Returns usage of a workspace, or of the remainder if `workspace` is empty. An empty key or user is `None`.
pub(super) fn used(
    workspace: &str,
    model: &str,
    (key, user): (&str, &str),
    amounts: Amounts,
) -> LoadedSum {
    let part = match workspace {
        "" => Part::Unattributed,
        id => Part::Workspace(id.into()),
    };
    let usage_key = UsageKeyFields {
        model: model.into(),
        api_key: (!key.is_empty()).then(|| key.into()),
        user: (!user.is_empty()).then(|| user.into()),
        is_apportioned: false,
    };
    (part, usage_key.into(), amounts)
}

pub(super) fn spend(dollars: i64) -> Amounts {
    Amounts {
        spend: Usd::from_dollars(dollars),
        ..Amounts::ZERO
    }
}
