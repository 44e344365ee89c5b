//! The JSON of alerts and digests, in the format of Alertmanager's webhook (version 4). The webhook and commands receive
//! whole messages, PagerDuty and Alertmanager parts of them.

pub mod figures;

pub mod alerts;
pub mod digests;
