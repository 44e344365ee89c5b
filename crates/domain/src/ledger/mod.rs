//! What the ledger contains, for which spans, and what a response changes in it.

pub mod coverage;

pub mod report_fetch;

pub mod change;

pub mod hour_hashes;

pub mod record;
