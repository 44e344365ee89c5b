//! The SQLite file: columns, migrations, opening, locking and copying it, and the threads that use it.

pub mod migrations;
pub mod query;
pub mod values;

pub mod connection_thread;
pub mod lock;
pub mod pages;

pub mod open;

pub mod files;
pub mod unopened;
