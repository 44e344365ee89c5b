//! Rung 1: values and decisions. No IO, no clock, no async, no logging.

pub mod alert;
pub mod coverage;
pub mod directory;
pub mod ids;
pub mod matcher;
pub mod money;
pub mod notification;
pub mod period;
pub mod record;
pub mod rule;
pub mod span;
pub mod subject;
pub mod usage;
