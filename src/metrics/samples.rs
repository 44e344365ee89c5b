//! A made-up organization of the real service, for the tests of its series.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::census::Census;
use crate::domain::dialect::Dialect;
use crate::domain::directory::{Directory, Person, Presence, Workspace};
use crate::domain::figures::{Figures, LoadedSum};
use crate::domain::frame::FrameKey;
use crate::domain::ground::OrganizationSnapshot;
use crate::domain::ids::{ModelName, OrganizationName};
use crate::domain::listing::Listings;
use crate::domain::money::Usd;
use crate::domain::period::{Period, Zone};
use crate::domain::privacy::Privacy;
use crate::domain::usage::{Amounts, CellKey, Part};
use crate::metrics::gauges::{Rendered, Renderer};
use crate::metrics::view::{Shape, View};

/// Everything is shown.
pub(super) const ALL: Shape = Shape {
    by_model: true,
    by_api_key: true,
    by_user: None,
    max_series: 1000,
};

/// What a view looks at.
pub(super) struct Made {
    pub organization: OrganizationName,
    pub directory: Directory,
    pub figures: Figures,
    pub listings: Listings,
    pub dialect: Option<Dialect>,
    pub billed_until: Option<Timestamp>,
    pub unpriced: BTreeMap<ModelName, i64>,
}

impl Made {
    /// What was used this month: by part, cell and amounts.
    pub(super) fn of(sums: &[LoadedSum]) -> Made {
        let utc = |period| FrameKey {
            period,
            zone: Zone::utc(),
        };
        let now = "2026-11-24T10:00:00Z".parse().unwrap();
        let settle = SignedDuration::from_mins(10);
        let mut figures = Figures::new(&[utc(Period::Day), utc(Period::Month)], settle, now);
        let loads = figures.all_loads();
        // The frames come in the order of their keys, each first open and then closed.
        figures.load(&loads[2], sums);
        figures.load_recorded(sums);
        Made {
            organization: "acme".into(),
            directory: Directory::default(),
            figures,
            listings: Listings::default(),
            dialect: Some(Dialect::Analytics),
            billed_until: None,
            unpriced: BTreeMap::new(),
        }
    }

    pub(super) fn with_workspace(mut self, id: &str, presence: Presence) -> Made {
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

    pub(super) fn with_key(mut self, id: &str, name: &str) -> Made {
        self.directory.keys.insert(id.into(), name.to_owned());
        self
    }

    pub(super) fn with_person(mut self, id: &str, name: &str, email: &str) -> Made {
        let person = Person {
            name: name.to_owned(),
            email: email.to_owned(),
        };
        self.directory.people.insert(id.into(), person);
        self
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            ground: OrganizationSnapshot {
                organization: &self.organization,
                directory: &self.directory,
                census: &Census::UNKNOWN,
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

    /// All gauges, with what they were rendered as.
    pub(super) fn render(&self, renderer: &mut Renderer, shape: Shape) -> (String, Rendered) {
        let rendered = renderer.render(&self.view(), shape, true);
        let chunks = rendered.pieces.iter().flatten();
        let text = chunks
            .map(|chunk| String::from_utf8(chunk.text().to_vec()).unwrap())
            .collect();
        (text, rendered)
    }

    /// The samples of one metric, without its name and the organization.
    pub(super) fn shown(&self, metric: &str, shape: Shape) -> Vec<String> {
        let (text, _) = self.render(&mut Renderer::default(), shape);
        of(&text, metric)
    }
}

/// The samples of one metric in a text, without its name and the organization.
pub(super) fn of(text: &str, metric: &str) -> Vec<String> {
    let start = format!("{metric}{{organization=\"acme\"");
    let samples = text.lines().filter_map(|line| line.strip_prefix(&start));
    samples
        .map(|rest| rest.trim_start_matches(',').replacen('}', "", 1))
        .collect()
}

/// Of a workspace, or of the remainder where `workspace` is empty. An empty key or user is none.
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
    let cell = CellKey {
        model: model.into(),
        api_key: (!key.is_empty()).then(|| key.into()),
        user: (!user.is_empty()).then(|| user.into()),
        is_apportioned: false,
    };
    (part, cell.into(), amounts)
}

/// So many dollars.
pub(super) fn spend(dollars: i64) -> Amounts {
    Amounts {
        spend: Usd::from_dollars(dollars),
        ..Amounts::ZERO
    }
}
