//! spendwatch watches what an organization spends on Claude.
//!
//! The modules are listed in reading order, by rung. A module uses the rungs above it, never its neighbours and never
//! what stands below; a test (`tests/it/architecture.rs`) holds that.

// Rung 1: values and decisions; no IO, no clock, no async, no logging.
pub mod domain;

// Rung 2: the process's own ground.
pub mod clock;
pub mod outbound;
pub mod private_file;
pub mod process;
pub mod secret;
pub mod subprocess;
pub mod template;

// Rung 3: what is configured, what is counted, and what was done.
pub mod audit;
pub mod config;
pub mod metrics;

// Rung 4: adapters; each speaks to one outside thing, in the words of the domain.
pub mod anthropic;
pub mod handover;
pub mod notify;
pub mod secrets;
pub mod simulator;
pub mod store;

// Rung 5: the long-lived parts, put together; rows as machines read them.
pub mod app;
pub mod sheet;

// Rung 6: activities.
pub mod admin;
pub mod cycle;
pub mod delivery;
pub mod heartbeat;
pub mod http;

// Rung 7: schedules, signals, the loop.
pub mod daemon;

// Rung 8: the command line.
pub mod cli;
