//! Values and decisions, without IO, clock, async or logging.
//!
//! In reading order: a file uses only those declared above it. The blank lines keep rustfmt from sorting across them.

pub mod units;

pub mod usage;

pub mod org;

pub mod ledger;

pub mod rules;

pub mod figures;

pub mod alerts;

pub mod admin;

pub mod digest;
