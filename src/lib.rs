//! spendwatch watches what an organization spends on Claude.
//!
//! Members of the workspace contain what can stand alone; this package connects them. The modules are listed in reading order. A module
//! uses only those above it, which `tests/it/architecture.rs` checks.

// Secrets and where they go.
pub mod secret_sink;
pub mod secrets;

// Long-lived parts, and the rows that commands print and HTTP returns.
pub mod app;
pub mod table;

// Activities.
pub mod admin;
pub mod cycle;
pub mod delivery;
pub mod heartbeat;
pub mod http;

// Schedules, signals and the main loop.
pub mod daemon;

// The command line.
pub mod cli;
