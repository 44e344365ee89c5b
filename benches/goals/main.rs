//! `cargo bench`: measures the goals of docs/performance.md.
//!
//! Ratios are measured within one run, alternating, because machines differ more than programs. Arguments select subjects
//! (`cargo bench -- rendering`); `--long` adds those that take minutes.

#![expect(clippy::float_arithmetic, reason = "times and their ratios, not money")]

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
#[path = "../../tests/it/outbox_fixture.rs"]
mod outbox_fixture;
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

/// Which measurements to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// About two minutes in total.
    Quick,
    /// Including those that take minutes.
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
    // As in the program's `main.rs`.
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
