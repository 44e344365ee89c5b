//! The organization: its workspaces, keys, users and teams, and their events.

pub mod directory;

pub mod events;

pub mod listing;

pub mod teams;

pub mod last_uses;

pub mod inventory;
