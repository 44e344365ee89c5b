//! Admin activities through the Admin API: what each server supports, one change as a value, and plans made of changes.
//! A plan is so specific that executing it requires no decisions.

// Kinds of servers, roles, and allowed networks.
pub mod network;
pub mod server;

// Current settings, and one change.
pub mod change;
pub mod settings;

// Plans.
pub mod key_use;
pub mod offboard;
pub mod onboard;
pub mod selection;
