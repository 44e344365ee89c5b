//! Sums of the ledger and the figures derived from them.

pub mod period_sums;

pub mod totals;

pub mod statement;

pub mod figure;

pub mod snapshot;

pub mod counting;

pub mod breakdown;

pub mod contributors;
