//! Metrics: what happened in this process, and what is known.

pub mod counters;
