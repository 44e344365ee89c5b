//! spendwatch watches what an organization spends on Claude.
//!
//! The modules are listed in reading order, by layer. A module uses only layers above its own; a test
//! (`tests/it/architecture.rs`) checks this.

// Layer 1: values and decisions; no IO, no clock, no async, no logging.

// Layer 2: the process and its environment.

// Layer 3: configuration, metrics and audit log.

// Layer 4: adapters; each translates between the domain and one external system.
pub mod secret_sink;
pub mod secrets;

// Layer 5: the long-lived parts, wired; rows that commands print and HTTP returns.
pub mod app;
pub mod table;

// Layer 6: activities.
pub mod admin;
pub mod cycle;
pub mod delivery;
pub mod heartbeat;
pub mod http;

// Layer 7: schedules, signals, the main loop.
pub mod daemon;

// Layer 8: the command line.
pub mod cli;
