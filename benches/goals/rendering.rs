//! Renders the gauges of about 100,000 series after a cycle, and assembles them for a scrape.

use std::collections::BTreeMap;

use bytes::Bytes;
use spendwatch_domain::alerts::policy::Policy;
use spendwatch_domain::figures::snapshot::OrganizationSnapshot;
use spendwatch_domain::figures::totals::Figures;
use spendwatch_domain::org::directory::Directory;
use spendwatch_domain::org::inventory::Inventory;
use spendwatch_domain::org::listing::Listings;
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::privacy::Privacy;
use spendwatch_metrics::exposition::Exposition;
use spendwatch_metrics::gauges::{Rendered, Renderer};
use spendwatch_metrics::text::ExpositionFormat;
use spendwatch_metrics::view::{SeriesOptions, View};

use crate::Extent;
use crate::harness::{at, organization};
use crate::made;
use crate::report::{Goal, Report, Times, alternately, timed};

/// Each has 46 series: 12 of spend, 27 of tokens, 3 of requests and 4 others.
pub const N_WORKSPACES: usize = 2_200;

pub fn run(report: &mut Report, _: Extent) {
    let shown = Shown::new(N_WORKSPACES);
    let exposition = assembled(shown.render(&mut Renderer::default()));
    let text = whole(&exposition, false);
    let n_series = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"#"))
        .count();
    let megabytes = text.len() as f64 / 1e6;
    println!(
        "rendering: {n_series} series, {megabytes:.1} MB as text, {:.1} MB as gzip",
        whole(&exposition, true).len() as f64 / 1e6
    );
    for (name, is_gzip) in [("plain", false), ("gzip", true)] {
        let bytes = whole(&exposition, is_gzip);
        let (put, copied) = alternately(21, || whole(&exposition, is_gzip), || bytes.clone());
        report.add(
            &format!("rendering for a scrape, {name}, against copying the same bytes"),
            put.min() / copied.min(),
            "×",
            Goal::AtMost(2.0),
        );
    }
    let (mut copying, mut anew) = (Times::default(), Times::default());
    for _ in 0..7 {
        copying.add(timed(|| text.clone()).0);
        anew.add(timed(|| shown.render(&mut Renderer::default())).0);
    }
    report.add(
        "rendering after a cycle: copying the text, for comparison",
        copying.median() * 1e3,
        "ms",
        Goal::None,
    );
    report.add(
        "rendering after a cycle",
        anew.median() * 1e3,
        "ms",
        Goal::None,
    );
}

/// Input of the gauges of an organization.
pub struct Shown {
    organization: OrganizationName,
    directory: Directory,
    figures: Figures,
    listings: Listings,
}

impl Shown {
    pub fn new(n_workspaces: usize) -> Shown {
        let at = at("2026-11-24T14:20:00Z");
        Shown {
            organization: organization(),
            directory: made::directory(n_workspaces, at),
            figures: made::figures(&Policy::default(), n_workspaces, at),
            listings: Listings::default(),
        }
    }

    pub fn render(&self, renderer: &mut Renderer) -> Rendered {
        let view = View {
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
            dialect: Some(Dialect::Guide),
            listings: &self.listings,
            billed_until: None,
            unpriced: BTreeMap::new(),
        };
        let shape = SeriesOptions {
            by_model: true,
            by_api_key: false,
            by_user: None,
            max_series: 1_000_000,
        };
        renderer.render(&view, shape, true)
    }
}

pub fn assembled(rendered: Rendered) -> Exposition {
    Exposition::assemble(&[(organization(), rendered)].into())
}

/// Returns a whole response body.
pub fn whole(exposition: &Exposition, is_gzip: bool) -> Vec<u8> {
    let pieces: Vec<Bytes> =
        exposition.response_chunks(String::new(), ExpositionFormat::Text, is_gzip);
    pieces.concat()
}
