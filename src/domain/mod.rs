//! Rung 1: values and decisions. No IO, no clock, no async, no logging.

pub mod alert;
pub mod coverage;
pub mod decision;
pub mod directory;
pub mod evaluate;
pub mod figures;
pub mod ids;
pub mod matcher;
pub mod measure;
pub mod money;
pub mod notification;
pub mod period;
pub mod policy;
pub mod record;
pub mod rule;
pub mod silence;
pub mod span;
pub mod subject;
pub mod tell;
pub mod schedule;
pub mod usage;
