//! Prometheus metrics of the process and of each organization.
//!
//! There are two encoders. The daemon's own few hundred series use the `prometheus` crate. The spend series, of which there
//! may be hundreds of thousands, are rendered and compressed here when they changed; scrapes are copies.

// Text format and content negotiation.
pub mod text;

pub mod chunk;
pub mod negotiation;

// Counters of this process.
pub mod process;

pub mod counters;

// Gauges of organizations.
pub mod families;

pub mod view;

pub mod workspace_series;

pub mod amounts;

pub mod parts;

pub mod billing;

pub mod organization;
pub mod rules;

pub mod series_limit;

pub mod users;

pub mod gauges;

pub mod exposition;

pub mod daemon;

#[cfg(test)]
mod fixture;
