//! The commands of the Admin API: what they ask and change goes through one desk, which knows the organization, its service and
//! the audit log.

mod desk;

// What is known beside what the service lists, and files of people.
mod people_file;
mod spend;

// Before something is changed, and what is told of it.
mod at_stake;
mod caution;
mod secret_place;
mod steps;

pub mod invites;
pub mod org;
pub mod users;

pub mod keys;
pub mod members;

pub mod workspaces;

mod onboarded;

pub mod offboard;
pub mod onboard;
