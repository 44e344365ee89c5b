//! Rung 3: what is counted in this process and shown to Prometheus.

pub mod counters;
pub mod requests;
