//! spendwatch watches what an organization spends on Claude.
//!
//! The modules are listed in reading order, by layer. A module uses only layers above its own; a test
//! (`tests/it/architecture.rs`) checks this.

// Layer 1: values and decisions; no IO, no clock, no async, no logging.
pub mod domain;

// Layer 2: the process and its environment.
pub mod clock;
pub mod outbound;
pub mod private_file;
pub mod process;
pub mod secret;
pub mod subprocess;
pub mod template;

// Layer 3: configuration, metrics and audit log.
pub mod audit;
pub mod config;
pub mod metrics;

// Layer 4: adapters; each translates between the domain and one external system.
pub mod anthropic;
pub mod notify;
pub mod secret_sink;
pub mod secrets;
pub mod simulator;
pub mod store;

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
