//! What people do with an organization by the Admin API: which service can do what, one write as a value, and the plans that
//! are made of them. A plan is so specific that carrying it out has no choices left to make.

// Which service it is, who may be what, and from where.
pub mod network;
pub mod service;

// What stands there, and one change of it.
pub mod settings;
pub mod write;

// Plans.
pub mod choice;
pub mod key_use;
pub mod offboard;
pub mod onboard;
