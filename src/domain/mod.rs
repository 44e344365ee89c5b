//! Layer 1: values and decisions, without IO, clock, async or logging.
//!
//! In reading order: a file uses only those declared above it. The blank lines keep rustfmt from sorting across them.

// Units, names and spans.
pub mod dialect;
pub mod ids;
pub mod money;
pub mod plural;
pub mod privacy;
pub mod skew;
pub mod span;
pub mod subject;

// What the Admin API reports, and for which periods.
pub mod directory;
pub mod event;
pub mod listing;
pub mod matcher;
pub mod period;
pub mod usage;
pub mod weekly;

// Coverage, prices, rules and teams.
pub mod budget;
pub mod coverage;
pub mod prices;
pub mod report;
pub mod rule;
pub mod schedule;
pub mod teams;

// Reports: what to read, and how rows become buckets.
pub mod report_fetch;
pub mod shares;
pub mod tally;

// Ledger changes derived from a response.
pub mod alert;
pub mod last_uses;

pub mod change;
pub mod hour_hashes;
pub mod ladder;
pub mod period_sums;
pub mod policy;
pub mod record;

// Sums, inventory, notifications and silences.
pub mod figures;
pub mod inventory;
pub mod notification;
pub mod silence;
pub mod statement;

// From figures to messages.
pub mod figure;
pub mod snapshot;

pub mod counting;

pub mod breakdown;
pub mod contributors;
pub mod measure;
pub mod notices;

pub mod evaluate;
pub mod resend;
pub mod scope;

pub mod decision;

// Admin activities through the Admin API.
pub mod admin;

// Scheduled summaries.
pub mod digest;
