//! Rung 3: what is counted in this process, what is known, and how Prometheus is shown both.
//!
//! Two encoders: the daemon's own few hundred series go through the `prometheus` crate; the spend series, of which there may
//! be hundreds of thousands, are written and compressed here, piece by piece, and only where something changed.

// How samples are written, and how an answer is put together.
pub mod text;

pub mod chunk;
pub mod negotiation;

// What happened in this process.
pub mod process;
pub mod requests;

pub mod counters;

// What is known.
pub mod families;

pub mod view;

pub mod parts;
pub mod rules;

pub mod organization;

pub mod fitting;

pub mod people;

pub mod gauges;

pub mod exposition;

pub mod own;

#[cfg(test)]
mod samples;
