//! Changes made through the Admin API. Executes the plans of [`spendwatch_domain::admin`] and records every step in the
//! audit log before it is sent and after it was answered.

pub mod session;

pub mod lookup;

pub mod execute;

pub mod batch;
pub mod key;

pub mod offboard;
pub mod onboard;
