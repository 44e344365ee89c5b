//! `cargo bench`: what is promised in docs/performance.md, measured.
//!
//! Ratios are taken within one run, by turns, because machines differ more than programs do. Arguments name the subjects
//! (`cargo bench -- rendering`); `--long` adds what takes minutes.

#![expect(
    clippy::float_arithmetic,
    reason = "times and their ratios; no money is in them"
)]

#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests, which need more of it"
)]
#[path = "../../tests/it/harness.rs"]
mod harness;
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests, which need more of it"
)]
#[path = "../../tests/it/office.rs"]
mod office;
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared with the tests, which need more of it"
)]
#[path = "../../tests/it/program.rs"]
mod program;

mod made;
mod report;

mod cycling;
mod draining;
mod evaluating;
mod memory;
mod rendering;
mod scraping;
mod starting;
mod writing;

use crate::report::Report;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// In about two minutes all together.
    Quick,
    /// Also what takes minutes.
    Long,
}

type Subject = (&'static str, fn(&mut Report, Extent));

const SUBJECTS: [Subject; 9] = [
    ("evaluating", evaluating::run),
    ("rendering", rendering::run),
    ("scraping", scraping::run),
    ("writing", writing::run),
    ("draining", draining::run),
    ("starting", starting::run),
    ("cycling", cycling::run),
    ("memory", memory::run),
    ("service", memory::run_service),
];

fn main() {
    // As `main.rs` of the program does.
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nobody was before us");
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let extent = if arguments.iter().any(|argument| argument == "--long") {
        Extent::Long
    } else {
        Extent::Quick
    };
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let mut report = Report::begin();
    for (name, run) in SUBJECTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            run(&mut report, extent);
        }
    }
    report.end();
}
