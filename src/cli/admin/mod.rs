//! Commands of the Admin API. They share one context: the organization, its server and the audit log.

pub mod context;

mod people_file;
mod spend;

mod confirmation;
mod impact;
mod secret_destination;
mod steps;

pub mod invites;
pub mod org;
pub mod users;

pub mod keys;
pub mod members;

pub mod workspaces;

mod onboard_output;

pub mod offboard;
pub mod onboard;
