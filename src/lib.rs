//! spendwatch watches what an organization spends on Claude.
//!
//! The modules are listed in reading order, by rung. A module uses the rungs above it, never its neighbours and never
//! what stands below; a test (`tests/it/architecture.rs`) holds that.

// Rung 1: values and decisions; no IO, no clock, no async, no logging.
pub mod domain;

// Rung 2: the process's own ground.
pub mod clock;
pub mod secret;

// Rung 4: adapters; each speaks to one outside thing, in domain words.
pub mod notify;
