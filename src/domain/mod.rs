//! Rung 1: values and decisions. No IO, no clock, no async, no logging.
//!
//! In reading order: a file uses only those declared above it. The blank lines keep rustfmt from sorting across them.

// What things are counted in, named by and cut into.
pub mod ids;
pub mod money;
pub mod span;
pub mod subject;

// What the service says, and for which time.
pub mod directory;
pub mod matcher;
pub mod period;
pub mod usage;

// What is asked of it.
pub mod rule;

// What follows.
pub mod alert;

// Who is told.
pub mod notification;
