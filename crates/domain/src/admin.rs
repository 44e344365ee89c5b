//! Admin activities through the Admin API: what each server supports, one change as a value, and plans made of changes.
//! A plan is so specific that executing it requires no decisions.

pub mod network;

pub mod server;

pub mod settings;

pub mod change;

pub mod selection;

pub mod key_use;

pub mod offboard;

pub mod onboard;
