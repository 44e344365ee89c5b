//! The SQLite file: columns, migrations, opening, locking and copying it, and the threads that use it.

pub(crate) mod migrations;
pub(crate) mod query;
pub(crate) mod values;

pub(crate) mod connection_thread;
pub(crate) mod lock;
pub(crate) mod pages;

pub(crate) mod open;

pub(crate) mod files;
pub(crate) mod unopened;
