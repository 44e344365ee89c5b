//! Rung 6: what people do by the Admin API. Plans are made in [`crate::domain::admin`]; here they are carried out, and every
//! step is in the audit log before it is sent and after it was answered.

pub mod office;

// What may have been done is looked for before it is done again.
pub mod look;

pub mod carry;

// Several steps: how they end together.
pub mod batch;
pub mod key;

pub mod offboard;
pub mod onboard;
