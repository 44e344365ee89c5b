//! Rung 1: values and decisions. No IO, no clock, no async, no logging.
//!
//! In reading order: a file uses only those declared above it. The blank lines keep rustfmt from sorting across them.

// What things are counted in, named by and cut into.
pub mod dialect;
pub mod ids;
pub mod money;
pub mod plural;
pub mod privacy;
pub mod skew;
pub mod span;
pub mod subject;

// What the service says, and for which time.
pub mod directory;
pub mod event;
pub mod listing;
pub mod matcher;
pub mod period;
pub mod usage;
pub mod weekly;

// What is known of it, and what is asked of it.
pub mod budget;
pub mod coverage;
pub mod prices;
pub mod report;
pub mod rule;
pub mod schedule;
pub mod teams;

// Reports: what is read of them at once, and how their rows become buckets.
pub mod shares;
pub mod sweep;
pub mod tally;

// What follows from an answer, and what may come of it.
pub mod alert;
pub mod change;
pub mod frame;
pub mod lines;
pub mod policy;
pub mod seen;

pub mod record;
pub mod uses;

// Sums, who there is now, messages, and what mutes them.
pub mod census;
pub mod figures;
pub mod notification;
pub mod silence;
pub mod statement;

// From figures to messages.
pub mod ground;
pub mod knowledge;

pub mod counting;

pub mod breakdown;
pub mod contributors;
pub mod measure;
pub mod tell;

pub mod evaluate;
pub mod resend;
pub mod scope;

pub mod decision;

// What people do by the Admin API.
pub mod admin;

// A summary of it all.
pub mod digest;
